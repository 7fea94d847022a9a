"""How far apart the picks of each object must be: annotated runs choose between several distances."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cryofind.config import Config, LocateConfig
from cryofind.locate import settle_candidates
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.tuning import best_f_beta
from cryofind.types import Picks, Tomogram

logger = logging.getLogger("cryofind")

# In radii: ribosomes that touch are 1.1 apart, apo-ferritins 1.8. Below, one particle gets two picks.
SEPARATION_FACTORS = (0.8, 1.0, 1.2, 1.4)

# An object keeps its old distance unless another has so much more F-beta: less is luck of the few runs.
LEAST_GAIN = 0.005


def find_ways(config: Config) -> tuple[LocateConfig, ...]:
    """Return the options of location to choose from, those of the recipe first.

    Only these unless `tune.separation`, or where objects are weighed against each other: then the best of one depends
    on that of another.
    """
    own = config.locate
    if not config.tune.separation or own.cross_separation_factor > 0:
        return (own,)
    ways = [
        own.model_copy(update={"separation_factor": factor, "separation_factors": {}}) for factor in SEPARATION_FACTORS
    ]
    return (own, *(way for way in ways if way != own))


def find_in_ways(picker: Picker, prepared: Tomogram) -> tuple[Picks, ...]:
    """Return a prepared tomogram's candidates with raw scores, as each of `find_ways` leaves them."""
    prediction = picker.predict(prepared)
    candidates = prediction.locate(picker.specs, picker.config.locate)
    return tuple(
        settle_candidates(
            candidates, prediction.objects, picker.specs, way, run=prediction.run, grid=prediction.tomogram_grid
        )
        for way in find_ways(picker.config)
    )


def choose_separations(
    picker: Picker, found_by_run: Sequence[Sequence[Picks]], truths: Sequence[Picks]
) -> tuple[Picker, list[Picks]]:
    """Choose for every object the least distance that gives the highest F-beta at its best threshold.

    All runs choose together, so what is then scored on any of them leans high.

    Parameters
    ----------
    picker
        With its recipe; objects with fewer than `tune.min_picks` annotated picks keep their distance.
    found_by_run
        Of every run, what `find_in_ways` returned.
    truths
        True picks of the same runs.

    Returns
    -------
    Picker
        With the distances chosen.
    list of Picks
        The candidates of every run, as these leave them.
    """
    ways, truth = find_ways(picker.config), Picks.concatenate(truths)
    if len(ways) == 1:
        return picker, [found[0] for found in found_by_run]
    f_beta_by_way = [
        best_f_beta(Picks.concatenate(found[number] for found in found_by_run), truth, picker.specs, picker.config)
        for number in range(len(ways))
    ]
    chosen: dict[str, int] = {}
    for name in truth.object_names:
        if len(truth.of_object(name)) >= picker.config.tune.min_picks:
            f_betas = [f_beta[name] for f_beta in f_beta_by_way]
            best = max(range(len(ways)), key=f_betas.__getitem__)
            if f_betas[best] >= f_betas[0] + LEAST_GAIN:
                chosen[name] = best
                factor = ways[best].separation_of(name)
                logger.info("%s: %g radii apart: F-beta %.4f, was %.4f", name, factor, f_betas[best], f_betas[0])
    factors = {name: ways[number].separation_of(name) for name, number in chosen.items()}
    locate = ways[0].model_copy(update={"separation_factors": {**ways[0].separation_factors, **factors}})
    config = picker.config.model_copy(update={"locate": locate})
    names = [spec.name for spec in picker.specs]
    return replace(picker, config=config), [_pick_out(found, chosen, names) for found in found_by_run]


def _pick_out(found: Sequence[Picks], chosen: Mapping[str, int], names: Sequence[str]) -> Picks:
    """Return the candidates of every object in its way."""
    return Picks.concatenate(found[chosen.get(name, 0)].of_object(name) for name in names)
