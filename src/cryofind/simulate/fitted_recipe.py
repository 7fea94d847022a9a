"""From what was measured and fitted on tomograms to one recipe with ranges, and what to say of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cryofind.simulate.fit import Fit
from cryofind.simulate.look import GREY_SCALES_ANGSTROM
from cryofind.simulate.measure import TomogramMeasurement
from cryofind.simulate.recipe import Range, SimulationRecipe
from cryofind.simulate.search_space import FLAVOURS, change_ranges, scale_along, thickness_range

# What is measured directly is widened by this much: as good as the measurement, or a little worse.
SLAB_TILT_DEGREES = 2.0
SLAB_OFFSET_ANGSTROM = 60.0
DIGITS = 3


@dataclass(frozen=True, eq=False)
class FittedRecipe:
    """A recipe, and comments on it.

    Parameters
    ----------
    recipe
        With ranges.
    remarks
        By `table.key`: where a value comes from.
    """

    recipe: SimulationRecipe
    remarks: Mapping[str, str]


def combine_fits(start: SimulationRecipe, measured: Sequence[TomogramMeasurement], fits: Sequence[Fit]) -> FittedRecipe:
    """Return the starting recipe with what was found for tomograms: ranges that cover all of them.

    Parameters
    ----------
    start
        What was neither measured nor fitted comes from here.
    measured, fits
        Of the same tomograms, at least one, of the same voxel spacing.
    """
    found = _fitted_ranges(fits)
    changes = {**scale_along(start, found), **_measured_ranges(start, measured)}
    remarks = {key: f"fitted, {_list(fit.values.get(key) for fit in fits)}; was {_show(start, key)}" for key in found}
    for key in changes:
        how = "goes with a fitted value" if key in scale_along(start, found) else "measured"
        remarks.setdefault(key, f"{how}; was {_show(start, key)}")
    flavours = tuple(flavour for flavour in FLAVOURS if flavour in {fit.flavour for fit in fits})
    output = start.output.model_copy(
        update={"voxel_spacing_angstrom": round(measured[0].spacing_angstrom, 4), "flavours": flavours}
    )
    remarks |= {"output.flavours": "the tomogram's kind", "output.voxel_spacing_angstrom": "the tomogram's"}
    # The filter is what the simulations were denoised with.
    denoising = start.denoising
    if "denoised" in flavours and denoising.method != "wiener":
        remarks["denoising.method"] = f"fitted as such; was {denoising.method}"
        denoising = denoising.model_copy(update={"method": "wiener"})
    recipe = start.model_copy(update={"output": output, "denoising": denoising})
    rounded = {key: Range.of(_round(value.low), _round(value.high)) for key, value in changes.items()}
    return FittedRecipe(change_ranges(recipe, rounded).clipped(), remarks)


def _fitted_ranges(fits: Sequence[Fit]) -> dict[str, Range]:
    keys = {key: None for fit in fits for key in fit.ranges}
    ranges = {key: [fit.ranges[key] for fit in fits if key in fit.ranges] for key in keys}
    return {
        key: Range.of(min(one.low for one in several), max(one.high for one in several))
        for key, several in ranges.items()
    }


def _measured_ranges(start: SimulationRecipe, measured: Sequence[TomogramMeasurement]) -> dict[str, Range]:
    changes = {}
    maxima = [one.tilts.maximum_degrees for one in measured if one.tilts.maximum_degrees is not None]
    steps = [one.tilts.step_degrees for one in measured if one.tilts.step_degrees is not None]
    if maxima:
        changes["microscope.tilt_maximum_degrees"] = Range.of(min(maxima), max(maxima))
    if steps:
        changes["microscope.tilt_step_degrees"] = Range.of(min(steps), max(steps))
    thickness = thickness_range(start, [one.slab for one in measured])
    if thickness != start.sample.slab_thickness_angstrom:
        changes["sample.slab_thickness_angstrom"] = thickness
    seen = [one.slab for one in measured if not one.slab.is_whole_box]
    for key, margin in (
        ("tilt_y_degrees", SLAB_TILT_DEGREES),
        ("tilt_x_degrees", SLAB_TILT_DEGREES),
        ("offset_angstrom", SLAB_OFFSET_ANGSTROM),
    ):
        values = [getattr(slab, key) for slab in seen]
        if values:
            changes[f"sample.slab_{key}"] = Range.of(min(values) - margin, max(values) + margin)
    return changes


def describe_measurement(measured: TomogramMeasurement) -> list[str]:
    """Return what was measured on a tomogram, a line each."""
    tilts, slab, texture = measured.tilts, measured.slab, measured.look.texture
    shape = " x ".join(map(str, measured.shape_zyx))
    lines = [f"{shape} voxels of {measured.spacing_angstrom:.3f} Angstrom"]
    if tilts.maximum_degrees is None:
        lines.append("no missing wedge to be seen: the tilt range stays the starting recipe's")
    else:
        step = "unseen" if tilts.step_degrees is None else f"{tilts.step_degrees:g}"
        lines.append(f"tilts up to {tilts.maximum_degrees:g} degrees, step {step}, tilt axis along {tilts.axis}")
    if slab.is_whole_box:
        lines.append("no vacuum to be seen above or below the ice")
    else:
        lines.append(
            f"ice {slab.thickness_angstrom:.0f} Angstrom thick, {slab.offset_angstrom:+.0f} from the middle of the box,"
            f" rising {slab.tilt_y_degrees:g} degrees along y and {slab.tilt_x_degrees:g} along x"
        )
    defocus = measured.defocus.defocus_micrometre
    if defocus is not None:
        lines.append(f"rings of a CTF deconvolution: defocus {defocus:.1f} micrometre")
    scales = "/".join(f"{scale:g}" for scale in GREY_SCALES_ANGSTROM)
    skewness = ", ".join(f"{value:.2f}" for value in texture.skewness)
    kurtosis = ", ".join(f"{np.exp(value) - 3:.2f}" for value in texture.log_kurtosis)
    lines.append(f"grey values averaged over {scales} Angstrom: skewness {skewness}; excess kurtosis {kurtosis}")
    lines.append(f"dark blobs in a cube of 0.1 micrometre: {np.expm1(texture.log_blobs):.0f}")
    spectrum = " ".join("-" if np.isnan(value) else f"{value:.1f}" for value in texture.log_spectrum)
    lines.append(f"log power from 1/600 per Angstrom to half the sampling rate: {spectrum}")
    return lines


def describe_fit(fit: Fit) -> list[str]:
    """Return what was fitted, a line each."""
    tried = ", ".join(f"{name} {distance:.2f}" for name, distance in fit.flavour_distances.items())
    lines = [
        f"flavour {fit.flavour}"
        + (f" (the simplest that comes nearly nearest: {tried})" if len(fit.flavour_distances) > 1 else "")
    ]
    before, after = fit.distance_before, fit.distance_after
    lines.append(f"distance {before:.2f} before, {after:.2f} after {fit.simulations} simulations (1: as boxes differ)")
    return lines


def _list(values: Iterable[float | None]) -> str:
    return ", ".join(f"{value:.3g}" for value in values if value is not None)


def _show(recipe: SimulationRecipe, dotted: str) -> str:
    table, key = dotted.split(".")
    found: Range = getattr(getattr(recipe, table), key)
    return f"{found.low:g}" if found.low == found.high else f"[{found.low:g}, {found.high:g}]"


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
