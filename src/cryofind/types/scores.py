"""What a comparison of picks with the truth found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ObjectScore:
    """Counts of one object and what follows from them.

    Parameters
    ----------
    tp, fp, fn
        True positives, false positives, false negatives. In mode `kaggle` fp may be negative
        (one candidate may hit two references).
    precision, recall, f_beta
        The usual ratios; 0 where undefined.
    weight
        Weight in the total.
    """

    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f_beta: float
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return dict(vars(self))


@dataclass(frozen=True)
class ScoreReport:
    """The weighted F-beta of a set of picks, pooled over runs, with its parts.

    Parameters
    ----------
    f_beta
        Weighted mean of the objects' F-beta: sum of weight * F / `divisor`.
    beta
        Weight of recall against precision.
    mode
        How picks were matched: `kaggle`, `one-to-one` or `octopi`.
    divisor
        What the weighted sum was divided by.
    objects
        Score by object, counts summed over runs.
    runs
        Score by run and object.
    in_sample_runs
        Runs that the model was trained on; empty for an honest score.
    """

    f_beta: float
    beta: float
    mode: str
    divisor: float
    objects: dict[str, ObjectScore]
    runs: dict[str, dict[str, ObjectScore]]
    in_sample_runs: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {
            "f_beta": self.f_beta,
            "beta": self.beta,
            "mode": self.mode,
            "divisor": self.divisor,
            "objects": {name: score.to_dict() for name, score in self.objects.items()},
            "runs": {
                run: {name: score.to_dict() for name, score in scores.items()} for run, scores in self.runs.items()
            },
            "in_sample_runs": list(self.in_sample_runs),
        }
