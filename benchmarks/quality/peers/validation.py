"""How good a network is on annotated runs it does not learn from, and what that says about thresholds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import ONE_VIEW, Predictor, View, predict
from peers import Peer
from task import Source, Task
from torch import nn

from cryofind.atomic import write_json
from cryofind.config import Config
from cryofind.pipeline.tuning import Tuning, best_f_beta, fit_tuning, weigh_f_beta
from cryofind.types import Picks

Candidates = dict[str, Picks]

CONFIG = Config()


@dataclass(frozen=True)
class Verdict:
    """F4 at the best thresholds, by the best decoding.

    Parameters
    ----------
    total, by_object
        Of the best decoding.
    decoder
        Its name.
    totals
        Of all decodings.
    candidates
        Of the best, which thresholds are fitted on.
    runs
        That it was judged on.
    """

    total: float
    by_object: dict[str, float]
    decoder: str
    totals: dict[str, float]
    candidates: Picks
    runs: tuple[str, ...]

    def as_row(self) -> dict[str, Any]:
        """Return what goes into the curve."""
        by_object = {name: round(value, 4) for name, value in self.by_object.items()}
        totals = {name: round(value, 4) for name, value in self.totals.items()}
        return {"f4": round(self.total, 4), "by_object": by_object, "decoder": self.decoder, "decoders": totals}

    def write(self, folder: Path, views: str, step: int) -> None:
        """Keep it in a folder, with the candidates: which thresholds are fitted on."""
        self.candidates.to_csv(folder / f"validation-{views}.csv")
        write_json(folder / f"validation-{views}.json", {"step": step, "runs": list(self.runs), **self.as_row()})


def is_decided(folder: Path, views: str, step: int, truth: Picks) -> bool:
    """Whether a folder holds a verdict on the network of that step by all runs of the truth."""
    path = folder / f"validation-{views}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    return (kept.get("step"), kept.get("runs")) == (step, list(truth.run_names))


def read_decision(folder: Path, views: str, truth: Picks, task: Task) -> tuple[str, Tuning]:
    """Return the decoding of the verdict in a folder, and thresholds from its candidates."""
    path = folder / f"validation-{views}.json"
    candidates = Picks.from_csv(path.with_suffix(".csv"))
    return json.loads(path.read_text())["decoder"], fit_tuning(candidates, truth, task.objects, CONFIG)


def find_candidates(
    network: nn.Module,
    peer: Peer,
    source: Source,
    task: Task,
    *,
    views: tuple[View, ...] = ONE_VIEW,
    runs: int | None = None,
) -> Candidates:
    """Return the candidates of all runs by decoding; tomograms are read one by one."""
    network.eval()
    predictor = Predictor(network, peer.windows, len(task.objects), peer.stride, views)
    tables: dict[str, list[Picks]] = {}
    for entry in source.entries[:runs]:
        run = source.read(entry, task)
        found = predict(predictor, run.volume_zyx, run.grid)
        for decode in peer.decoders:
            for name, picks in decode(found, task, run.name).items():
                tables.setdefault(name, []).append(picks)
    return {name: Picks.concatenate(parts) for name, parts in tables.items()}


def judge(candidates: Candidates, truth: Picks, task: Task) -> Verdict:
    """Return the F4 of the best decoding, with thresholds that are the best for these very candidates."""
    f_betas = {name: best_f_beta(picks, truth, task.objects, CONFIG) for name, picks in candidates.items()}
    totals = {name: weigh_f_beta(found, truth, task.objects, CONFIG) for name, found in f_betas.items()}
    best = max(totals, key=totals.__getitem__)
    return Verdict(totals[best], f_betas[best], best, totals, candidates[best], truth.run_names)


def read_truth(source: Source, task: Task, *, runs: int | None = None) -> Picks:
    """Return the true picks of the first runs, or of all."""
    return Picks.concatenate(source.read_picks(entry.run, task) for entry in source.entries[:runs])
