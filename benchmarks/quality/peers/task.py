"""What all peers are given: the objects, the tomograms in memory, and where their particles are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import ProjectError
from cryofind.io import Project, TomogramEntry, open_project
from cryofind.types import ParticleSpec, Picks, VoxelGrid

Floats = NDArray[np.float64]
Volume = NDArray[np.float16]

# What networks are trained on; another spacing is another task, and none of the recipes resamples.
SPACING_TOLERANCE = 0.01


@dataclass(frozen=True)
class Task:
    """Particles to find, in channel order after the background, at one voxel spacing."""

    objects: tuple[ParticleSpec, ...]
    spacing_angstrom: float

    @property
    def channels(self) -> int:
        """Channels of a network: the background and the objects."""
        return len(self.objects) + 1

    @property
    def radii_voxels(self) -> Floats:
        """Radius of each object, voxels."""
        return np.array([spec.particle_radius_angstrom for spec in self.objects]) / self.spacing_angstrom

    def by_object(self, values: dict[str, float], *, default: float = 1.0) -> tuple[float, ...]:
        """Return a value for every object, in channel order."""
        return tuple(values.get(spec.name, default) for spec in self.objects)


@dataclass(frozen=True, eq=False)
class Run:
    """A tomogram, its grey values of mean 0 and standard deviation 1, and its particles.

    Parameters
    ----------
    volume_zyx
        float16: half the memory, and finer than the noise.
    picks
        True picks of the run.
    indices_zyx
        Fractional voxel indices of the particles, shape (N, 3).
    labels
        Channel of each, 1 for the first object.
    """

    name: str
    volume_zyx: Volume
    grid: VoxelGrid
    picks: Picks
    indices_zyx: Floats
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Tomograms of one flavour of a project, read one by one."""

    project: Project
    entries: tuple[TomogramEntry, ...]

    @classmethod
    def open(cls, path: Path, flavour: str) -> "Source":
        """Return the tomograms of a flavour; a voxel spacing in copick's grammar may follow it."""
        project = open_project(path)
        return cls(project, project.select_tomograms(flavour))

    @cached_property
    def task(self) -> Task:
        """The objects of the project at the voxel spacing of its first tomogram."""
        objects = tuple(spec for spec in self.project.objects if spec.is_particle)
        if not (objects and self.entries):
            raise ProjectError(self.project.path, "names no particles or no tomograms", "give a copick project")
        return Task(objects, self.entries[0].read_grid().spacing_angstrom)

    def read(self, entry: TomogramEntry, task: Task) -> Run:
        """Return a run, normalised.

        Raises
        ------
        ProjectError
            If its voxel spacing is not the task's.
        """
        tomogram = entry.read()
        if abs(tomogram.grid.spacing_angstrom / task.spacing_angstrom - 1) > SPACING_TOLERANCE:
            problem = f"has {tomogram.grid.spacing_angstrom:.3f} A per voxel, expected {task.spacing_angstrom:.3f}"
            raise ProjectError(entry.path, problem, "give projects of one voxel spacing")
        picks = self.read_picks(entry.run, task)
        names = [spec.name for spec in task.objects]
        labels = np.array([names.index(name) + 1 for name in picks.objects], np.int64)
        indices = tomogram.grid.indices_from_positions(picks.positions_zyx_angstrom)
        return Run(entry.run, standardise(tomogram.volume_zyx), tomogram.grid, picks, indices, labels)

    def read_picks(self, run: str, task: Task) -> Picks:
        """Return the true picks of a run; none where the project has none."""
        known = {spec.name for spec in task.objects}
        entries = [entry for entry in self.project.picks_entries if entry.run == run and entry.object in known]
        return Picks.concatenate(entry.read() for entry in entries)


def standardise(volume_zyx: NDArray[np.generic]) -> Volume:
    """Return the tomogram with mean 0 and standard deviation 1, as every one of the recipes does."""
    volume = np.asarray(volume_zyx, np.float32)
    mean, deviation = volume.mean(dtype=np.float64), volume.std(dtype=np.float64)
    # A decade beyond any grey value of a protein; gold beads must not become infinite.
    return np.clip((volume - np.float32(mean)) / np.float32(max(deviation, 1e-30)), -100, 100).astype(np.float16)


def read_training_runs(paths: Sequence[Path], flavours: Sequence[str], task: Task) -> list[Run]:
    """Return all runs of the projects in all flavours.

    Raises
    ------
    ProjectError
        If a project names other objects than the task.
    """
    runs = []
    for path in paths:
        for flavour in flavours:
            source = Source.open(path, flavour)
            if [spec.name for spec in source.task.objects] != [spec.name for spec in task.objects]:
                raise ProjectError(path, "names other objects than the other projects", "give projects of one kind")
            runs += [source.read(entry, task) for entry in source.entries]
    return runs
