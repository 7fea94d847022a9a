"""Which runs are held out of which project."""

from pathlib import Path

import numpy as np
import pytest

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError, ProjectError
from cryofind.models import SeenRun
from cryofind.pipeline.corpus import AnnotatedRun, Corpus
from cryofind.pipeline.splits import describe_goal, describe_shares, runs_to_judge_by, split_runs
from cryofind.train import TrainingRun
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid

SPECS = (ParticleSpec("ribosome", 150.0, 1),)
TO_REAL = TrainConfig(project_weights=(1.0, 0.0), project_weights_end=(0.2, 0.8))


def make_corpus(*counts: int) -> Corpus:
    """Return a corpus of projects with so many runs, named A_1, A_2, ..., B_1, ..."""
    runs = []
    grid = VoxelGrid.isotropic((2, 2, 2), 10.0)
    volume = np.zeros(grid.shape_zyx, np.float32)
    for project, count in enumerate(counts):
        for number in range(count):
            name = f"{'ABC'[project]}_{number + 1}"
            training = TrainingRun(name, volume, grid, np.zeros((1, 3)), np.zeros(1, np.int64), project=project)
            seen = SeenRun.model_validate({"run": name, "role": "train"})
            runs.append(AnnotatedRun(Tomogram(name, volume, grid), Picks.concatenate([]), seen, "dark", training))
    return Corpus(SPECS, 10.0, tuple(runs), tuple(Path(name) for name in "ABC"[: len(counts)]))


def held_out(corpus: Corpus, config: TrainConfig, *asked: str, folds: int | None = None) -> list[tuple[str, ...]]:
    splits = split_runs(corpus, config, folds=folds, asked=asked)
    for split in splits:
        assert not set(split.learning) & set(split.held_out)
        assert {*split.learning, *split.held_out} == set(corpus.run_names)
    return [split.held_out for split in splits]


def test_without_weights_the_last_of_three_is_held_out() -> None:
    assert held_out(make_corpus(2, 1), TrainConfig()) == [("B_1",)]
    assert held_out(make_corpus(2), TrainConfig()) == [()]
    assert held_out(make_corpus(1), TrainConfig()) == [()]
    assert describe_goal(make_corpus(2, 1), TrainConfig()) == ""
    assert describe_shares(make_corpus(2, 1), TrainConfig()) == ""


def test_with_weights_the_project_that_counts_most_in_the_end_is_judged_by() -> None:
    corpus = make_corpus(3, 2)
    assert held_out(corpus, TO_REAL) == [("B_2",)]
    assert held_out(corpus, TrainConfig(project_weights=(2, 1))) == [("A_3",)]
    assert held_out(corpus, TrainConfig(project_weights=(1, 1))) == [("B_2",)]
    assert held_out(corpus, TO_REAL, "A_1") == [("A_1",)]
    assert describe_goal(corpus, TO_REAL) == " of B, which has the greatest share at the end"


def test_the_only_run_of_a_project_is_not_held_out_unasked() -> None:
    assert held_out(make_corpus(4, 1), TO_REAL) == [()]


def test_folds_go_over_the_runs_to_judge_by() -> None:
    assert runs_to_judge_by(make_corpus(3, 3), TO_REAL) == ("B_1", "B_2", "B_3")
    assert held_out(make_corpus(3, 3), TO_REAL, folds=2) == [("B_1", "B_3"), ("B_2",)]
    assert held_out(make_corpus(2, 2), TrainConfig(), folds=2) == [("A_1", "B_1"), ("A_2", "B_2")]
    with pytest.raises(ConfigError, match="--folds: is 3, but there are 2 annotated runs of B"):
        held_out(make_corpus(3, 2), TO_REAL, folds=3)


def test_a_project_without_share_may_judge_if_all_of_it_is_held_out() -> None:
    simulation_alone = TrainConfig(project_weights=(1, 0))
    assert held_out(make_corpus(2, 2), simulation_alone, "B_1", "B_2") == [("B_1", "B_2")]
    with pytest.raises(ConfigError, match="project 2 of 2: has runs to learn from, but never a share"):
        held_out(make_corpus(2, 2), simulation_alone, "B_1")
    with pytest.raises(ConfigError, match="project 2 of 2: has a share, but no run to learn from"):
        held_out(make_corpus(2, 2), TO_REAL, "B_1", "B_2")
    with pytest.raises(ConfigError, match="project 2 of 2: has a share, but no run to learn from"):
        held_out(make_corpus(3, 0), TO_REAL)


def test_runs_that_cannot_be_held_out() -> None:
    with pytest.raises(ProjectError, match="is not an annotated run"):
        held_out(make_corpus(2, 2), TO_REAL, "C_1")
    with pytest.raises(ProjectError, match="names every annotated run"):
        held_out(make_corpus(1, 1), TO_REAL, "A_1", "B_1")


def test_shares_are_described_by_project() -> None:
    assert describe_shares(make_corpus(1, 1), TO_REAL) == (
        "A 100% of the crops, in the end 20%, B 0% of the crops, in the end 80%"
    )
    assert describe_shares(make_corpus(1, 1), TrainConfig(project_weights=(1, 3))) == (
        "A 25% of the crops, B 75% of the crops"
    )
