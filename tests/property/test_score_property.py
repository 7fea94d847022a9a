"""What may not change a score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import ScoreConfig
from cryofind.scoring import score
from cryofind.types import Picks

NAMES = np.array(["apo-ferritin", "ribosome", "thyroglobulin"])
MODES = ["kaggle", "one-to-one", "octopi"]


def draw_tables(seed: int) -> tuple[Picks, Picks]:
    """Whole-number positions, which a whole-number shift moves without rounding."""
    random = np.random.default_rng(seed)

    def table(count: int) -> Picks:
        runs, names = random.choice(["A", "B"], count), random.choice(NAMES, count)
        positions = random.permutation(8000)[:count, None] // [400, 20, 1] % 20 * 20.0
        return Picks.build(list(runs), list(names), positions)

    return table(int(random.integers(0, 60))), table(int(random.integers(1, 40)))


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(-5000, 5000)] * 3))
def test_a_common_shift_changes_nothing(mode: str, seed: int, shift: tuple[int, int, int]) -> None:
    predictions, truth = draw_tables(seed)
    config = ScoreConfig.model_validate({"mode": mode})

    def shifted(picks: Picks) -> Picks:
        return Picks.build(list(picks.runs), list(picks.objects), picks.positions_zyx_angstrom + shift)

    assert score(shifted(predictions), shifted(truth), config=config) == score(predictions, truth, config=config)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(mode: str, seed: int) -> None:
    predictions, truth = draw_tables(seed)
    config = ScoreConfig.model_validate({"mode": mode})
    random = np.random.default_rng(seed)
    shuffled = predictions.where(random.permutation(len(predictions)))
    reordered = truth.where(random.permutation(len(truth)))
    assert score(shuffled, reordered, config=config) == score(predictions, truth, config=config)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_truth_scores_one_for_every_object(mode: str, seed: int) -> None:
    _, truth = draw_tables(seed)
    report = score(truth, truth, config=ScoreConfig.model_validate({"mode": mode}))
    assert {rated.f_beta for rated in report.objects.values()} == {1.0}
