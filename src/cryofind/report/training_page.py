"""The page of a model: how its training went, and its card."""

import json
from typing import Any

import numpy as np

from cryofind.report.colors import choose_colors, format_color
from cryofind.report.rendering import render_page
from cryofind.report.training_charts import draw_card_charts, draw_history, estimate_seconds, time_shares
from cryofind.report.training_crops import draw_crop
from cryofind.report.training_facts import (
    F_BETA,
    F_BETA_OF,
    STEP_SECONDS,
    TIME_OF,
    CardFacts,
    Curve,
    ExampleCrop,
    TrainingHistory,
    TrainingReport,
)
from cryofind.report.training_warnings import warn_of

HASH_DIGITS = 12


def render_training_page(report: TrainingReport) -> str:
    """Return the page as HTML that loads nothing."""
    card = report.card
    specs = card.specs if card else ()
    return render_page(
        "training.html.j2",
        report=report,
        card=card,
        state=describe_state(report),
        warnings=list_warnings(report),
        objects=_list_objects(card) if card else [],
        has_counts=card is not None and any(curve.counts for curve in card.calibration.values()),
        charts=draw_history(report.histories, specs),
        card_charts=draw_card_charts(card) if card else [],
        examples=_list_examples(report),
        recipe=json.dumps(card.recipe, indent=2) if card and card.recipe else "",
        durations=[
            _as_sentence(f"{_prefix(report, one)}{words}")
            for one in report.histories
            if (words := describe_duration(one))
        ],
        short=lambda digest: digest[:HASH_DIGITS],
    )


def training_numbers(report: TrainingReport) -> dict[str, Any]:
    """Return the numbers of the page, JSON-ready."""
    card = report.card
    return {
        "kind": "model",
        "name": report.name,
        "folder": report.folder,
        "finished": report.finished,
        "warnings": list_warnings(report),
        "notes": list(report.notes),
        "card": _card_numbers(card) if card else None,
        "trainings": [_history_numbers(history) for history in report.histories],
        "examples": [
            {
                "run": crop.run,
                "object": crop.object_name,
                "position_zyx_angstrom": list(crop.position_zyx_angstrom),
                "score": crop.score,
                "other": crop.other,
                "other_score": crop.other_score,
            }
            for crop in report.examples
        ],
    }


def describe_state(report: TrainingReport) -> str:
    """Return in a sentence how far the training is."""
    if report.finished:
        return f"Finished {report.finished}."
    if not report.histories:
        return "A training was begun here and has taken no step." if report.is_running_or_cut else "A model card alone."
    told = []
    for history in report.histories:
        goal = f" of {history.planned_steps:,}" if history.planned_steps else ""
        done = f"{_prefix(report, history)}step {history.steps:,}{goal}, last line written {history.last_written}"
        told.append(_as_sentence(done))
    state = "Not finished: running, or cut off (the same command goes on)" if report.is_running_or_cut else "Trained"
    return f"{state}. {' '.join(told)}"


def list_warnings(report: TrainingReport) -> list[str]:
    """Return what a user should know, a sentence each."""
    found = [f"{_prefix(report, history)}{words}" for history in report.histories for words in warn_of(history)]
    if report.card is not None and report.card.f_beta:
        found.append(_warn_of_sample(report))
    return found


def describe_duration(history: TrainingHistory) -> str:
    """Return in words how long a training took; "" if that is not known."""
    seconds, each = estimate_seconds(history), history.last(TIME_OF + STEP_SECONDS)
    if seconds is None or each is None:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    whole = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    return f"about {whole} for {history.steps:,} steps, {1000 * each:,.0f} ms a step"


def _prefix(report: TrainingReport, history: TrainingHistory) -> str:
    return f"{history.name}: " if len(report.histories) > 1 else ""


def _as_sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _warn_of_sample(report: TrainingReport) -> str:
    if report.card is not None and "out of fold" in report.card.f_beta_source:
        return "F-beta by object is out of fold with thresholds chosen on the same picks, which flatters a little."
    keeps = any(history.setting("train", "keep_best") for history in report.histories)
    chosen = "the best state and the thresholds" if keeps else "the thresholds"
    return (
        f"In-sample: the held-out runs chose {chosen}, so their F-beta flatters the model. "
        "For an honest number score runs that are not in the list of seen runs."
    )


def _list_objects(card: CardFacts) -> list[dict[str, Any]]:
    colors = choose_colors(card.specs)
    return [
        {
            "spec": spec,
            "color": format_color(colors[spec.name]),
            "f_beta": card.f_beta.get(spec.name),
            "counts": card.calibration[spec.name].counts if spec.name in card.calibration else None,
        }
        for spec in card.specs
    ]


def _list_examples(report: TrainingReport) -> list[dict[str, Any]]:
    if report.card is None:
        return []
    names, colors = [spec.name for spec in report.card.specs], choose_colors(report.card.specs)
    return [
        {
            "name": name,
            "color": format_color(colors[name]),
            "crops": [
                {"crop": crop, "pictures": draw_crop(crop, names, colors), "words": _describe_crop(crop)}
                for crop in report.examples
                if crop.object_name == name
            ],
        }
        for name in names
        if any(crop.object_name == name for crop in report.examples)
    ]


def _describe_crop(crop: ExampleCrop) -> str:
    z, y, x = crop.position_zyx_angstrom
    other = f"; {crop.other} {crop.other_score:.2f}" if crop.other and crop.other_score >= 0.05 else ""
    width = crop.grey.shape[1] * crop.pixel_angstrom
    return f"{crop.run}, z {z:.0f}, y {y:.0f}, x {x:.0f} Å, {width:.0f} Å wide: predicted {crop.score:.2f}{other}"


def _card_numbers(card: CardFacts) -> dict[str, Any]:
    return {
        "name": card.name,
        "facts": dict(card.lines),
        "thresholds": {spec.name: spec.score_threshold for spec in card.specs},
        "radii_angstrom": {spec.name: spec.radius_angstrom for spec in card.specs},
        "f_beta": dict(card.f_beta),
        "f_beta_source": card.f_beta_source,
        "f_beta_total": card.f_beta_total,
        "runs": [row._asdict() for row in card.runs],
        "versions": dict(card.versions),
    }


def _history_numbers(history: TrainingHistory) -> dict[str, Any]:
    validated = {name: _as_pairs(curve) for name, curve in history.curves.items() if name.startswith(F_BETA)}
    return {
        "name": history.name,
        "steps": history.steps,
        "planned_steps": history.planned_steps,
        "last_written": history.last_written,
        "broken_lines": history.broken_lines,
        "last": {name: history.last(name) for name in history.curves},
        "validation": {name.removeprefix(F_BETA_OF) if name != F_BETA else "": v for name, v in validated.items()},
        "time_shares": time_shares(history),
        "seconds": estimate_seconds(history),
    }


def _as_pairs(curve: Curve) -> list[list[float | None]]:
    return [
        [step, value if np.isfinite(value) else None]
        for step, value in zip(*map(np.ndarray.tolist, curve), strict=True)
    ]
