"""The library OpenVINO and its companion nncf, imported where needed, without their reports to a server."""

import contextlib
import functools
import importlib
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from cryofind.errors import ConfigError
from cryofind.predict.tiling import IntTriple


@functools.cache
def _core() -> Any:
    return import_openvino().Core()


def convert_traced(traced: torch.jit.ScriptModule, block: torch.Tensor) -> Any:
    """Return a traced network as an `openvino.Model` of open sizes.

    Raises
    ------
    RuntimeError
        If OpenVINO lacks an operation, or fails otherwise.
    ConfigError
        If OpenVINO cannot be loaded.
    """
    openvino = import_openvino()
    failure: type[Exception] = _import_or_refuse("openvino.frontend").OpConversionFailure
    try:
        with _with_root_logger_kept():
            return openvino.convert_model(traced, example_input=block)
    except failure as error:
        raise RuntimeError(str(error)) from error


@contextlib.contextmanager
def _with_root_logger_kept() -> Iterator[None]:
    """Undo what a conversion does to the logging of the whole program; it leaves it so where it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def import_openvino() -> ModuleType:
    """Return the library.

    Raises
    ------
    ConfigError
        If it is installed but cannot be loaded.
    """
    with _without_telemetry():
        return _import_or_refuse("openvino")


def import_nncf() -> ModuleType:
    """Return nncf, which quantizes networks, silent below errors; errors as of `import_openvino`."""
    with _without_telemetry():
        # It replaces the class of every later logger.
        logger_class = logging.getLoggerClass()
        try:
            nncf = _import_or_refuse("nncf")
        finally:
            logging.setLoggerClass(logger_class)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _import_or_refuse(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        # Such as a shared library of its that is missing, or was built for another system.
        lines = str(error).strip().splitlines()
        why = lines[0] if lines else type(error).__name__
        raise ConfigError(
            "predict.engine",
            f"{module} is installed but cannot be loaded ({why})",
            "pip install --force-reinstall 'cryofind[openvino]', or set predict.engine to torch",
        ) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep OpenVINO and nncf from reporting their use to a server, which they do without asking."""
    if "openvino_telemetry" in sys.modules:
        yield
        return
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]


def compile_model(model: Any, shape_zyx: IntTriple, inference_precision: str) -> Any:
    """Return a graph compiled for blocks of one shape, on as many threads as torch takes.

    Parameters
    ----------
    model
        An `openvino.Model` for images (B, 1, Z, Y, X).
    shape_zyx
        Voxels.
    inference_precision
        `f32` or `bf16`, the number type of what is not quantized.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": inference_precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        # Several programs on one computer would all be pinned to its first cores.
        "ENABLE_CPU_PINNING": False,
    }
    return _core().compile_model(reshape_model(model, shape_zyx), "CPU", settings)


def reshape_model(model: Any, shape_zyx: IntTriple) -> Any:
    """Return a copy of a graph for one image of one shape."""
    reshaped = model.clone()
    reshaped.reshape([1, 1, *shape_zyx])
    return reshaped
