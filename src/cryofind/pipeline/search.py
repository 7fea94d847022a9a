"""`cryofind search`: many trainings of one recipe with other numbers in; the recipe of the best one out."""

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cryofind.atomic import write_json, write_text
from cryofind.config import Config
from cryofind.differences import describe_differences
from cryofind.errors import ConfigError, CryofindError, OutputError, ProjectError
from cryofind.models import find_model, load_model_folder
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, hash_document, timestamp
from cryofind.pipeline.search_results import describe_trials, draw_search, shorten, write_best_recipe
from cryofind.pipeline.search_runner import SearchRequest, SharedCorpus, TrialRunner
from cryofind.pipeline.search_space import SearchRecipe, read_value
from cryofind.pipeline.search_study import ask, measure_importance, open_study, require_optuna
from cryofind.pipeline.search_trials import Trial, append_trial, expect_seconds, find_best, read_trials
from cryofind.pipeline.splits import Split
from cryofind.pipeline.train import stages_of_initial
from cryofind.train.checkpoint import describe_recipe
from cryofind.train.devices import parse_devices
from cryofind.train.mixing import check_weight_count

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind search"
IDENTITY_NAME = "search.json"
TRIALS_NAME = "trials.jsonl"
BEST_NAME = "best.toml"
IMPORTANCE_NAME = "importance.svg"

# Options of prediction that do not change how a trial is judged.
_FREE_PREDICT_FIELDS = {"device", "devices", "memory_gigabytes", "keep_probabilities", "segmentation_threshold"}


def search_recipe(request: SearchRequest, recipe: SearchRecipe) -> list[str]:
    """Run trials until the budget is used up, write the best recipe; return a summary, a line each.

    Raises
    ------
    ProjectError, PicksError, ConfigError, ModelError, OutputError
        If the request cannot be met; OutputError also if the folder holds a search of another recipe or other data.
    InSampleError
        If a run to be held out is one that the initial model has seen.
    CryofindError
        If no trial was completed.
    SystemExit, KeyboardInterrupt
        After a signal; the same call goes on.
    """
    require_optuna()
    claim = claim_folder(request.out, MADE_BY)
    runner = _prepare(request, recipe)
    record = {"made_by": MADE_BY}
    identity = _describe_search(runner)
    _refuse_other_search(request.out, identity)
    if not claim:
        write_json(request.out / RECORD_NAME, record)
    if not (request.out / IDENTITY_NAME).exists():
        write_json(request.out / IDENTITY_NAME, {"sha256": hash_document(identity), **identity})
    ended = _run_trials(runner)
    lines = _conclude(runner)
    write_json(
        request.out / RECORD_NAME,
        {
            **record,
            "finished": timestamp(),
            "ended": ended,
            "environment": describe_environment(),
            "search": recipe.search.model_dump(mode="json"),
            "config": recipe.config.model_dump(mode="json"),
            "projects": [str(path.resolve()) for path in request.projects],
            "held_out": list(runner.split.held_out),
        },
    )
    return [*lines, ended]


def _prepare(request: SearchRequest, recipe: SearchRecipe) -> TrialRunner:
    """Read the data and build everything once, so that what cannot be is refused before the first trial."""
    config = recipe.config
    if parse_devices(config.train.devices)[1] > 1:
        raise ConfigError("cryofind search", "works with one device at a time", "set train.devices=auto")
    check_weight_count(config.train, len(request.projects))
    initial = load_model_folder(find_model(request.init_model)) if request.init_model is not None else None
    corpus = SharedCorpus(request)
    asked = TrialRunner(request, recipe, corpus, Split((), request.validation_runs), initial)
    trainer = asked.build_trainer(config, request.out)
    trainer.check()
    (split,) = trainer.split()
    _check_held_out(runner := replace(asked, split=split))
    runner.try_space()
    return runner


def _check_held_out(runner: TrialRunner) -> None:
    config, held_out = runner.recipe.config, runner.split.held_out
    corpus = runner.corpus.read(config)
    truth = corpus.truth(held_out)
    if not len(truth):
        problem = "has no picks to judge by" if held_out else "is needed to judge by, and none is held out"
        names = ", ".join(corpus.run_names)
        raise ProjectError("--validation", f"a run {problem}", f"name annotated runs; known: {names}")
    logger.info("judging by the held-out runs: %s", ", ".join(held_out))
    counts = {spec.name: int((truth.objects == spec.name).sum()) for spec in corpus.specs if spec.is_particle}
    few = [f"{name} {count}" for name, count in counts.items() if count < config.tune.min_picks]
    if few:
        logger.warning("too few picks in the held-out runs to choose a recipe by: %s; hold out more", ", ".join(few))


def _describe_search(runner: TrialRunner) -> dict[str, Any]:
    """Return what must be the same for a search to go on, JSON-ready."""
    recipe, corpus = runner.recipe, runner.corpus.read(runner.recipe.config)
    trainer = runner.build_trainer(recipe.config, runner.request.out)
    predict = recipe.config.predict.model_dump(mode="json", exclude=_FREE_PREDICT_FIELDS)
    identity = {
        "recipe": {**describe_recipe(recipe.config), "predict": predict},
        "space": {dimension.key: asdict(dimension) for dimension in recipe.space},
        "seeds": recipe.search.seeds,
        "objects": [[spec.name, spec.radius_angstrom] for spec in corpus.specs],
        "data": trainer.describe_data(runner.split),
    }
    document: dict[str, Any] = json.loads(json.dumps(identity))
    return document


def _refuse_other_search(out: Path, identity: dict[str, Any]) -> None:
    path = out / IDENTITY_NAME
    if not path.exists():
        if (out / TRIALS_NAME).exists():
            problem = f"is missing, so nothing says by which recipe and data {TRIALS_NAME} was made"
            raise OutputError(path, problem, "choose a new --out")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sha256 = found.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise OutputError(path, f"is damaged ({error})", "choose a new --out") from error
    if sha256 != hash_document(identity):
        differences = describe_differences(found, identity) or "its hash does not fit its content"
        advice = "use the old recipe and data, or another --out"
        raise OutputError(out, f"holds another search: {differences}", advice)


def _run_trials(runner: TrialRunner) -> str:
    """Run trials until the budget is used up; return in words why it ended."""
    search, path = runner.recipe.search, runner.request.out / TRIALS_NAME
    trials = read_trials(path)
    for trial in trials:
        if trial.is_finished:
            runner.clear(trial)
    if trials:
        logger.info("going on with a search of %d finished trials", sum(trial.is_finished for trial in trials))
    while True:
        finished = [trial for trial in trials if trial.is_finished]
        pending = next((trial for trial in trials if not trial.is_finished), None)
        left = None if search.minutes is None else 60 * search.minutes - sum(trial.seconds for trial in trials)
        needed = expect_seconds(trials) - (pending.seconds if pending else 0.0)
        if len(finished) >= search.trials:
            return f"{len(finished)} trials are done, as asked (--trials)"
        if left is not None and left <= max(needed, 0.0):
            return _describe_lack_of_time(max(left, 0.0), needed)
        following = Trial(max((trial.number for trial in trials), default=0) + 1, {})
        ended = _run_trial(runner, finished, pending or following, left)
        trials = read_trials(path)
        if ended.state == "stopped":
            return _describe_lack_of_time(0.0, 0.0)


def _describe_lack_of_time(left: float, needed: float) -> str:
    more = f"; {left / 60:.1f} minutes are left, a trial takes {needed / 60:.1f}" if left and needed > 0 else ""
    return f"the time is used up{more}: the same command with more --minutes goes on"


def _run_trial(runner: TrialRunner, finished: list[Trial], trial: Trial, left: float | None) -> Trial:
    """Run one trial, or go on with it, and append how it ended."""
    recipe, path = runner.recipe, runner.request.out / TRIALS_NAME
    study = open_study(recipe.space, finished, recipe.search, seed=recipe.config.train.seed)
    wanted = trial.parameters or ({} if finished else _start_with_recipe(recipe))
    live, parameters = ask(study, recipe.space, wanted)
    trial = replace(trial, parameters=parameters, state="running")
    append_trial(path, trial)
    shown = ", ".join(f"{key}={shorten(value)}" for key, value in parameters.items())
    logger.info("trial %d of %d: %s", trial.number, recipe.search.trials, shown)
    started = time.monotonic()
    try:
        ended = runner.run(trial, live, left)
    except (SystemExit, KeyboardInterrupt):
        append_trial(path, replace(trial, state="stopped", seconds=trial.seconds + time.monotonic() - started))
        raise
    ended = replace(ended, seconds=trial.seconds + time.monotonic() - started)
    append_trial(path, ended)
    if ended.is_finished:
        runner.clear(ended)
    outcome = ended.problem if ended.state == "failed" else "" if ended.value is None else f"F-beta {ended.value:.4f}"
    logger.info("trial %d: %s %s", ended.number, ended.state, outcome)
    return ended


def _start_with_recipe(recipe: SearchRecipe) -> dict[str, Any]:
    """Return the recipe's own values, as far as the space holds them: the first trial, which others are to beat."""
    own = {dimension.key: read_value(recipe.config, dimension.key) for dimension in recipe.space}
    return {dimension.key: own[dimension.key] for dimension in recipe.space if dimension.holds(own[dimension.key])}


def _conclude(runner: TrialRunner) -> list[str]:
    """Write the best recipe and the picture; return what to print."""
    request, recipe, out = runner.request, runner.recipe, runner.request.out
    trials = read_trials(out / TRIALS_NAME)
    best = find_best(trials)
    if best is None:
        raise CryofindError(out, *_describe_failure(trials))
    finished = [trial for trial in trials if trial.is_finished]
    importance = measure_importance(open_study(recipe.space, finished, recipe.search, seed=0))
    base = Config.model_validate(stages_of_initial(request.init_model))
    held_out, init = runner.split.held_out, request.init_model
    write_best_recipe(out / BEST_NAME, recipe, trials, base=base, init_model=init, held_out=held_out)
    write_text(out / IMPORTANCE_NAME, draw_search(recipe.space, finished, importance))
    return [
        *describe_trials(recipe.space, trials),
        f"best: trial {best.number}, F-beta {best.value:.4f} of the held-out runs {', '.join(held_out)}",
        "that number chose the recipe, so it is no measure of its accuracy: score it on runs that it never saw",
        f"recipe -> {out / BEST_NAME}",
        f"importance -> {out / IMPORTANCE_NAME}",
    ]


def _describe_failure(trials: list[Trial]) -> tuple[str, str]:
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed and all(trial.is_finished for trial in trials):
        problem = f"all {len(failed)} trials failed, the last: {failed[-1].problem}"
        return problem, "narrow [search.space], or mend [train]"
    return "no trial was completed within the budget", "raise --minutes or lower train.steps; the same command goes on"
