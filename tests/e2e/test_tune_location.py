"""How far apart picks must be, chosen on annotated runs with a real model: from a bad recipe to a better one."""

from pathlib import Path

from cryofind.io import open_project
from cryofind.pipeline import load_model
from cryofind.pipeline.annotated import read_annotated
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run
from cryofind.pipeline.tune_location import LEAST_GAIN, choose_separations, find_in_ways, find_ways
from cryofind.pipeline.tuning import best_f_beta
from cryofind.types import Picks
from tests.e2e.conftest import Run


def test_runs_that_chose_distances_are_not_said_to_be_judged_by_others_alone(
    project: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    runs = ("--run", "P_3", "--run", "P_4", "--in-sample")
    far = ("--set", "locate.separation_factor=12", "--set", "tune.min_picks=1")
    code, text, err = run("tune", project, "--model", model, "--out", tmp_path / "a", *runs, *far)
    assert code == 0, err
    assert "Each run with thresholds from the others, distances from all, so it leans high (IN-SAMPLE: P_3):" in text
    code, text, err = run(
        "tune", project, "--model", model, "--out", tmp_path / "b", *runs, *far, "--set", "tune.separation=false"
    )
    assert code == 0, err
    assert "Each run with thresholds from the others (IN-SAMPLE: P_3):" in text


def test_distances_are_chosen_where_picks_were_kept_too_far_apart(project: Path, model: Path) -> None:
    settings = ("tune.min_picks=1", "locate.separation_factor=12", "locate.floor=0.001")
    picker = load_model(model, settings=settings)
    opened, selection = open_project(project), InputSelection(runs=("P_3", "P_4"))
    found_by_run, truths = [], []
    for entry in choose_one_per_run(opened, selection, preferred_flavours=picker.card.flavours):
        tomogram, truth = read_annotated(opened, entry, selection)
        found_by_run.append(find_in_ways(picker, picker.prepare(tomogram)))
        assert len(found_by_run[-1]) == len(find_ways(picker.config))
        truths.append(truth)
    chosen, candidates = choose_separations(picker, found_by_run, truths)
    assert chosen.config.locate.separation_factor == 12
    assert min(chosen.config.locate.separation_factors.values()) < 12
    own = Picks.concatenate(found[0] for found in found_by_run)
    truth = Picks.concatenate(truths)
    before = best_f_beta(own, truth, picker.specs, picker.config)
    after = best_f_beta(Picks.concatenate(candidates), truth, picker.specs, picker.config)
    for name, value in after.items():
        gains = value >= before[name] + LEAST_GAIN
        assert gains if name in chosen.config.locate.separation_factors else value == before[name]
