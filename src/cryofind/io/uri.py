"""copick's URI grammar for tomograms, picks and segmentations.

`type@spacing`, `object:user/session`, `name:user/session@spacing?multilabel=true`. Missing parts match everything;
each part is a glob, or a regular expression when the whole begins with `re:`. The empty URI matches everything.
"""

import fnmatch
import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from cryofind.errors import ProjectError

Pattern = re.Pattern[str]

# Folder names carry three decimals.
_SPACING_TOLERANCE_ANGSTROM = 1e-3


@dataclass(frozen=True)
class TomogramUri:
    """Which tomograms: `type@spacing`."""

    flavour: Pattern
    spacing: "SpacingPattern"


@dataclass(frozen=True)
class PicksUri:
    """Which picks: `object:user/session`."""

    name: Pattern
    user: Pattern
    session: Pattern

    def matches(self, name: str, user: str, session: str) -> bool:
        """Say whether all three parts match."""
        parts = ((self.name, name), (self.user, user), (self.session, session))
        return all(pattern.fullmatch(text) is not None for pattern, text in parts)


@dataclass(frozen=True)
class SegmentationUri:
    """Which segmentations: `name:user/session@spacing?multilabel=true`."""

    owner: PicksUri
    spacing: "SpacingPattern"
    is_multilabel: bool | None


@dataclass(frozen=True)
class SpacingPattern:
    """A voxel spacing: a number (compared within a thousandth of an Angstrom), or a pattern of its text."""

    number: float | None
    pattern: Pattern

    def matches(self, spacing_angstrom: float | None) -> bool:
        """Say whether a spacing, or the absence of one, is meant."""
        if spacing_angstrom is None:
            return self.number is None and self.pattern.fullmatch("") is not None
        if self.number is not None:
            return abs(spacing_angstrom - self.number) <= _SPACING_TOLERANCE_ANGSTROM
        return self.pattern.fullmatch(f"{spacing_angstrom:.3f}") is not None


def parse_tomogram_uri(uri: str) -> TomogramUri:
    """Return what `type@spacing` means.

    Raises
    ------
    ProjectError
        If a part is no valid pattern, or the URI has the form of another kind.
    """
    body, is_regex = _strip_prefix(uri)
    flavour, _, spacing = body.partition("@")
    if not is_regex and any(mark in body for mark in ":/"):
        raise ProjectError(f"tomogram URI '{uri}'", "is not of the form type@spacing", "write e.g. denoised@10.000")
    return TomogramUri(_compile(uri, flavour, is_regex), _compile_spacing(uri, spacing, is_regex))


def parse_picks_uri(uri: str) -> PicksUri:
    """Return what `object:user/session` means; errors as in `parse_tomogram_uri`."""
    body, is_regex = _strip_prefix(uri)
    return _parse_owner(uri, body, is_regex)


def parse_segmentation_uri(uri: str) -> SegmentationUri:
    """Return what `name:user/session@spacing?multilabel=true` means; errors as in `parse_tomogram_uri`."""
    body, is_regex = _strip_prefix(uri)
    body, _, query = body.partition("?multilabel=")
    flag = parse_qs(f"multilabel={query}").get("multilabel")
    owner, _, spacing = body.partition("@")
    return SegmentationUri(
        _parse_owner(uri, owner, is_regex),
        _compile_spacing(uri, spacing, is_regex),
        None if flag is None else flag[0].lower() in {"true", "1", "yes"},
    )


def _strip_prefix(uri: str) -> tuple[str, bool]:
    stripped = uri.strip()
    return stripped.removeprefix("re:"), stripped.startswith("re:")


def _parse_owner(uri: str, body: str, is_regex: bool) -> PicksUri:
    name, *rest = body.split(":")
    if len(rest) > 1:
        raise ProjectError(f"URI '{uri}'", "has more than one ':'", "write e.g. ribosome:user/session")
    user, _, session = (rest[0] if rest else "").partition("/")
    return PicksUri(*(_compile(uri, part, is_regex) for part in (name, user, session)))


def _compile(uri: str, part: str, is_regex: bool) -> Pattern:
    if not part or part == "*":
        return re.compile(".*")
    if not is_regex:
        return re.compile(fnmatch.translate(part))
    try:
        return re.compile(part)
    except (re.error, RecursionError) as error:
        raise ProjectError(f"URI '{uri}'", f"'{part}' is no regular expression ({error})", "mend it") from error


def _compile_spacing(uri: str, part: str, is_regex: bool) -> SpacingPattern:
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    return SpacingPattern(number if math.isfinite(number) else None, _compile(uri, part, is_regex))
