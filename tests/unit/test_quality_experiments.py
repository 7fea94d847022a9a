"""The proxy experiments: variants that fit, equal costs, thresholds of the other half, margins over runs and seeds."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cryofind import czii
from cryofind.config import Config
from cryofind.errors import ConfigError
from cryofind.models import build_network
from cryofind.models.unet import network_multiple
from cryofind.train import build_loss
from cryofind.types import ParticleSpec, Picks
from tests.benchmark_scripts import BENCHMARKS, import_scripts

MODULES = ("figures", "places", "hardware", "sets", "lock", "rows", "board", "curve_rows")
OWN = ("decoys", "experiment_variants", "experiment_table", "experiment_training", "experiments")
VARIANTS = BENCHMARKS / "quality" / "experiments.toml"

RECIPE = """
[base.model]
network = "res16"

[base.train]
batch_size = 2
crop_zyx = [32, 32, 32]
keep_best = false

[variants.point]
asks = "a point?"
set = ["targets.kind=point"]

[variants.nothing]
asks = "no species?"
picks = "nothing:*/*"
"""
SETS = "".join(
    f"""
[sets.proxy-{name}]
recipe = "crowded.toml"
role = "{role}"
seed = {seed}
runs = {runs}
shape_zyx = [40, 96, 96]
"""
    for name, role, seed, runs in (("train", "train", 5, 1), ("validation", "validation", 6, 2))
)
OTHER = """
[sets.proxy-shift]
recipe = "crowded.toml"
maps = "nowhere"
role = "validation"
"""
CROWDED = "".join(f"[species.{name}]\ncount = 1500\n" for name in czii.OBJECT_NAMES)


@pytest.fixture(scope="module")
def quality() -> Iterator[SimpleNamespace]:
    """Return the benchmark's modules, which see each other as scripts of one folder do."""
    with import_scripts("quality", (*MODULES, *OWN)) as scripts:
        yield scripts


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with tiny sets and two variants."""
    for name, text in (("sets.toml", SETS + OTHER), ("experiments.toml", RECIPE), ("crowded.toml", CROWDED)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # made here, not in processes, whose start takes longer
    monkeypatch.setenv("CRYOFIND_SHARED", str(tmp_path / "none"))
    return tmp_path


def run(quality: SimpleNamespace, folder: Path, *arguments: str) -> int:
    """Run the experiments; return the exit code."""
    options = ["--definitions", folder / "sets.toml", "--experiments", folder / "experiments.toml"]
    options += ["--scratch", folder / "scratch", "--threads", "1", "--seeds", "1"]
    try:
        quality.experiments.main([str(option) for option in (*options, *arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_variant_can_be_trained_and_changes_something(quality: SimpleNamespace) -> None:
    experiments = quality.experiment_variants.read_experiments(VARIANTS)
    common = experiments.config_of("common")
    voxels = common.train.batch_size * math.prod(common.train.crop_zyx)
    described, multiples = set[str](), dict[str, int]()
    for name in experiments.variants:
        config = experiments.config_of(name)
        model = config.model.model_dump_json()
        if model not in multiples:
            multiples[model] = network_multiple(build_network(config.model, len(czii.OBJECT_NAMES)))
        build_loss(config.loss, czii.OBJECT_NAMES, config.model.activation)
        assert not any(size % multiples[model] for size in config.train.crop_zyx), name
        seen = config.train.batch_size * math.prod(config.train.crop_zyx)
        assert seen == voxels or name in {"batch-4", "batch-16"}, name
        described.add(json.dumps(experiments.describe(name, config)))
    assert len(described) == len(experiments.variants)


def test_deep_supervision_teaches_every_level_and_picks_with_the_finest(quality: SimpleNamespace) -> None:
    config = quality.experiment_variants.read_experiments(VARIANTS).config_of("deep-supervision")
    torch.manual_seed(0)
    network = build_network(config.model, 2)
    images = torch.randn(2, 1, 32, 32, 32)
    logits = network(images)
    assert logits.shape == (2, 3 * 3, 16, 16, 16)  # three levels, two objects and the background
    coarsest = logits[:, 6:].detach()
    assert torch.equal(
        coarsest[..., ::4, ::4, ::4].repeat_interleave(4, -1).repeat_interleave(4, -2), coarsest[:, :, ::4]
    )

    values, weights = torch.rand(2, 2, 16, 16, 16).round() / 2, torch.rand(2, 16, 16, 16)
    names = ("ribosome", "thyroglobulin")
    loss = build_loss(config.loss, names, "softmax")
    plain = build_loss(config.loss.model_copy(update={"name": "weighted_cross_entropy"}), names, "softmax")
    found = [plain(level, values, weights) for level in logits.split(3, dim=1)]
    value = loss(logits, values, weights)
    assert value.item() == pytest.approx((4 * found[0] + 2 * found[1] + found[2]).item() / 7, rel=1e-5)
    torch.autograd.backward(value)
    assert all(part.grad is not None for part in network.parameters())

    network.eval()
    trunk = dict(network.named_children())["trunk"]
    assert torch.equal(network(images), trunk(images))
    assert network(images).shape == (2, 3, 16, 16, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECIPE.replace("kind=point", "knid=point"), "variants.point.*did you mean 'targets.kind'"),
        (RECIPE.replace("variants.point", "variants.common"), "variants.common.*choose another"),
        (RECIPE.replace("set =", "sets ="), "did you mean 'variants.point.set'"),
        ("[base]\n[variants]\n", "variants"),
    ],
)
def test_a_variant_that_does_not_fit_is_refused(
    quality: SimpleNamespace, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "experiments.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        quality.experiment_variants.read_experiments(tmp_path / "experiments.toml")


def test_variants_are_chosen_with_the_common_recipe(quality: SimpleNamespace) -> None:
    experiments = quality.experiment_variants.read_experiments(VARIANTS)
    choose = quality.experiment_variants.choose_variants
    assert choose(experiments, ["point"]) == ["common", "point"]
    assert choose(experiments, []) == list(experiments.variants)
    with pytest.raises(ConfigError, match="did you mean 'point-256'"):
        choose(experiments, ["point-25"])


@pytest.mark.parametrize(("costs", "steps"), [(1.05, 100), (0.92, 100), (2.0, 50), (0.5, 200), (1e6, 1)])
def test_steps_are_those_of_equal_costs(
    quality: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, costs: float, steps: int
) -> None:
    known = {"common": 1.0, "other": costs}
    monkeypatch.setattr(quality.experiments.Bench, "read_costs", lambda _, name: known[name])
    experiments = quality.experiment_variants.read_experiments(VARIANTS)
    bench = quality.experiments.Bench(experiments, quality.places.Places(), None, (), 1)
    assert bench.count_steps("other", 100) == steps


def test_thresholds_come_from_the_other_half(quality: SimpleNamespace) -> None:
    runs = ("a", "b", "c", "d")
    spec = ParticleSpec("ribosome", 150.0, 1, score_weight=1.0)
    places = np.arange(1, 7)[:, None] * np.full(3, 1000.0)  # three that are true, three that are not
    true_scores, false_scores = {"a": 0.9, "b": 0.4, "c": 0.9, "d": 0.4}, {"a": 0.5, "b": 0.1, "c": 0.5, "d": 0.1}
    tables = [
        Picks.build(run, "ribosome", places, scores=[true_scores[run]] * 3 + [false_scores[run]] * 3) for run in runs
    ]
    truth = Picks.concatenate([Picks.build(run, "ribosome", places[:3]) for run in runs])
    picks = quality.experiment_training.select_crossed(Picks.concatenate(tables), truth, (spec,), runs, Config())
    selected = {run: int(picks.of_run(run).selected.sum()) for run in runs}
    # Of a and c everything is above what b and d need, of b and d nothing is above what a and c need.
    assert selected == {"a": 6, "b": 0, "c": 6, "d": 0}


def test_decoys_lie_on_no_particle_and_not_on_each_other(quality: SimpleNamespace) -> None:
    specs = (ParticleSpec("ribosome", 150.0, 1), ParticleSpec("apo-ferritin", 60.0, 2))
    truth = Picks.build("a", "ribosome", [[1000.0, 1000.0, 1000.0]])
    xs = [1179.0, 1190.0, 1240.0, 1260.0, 4000.0]
    names = ["apo-ferritin", "apo-ferritin", "ribosome", "ribosome", "apo-ferritin"]
    places = np.array([[1000.0, 1000.0, x] for x in xs])
    picks = Picks.build("a", names, places, scores=[0.9, 0.8, 0.5, 0.4, 0.1]).selected_above({}, default=0.2)
    found = quality.decoys.find_decoys(picks, truth, specs, ("a", "b"))
    # 1179 touches the ribosome, 1240 is within a decoy's radius of 1190, which is surer, 4000 was not selected.
    assert found.positions_zyx_angstrom[:, 2].tolist() == [1190.0, 1260.0]
    assert set(found.objects) == {"decoy"}
    assert found.run_names == ("a",)


def test_false_picks_are_learnt_beside_the_true_ones(
    quality: SimpleNamespace, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = quality.sets.open_set(quality.places.Places(bench / "sets.toml", bench / "scratch"), "proxy-train")
    corner = Picks.build(opened.runs[0], "thyroglobulin", [[5.0, 5.0, 5.0]], scores=[0.5])

    def pick(*arguments: object) -> None:
        folder = Path(str(arguments[arguments.index("--out") + 1]))
        folder.mkdir(parents=True, exist_ok=True)
        corner.to_csv(folder / "picks.csv")

    monkeypatch.setattr(quality.decoys, "run_cryofind", pick)
    monkeypatch.setattr(quality.decoys, "find_decoys", lambda picks, *_: replace(picks, objects=np.array(["decoy"])))
    variants = [*RECIPE.splitlines(), "[variants.decoys]", 'asks = "decoys?"', 'decoys_of = "czii-sim-small"']
    (bench / "experiments.toml").write_text("\n".join(variants))
    experiments = quality.experiment_variants.read_experiments(bench / "experiments.toml")
    config = experiments.config_of("decoys", steps=1)
    fixed = {"definitions": str(bench / "sets.toml"), "scratch": str(bench / "scratch"), "learnt": "proxy-train"}
    described = experiments.describe("decoys", config)
    job = quality.experiment_training.Job(**described, **fixed, judged=("proxy-validation",), threads=1)
    job.write(bench)
    assert quality.experiment_training.Job.read(bench).decoys_of == "czii-sim-small"
    trainer = quality.experiment_training._build_trainer(job, config, bench / "training")
    assert [spec.name for spec in trainer.corpus.specs][-1] == "decoy"
    network = build_network(config.model, len(trainer.corpus.specs))
    candidates = quality.experiment_training.find_candidates(
        network, job.open("proxy-validation"), trainer.corpus, config
    )
    assert "decoy" not in candidates.object_names


def make_row(quality: SimpleNamespace, variant: str, seed: int, hits: float, *, runs: int = 8) -> dict[str, Any]:
    ones = np.ones((runs, 1))
    names = tuple(f"R{number}" for number in range(runs))
    counts = quality.figures.Counts(("ribosome",), np.ones(1), names, 20 * ones, hits * ones, 20 * ones)
    found = {"counts": quality.rows.write_counts(counts), "f4_at_best_thresholds": 0.9}
    return {"variant": variant, "seed": seed, "steps": 10, "sets": {"proxy": found}}


def test_margins_are_over_seeds_and_paired(quality: SimpleNamespace) -> None:
    table = quality.experiment_table
    base, other = (
        table.Trained.of([make_row(quality, "any", seed, hits) for seed, hits in enumerate(found)], "proxy")
        for found in ((10, 12), (12, 18))
    )
    assert table.estimate_figures(other)["total"].value == pytest.approx(0.75)
    margin = table.estimate_figures(other, base)["ribosome"]
    assert (margin.value, margin.low, margin.high) == pytest.approx((0.2, 0.1, 0.3))
    assert margin.excludes_zero
    once = table.Trained.of([make_row(quality, "any", 0, 10, runs=7)], "proxy")
    with pytest.raises(ValueError, match="same runs"):
        table.estimate_figures(once, table.Trained.of([make_row(quality, "any", 0, 10)], "proxy"))


def test_the_tables_tell_what_counts_and_what_failed(quality: SimpleNamespace) -> None:
    rows = {
        "common": [make_row(quality, "common", seed, 10) for seed in (0, 1)],
        "better": [make_row(quality, "better", 0, 12)],
        "worse": [{"variant": "worse", "problem": "the loss was not finite"}],
        "later": [],
    }
    asks = dict.fromkeys(rows, "?")
    report = quality.experiment_table.format_report(rows, asks, "common", "Title")
    assert "| common | ? | 10 | 0.500, 0.500 | **0.500** |  | 0.900 | 0.500 (0.500 to 0.500) |" in report
    assert "| better | ? | 10 | 0.600 | **0.600** | +0.100 (+0.100 to +0.100) * |" in report
    assert "- worse: the loss was not finite" in report
    assert "later" not in report
    assert quality.experiment_table.format_report({"better": rows["better"]}, asks, "common", "Title") == ""


def test_each_training_is_made_once(
    quality: SimpleNamespace, bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def train_here(folder: Path, threads: int) -> None:
        made.append(f"{folder.parent.name}: {folder.name.partition('-')[0]}")
        quality.experiment_training.run_job(folder)

    monkeypatch.setattr(quality.experiments, "run_training", train_here)
    monkeypatch.setattr(quality.experiment_training, "FIRST_STEPS", 1)
    monkeypatch.setattr(quality.experiment_training, "TIMED_STEPS", 1)
    assert run(quality, bench, "--steps", "2") == 1  # for a variant without a species
    assert made == ["costs: common", "trainings: common", "costs: point", "trainings: point", "costs: nothing"]
    told = capsys.readouterr()
    assert "skipped: set proxy-shift: needs the reference data" in told.err
    assert "variant nothing" in told.err
    assert "| point | a point? |" in told.out
    folder = bench / "scratch" / "experiments"
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [(row["variant"], row["steps"] > 0, row["threads"]) for row in rows] == [
        ("common", True, 1),
        ("point", True, 1),
    ]
    assert list(rows[0]["sets"]) == ["proxy-validation"]
    assert not list(folder.glob("trainings/*/training/checkpoints"))
    assert (folder / "experiments.md").read_text() == told.out[told.out.index("# Proxy") :]

    made.clear()
    assert run(quality, bench, "--steps", "2", "--only", "point") == 0
    assert made == []
    assert "| point | a point? |" in capsys.readouterr().out
    assert run(quality, bench, "--tables") == 0
    assert "| point | a point? |" in capsys.readouterr().out


def test_tables_of_nothing_are_refused(
    quality: SimpleNamespace, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(quality, bench, "--tables") == 2
    assert "holds no training" in capsys.readouterr().err


def test_a_process_that_was_stopped_stops_all_and_one_that_dies_is_told(
    quality: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality.experiments, "HERE", tmp_path)
    script = tmp_path / "experiment_training.py"
    script.write_text("import sys; sys.exit(143)")
    with pytest.raises(SystemExit) as end:
        quality.experiments.run_training(tmp_path, 1)
    assert end.value.code == 143
    script.write_text("raise ValueError('what happened')")
    with pytest.raises(quality.experiments.subprocess.CalledProcessError):
        quality.experiments.run_training(tmp_path, 1)
    assert "what happened" in (tmp_path / "log.txt").read_text()
