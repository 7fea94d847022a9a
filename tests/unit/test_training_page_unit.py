"""The page of a model from plain data: charts, warnings, words."""

import json

import numpy as np
import pytest
from PIL import Image

from cryofind.report.training_charts import draw_history, estimate_seconds, time_shares
from cryofind.report.training_crops import draw_crop
from cryofind.report.training_facts import CardFacts, Curve, ExampleCrop, SeenRow, TrainingHistory, TrainingReport
from cryofind.report.training_page import describe_duration, describe_state, render_training_page, training_numbers
from cryofind.report.training_warnings import warn_of
from cryofind.types import ParticleSpec
from tests.svg import legend, parse, rows

SPECS = (ParticleSpec("ribosome&co", 150.0, 1, (213, 94, 0, 255), 1.0, 0.25), ParticleSpec("apo", 60.0, 2))
RECIPE = {"train": {"steps": 400, "gradient_clip": 1.0, "keep_best": False}}


def curve(values: object, *, every: int = 1) -> Curve:
    found = np.asarray(values, dtype=np.float64)
    return Curve(np.arange(1, len(found) + 1, dtype=np.float64) * every, found)


def history(steps: int = 400, **curves: Curve) -> TrainingHistory:
    noise = np.random.default_rng(0).normal(0, 0.05, steps)
    usual = {
        "loss": curve(1 / (1 + np.arange(steps) / 50) + 0.3 + noise),
        "gradient_norm": curve(np.full(steps, 0.4)),
        "learning_rate": curve(np.linspace(1e-3, 0, steps)),
    }
    named = {name.replace("__", "/"): one for name, one in curves.items()}
    return TrainingHistory("training", {**usual, **named}, 400, "2026-01-02 03:04 UTC", RECIPE)


def card(**changes: object) -> CardFacts:
    fields = {
        "name": "tiny",
        "specs": SPECS,
        "lines": (("network", "res16"),),
        "f_beta": {SPECS[0].name: 0.5},
        "f_beta_source": "held-out runs",
        "f_beta_total": None,
        "calibration": {},
        "runs": (SeenRow("TS_1", "validate", 64 * "a", 64 * "b"),),
        "recipe": RECIPE,
        "versions": {"cryofind": "0.1.0"},
    }
    return CardFacts(**{**fields, **changes})  # type: ignore[arg-type]


def crop(**changes: object) -> ExampleCrop:
    target = np.zeros((2, 4, 6), np.float32)
    target[0, 1, 2] = 1
    fields = {
        "run": "TS_1",
        "object_name": SPECS[0].name,
        "position_zyx_angstrom": (10.0, 20.0, 30.0),
        "grey": np.zeros((8, 12), np.float32),
        "target": target,
        "prediction": target[:, ::-1],
        "center": (3.0, 5.0),
        "radius_pixels": None,
        "pixel_angstrom": 10.0,
        "score": 0.75,
        "other": "apo",
        "other_score": 0.2,
    }
    return ExampleCrop(**{**fields, **changes})  # type: ignore[arg-type]


def report(*histories: TrainingHistory, **changes: object) -> TrainingReport:
    fields = {
        "name": "tiny",
        "folder": "tiny",
        "finished": None,
        "is_running_or_cut": False,
        "card": card(),
        "histories": histories,
    }
    return TrainingReport(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_quiet_training_has_no_warnings() -> None:
    assert warn_of(history()) == []


def test_skipped_steps_are_counted_and_a_training_that_ends_with_them_diverged() -> None:
    losses = np.ones(400)
    losses[[10, 20]] = np.nan
    (words,) = warn_of(history(loss=curve(losses)))
    assert words == "2 of 400 steps were skipped, their loss or gradient not finite (steps 11 to 21)."
    cut = history(steps=300, loss=curve(np.where(np.arange(300) > 288, np.nan, 1.0)))
    assert "11 of 300 steps were skipped" in warn_of(cut)[0]
    assert "the training diverged; lower train.learning_rate" in warn_of(cut)[0]


def test_a_loss_that_rose_is_told_but_noise_is_not() -> None:
    random = np.random.default_rng(3)
    steps = np.arange(400)
    risen = 0.2 + 0.002 * np.maximum(steps - 200, 0) + random.normal(0, 0.02, 400)
    (words,) = warn_of(history(loss=curve(risen)))
    assert "times its lowest" in words
    assert "diverged" in words
    assert warn_of(history(loss=curve(np.exp(random.normal(-1.7, 0.5, 400))))) == []
    assert warn_of(history(loss=curve([0.1, 5.0]))) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.3, 0.5], "The last validation is the best, 0.2000 above the one before: still rising"),
        ([0.3, 0.6, 0.5], "The best validation was at step 200 (0.6000); the last is 0.1000 below it: train.keep_best"),
        ([0.5, 0.501], None),
        ([0.5], None),
        ([np.nan, np.nan], None),
    ],
)
def test_validations_that_rise_or_fall_are_told(values: list[float], expected: str | None) -> None:
    found = warn_of(history(f_beta=curve(values, every=100)))
    assert found == [] if expected is None else found[0].startswith(expected)


def test_objects_that_were_not_found_are_named() -> None:
    found = warn_of(history(f_beta=curve([0.4], every=400), f_beta__apo=curve([0.0], every=400)))
    assert found == ["The last validation found no apo: F-beta is 0."]


def test_cut_gradients_and_waiting_are_told() -> None:
    words = " ".join(warn_of(history(gradient_norm=curve(np.full(400, 3.0)), time__waiting=curve([0.4], every=400))))
    assert "100% of the gradients were longer than train.gradient_clip (1)" in words
    assert "waited for crops 40% of the time" in words


def test_charts_show_what_was_written() -> None:
    one = history(f_beta=curve([0.2, 0.5, 0.4], every=100), f_beta__apo=curve([0.1, 0.2, 0.3], every=100))
    figures = {parse(chart)[0].text: parse(chart) for chart in draw_history([one], SPECS)}
    assert list(figures) == ["Loss", "F-beta of the held-out runs", "Learning rate", "Length of the gradient"]
    assert legend(figures["Loss"]) == ["each step", "mean of 5 steps"]
    validation = figures["F-beta of the held-out runs"]
    assert legend(validation) == ["all objects, weighted", "apo"]
    assert ["best 0.500", "200", "0.5"] in rows(validation)
    assert draw_history([], SPECS) == []
    assert draw_history([TrainingHistory("training", {})], SPECS) == []


def test_folds_lie_over_each_other() -> None:
    folds = [TrainingHistory(f"fold {n}", history().curves, 400) for n in (1, 2, 3)]
    loss = parse(draw_history(folds, SPECS)[0])
    assert legend(loss) == ["fold 1", "fold 2", "fold 3"]


def test_the_time_of_a_training_is_estimated_from_its_steps() -> None:
    shares = {"time__waiting": 0.1, "time__forward": 0.4, "time__validation": 0.5, "time__step_seconds": 18.0}
    timed = history(400, **{name: curve([value], every=400) for name, value in shares.items()})
    assert list(time_shares(timed)) == ["validation", "forward", "waiting"]
    assert estimate_seconds(timed) == pytest.approx(400 * 18 / 0.5)
    assert describe_duration(timed) == "about 4 h 0 min for 400 steps, 18,000 ms a step"
    assert describe_duration(history()) == ""


def test_the_state_is_told() -> None:
    assert describe_state(report(history(), finished="2026-01-02 UTC")) == "Finished 2026-01-02 UTC."
    half = describe_state(report(history(steps=200), is_running_or_cut=True, card=None))
    assert half.startswith("Not finished: running, or cut off")
    assert half.endswith("Step 200 of 400, last line written 2026-01-02 03:04 UTC.")
    assert describe_state(report()) == "A model card alone."
    assert "taken no step" in describe_state(report(is_running_or_cut=True, card=None))


def test_the_page_escapes_names_and_loads_nothing() -> None:
    page = render_training_page(report(history(), examples=(crop(),), notes=("a <i>note</i>",), name='<x>"&'))
    assert "ribosome&co" not in page
    assert "ribosome&amp;co" in page
    assert "<i>note</i>" not in page
    assert "<x>" not in page
    assert 'src="http' not in page
    assert page.count('<img src="data:image/jpeg;base64,') == 3
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert 'title="' + 64 * "a" in page


def test_the_numbers_are_those_of_the_page() -> None:
    numbers = training_numbers(report(history(f_beta=curve([0.2, np.nan], every=200)), examples=(crop(),)))
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers["kind"] == "model"
    assert numbers["card"]["thresholds"] == {SPECS[0].name: 0.25, "apo": None}
    (training,) = numbers["trainings"]
    assert training["validation"] == {"": [[200.0, 0.2], [400.0, None]]}
    assert training["steps"] == training["planned_steps"] == 400
    assert numbers["examples"][0]["score"] == 0.75
    assert "In-sample" in numbers["warnings"][-1]


def read_picture(source: str) -> np.ndarray:
    import base64
    import io

    with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
        return np.asarray(image).astype(int)


def test_colours_lie_where_the_target_is() -> None:
    pictures = draw_crop(crop(), [spec.name for spec in SPECS], {SPECS[0].name: (213, 94, 0), "apo": (0, 0, 255)})
    assert (pictures.width, pictures.height) == (12 * 18, 8 * 18)
    target, prediction = read_picture(pictures.target), read_picture(pictures.prediction)
    # Cell (1, 2) covers rows 2 and 3, columns 4 and 5; in the prediction the rows are turned round.
    for picture, row in ((target, 3), (prediction, 5)):
        reddest = np.argwhere(picture[..., 0] > 120)
        np.testing.assert_allclose(reddest.mean(axis=0) / 18, (row, 5), atol=0.3)
    assert np.ptp(read_picture(pictures.grey), axis=-1).max() < 10


def test_the_circle_has_the_radius_of_the_particle() -> None:
    one = crop(radius_pixels=3.0, object_name="apo")
    pictures = draw_crop(one, [spec.name for spec in SPECS], {SPECS[0].name: (213, 94, 0), "apo": (60, 60, 255)})
    grey = read_picture(pictures.grey)
    ring = np.argwhere(grey[..., 2] - grey[..., 0] > 80)
    np.testing.assert_allclose((ring.min(axis=0) + ring.max(axis=0)) / 2, (3.5 * 18, 5.5 * 18), atol=1.5)
    np.testing.assert_allclose(np.ptp(ring, axis=0) / 2, 3 * 18, atol=3)
