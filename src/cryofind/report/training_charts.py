"""The charts of a training page."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from cryofind.report.charts import Bar, Mark, Series, bars, line_chart, smooth
from cryofind.report.colors import choose_colors, format_color
from cryofind.report.training_facts import (
    F_BETA,
    F_BETA_OF,
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    STEP_SECONDS,
    TIME_OF,
    CardFacts,
    TrainingHistory,
)
from cryofind.report.training_warnings import smoothing_width
from cryofind.types import ParticleSpec

TEXT_COLOR = "currentColor"
_OPEN_PARTS = {"validation", "checkpoints"}
_PART_WORDS = {"waiting": "waiting for crops", "optimizer": "optimizer step", "other": "everything else"}


def draw_history(histories: Sequence[TrainingHistory], specs: Sequence[ParticleSpec]) -> list[Markup]:
    """Return the charts of one training, or of several over each other; what was never written has none."""
    drawn = [
        _draw_loss(histories),
        _draw_validation(histories, specs),
        _draw_plain(histories, LEARNING_RATE, "Learning rate", "learning rate"),
        _draw_gradients(histories),
        _draw_times(histories),
    ]
    return [chart for chart in drawn if chart is not None]


def _draw_loss(histories: Sequence[TrainingHistory]) -> Markup | None:
    lines = _draw_smoothed(histories, LOSS)
    # A loss that can be negative would be hidden by a log axis.
    is_log = all(np.nanmin(np.asarray(line.y, dtype=np.float64), initial=np.inf) > 0 for line in lines)
    return line_chart(lines, title="Loss", x_label="step", y_label="loss", log_y=is_log) if lines else None


def _draw_gradients(histories: Sequence[TrainingHistory]) -> Markup | None:
    lines = _draw_smoothed(histories, GRADIENT_NORM)
    if not lines:
        return None
    limit = histories[0].setting("train", "gradient_clip")
    if isinstance(limit, int | float) and limit > 0:
        ends = [min(float(np.min(line.x)) for line in lines), max(float(np.max(line.x)) for line in lines)]
        lines.append(Series(f"cut at {limit:g} (train.gradient_clip)", ends, [limit, limit]))
    return line_chart(lines, title="Length of the gradient", x_label="step", y_label="norm before cutting", log_y=True)


def _draw_smoothed(histories: Sequence[TrainingHistory], name: str) -> list[Series]:
    lines = []
    for history in histories:
        steps, values = history.curve(name)
        if not len(steps):
            continue
        if len(histories) == 1:
            lines.append(Series("each step", steps, values, is_faint=True))
        width = smoothing_width(len(values))
        lines.append(Series(_call(histories, history, f"mean of {width} steps"), steps, smooth(values, width)))
    return lines


def _draw_plain(histories: Sequence[TrainingHistory], name: str, title: str, label: str) -> Markup | None:
    lines = [
        Series(_call(histories, history, label), *history.curve(name))
        for history in histories
        if len(history.curve(name).steps)
    ]
    return line_chart(lines, title=title, x_label="step", y_label=label) if lines else None


def _draw_validation(histories: Sequence[TrainingHistory], specs: Sequence[ParticleSpec]) -> Markup | None:
    lines, marks = [], []
    # Beside the colours of the objects the line of all of them is in that of the text.
    color = TEXT_COLOR if len(histories) == 1 else None
    for history in histories:
        steps, values = history.curve(F_BETA)
        if not np.isfinite(values).any():
            continue
        lines.append(Series(_call(histories, history, "all objects, weighted"), steps, values, color=color))
        best = int(np.nanargmax(values))
        marks.append(Mark(float(steps[best]), float(values[best]), f"best {values[best]:.3f}"))
    if not lines:
        return None
    if len(histories) == 1:
        colors = choose_colors(specs)
        named = {F_BETA_OF + name: format_color(color) for name, color in colors.items()}
        lines += [
            Series(name.removeprefix(F_BETA_OF), *curve, color=named.get(name))
            for name, curve in histories[0].curves.items()
            if name.startswith(F_BETA_OF)
        ]
    return line_chart(
        lines, title="F-beta of the held-out runs", x_label="step", y_label="F-beta", y_limits=(0, 1), marks=marks
    )


def _draw_times(histories: Sequence[TrainingHistory]) -> Markup | None:
    shares = time_shares(histories[0]) if len(histories) == 1 else {}
    if not shares:
        return None
    entries = [Bar(_PART_WORDS.get(name, name), round(100 * share, 1)) for name, share in shares.items()]
    return bars(entries, title="Where the time went", value_label="% of all time", limits=(0, 100))


def time_shares(history: TrainingHistory) -> dict[str, float]:
    """Return the share of all time by part, the greatest first, as of the last checkpoint."""
    parts = [name.removeprefix(TIME_OF) for name in history.curves if name.startswith(TIME_OF)]
    found = {part: history.last(TIME_OF + part) for part in parts if part != STEP_SECONDS}
    known = {part: share for part, share in found.items() if share is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def estimate_seconds(history: TrainingHistory) -> float | None:
    """Return about how long a training took in all, from the mean time of a step; None if that is not known."""
    each, shares = history.last(TIME_OF + STEP_SECONDS), time_shares(history)
    stepping = 1 - sum(share for part, share in shares.items() if part in _OPEN_PARTS)
    return each * history.steps / stepping if each is not None and stepping > 0 else None


def draw_card_charts(card: CardFacts) -> list[Markup]:
    """Return the charts of a model card: F-beta by object, and what scores are worth."""
    colors = {name: format_color(color) for name, color in choose_colors(card.specs).items()}
    drawn = []
    if card.f_beta:
        entries = [Bar(name, value, color=colors.get(name)) for name, value in card.f_beta.items()]
        title = f"F-beta by object, {card.f_beta_source}"
        drawn.append(bars(entries, title=title, value_label="F-beta", limits=(0, 1)))
    if card.calibration:
        lines = [
            Series(name, curve.log_odds, curve.probabilities, color=colors.get(name))
            for name, curve in card.calibration.items()
        ]
        drawn.append(
            line_chart(
                lines,
                title="What a raw score is worth (calibration)",
                x_label="log-odds of the raw score (0 is 0.5, 2.2 is 0.9, 4.6 is 0.99)",
                y_label="probability that the pick is right",
                y_limits=(0, 1),
            )
        )
    return drawn


def _call(histories: Sequence[TrainingHistory], history: TrainingHistory, words: str) -> str:
    return words if len(histories) == 1 else history.name
