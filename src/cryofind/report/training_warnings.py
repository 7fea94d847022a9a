"""What stands out in the history of a training, in sentences."""

import numpy as np

from cryofind.report.chart_axes import format_number
from cryofind.report.training_facts import (
    F_BETA,
    F_BETA_OF,
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    TIME_OF,
    TrainingHistory,
)

SMOOTHING_SHARE = 0.01  # of the steps, at least SMOOTHING_STEPS
SMOOTHING_STEPS = 5
PIECES = 10  # of a training, whose mean losses are compared
RISEN_LOSS = 1.5  # the last piece is this much above the lowest ...
CLEAR_ERRORS = 4.0  # ... and by so many standard errors
SMALL_RATE = 0.02  # of the highest: below this a training has come to rest
STILL_RISING = 0.005  # F-beta gained by the last validation
LATER_LOSS = 0.01  # F-beta lost since the best validation
CLIPPED_SHARE = 0.5
WAITING_SHARE = 0.1


def smoothing_width(steps: int) -> int:
    """Return over how many steps the loss is smoothed."""
    return max(SMOOTHING_STEPS, int(SMOOTHING_SHARE * steps))


def warn_of(history: TrainingHistory) -> list[str]:
    """Return what a user should know of a training, most important first; empty if all is well."""
    found = [_skipped(history), _risen(history), *_validated(history), _clipped(history), _waited(history)]
    return [sentence for sentence in found if sentence]


def _skipped(history: TrainingHistory) -> str:
    losses, norms = history.curve(LOSS), history.curve(GRADIENT_NORM)
    bad = set(losses.steps[~np.isfinite(losses.values)]) | set(norms.steps[~np.isfinite(norms.values)])
    if not bad:
        return ""
    where = f"steps {min(bad):.0f} to {max(bad):.0f}" if len(bad) > 1 else f"step {min(bad):.0f}"
    ended = ""
    if max(bad) == history.steps and not history.is_complete:
        ended = " The last of them was the last step: the training diverged; lower train.learning_rate."
    return f"{len(bad)} of {history.steps:,} steps were skipped, their loss or gradient not finite ({where}).{ended}"


def _risen(history: TrainingHistory) -> str:
    steps, values = history.curve(LOSS)
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    if len(values) < PIECES * SMOOTHING_STEPS:
        return ""
    pieces = np.array_split(values, PIECES)
    means = np.array([piece.mean() for piece in pieces])
    errors = np.array([piece.std(ddof=1) / np.sqrt(len(piece)) for piece in pieces])
    lowest = int(np.argmin(means))
    least, end = means[lowest], means[-1]
    # What rises by chance is no news; nor is it known what a factor means where losses may be negative.
    if least <= 0 or end < RISEN_LOSS * least or end - least < CLEAR_ERRORS * np.hypot(errors[lowest], errors[-1]):
        return ""
    around = float(np.array_split(steps, PIECES)[lowest].mean())
    return (
        f"The loss ends at {format_number(end)}, {end / least:.1f} times its lowest ({format_number(least)} around "
        f"step {around:,.0f}; means of a tenth of the steps each): the training diverged, or its data changed."
    )


def _validated(history: TrainingHistory) -> list[str]:
    steps, values = history.curve(F_BETA)
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    if not len(values):
        return []
    found = [_zero_objects(history)]
    best = int(np.argmax(values))
    gained = values[-1] - values[-2] if len(values) > 1 else 0.0
    if best == len(values) - 1 and gained > STILL_RISING:
        found.append(
            f"The last validation is the best, {gained:.4f} above the one before: still rising, so that more steps "
            f"(train.steps) may give more.{_still_learning(history)}"
        )
    elif values[best] - values[-1] > LATER_LOSS:
        keeps = history.setting("train", "keep_best")
        advice = "the best state was kept" if keeps else "train.keep_best=true would keep that state"
        found.append(
            f"The best validation was at step {steps[best]:,.0f} ({values[best]:.4f}); the last is "
            f"{values[best] - values[-1]:.4f} below it: {advice}, and fewer steps may do."
        )
    return found


def _zero_objects(history: TrainingHistory) -> str:
    names = [name.removeprefix(F_BETA_OF) for name in history.curves if name.startswith(F_BETA_OF)]
    zero = [name for name in names if history.last(F_BETA_OF + name) == 0]
    if not zero:
        return ""
    return f"The last validation found no {', no '.join(zero)}: F-beta is 0."


def _still_learning(history: TrainingHistory) -> str:
    rates = history.curve(LEARNING_RATE).values
    if not len(rates) or not np.isfinite(rates[-1]) or not history.is_complete:
        return ""
    if rates[-1] > SMALL_RATE * np.nanmax(rates):
        return ""
    return " A schedule that ends at a small learning rate gains most at its end, so this says less than it seems."


def _clipped(history: TrainingHistory) -> str:
    limit, norms = history.setting("train", "gradient_clip"), history.curve(GRADIENT_NORM).values
    norms = norms[len(norms) // 2 :]
    norms = norms[np.isfinite(norms)]
    if not isinstance(limit, int | float) or len(norms) < 2 * SMOOTHING_STEPS:
        return ""
    share = float((norms > limit).mean())
    if share <= CLIPPED_SHARE:
        return ""
    return (
        f"In the second half of its steps {share:.0%} of the gradients were longer than train.gradient_clip "
        f"({limit:g}) and were cut: it sets the size of the steps more than the learning rate does."
    )


def _waited(history: TrainingHistory) -> str:
    share = history.last(f"{TIME_OF}waiting")
    if share is None or share <= WAITING_SHARE:
        return ""
    return f"The network waited for crops {share:.0%} of the time: fewer turned crops or more cores would keep it busy."
