"""In which settings two results differ."""

from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]


def list_differences(one: Record, other: Record) -> list[tuple[str, str, str]]:
    """Return the settings in which two results differ.

    Parameters
    ----------
    one, other
        What `run.json` says of them.

    Returns
    -------
    list of tuple of str
        Name, of the first, of the second (`-` where it has none). Numbers have 4 significant digits, unless only more
        of them tell the two apart.
    """
    first, second = _flatten(_settings_of(one)), _flatten(_settings_of(other))
    names = [*first, *(name for name in second if name not in first)]
    pairs = [(name, first.get(name, "-"), second.get(name, "-")) for name in names]
    return [(name, *_show_both(ours, theirs)) for name, ours, theirs in pairs if str(ours) != str(theirs)]


def _settings_of(record: Record) -> Record:
    models = {str(number): model["sha256"] for number, model in enumerate(record.get("models", []), start=1)}
    keys = ("config", "thresholds", "engine")
    return {"model": models, **{key: record.get(key, {}) for key in keys}}


def _flatten(document: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted names."""
    if not isinstance(document, Mapping):
        return {name: document}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flatten(value, f"{name}.{key}" if name else str(key))
    return flat


def _show_both(one: Any, other: Any) -> tuple[str, str]:
    shown = _show(one), _show(other)
    return shown if shown[0] != shown[1] else (str(one), str(other))


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"[{', '.join(map(_show, value))}]" if isinstance(value, list | tuple) else str(value)
