"""The shipped models pick what they picked when they were shipped."""

import json

import numpy as np
import pytest

from cryofind.models import shipped_model_names
from tests.regression.golden_picks import GOLDEN, pick_phantom

MODELS = json.loads(GOLDEN.read_text())


def test_every_shipped_model_is_pinned() -> None:
    assert set(MODELS) == set(shipped_model_names())


@pytest.mark.parametrize("model", MODELS)
def test_the_shipped_models_pick_what_they_did(model: str) -> None:
    expected, found = MODELS[model], pick_phantom(model)
    assert found.objects.tolist() == [pick["object"] for pick in expected]
    # Other processors round otherwise.
    positions = [pick["position_zyx_angstrom"] for pick in expected]
    np.testing.assert_allclose(found.positions_zyx_angstrom, positions, atol=0.5)
    np.testing.assert_allclose(found.scores, [pick["score"] for pick in expected], atol=0.005)
