"""Which runs are learnt from and which are held out; with weights, what each project gives."""

from collections.abc import Sequence
from typing import NamedTuple

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError, ProjectError
from cryofind.pipeline.corpus import Corpus
from cryofind.train.mixing import check_learnt_projects, project_shares_at

LEAST_RUNS_TO_HOLD_ONE_OUT = 3


class Split(NamedTuple):
    """Names of the runs that a training learns from and of those held out."""

    learning: tuple[str, ...]
    held_out: tuple[str, ...]


def split_runs(corpus: Corpus, config: TrainConfig, *, folds: int | None, asked: Sequence[str]) -> list[Split]:
    """Return the split of every training whose picks are judged: one, or one for each fold.

    Parameters
    ----------
    corpus
        Annotated runs of all projects.
    config
        Weights of the projects.
    folds
        Number of folds, over `runs_to_judge_by`; the other runs are learnt from in all of them. None for no folds.
    asked
        Runs to hold out without folds. Where there are none, it is the last of `runs_to_judge_by`; nothing, if there
        are fewer than three runs, or only one to judge by.

    Raises
    ------
    ConfigError
        If there are more folds than runs to hold out, or a split leaves a project with a share without runs.
    ProjectError
        If a run that is asked for is not annotated, or none would be left.
    """
    if folds:
        names = runs_to_judge_by(corpus, config)
        if folds > len(names):
            found = f"is {folds}, but there are {len(names)} annotated runs{describe_goal(corpus, config)}"
            raise ConfigError("--folds", found, "ask for fewer")
        parts = [names[number::folds] for number in range(folds)]
    else:
        parts = [_choose_held_out(corpus, config, asked)]
    splits = [Split(tuple(name for name in corpus.run_names if name not in part), part) for part in parts]
    for split in splits:
        check_learnt_projects(config, {run.project for run in corpus.of(split.learning)})
    return splits


def runs_to_judge_by(corpus: Corpus, config: TrainConfig) -> tuple[str, ...]:
    """Return the runs that may be held out: all; with weights those of the project with the greatest share at the end.

    That project is what the network is meant for. By runs of another one the best checkpoint would be one from before
    the network met its own, and thresholds would not fit.
    """
    return corpus.run_names_of(_find_goal(config)) if config.project_weights else corpus.run_names


def describe_goal(corpus: Corpus, config: TrainConfig) -> str:
    """Return words for the only project whose runs are held out unasked; empty without weights."""
    if not config.project_weights:
        return ""
    return f" of {corpus.projects[_find_goal(config)]}, which has the greatest share at the end"


def describe_shares(corpus: Corpus, config: TrainConfig) -> str:
    """Return what each project gives at the start and at the end, in one line; empty without weights."""
    start, end = (project_shares_at(step, config).tolist() for step in (0, config.steps))
    return ", ".join(
        f"{path} {first:.0%} of the crops" + (f", in the end {last:.0%}" if last != first else "")
        for path, first, last in zip(corpus.projects, start, end, strict=False)
    )


def _find_goal(config: TrainConfig) -> int:
    """Return the number of the project with the greatest share at the end, the last of equal ones."""
    shares = project_shares_at(config.steps, config).tolist()
    return max(range(len(shares)), key=lambda number: (shares[number], number))


def _choose_held_out(corpus: Corpus, config: TrainConfig, asked: Sequence[str]) -> tuple[str, ...]:
    names = corpus.run_names
    absent = [run for run in asked if run not in names]
    if absent:
        raise ProjectError(f"--validation {absent[0]}", "is not an annotated run", f"known: {', '.join(names)}")
    if asked and len(set(asked)) == len(names):
        raise ProjectError("--validation", "names every annotated run", "leave some to train on")
    candidates = runs_to_judge_by(corpus, config)
    if asked or len(names) < LEAST_RUNS_TO_HOLD_ONE_OUT or len(candidates) == 1:
        return tuple(asked)
    return candidates[-1:]
