"""Location: probabilities of six species in memory to picks in memory.

They are what the shipped model says of a simulated tomogram, and the floors are those of `cryofind pick`; beside it the
time with none but the lowest floor, which thresholds are tuned with.
"""

from functools import partial
from typing import Any

from materials import model_for, read_runs, simulate
from measuring import Case, interleave
from options import Options, describe
from table import Line, format_spread

from cryofind.config import LocateConfig
from cryofind.errors import ModelError
from cryofind.locate import find_picks
from cryofind.pipeline.loading import load_model

WITHIN_SECONDS = 0.3


def measure(options: Options) -> dict[str, Any]:
    """Return seconds and the number of candidates."""
    ((tomogram, truth),) = read_runs(simulate(options, options.shape_zyx))
    folder, model = model_for(options, "res16")
    picker = load_model(folder)
    probabilities = picker.pick_tomogram(tomogram).probabilities
    if probabilities is None:
        raise ModelError(folder, "left no probabilities", "pick the tomogram as a whole")
    configs = {"pick": picker.locate_config, "tune": picker.config.locate}

    def locate(config: LocateConfig) -> int:
        return len(find_picks(probabilities, picker.specs, config, grid=tomogram.grid))

    timed = {name: Case(partial(locate, config), options.repeats, calls=3) for name, config in configs.items()}
    return {
        "shape_zyx": list(tomogram.grid.shape_zyx),
        "model": model,
        "true_picks": len(truth),
        "candidates": {name: locate(config) for name, config in configs.items()},
        "seconds": interleave(timed),
    }


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    seconds, candidates = result["seconds"], result["candidates"]
    text = {name: f"{format_spread(seconds[name], digits=3)}; {count} candidates" for name, count in candidates.items()}
    what = f"location, six species, {describe(tuple(result['shape_zyx']))}, {result['model']}"
    return [
        Line(what, f"<= {WITHIN_SECONDS:g} s", text["pick"], seconds["pick"]["median"] <= WITHIN_SECONDS),
        Line(f"{what}, all candidates above the lowest floor", "", text["tune"]),
    ]
