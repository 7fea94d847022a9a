"""One trial of a search: trainings by the code of `cryofind train`, watched so that they can be ended early."""

import logging
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from cryofind.config import Config, PreprocessConfig
from cryofind.errors import ConfigError, DivergedError, MemoryLimitError, ModelError
from cryofind.models import LoadedModel
from cryofind.pipeline.corpus import Corpus, read_corpus
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.search_space import SearchRecipe, apply_parameters
from cryofind.pipeline.search_trials import Trial
from cryofind.pipeline.splits import Split
from cryofind.pipeline.trainer import Trainer, TrainRequest
from cryofind.pipeline.volume_store import open_store
from cryofind.predict.ready import is_out_of_memory
from cryofind.train import read_metrics

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger("cryofind")

TRIALS_FOLDER = "trials"
# Of one trial alone: its loss or its validation (ModelError) is not finite, memory ran out, its options do not fit.
_FAILURES = (DivergedError, ModelError, MemoryLimitError, ConfigError)


@dataclass(frozen=True)
class SearchRequest:
    """What to search on and where to put the result.

    Parameters
    ----------
    projects
        Copick configurations or Kaggle folders.
    out
        Folder of the search; one that was cut off goes on.
    selection
        Which tomograms of the projects.
    validation_runs
        Runs held out to judge by; empty: one, where there are three (see `split_runs`).
    init_model
        Name or folder of a model that every trial starts from.
    """

    projects: tuple[Path, ...]
    out: Path
    selection: InputSelection = InputSelection()
    validation_runs: tuple[str, ...] = ()
    init_model: str | None = None


class PrunedTrial(Exception):
    """Not worth its end."""


class OutOfTime(Exception):
    """The budget is used up."""


class SharedCorpus:
    """The corpus of a request, read once for all trials whose grey values are prepared alike."""

    def __init__(self, request: SearchRequest) -> None:
        self._request = request
        self._preprocess: PreprocessConfig | None = None
        self._corpus: Corpus | None = None

    def read(self, config: Config) -> Corpus:
        """Return the corpus for a recipe; errors as of `read_corpus`."""
        if self._corpus is None or self._preprocess != config.preprocess:
            self._corpus = None  # what it holds in memory is needed for the next one
            request = self._request
            store = open_store(request.out, config.train.memory_gigabytes, processes=1)
            self._corpus = read_corpus(request.projects, request.selection, config, store)
            self._preprocess = config.preprocess
        return self._corpus


@dataclass
class _Judge:
    """Tells Optuna what the validations of a trial found, and ends its trainings when it is time."""

    live: "optuna.Trial"
    deadline: float | None
    steps: int
    seeds: int
    folder: Path = Path()
    found: list[float] = field(default_factory=list)
    reported: dict[int, float] = field(default_factory=dict)

    def watch(self, step: int, score: float | None) -> None:
        if score is not None:
            self.catch_up()
        if step == self.steps and len(self.found) + 1 == self.seeds:
            return  # nothing is left to save
        if score is not None and self.live.should_prune():
            raise PrunedTrial
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime

    def catch_up(self) -> list[float]:
        """Report the validations that the training has written so far; return all of its training's."""
        rows = read_metrics(self.folder / "training" / "metrics.jsonl")
        scores = {row["step"]: row["value"] for row in rows if row["name"] == "f_beta" and row["value"] is not None}
        for step, score in scores.items():
            total = len(self.found) * self.steps + step
            if total not in self.reported:
                self.reported[total] = fmean([*self.found, score])
                self.live.report(self.reported[total], total)
        return [*scores.values()]


@dataclass(frozen=True)
class TrialRunner:
    """Runs trials of one search.

    Parameters
    ----------
    request, recipe
        What is asked.
    corpus
        What all trials learn from.
    split
        Runs learnt from and held out, the same in all trials.
    initial
        Model to start from.
    """

    request: SearchRequest
    recipe: SearchRecipe
    corpus: SharedCorpus
    split: Split
    initial: LoadedModel | None

    def folder_of(self, trial: Trial) -> Path:
        """Return where a trial keeps its trainings."""
        return self.request.out / TRIALS_FOLDER / f"{trial.number:04d}"

    def build_trainer(self, config: Config, out: Path) -> Trainer:
        """Return what trains by a recipe on the shared corpus."""
        request = TrainRequest(self.request.projects, out, self.request.selection, self.split.held_out)
        return Trainer(request, config, self.corpus.read(config), self.initial)

    def try_space(self) -> None:
        """Build sampler, loss and network for every end of the space, so that none is refused hours later.

        Raises
        ------
        CryofindError
            Of what does not fit, such as the unknown name of a network.
        """
        for dimension in self.recipe.space:
            if dimension.key.startswith("preprocess."):
                continue  # nothing that is built depends on it
            for end in dimension.ends:
                config = apply_parameters(self.recipe.config, {dimension.key: end})
                self.build_trainer(config, self.request.out).try_options(self.split.learning)

    def run(self, trial: Trial, live: "optuna.Trial", seconds_left: float | None) -> Trial:
        """Run a trial, or go on with it, and return it as it ended.

        Parameters
        ----------
        trial
            With its parameters; `seconds` from earlier calls.
        live
            The same for Optuna.
        seconds_left
            When to stop it, from now.

        Raises
        ------
        SystemExit, KeyboardInterrupt
            After a signal; a checkpoint is written.
        CryofindError
            Of what would end every other trial too, such as a full disk.
        """
        deadline = None if seconds_left is None else time.monotonic() + seconds_left
        judge = _Judge(live, deadline, self.recipe.config.train.steps, self.recipe.search.seeds)
        problem = ""
        try:
            value = self._train_seeds(trial, judge)
            ended = replace(trial, state="complete", value=value)
        except PrunedTrial:
            ended = replace(trial, state="pruned", value=judge.reported[max(judge.reported)])
        except OutOfTime:
            ended = replace(trial, state="stopped")
        except _FAILURES as error:
            problem = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = f"out of memory ({str(error).partition(chr(10))[0]})"
        if problem:
            # Here and not above: an error holds the memory of what it interrupted.
            torch.cuda.empty_cache()
            ended = replace(trial, state="failed", problem=problem)
        return replace(ended, intermediate=tuple(judge.reported.items()))

    def clear(self, trial: Trial) -> None:
        """Remove the checkpoints of a trial that is finished; its metrics stay."""
        for checkpoints in self.folder_of(trial).glob("*/training/checkpoints"):
            shutil.rmtree(checkpoints, ignore_errors=True)

    def _train_seeds(self, trial: Trial, judge: _Judge) -> float:
        config = apply_parameters(self.recipe.config, trial.parameters)
        for seed in range(self.recipe.search.seeds):
            judge.folder = self.folder_of(trial) / f"seed_{seed}"
            train = config.train.model_copy(update={"seed": config.train.seed + seed})
            trainer = self.build_trainer(config.model_copy(update={"train": train}), judge.folder)
            trainer.fit(self.split, judge.folder, watch=judge.watch)
            scores = judge.catch_up()
            if not scores:
                raise DivergedError(judge.folder, "no validation gave a number", "check the held-out runs")
            judge.found.append(max(scores) if config.train.keep_best else scores[-1])
        return fmean(judge.found)
