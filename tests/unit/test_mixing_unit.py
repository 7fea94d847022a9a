"""Shares of projects, step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError
from cryofind.train.mixing import check_learnt_projects, check_weight_count, project_shares_at

WEIGHTS = st.lists(st.floats(0, 1e300), min_size=3, max_size=3).filter(any).map(tuple)


def test_shares_go_in_a_straight_line_from_start_to_end() -> None:
    config = TrainConfig(steps=101, project_weights=(3.0, 0.0), project_weights_end=(1.0, 4.0))
    found = [project_shares_at(step, config) for step in (0, 25, 50, 100, 200)]
    np.testing.assert_allclose(found, [(1, 0), (0.8, 0.2), (0.6, 0.4), (0.2, 0.8), (0.2, 0.8)], atol=1e-12)


def test_end_shares_hold_from_their_share_of_the_steps_on() -> None:
    config = TrainConfig(
        steps=101, project_weights=(1.0, 0.0), project_weights_end=(0.0, 1.0), project_weights_end_from=0.5
    )
    assert [project_shares_at(step, config)[1] for step in (0, 25, 50, 75, 100)] == [0, 0.5, 1, 1, 1]


def test_shares_without_an_end_stay_the_same() -> None:
    config = TrainConfig(steps=10, project_weights=(1.0, 3.0))
    for step in (0, 5, 9):
        assert project_shares_at(step, config).tolist() == [0.25, 0.75]


def test_without_weights_there_are_no_shares() -> None:
    assert len(project_shares_at(3, TrainConfig())) == 0
    check_weight_count(TrainConfig(), 7)
    check_learnt_projects(TrainConfig(), {0, 5})


def test_a_training_of_one_step_has_the_start_shares() -> None:
    config = TrainConfig(steps=1, project_weights=(1.0, 0.0), project_weights_end=(0.0, 1.0))
    assert project_shares_at(0, config).tolist() == [1, 0]


@settings(max_examples=50, deadline=None)
@given(WEIGHTS, WEIGHTS, st.integers(1, 50), st.floats(0.01, 1), st.data())
def test_shares_are_shares_and_lie_between_the_ends(
    start: tuple[float, ...], end: tuple[float, ...], steps: int, end_from: float, data: st.DataObject
) -> None:
    config = TrainConfig(steps=steps, project_weights=start, project_weights_end=end, project_weights_end_from=end_from)
    first, shares, last = (project_shares_at(step, config) for step in (0, data.draw(st.integers(0, steps - 1)), steps))
    assert shares.sum() == pytest.approx(1)
    assert (shares >= np.minimum(first, last) - 1e-12).all()
    assert (shares <= np.maximum(first, last) + 1e-12).all()
    np.testing.assert_allclose(last, np.array(end) / max(end) / (np.array(end) / max(end)).sum())


def test_weights_must_fit_the_projects() -> None:
    config = TrainConfig(project_weights=(1.0, 0.0, 0.0), project_weights_end=(0.0, 1.0, 0.0))
    with pytest.raises(ConfigError, match="are 3, but there are 2 projects; give one for each PROJECT"):
        check_weight_count(config, 2)
    check_weight_count(config, 3)
    check_learnt_projects(config, {0, 1})
    with pytest.raises(ConfigError, match="project 2 of 3: has a share, but no run to learn from"):
        check_learnt_projects(config, {0})
    with pytest.raises(ConfigError, match="project 3 of 3: has runs to learn from, but never a share"):
        check_learnt_projects(config, {0, 1, 2})
