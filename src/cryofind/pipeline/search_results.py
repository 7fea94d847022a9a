"""What a search leaves: the best recipe, a table, a picture of what mattered."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cryofind
from cryofind.atomic import write_text
from cryofind.config import Config
from cryofind.pipeline.records import timestamp
from cryofind.pipeline.search_space import Choice, Dimension, SearchRecipe, apply_parameters
from cryofind.pipeline.search_study import LEAST_COMPLETE_FOR_IMPORTANCE, TOP_SHARE
from cryofind.pipeline.search_trials import Trial, find_best
from cryofind.report.importance import ParameterRow, draw_importance
from cryofind.toml_text import format_key, format_value

SHOWN_TRIALS = 10


def write_best_recipe(
    path: Path,
    recipe: SearchRecipe,
    trials: Sequence[Trial],
    *,
    base: Config,
    init_model: str | None,
    held_out: Sequence[str],
) -> None:
    """Write the recipe of the best trial as TOML: what differs from `base`, and every key that was searched.

    Parameters
    ----------
    path
        The file.
    recipe
        What was searched from, and where.
    trials
        All trials, one of them complete.
    base
        What a training takes where a recipe is silent: the defaults, or the stages of the initial model.
    init_model
        That model, as the user named it.
    held_out
        Runs that the trials were judged by.

    Raises
    ------
    OutputError
        If the file system refuses.
    """
    best = find_best(trials)
    if best is None:
        raise ValueError("no trial is complete")
    init = f" --init {shlex.quote(init_model)}" if init_model else ""
    validation = " ".join(f"--validation {shlex.quote(run)}" for run in held_out)
    finished = sum(trial.is_finished for trial in trials)
    lines = [
        f"# The best recipe of `cryofind search`: trial {best.number} of {finished} finished ones, {timestamp()}, "
        f"cryofind {cryofind.__version__}.",
        "#",
        f"#   cryofind train PROJECTS --recipe {path.name}{init} {validation} --out MODEL",
        "#",
        f"# Weighted F-beta of the held-out runs ({', '.join(held_out)}): {best.value:.4f}.",
        "# That number chose this recipe, so it is no measure of its accuracy: score the model on runs that neither",
        "# the search nor the training saw.",
    ]
    config = apply_parameters(recipe.config, best.parameters)
    write_text(path, "\n".join([*lines, *_format_tables(config, base, set(best.parameters))]) + "\n")


def _format_tables(config: Config, base: Config, searched: set[str]) -> list[str]:
    tables, silent = config.model_dump(mode="json"), base.model_dump(mode="json")
    lines = []
    for stage, values in tables.items():
        rows = [
            f"{format_key(key)} = {format_value(_without_nulls(value))}{_remark(f'{stage}.{key}', searched)}"
            for key, value in values.items()
            if value is not None and (value != silent[stage][key] or _remark(f"{stage}.{key}", searched))
        ]
        lines += ["", f"[{stage}]", *rows] if rows else []
    return lines


def _without_nulls(value: Any) -> Any:
    """Return a value without nulls in tables, which TOML lacks."""
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    return value


def _remark(key: str, searched: set[str]) -> str:
    is_searched = any(name == key or name.startswith(f"{key}.") for name in searched)
    return "  # searched" if is_searched else ""


def describe_trials(space: Sequence[Dimension], trials: Sequence[Trial]) -> list[str]:
    """Return a table of the best trials, a line each, and how many ended how."""
    complete = sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: -(trial.value or 0.0))
    rows = [["trial", "F-beta", "minutes", *(dimension.key for dimension in space)]]
    rows += [
        [
            str(trial.number),
            f"{trial.value:.4f}",
            f"{trial.seconds / 60:.1f}",
            *(shorten(trial.parameters[dimension.key]) for dimension in space),
        ]
        for trial in complete[:SHOWN_TRIALS]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    counts = {state: sum(trial.state == state for trial in trials) for state in ("pruned", "failed", "stopped")}
    others = "".join(f", {count} {state}" for state, count in counts.items() if count)
    return [
        *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows),
        f"{len(complete)} trials complete{others}",
    ]


def draw_search(space: Sequence[Dimension], trials: Sequence[Trial], importance: Mapping[str, float]) -> str:
    """Return an SVG of how much each searched key mattered, and of the complete trials along it.

    Parameters
    ----------
    space
        What was searched.
    trials
        Trials to draw; only complete ones are.
    importance
        Shares by key; empty if they cannot be told.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    note = (
        f"Share of each key in being among the best {TOP_SHARE:.0%} of {len(complete)} complete trials (PED-ANOVA)"
        if importance
        else f"Importances cannot be told yet: {len(complete)} complete trials, of which at least "
        f"{LEAST_COMPLETE_FOR_IMPORTANCE} are needed, and not all of one value"
    )
    rows = [
        ParameterRow(
            dimension.key,
            importance.get(dimension.key),
            [dimension.place(trial.parameters[dimension.key]) for trial in complete],
            [trial.value or 0.0 for trial in complete],
            _name_ends(dimension),
        )
        for dimension in sorted(space, key=lambda dimension: -importance.get(dimension.key, 0.0))
    ]
    return draw_importance(rows, title="What mattered in the search", note=note)


def _name_ends(dimension: Dimension) -> tuple[str, ...]:
    if isinstance(dimension, Choice):
        return tuple(shorten(choice) for choice in dimension.choices)
    return f"{dimension.low:g}", f"{dimension.high:g}{' (log)' if dimension.log else ''}"


def shorten(value: Any) -> str:
    """Return a value of the recipe in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
