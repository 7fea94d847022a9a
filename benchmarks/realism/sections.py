"""The sections of the comparison: what is printed, what is written as numbers, and what passes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from draws import ContrastResult, compare_contrasts
from measures import (
    PLANES,
    TRUSTED_BINS,
    Floats,
    RealReference,
    cut_slice,
    moments,
    scale_shares,
    spectrum_bins,
    spectrum_difference,
)
from picture import Panel
from reference import Reproduction, compare_rows, measure_external, measure_real, open_external
from runs import RunMeasures, make_panel

MAX_DIFFERENCE = 0.30
MAX_SKEWNESS_ERROR = 0.6
MAX_KURTOSIS_FACTOR = 1.6
DARKER_THAN = -2.5
DARK_SPECIES = ("ribosome", "apo-ferritin")


@dataclass
class Report:
    """Lines for people, numbers for programs, verdicts by name."""

    lines: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)

    def judge(self, name: str, *, passed: bool) -> str:
        """Note a verdict and return its word."""
        self.verdicts[name] = passed
        return "pass" if passed else "FAIL"


def report_reproduction(report: Report, root: Path, real: RealReference) -> Panel:
    """Measure the published rows again; return the picture's panel of the external simulation."""
    rows = {"real": measure_real(real)}
    for flavour in ("filtered", "denoised"):
        tomogram, picks = open_external(root, flavour)
        rows[f"EXT_1 {flavour}"] = measure_external(tomogram, picks, real)
    middle = len(tomogram.volume_zyx) // 2
    spacing = tomogram.grid.spacing_angstrom
    panel = make_panel("EXT_1 denoised", cut_slice(tomogram.volume_zyx, spacing, middle), picks, middle * spacing)
    checks = [compare_rows(name, row) for name, row in rows.items()]
    report.lines += ["Published rows, measured again (greatest deviation: spectrum, RMS, moments, contrast)"]
    report.lines += [_reproduction_line(report, check) for check in checks]
    report.numbers["reproduction"] = [asdict(check) for check in checks]
    external = rows["EXT_1 denoised"]
    report.numbers["external"] = {
        "spectrum": external.spectrum.tolist(),
        "rms_14_bins": external.differences[0],
        "rms_12_bins": external.differences[1],
        "skewness": external.moments[0],
        "kurtosis": external.moments[1],
        "contrasts": dict(external.contrasts),
    }
    return panel


def _reproduction_line(report: Report, check: Reproduction) -> str:
    values = f"{check.spectrum:.3f} {check.differences:.3f} {check.moments:.3f} {check.contrasts:.3f}"
    return f"  {check.name:<16} {values}  {report.judge(f'reproduces {check.name}', passed=check.holds)}"


def report_real_spread(report: Report, real: RealReference) -> None:
    """Say how far the quarters of the real slice lie from the whole: no simulation need be nearer than that."""
    y, x = (size // 2 for size in real.slice_yx.shape)
    quarters = [
        real.slice_yx[rows, columns] for rows in (slice(y), slice(y, None)) for columns in (slice(x), slice(x, None))
    ]
    differences = [spectrum_difference(spectrum_bins(one), real.spectrum, TRUSTED_BINS) for one in quarters]
    skewness, kurtosis = zip(*(moments(one) for one in quarters), strict=True)
    report.lines += [
        "",
        f"Quarters of the real slice: RMS to the whole {_list(differences, 2)} (12 bins), "
        f"skewness {_list(skewness, 1)}, kurtosis {_list(kurtosis, 1)}",
    ]
    report.numbers["real_quarters"] = {"rms_12_bins": differences, "skewness": skewness, "kurtosis": kurtosis}


def report_spectra(report: Report, runs: Sequence[RunMeasures], real: RealReference) -> None:
    """(a) Differences of spectra: of the mean over slices, and of every slice."""
    spectra = np.concatenate([run.slices.spectra for run in runs])
    mean = spectra.mean(axis=0)
    single = np.concatenate([run.single_planes.spectra for run in runs]).mean(axis=0)
    coarse = np.concatenate([run.slices.coarse_share for run in runs])
    of_single = spectrum_difference(single, real.spectrum, TRUSTED_BINS)
    of_mean = {bins: spectrum_difference(mean, real.spectrum, bins) for bins in (14, TRUSTED_BINS)}
    of_slices = {bins: [spectrum_difference(one, real.spectrum, bins) for one in spectra] for bins in of_mean}
    verdict = report.judge("spectrum", passed=of_mean[TRUSTED_BINS] <= MAX_DIFFERENCE)
    external = report.numbers["external"]
    shift = np.mean(mean[:TRUSTED_BINS] - real.spectrum[:TRUSTED_BINS])
    report.lines += [
        "",
        f"(a) Log radial power, natural logarithm, 14 bins from 1/600 to 1/40 per A; {len(spectra)} slices",
        f"  real        {_list(real.spectrum, 1)}",
        f"  simulated   {_list(mean, 1)}",
        f"  difference  {_list(mean - real.spectrum - shift, 1)}   offset removed",
        f"  RMS, mean spectrum: 14 bins {of_mean[14]:.2f}, lowest 12 {of_mean[TRUSTED_BINS]:.2f} "
        f"(EXT_1 {external['rms_14_bins']:.2f}, {external['rms_12_bins']:.2f}); wanted <= {MAX_DIFFERENCE}: {verdict}",
        *(f"  RMS, slice by slice, {bins} bins: {_spread(values)}" for bins, values in of_slices.items()),
        f"  power beyond 600 A: real {scale_shares(real.slice_yx)[0]:.0%}, simulated {_spread(coarse)}; not judged",
        f"  RMS, single planes instead of the mean of {PLANES}: lowest 12 {of_single:.2f}",
    ]
    report.numbers["spectrum"] = {
        "real": real.spectrum.tolist(),
        "simulated": mean.tolist(),
        "rms_14_bins": of_mean[14],
        "rms_12_bins": of_mean[TRUSTED_BINS],
        "rms_12_bins_single_planes": of_single,
        "share_beyond_600_angstrom": {"real": scale_shares(real.slice_yx)[0], "by_slice": coarse.tolist()},
        "rms_14_bins_by_slice": of_slices[14],
        "rms_12_bins_by_slice": of_slices[TRUSTED_BINS],
    }


def report_moments(report: Report, runs: Sequence[RunMeasures], real: RealReference) -> None:
    """(b) Skewness and excess kurtosis of grey values: the median slice against the real one."""
    skewness = np.concatenate([run.slices.skewness for run in runs])
    kurtosis = np.concatenate([run.slices.kurtosis for run in runs])
    is_skewed = abs(float(np.median(skewness)) - real.skewness) <= MAX_SKEWNESS_ERROR
    ratio = float(np.median(kurtosis)) / real.kurtosis
    is_peaked = 1 / MAX_KURTOSIS_FACTOR <= ratio <= MAX_KURTOSIS_FACTOR
    external = report.numbers["external"]
    report.lines += [
        "",
        "(b) Grey values",
        f"  skewness         real {real.skewness:.1f}, EXT_1 {external['skewness']:.1f}, simulated {_spread(skewness)}",
        f"    median within {MAX_SKEWNESS_ERROR} of the real one: {report.judge('skewness', passed=is_skewed)}",
        f"  excess kurtosis  real {real.kurtosis:.1f}, EXT_1 {external['kurtosis']:.1f}, simulated {_spread(kurtosis)}",
        f"    median within a factor {MAX_KURTOSIS_FACTOR} of it: {report.judge('kurtosis', passed=is_peaked)}",
    ]
    report.numbers["moments"] = {
        "real": [real.skewness, real.kurtosis],
        "median": [float(np.median(skewness)), float(np.median(kurtosis))],
        "skewness_by_slice": skewness.tolist(),
        "kurtosis_by_slice": kurtosis.tolist(),
    }


def report_contrasts(report: Report, runs: Sequence[RunMeasures], real: RealReference, seed: int) -> None:
    """(c) Contrast of every species: where the real value lies among draws of as many simulated particles."""
    random = np.random.default_rng(seed)
    external = report.numbers["external"]["contrasts"]
    report.lines += [
        "",
        "(c) Contrast within the radius, in robust standard deviations of the slice; 500 draws of n at equal distances",
        "  species              n   real   EXT_1   median     central 90 %    darker draws   particles",
    ]
    results: list[ContrastResult] = []
    for name, values in real.contrasts.items():
        result = compare_contrasts(name, values, [run.contrast_tables[name] for run in runs], random)
        if result is None:
            report.lines += [f"  {name:<20} {len(values)}   the project has none: {report.judge(name, passed=False)}"]
            continue
        results.append(result)
        other = f"{external[name]:6.1f}" if name in external else "  none"
        report.lines += [
            f"  {name:<18} {result.count:>3} {result.real:6.1f}  {other} {result.median:8.1f}   "
            f"{result.low:6.1f} to {result.high:5.1f} {result.share_below:12.0%} {result.simulated_picks:>11}   "
            f"{report.judge(name, passed=result.is_within)}"
        ]
    medians = {result.name: result.median for result in results}
    for name in DARK_SPECIES:
        verdict = report.judge(f"{name} is dark", passed=medians.get(name, 0.0) < DARKER_THAN)
        report.lines += [f"  {name} darker than {DARKER_THAN}: {verdict}"]
    report.numbers["contrasts"] = [asdict(result) | {"is_within": result.is_within} for result in results]


def _list(values: Sequence[float] | Floats, decimals: int) -> str:
    return " ".join(f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values)


def _spread(values: Sequence[float] | Floats) -> str:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"median {middle:.2f} (5 to 95 %: {low:.2f} to {high:.2f})"
