"""What Optuna is asked: which parameters to try next, whether a trial is worth its end, what mattered.

Its study lives in memory and is made anew from the finished trials before each one: the file of trials is the only
record, and a search that was interrupted proposes the same as one that was not.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cryofind.config import SearchConfig
from cryofind.errors import ConfigError
from cryofind.pipeline.search_space import Choice, Dimension
from cryofind.pipeline.search_trials import Trial

if TYPE_CHECKING:
    import optuna

# Importance compares the best quarter of the trials with all; of fewer trials it would be chance.
TOP_SHARE = 0.25
LEAST_COMPLETE_FOR_IMPORTANCE = 10
# Significant digits of proposals.
DIGITS = 4


def require_optuna() -> None:
    """Refuse to search without Optuna, and silence it below warnings.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as problem:
        advice = "install it: pip install 'cryofind[tune]'"
        raise ConfigError("cryofind search", "needs the package optuna, which is not installed", advice) from problem
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(
    space: Sequence[Dimension], trials: Sequence[Trial], search: SearchConfig, *, seed: int
) -> "optuna.Study":
    """Return a study that knows the finished trials; what it proposes depends on these and the seed alone."""
    import optuna

    random = np.random.SeedSequence([seed, len(trials)]).generate_state(1)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=search.prune_after) if search.prune else None
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=int(random[0])),
        pruner=pruner or optuna.pruners.NopPruner(),
    )
    distributions = _distributions(space)
    for trial in trials:
        state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[trial.state]
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                params=_encode(space, trial.parameters),
                distributions=distributions,
                value=trial.value,
                intermediate_values=dict(trial.intermediate),
            )
        )
    return study


def ask(
    study: "optuna.Study", space: Sequence[Dimension], wanted: Mapping[str, Any]
) -> tuple["optuna.Trial", dict[str, Any]]:
    """Return a trial to report to, and its parameters: those that are wanted, and round proposals for the others."""
    if wanted:
        study.enqueue_trial(_encode(space, wanted))
    live = study.ask(_distributions(space))
    proposed = {dimension.key: _propose(dimension, live.params[dimension.key]) for dimension in space}
    return live, {**proposed, **wanted}


def measure_importance(study: "optuna.Study") -> dict[str, float]:
    """Return each key's share in being among the best quarter of the complete trials (PED-ANOVA), greatest first.

    Empty if there are too few complete trials, or all have the same value.
    """
    import optuna

    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < LEAST_COMPLETE_FOR_IMPORTANCE or len({trial.value for trial in complete}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _distributions(space: Sequence[Dimension]) -> dict[str, "optuna.distributions.BaseDistribution"]:
    return {dimension.key: _distribution(dimension) for dimension in space}


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        # Optuna takes no lists; their text stands for them.
        return CategoricalDistribution([json.dumps(choice) for choice in dimension.choices])
    if dimension.is_whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _propose(dimension: Dimension, value: Any) -> Any:
    """Return a value of Optuna's as that of a recipe that people read."""
    if isinstance(dimension, Choice):
        return json.loads(value)
    if dimension.is_whole:
        return value
    rounded = float(f"{value:.{DIGITS}g}")
    return rounded if dimension.holds(rounded) else value


def _encode(space: Sequence[Dimension], parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        dimension.key: json.dumps(parameters[dimension.key])
        if isinstance(dimension, Choice)
        else parameters[dimension.key]
        for dimension in space
        if dimension.key in parameters
    }
