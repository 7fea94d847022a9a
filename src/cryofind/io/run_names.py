"""Which run a name in another program's file means: `TS_01.tomostar` or `rec_TS_01_10.00Apx.mrc` is run `TS_01`."""

import re
from collections.abc import Iterable

from cryofind.errors import PicksError, advise_known_names

_EXTENSION = re.compile(r"(?i)\.(mrcs?|rec|map|st|ali|em|hdf|tomostar|star|zarr|ome|tbl|coords|csv|json)$")
_LEADING = re.compile(r"(?i)^(rec|tomo|tomogram)[_-]")
# Only words that say how a tomogram was made: TS_1_2 is another tilt series than TS_1.
_PROCESSING = re.compile(
    r"(?i)([_.-](rec|recon|reconstruction|full|filt|filtered|wbp|sirt|sart|denoised|deconv\w*|ctf\w*|isonet\w*"
    r"|corrected|flip|flipped|rot|rotated|ali|aligned|even|odd|picks|particles|coords|motl|bin\d+|b\d+"
    r"|\d+(\.\d+)?(a|apx|ang|px)))+$"
)


def match_run(name: str, runs: Iterable[str]) -> str | None:
    """Return the run that a tomogram name or path stands for, or None.

    Equal names win; then names equal without folders and extension; then without words of processing
    (`_rec`, `_bin4`, `_10.00Apx`) on either side.

    Raises
    ------
    PicksError
        If several runs fit equally well.
    """
    runs = list(runs)
    for reduce in (str, _without_path, _core):
        matches = [run for run in runs if reduce(run) == reduce(name)]
        if len(matches) > 1:
            raise PicksError(f"tomogram '{name}'", f"may be run {' or '.join(matches)}", "rename one of them")
        if matches:
            return matches[0]
    return None


def require_run(name: str, runs: Iterable[str], *, subject: str) -> str:
    """Return the run that a name stands for.

    Raises
    ------
    PicksError
        If none or several fit, with the nearest; `subject` says where the name stands.
    """
    runs = list(runs)
    run = match_run(name, runs)
    if run is None:
        raise PicksError(subject, f"tomogram '{name}' is not among the given ones", advise_known_names(name, runs))
    return run


def _without_path(name: str) -> str:
    base = re.split(r"[/\\]", name)[-1]
    while _EXTENSION.search(base):
        base = _EXTENSION.sub("", base)
    return base


def _core(name: str) -> str:
    return _PROCESSING.sub("", _LEADING.sub("", _without_path(name))).casefold()
