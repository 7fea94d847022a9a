"""What a project holds: entries that know where their data are, and the project that lists them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cryofind.errors import PicksError, ProjectError, TomogramError, advise_known_names
from cryofind.io.ome_zarr import read_segmentation_zarr
from cryofind.io.picks_json import OWN_USER, read_picks_json
from cryofind.io.tomograms import read_tomogram, read_tomogram_grid
from cryofind.io.uri import parse_picks_uri, parse_segmentation_uri, parse_tomogram_uri
from cryofind.types import LabelVolume, ParticleSpec, Picks, Tomogram, VoxelGrid

# A folder's spacing further from the metadata's than this is worth a word; 10.000 for 10.012 is usual.
_FOLDER_SPACING_TOLERANCE = 0.01


@dataclass(frozen=True)
class TomogramEntry:
    """A tomogram of a project.

    Parameters
    ----------
    run
        Its run.
    flavour
        Kind of reconstruction (copick's tomogram type); empty when unknown.
    spacing_angstrom
        Voxel spacing in the folder's name, for selection only; None without such a folder.
    path
        OME-Zarr folder or MRC file.
    """

    run: str
    flavour: str
    spacing_angstrom: float | None
    path: Path

    @property
    def uri(self) -> str:
        """The tomogram in copick's grammar, `type@spacing`."""
        return self.flavour if self.spacing_angstrom is None else f"{self.flavour}@{self.spacing_angstrom:.3f}"

    def read(self, *, voxel_spacing_angstrom: float | None = None, allow_missing_chunks: bool = False) -> Tomogram:
        """Return the voxels; see `cryofind.io.read_tomogram`."""
        tomogram = read_tomogram(
            self.path,
            run=self.run,
            flavour=self.flavour,
            voxel_spacing_angstrom=voxel_spacing_angstrom,
            allow_missing_chunks=allow_missing_chunks,
        )
        notes = tomogram.notes + self.compare_spacing(tomogram.grid)
        return Tomogram(tomogram.run, tomogram.volume_zyx, tomogram.grid, tomogram.flavour, notes)

    def read_grid(self, *, voxel_spacing_angstrom: float | None = None) -> VoxelGrid:
        """Return the grid from the metadata alone; see `cryofind.io.read_tomogram`."""
        return read_tomogram_grid(self.path, voxel_spacing_angstrom=voxel_spacing_angstrom)

    def compare_spacing(self, grid: VoxelGrid) -> tuple[str, ...]:
        """Return a note if the voxel spacing in the folder's name is another than the metadata's."""
        named, true = self.spacing_angstrom, grid.spacing_angstrom
        if named is None or abs(named - true) <= _FOLDER_SPACING_TOLERANCE * true:
            return ()
        return (f"the folder says {named:.3f} A per voxel, {true:.3f} A is used",)


@dataclass(frozen=True)
class SegmentationEntry:
    """A segmentation of a project.

    Parameters
    ----------
    run, name, user, session
        Whose it is and of what; `name` is an object when not multilabel.
    spacing_angstrom
        Voxel spacing in the file's name, for selection only.
    is_multilabel
        Whether voxels hold object labels; else 0 and 1.
    path
        OME-Zarr folder.
    """

    run: str
    name: str
    user: str
    session: str
    spacing_angstrom: float
    is_multilabel: bool
    path: Path

    @property
    def uri(self) -> str:
        """The segmentation in copick's grammar."""
        flag = "?multilabel=true" if self.is_multilabel else ""
        return f"{self.name}:{self.user}/{self.session}@{self.spacing_angstrom:.3f}{flag}"

    def read(self, names_by_label: dict[int, str]) -> LabelVolume:
        """Return the labels.

        Voxels of a segmentation of one object become that object's label, if `names_by_label` has it.

        Raises
        ------
        TomogramError
            If it is damaged or not of integers.
        """
        volume = read_segmentation_zarr(self.path, run=self.run, names_by_label=names_by_label)
        label = next((label for label, name in names_by_label.items() if name == self.name), None)
        if self.is_multilabel or label is None:
            return volume
        labels = np.where(volume.labels_zyx != 0, np.uint8(label), np.uint8(0))
        return LabelVolume(self.run, labels, volume.grid, volume.names_by_label)


@dataclass(frozen=True)
class PicksEntry:
    """A file of picks of one run and one object."""

    run: str
    object: str
    user: str
    session: str
    path: Path

    @property
    def uri(self) -> str:
        """The picks in copick's grammar, `object:user/session`."""
        return f"{self.object}:{self.user}/{self.session}"

    def read(self) -> Picks:
        """Return the picks; see `cryofind.io.read_picks_json`."""
        return read_picks_json(self.path, run=self.run, object_name=self.object)


Entry = TypeVar("Entry", TomogramEntry, SegmentationEntry, PicksEntry)


@dataclass(frozen=True)
class Project:
    """Runs with their tomograms, segmentations and picks.

    Parameters
    ----------
    name
        For people.
    kind
        `copick`, `kaggle`, `folder` (loose tomogram files) or `tomogram` (a single one).
    path
        What was opened.
    objects
        What may be picked; empty when the project does not say.
    runs
        Names of the runs, sorted.
    tomograms, segmentations, picks_entries
        Everything found, sorted by run.
    overlay_root, static_root
        Roots of a copick layout: the first takes what is written, the second is only read.
    """

    name: str
    kind: str
    path: Path
    objects: tuple[ParticleSpec, ...]
    runs: tuple[str, ...]
    tomograms: tuple[TomogramEntry, ...]
    segmentations: tuple[SegmentationEntry, ...] = ()
    picks_entries: tuple[PicksEntry, ...] = ()
    overlay_root: Path | None = None
    static_root: Path | None = None

    def select_tomograms(self, uri: str = "", *, runs: Sequence[str] = ()) -> tuple[TomogramEntry, ...]:
        """Return the tomograms that a URI `type@spacing` names, of the given runs (all by default).

        Raises
        ------
        ProjectError
            If a run is not known, or a URI is given that matches nothing.
        """
        wanted = parse_tomogram_uri(uri)
        return self._select(
            "tomogram",
            self.tomograms,
            lambda entry: (
                wanted.flavour.fullmatch(entry.flavour) is not None and wanted.spacing.matches(entry.spacing_angstrom)
            ),
            uri,
            runs,
        )

    def select_segmentations(self, uri: str = "", *, runs: Sequence[str] = ()) -> tuple[SegmentationEntry, ...]:
        """Return the segmentations that a URI `name:user/session@spacing?multilabel=true` names.

        Raises
        ------
        ProjectError
            If a run is not known, or a URI is given that matches nothing.
        """
        wanted = parse_segmentation_uri(uri)
        return self._select(
            "segmentation",
            self.segmentations,
            lambda entry: (
                wanted.owner.matches(entry.name, entry.user, entry.session)
                and wanted.spacing.matches(entry.spacing_angstrom)
                and wanted.is_multilabel in (None, entry.is_multilabel)
            ),
            uri,
            runs,
        )

    def select_picks(self, uri: str = "", *, runs: Sequence[str] = ()) -> tuple[PicksEntry, ...]:
        """Return the picks files that a URI `object:user/session` names.

        Raises
        ------
        ProjectError
            If a run is not known, or a URI is given that matches nothing.
        """
        wanted = parse_picks_uri(uri)
        return self._select(
            "picks",
            self.picks_entries,
            lambda entry: wanted.matches(entry.object, entry.user, entry.session),
            uri,
            runs,
        )

    def read_picks(self, uri: str = "", *, runs: Sequence[str] = ()) -> Picks:
        """Return the picks that a URI `object:user/session` names, of the given runs (all by default).

        Without a URI these are all picks, provided that no object of a run has picks of several users or sessions:
        two annotations of the same particles are not one truth. `*` reads all of them all the same.

        Raises
        ------
        ProjectError
            If a run is not known, or a URI is given that matches nothing.
        PicksError
            If a file cannot be read, or it is not clear whose picks are meant.
        """
        entries = self.select_picks(uri, runs=runs)
        if not uri:
            self._check_unambiguous(entries)
        return Picks.concatenate(entry.read() for entry in entries)

    def grid_of_run(self, run: str) -> VoxelGrid | None:
        """Return the grid of the first tomogram of a run that can be opened, from its metadata; None without one.

        Raises
        ------
        ProjectError
            If the run is not known.
        """
        self._check_runs((run,))
        for entry in self.tomograms:
            if entry.run == run:
                try:
                    return entry.read_grid()
                except TomogramError:
                    continue
        return None

    def _select(
        self,
        kind: str,
        entries: tuple[Entry, ...],
        matches: Callable[[Entry], bool],
        uri: str,
        runs: Sequence[str],
    ) -> tuple[Entry, ...]:
        self._check_runs(runs)
        of_runs = [entry for entry in entries if not runs or entry.run in runs]
        chosen = tuple(entry for entry in of_runs if matches(entry))
        if uri and not chosen:
            there = sorted({entry.uri for entry in of_runs})
            raise ProjectError(
                f"{self.path}: {kind} '{uri}'", "matches nothing", f"found: {', '.join(there[:12]) or 'none'}"
            )
        return chosen

    def _check_runs(self, runs: Sequence[str]) -> None:
        for run in runs:
            if run not in self.runs:
                raise ProjectError(f"{self.path}: run '{run}'", "is not there", advise_known_names(run, self.runs[:20]))

    def _check_unambiguous(self, entries: tuple[PicksEntry, ...]) -> None:
        first: dict[tuple[str, str], PicksEntry] = {}
        for entry in entries:
            other = first.setdefault((entry.run, entry.object), entry)
            if other is not entry:
                likely = min(other, entry, key=lambda candidate: candidate.user == OWN_USER)
                raise PicksError(
                    f"{self.path}: run {entry.run}",
                    f"has several picks of '{entry.object}': {other.uri} and {entry.uri}",
                    f"say which, e.g. '*:{likely.user}/{likely.session}'",
                )
