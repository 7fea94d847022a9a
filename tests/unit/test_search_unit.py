"""Where a search looks, what it keeps, what it asks Optuna, what it draws."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from cryofind.config import Config, SearchConfig, load_config
from cryofind.errors import ConfigError
from cryofind.pipeline.search_results import describe_trials, draw_search, write_best_recipe
from cryofind.pipeline.search_space import Choice, NumberRange, SearchRecipe, apply_parameters, load_search, read_value
from cryofind.pipeline.search_study import ask, measure_importance, open_study
from cryofind.pipeline.search_trials import Trial, append_trial, expect_seconds, find_best, read_trials
from cryofind.report.importance import ParameterRow, draw_importance
from cryofind.toml_text import format_value

SPACE = (
    NumberRange("train.learning_rate", 1e-4, 1e-2, log=True),
    NumberRange("augment.mixup_probability", 0.0, 1.0),
    NumberRange("train.batch_size", 1, 8),
    Choice("train.crop_zyx", ([32, 32, 32], [64, 64, 64])),
)
PARAMETERS: dict[str, Any] = {
    "train.learning_rate": 1e-3,
    "augment.mixup_probability": 0.5,
    "train.batch_size": 4,
    "train.crop_zyx": [64, 64, 64],
}
SVG = "{http://www.w3.org/2000/svg}"


def complete(number: int, value: float, **changes: Any) -> Trial:
    return Trial(number, {**PARAMETERS, **changes}, "complete", value, ((4, value / 2), (8, value)), seconds=number)


def test_a_recipe_says_where_to_look(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "[train]\nsteps = 9\n[search]\ntrials = 7\nminutes = 2\n[search.space]\n"
        '"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}\naugment.mixup_probability = [0, 1]\n'
        '"train.batch_size" = [1, 8]\n"train.crop_zyx" = [[32, 32, 32], [64, 64, 64]]\n'
    )
    recipe = load_search(path, ["search.trials=8"])
    assert recipe.space == SPACE
    assert [dimension.is_whole for dimension in recipe.space if isinstance(dimension, NumberRange)] == [
        False,
        False,
        True,
    ]
    assert (recipe.search.trials, recipe.search.minutes, recipe.search.seeds) == (8, 2.0, 1)
    assert recipe.config == load_config(settings=["train.steps=9"])


def test_two_numbers_are_a_range_and_choices_if_that_is_said() -> None:
    asked = ["search.space.train.batch_size={choices=[4, 8]}", "search.space.train.keep_best=[true, false]"]
    assert load_search(None, asked).space == (
        Choice("train.batch_size", (4, 8)),
        Choice("train.keep_best", (True, False)),
    )


def test_the_default_space_fits_the_default_recipe() -> None:
    recipe = load_search(None)
    assert {dimension.key for dimension in recipe.space} == set(SearchConfig().space)
    for dimension in recipe.space:
        own = read_value(recipe.config, dimension.key)
        if dimension.key == "loss.foreground_weight":
            assert dimension.holds(own)
        for end in dimension.ends:
            assert read_value(apply_parameters(recipe.config, {dimension.key: end}), dimension.key) == end


def test_keys_of_free_names_can_be_searched() -> None:
    recipe = load_search(None, ["search.space.targets.radius_factors.ribosome=[0.2, 0.6]"])
    assert recipe.space == (NumberRange("targets.radius_factors.ribosome", 0.2, 0.6),)
    assert read_value(recipe.config, "targets.radius_factors.ribosome") is None
    changed = apply_parameters(recipe.config, {"targets.radius_factors.ribosome": 0.3})
    assert changed.targets.radius_factors == {"ribosome": 0.3}


def test_places_along_a_dimension() -> None:
    learning_rate, mixup, _, crop = SPACE
    assert learning_rate.place(1e-3) == pytest.approx(0.5)
    assert mixup.place(0.25) == pytest.approx(0.25)
    assert crop.place([64, 64, 64]) == 1.0
    assert not mixup.holds(1.1)
    assert not mixup.holds(None)
    assert not mixup.holds(True)


def test_labels_and_picks_are_not_compared() -> None:
    with pytest.raises(ConfigError, match=r"targets\.kind: cannot be searched from targets\.kind 'labels'"):
        load_search(None, ["targets.kind=labels", 'search.space.targets.kind=["ball", "point"]'])


def test_trials_survive_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    assert read_trials(path) == []
    first, second = complete(1, 0.5), Trial(2, PARAMETERS)
    begun = replace(first, state="running", value=None, intermediate=())
    for trial in (begun, first, second):
        append_trial(path, trial)
    assert read_trials(path) == [first, second]
    whole = path.read_bytes()
    after_lines: list[list[Trial]] = [[], [begun], [first], [first, second]]
    line_ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for end in (*range(0, len(whole), 17), *line_ends):
        path.write_bytes(whole[:end])
        # A line that lacks nothing but its end is whole.
        known = after_lines[sum(end >= line_end for line_end in line_ends)]
        assert read_trials(path) == known
        append_trial(path, complete(3, 0.25))
        assert read_trials(path) == [*known, complete(3, 0.25)]


@pytest.mark.parametrize("line", ["[]", "7", '{"number": 1}', '{"number": 1, "intermediate": [[1]]}'])
def test_lines_of_something_else_are_no_trials(line: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(line + "\n")
    assert read_trials(path) == []
    append_trial(path, replace(complete(1, 0.5), state="later"))  # type: ignore[arg-type]
    assert read_trials(path) == []


def test_the_best_and_the_usual_trial() -> None:
    trials = [complete(1, 0.5), complete(2, 0.7), complete(3, 0.7), replace(complete(9, 0.9), state="pruned")]
    best = find_best(trials)
    assert best is not None
    assert best.number == 2
    assert expect_seconds(trials) == 2.0
    assert (find_best([]), expect_seconds([])) == (None, 0.0)


def test_proposals_depend_on_the_finished_trials_and_the_seed_alone() -> None:
    trials = [complete(1, 0.5), Trial(2, PARAMETERS, "failed", problem="NaN"), complete(3, 0.7)]
    proposals = [ask(open_study(SPACE, trials, SearchConfig(), seed=seed), SPACE, {})[1] for seed in (0, 0, 1)]
    assert proposals[0] == proposals[1] != proposals[2]
    for proposal in proposals:
        assert all(dimension.holds(proposal[dimension.key]) for dimension in SPACE)
        assert float(f"{proposal['train.learning_rate']:.4g}") == proposal["train.learning_rate"]
        assert isinstance(proposal["train.batch_size"], int)
        assert isinstance(proposal["train.crop_zyx"], list)


def test_wanted_parameters_are_taken_as_they_are() -> None:
    wanted = {"train.learning_rate": 0.0012345678, "train.crop_zyx": [64, 64, 64]}
    live, parameters = ask(open_study(SPACE, [], SearchConfig(), seed=0), SPACE, wanted)
    assert {key: parameters[key] for key in wanted} == wanted
    assert set(parameters) == {dimension.key for dimension in SPACE}
    assert live.params["train.learning_rate"] == 0.0012345678


@pytest.mark.parametrize(
    ("settings", "value", "is_pruned"),
    [
        ({"prune_after": 3}, 0.1, True),
        ({"prune_after": 3}, 0.3, False),
        ({"prune_after": 4}, 0.1, False),
        ({"prune": False, "prune_after": 3}, 0.1, False),
    ],
)
def test_trials_below_the_median_are_not_worth_their_end(
    settings: dict[str, Any], value: float, is_pruned: bool
) -> None:
    """At step 4 the others had 0.2, 0.25 and 0.3."""
    trials = [complete(1, 0.4), complete(2, 0.5), complete(3, 0.6)]
    live, _ = ask(open_study(SPACE, trials, SearchConfig(**settings), seed=0), SPACE, {})
    live.report(value, 4)
    assert live.should_prune() == is_pruned


def many_trials(count: int) -> list[Trial]:
    """Return trials whose value depends on the learning rate alone."""
    random = np.random.default_rng(5)
    trials = []
    for number in range(1, count + 1):
        rate, mixup = float(10 ** random.uniform(-4, -2)), float(random.random())
        parameters = {"train.learning_rate": rate, "augment.mixup_probability": mixup}
        trials.append(complete(number, 1 - abs(np.log10(rate) + 3) / 2, **parameters))
    return trials


def test_importance_finds_what_matters() -> None:
    found = measure_importance(open_study(SPACE[:2], many_trials(40), SearchConfig(), seed=0))
    assert [*found] == ["train.learning_rate", "augment.mixup_probability"]
    assert sum(found.values()) == pytest.approx(1)
    assert found["train.learning_rate"] > 0.7


def test_importance_is_not_guessed() -> None:
    few = open_study(SPACE, many_trials(9), SearchConfig(), seed=0)
    alike = open_study(SPACE, [complete(number, 0.0) for number in range(20)], SearchConfig(), seed=0)
    assert measure_importance(few) == measure_importance(alike) == {}


def test_the_picture_shows_shares_and_trials() -> None:
    trials = [*many_trials(20), Trial(21, PARAMETERS, "failed")]
    text = draw_search(SPACE, trials, {"train.batch_size": 0.75, "train.learning_rate": 0.25})
    root = ElementTree.fromstring(text)
    words = [node.text for node in root.iter(f"{SVG}text")]
    assert words.index("train.batch_size") < words.index("train.learning_rate") < words.index("train.crop_zyx")
    assert {"75%", "25%", "[32, 32, 32]", "0.01 (log)"} <= set(words)
    assert len([*root.iter(f"{SVG}circle")]) == 20 * len(SPACE)
    bars = [float(node.get("width", "0")) for node in root.iter(f"{SVG}rect") if node.get("fill") == "#0072b2"]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.01)


def test_words_in_a_picture_are_escaped() -> None:
    text = draw_importance([ParameterRow("<a&b>", None, [0.5], [1.0], ("<", "&"))], title="<t>", note="&")
    assert "&lt;a&amp;b&gt;" in text
    ElementTree.fromstring(text)


def test_the_table_names_the_best_first() -> None:
    lines = describe_trials(SPACE[:1], [complete(1, 0.5), complete(2, 0.75), Trial(3, PARAMETERS, "failed")])
    assert [line.split() for line in lines] == [
        ["trial", "F-beta", "minutes", "train.learning_rate"],
        ["2", "0.7500", "0.0", "0.001"],
        ["1", "0.5000", "0.0", "0.001"],
        ["2", "trials", "complete,", "1", "failed"],
    ]


def test_a_best_recipe_says_all_that_a_training_would_not_take_by_itself(tmp_path: Path) -> None:
    """Also a default that the initial model departs from."""
    config = load_config(settings=["train.steps=9", 'targets.radius_factors={"virus-like-particle" = 0.4}'])
    recipe = SearchRecipe(config, SearchConfig(), SPACE)
    base = {"preprocess": {"normalization": "robust"}}
    write_best_recipe(
        tmp_path / "best.toml",
        recipe,
        [complete(1, 0.5), complete(2, 0.75, **{"train.batch_size": 8})],
        base=Config.model_validate(base),
        init_model="my model",
        held_out=("TS_9", "TS_8"),
    )
    text = (tmp_path / "best.toml").read_text()
    expected = apply_parameters(config, {**PARAMETERS, "train.batch_size": 8})
    assert load_config(tmp_path / "best.toml", base=base) == expected
    assert "train PROJECTS --recipe best.toml --init 'my model' --validation TS_9 --validation TS_8 --out" in text
    # Searched, although it is the default.
    assert "batch_size = 8  # searched" in text


def test_values_as_toml() -> None:
    values = {"a": 1.5, "b": [1, 2], "c d": {"e": "x\x7f"}, "f": True, "g": 1e-05, "h": 3.0}
    assert tomllib.loads(f"v = {format_value(values)}")["v"] == values


def test_help_loads_neither_optuna_nor_torch() -> None:
    statement = "from cryofind.cli import application; application.main(['search', '--help'], standalone_mode=False)"
    code = f"import sys; {statement}; print(*{{'optuna', 'torch', 'pydantic'}} & set(sys.modules), 'nothing else')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "nothing else"
