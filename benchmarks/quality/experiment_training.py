"""One training of experiments.py, in a process of its own: `python experiment_training.py FOLDER`.

Reads FOLDER/job.json, writes FOLDER/result.json; a training that was cut off there goes on.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import experiment_parts  # noqa: F401  (registers networks and losses)
import numpy as np
import torch
from decoys import write_decoy_project
from figures import Counts
from places import Places
from rows import write_counts
from sets import OpenSet, open_set
from torch import nn

from cryofind.atomic import write_json
from cryofind.config import Config, parse_config
from cryofind.errors import CryofindError
from cryofind.models import find_model, load_model_folder
from cryofind.pipeline import InputSelection
from cryofind.pipeline.candidates import predict_tomogram
from cryofind.pipeline.corpus import Corpus, read_corpus
from cryofind.pipeline.splits import Split
from cryofind.pipeline.trainer import Trainer, TrainRequest
from cryofind.pipeline.tuning import best_f_beta, fit_tuning, weigh_f_beta
from cryofind.pipeline.volume_store import open_store
from cryofind.predict import ReadyNetworks
from cryofind.preprocess import preprocess_tomogram
from cryofind.types import ParticleSpec, Picks

FOLDER = "experiments"  # in the scratch folder
JOB_NAME, RESULT_NAME = "job.json", "result.json"
# What a step costs does not depend on how many tomograms there are.
RUNS_TO_TIME = 4
FIRST_STEPS, TIMED_STEPS = 5, 20


@dataclass(frozen=True)
class Job:
    """What to train, JSON-ready.

    Parameters
    ----------
    config
        The recipe.
    picks
        Whose picks are learnt from, in copick's grammar; empty for all.
    definitions, scratch
        Of the sets.
    learnt, judged
        Names of the sets to learn from and to judge by; without any of the latter the costs of a step are measured.
    threads
        Of the network.
    decoys_of
        Model whose false picks are learnt from as an object of their own; empty for none.
    initial_model
        Model to start from; empty: from scratch.
    """

    config: dict[str, Any]
    picks: str
    definitions: str
    scratch: str
    learnt: str
    judged: tuple[str, ...]
    threads: int
    decoys_of: str = ""
    initial_model: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the job of a folder."""
        return cls(**json.loads((folder / JOB_NAME).read_text(encoding="utf-8")))

    def write(self, folder: Path) -> None:
        """Write the job into a folder."""
        write_json(folder / JOB_NAME, asdict(self))

    def open(self, name: str) -> OpenSet:
        """Return a set."""
        return open_set(Places(Path(self.definitions), Path(self.scratch)), name)


class _Timed(Exception):
    """Enough steps were timed."""


def run_job(folder: Path) -> None:
    """Do the job of a folder and write its result; a training that cannot be made is a result, too."""
    job = Job.read(folder)
    torch.set_num_threads(job.threads)
    try:
        result = train_and_judge(job, folder) if job.judged else measure_costs(job, folder)
    except CryofindError as error:
        result = {"problem": str(error)}
    write_json(folder / RESULT_NAME, result)


def measure_costs(job: Job, folder: Path) -> dict[str, Any]:
    """Return what a step costs in seconds of all threads together, which a busy machine changes less than the time."""
    config = parse_config(job.config, JOB_NAME)
    read: list[float] = []

    def watch(step: int, _: float | None) -> None:
        if step in {FIRST_STEPS, FIRST_STEPS + TIMED_STEPS}:
            read.append(time.process_time())
        if len(read) == 2:
            raise _Timed

    trainer = _build_trainer(job, config, folder, most_runs=RUNS_TO_TIME)
    try:
        trainer.fit(Split(trainer.corpus.run_names, ()), folder, watch)
    except _Timed:
        pass
    return {"cpu_seconds_per_step": (read[1] - read[0]) / TIMED_STEPS}


def train_and_judge(job: Job, folder: Path) -> dict[str, Any]:
    """Train a network, and return what it finds in the sets that judge."""
    config = parse_config(job.config, JOB_NAME)
    trainer = _build_trainer(job, config, folder)
    started, started_cpu = time.perf_counter(), time.process_time()
    network = trainer.fit(Split(trainer.corpus.run_names, ()), folder)
    result: dict[str, Any] = {
        # Of what was left to train, where it was cut off.
        "training_seconds": round(time.perf_counter() - started, 1),
        "training_cpu_seconds": round(time.process_time() - started_cpu, 1),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sets": {},
    }
    for name in job.judged:
        opened = job.open(name)
        candidates = find_candidates(network, opened, trainer.corpus, config)
        candidates.to_csv(folder / f"{name}.candidates.csv")
        result["sets"][name] = judge(candidates, opened, config)
    return result


def _build_trainer(job: Job, config: Config, folder: Path, *, most_runs: int | None = None) -> Trainer:
    opened = job.open(job.learnt)
    selection = InputSelection(opened.spec.flavour, runs=opened.runs[:most_runs], picks_uri=job.picks)
    projects = (opened.project.path,)
    if job.decoys_of:
        projects = (write_decoy_project(opened, job.decoys_of, Path(job.scratch) / FOLDER),)
    store = open_store(folder, config.train.memory_gigabytes, processes=1)
    corpus = read_corpus(projects, selection, config, store)
    request = TrainRequest(projects, folder, selection, init_model=job.initial_model or None)
    initial = load_model_folder(find_model(job.initial_model)) if job.initial_model else None
    return Trainer(request, config, corpus, initial)


def find_candidates(network: nn.Module, opened: OpenSet, corpus: Corpus, config: Config) -> Picks:
    """Return all candidates of a set's objects in its tomograms, with raw scores."""
    ready, found = ReadyNetworks.choose([network], config.predict), []
    for entry in opened.entries:
        prepared = preprocess_tomogram(entry.read(), config.preprocess, spacing_angstrom=corpus.spacing_angstrom)
        prediction = predict_tomogram(ready, prepared, corpus.specs, config.model.activation, config)
        found.append(prediction.find_picks(corpus.specs, config.locate))
    candidates = Picks.concatenate(found)
    return candidates.where(np.isin(candidates.objects, [spec.name for spec in opened.particles]))


def judge(candidates: Picks, opened: OpenSet, config: Config) -> dict[str, Any]:
    """Return the counts at crossed thresholds, and F4 at the best thresholds of the set itself, JSON-ready."""
    truth, specs = opened.truth, opened.particles
    picks = select_crossed(candidates, truth, specs, opened.runs, config)
    best = best_f_beta(candidates, truth, specs, config)
    return {
        "identity": opened.identity,
        "counts": write_counts(Counts.of(picks, truth, specs, runs=opened.runs)),
        "f4_at_best_thresholds": weigh_f_beta(best, truth, specs, config),
    }


def select_crossed(
    candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], runs: Sequence[str], config: Config
) -> Picks:
    """Return the candidates of each half of the runs, selected by the thresholds that the other half gives."""
    uncalibrated = config.model_copy(update={"tune": config.tune.model_copy(update={"calibrate": False})})
    halves = (runs[::2], runs[1::2])
    selected = []
    for chosen, read in (halves, halves[::-1]):
        pairs = (_of_runs(candidates, chosen), _of_runs(truth, chosen))
        selected.append(fit_tuning(*pairs, specs, uncalibrated).select(_of_runs(candidates, read)))
    return Picks.concatenate(selected)


def _of_runs(picks: Picks, runs: Sequence[str]) -> Picks:
    return picks.where(np.isin(picks.runs, runs))


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
