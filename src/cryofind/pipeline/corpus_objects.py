"""Which objects the annotated runs of several projects have in common."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cryofind.config import Config
from cryofind.errors import ProjectError
from cryofind.io import Project, TomogramEntry
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.labels import labelled_objects
from cryofind.types import ParticleSpec

logger = logging.getLogger("cryofind")


def choose_objects(
    projects: Sequence[Project],
    jobs: Sequence[tuple[int, Project, TomogramEntry]],
    selection: InputSelection,
    config: Config,
) -> tuple[ParticleSpec, ...]:
    """Return the objects that are annotated somewhere, in the order of their labels.

    Parameters
    ----------
    projects
        All projects.
    jobs
        Every annotated tomogram: the number of its project, the project, and where it is.
    selection, config
        Which annotation counts.

    Raises
    ------
    ProjectError
        If no object is annotated, or projects disagree on one.
    """
    from_labels = config.targets.kind == "labels"
    specs = _agree_on_objects(projects, labels_must_agree=from_labels)
    occurring: dict[int, set[str]] = {}
    for number, project, entry in jobs:
        found = (
            labelled_objects(project, entry, config)
            if from_labels
            else project.read_picks(selection.picks_uri, runs=(entry.run,)).object_names
        )
        occurring.setdefault(number, set()).update(found)
    anywhere = set().union(*occurring.values())
    kept = tuple(spec for spec in specs if spec.name in anywhere and (from_labels or spec.is_particle))
    for spec in specs:
        if spec not in kept:
            is_other = not spec.is_particle and not from_labels
            how = "no particle (targets.kind=labels learns labels)" if is_other else "not annotated"
            logger.info("%s: %s, left out of the model", spec.name, how)
    if not kept:
        raise ProjectError(projects[0].path, "annotates none of its objects", "add picks or labels of them")
    _warn_of_partly_annotated(projects, occurring, kept)
    return kept


def _warn_of_partly_annotated(
    projects: Sequence[Project], occurring: Mapping[int, set[str]], specs: Sequence[ParticleSpec]
) -> None:
    """Say which projects may teach the network that an object of another project is background."""
    for spec in specs:
        for number, names in occurring.items():
            if spec.name not in names:
                logger.warning(
                    "%s: not annotated in %s, whose crops teach that it is background; "
                    "if it occurs there, annotate it or take the loss off it (targets.annotated_region, "
                    "train.unlabelled_after)",
                    spec.name,
                    projects[number].path,
                )


def _agree_on_objects(projects: Sequence[Project], *, labels_must_agree: bool) -> tuple[ParticleSpec, ...]:
    by_name: dict[str, ParticleSpec] = {}
    for project in projects:
        for spec in project.objects:
            known = by_name.setdefault(spec.name, spec)
            if known.radius_angstrom != spec.radius_angstrom:
                problem = f"has radius {spec.radius_angstrom}, elsewhere {known.radius_angstrom}"
                raise ProjectError(f"{project.path}: object {spec.name}", problem, "make the projects agree")
            if labels_must_agree and known.label != spec.label:
                problem = f"has label {spec.label}, elsewhere {known.label}"
                raise ProjectError(f"{project.path}: object {spec.name}", problem, "make the projects agree")
    specs = sorted(by_name.values(), key=lambda spec: spec.label)
    if len({spec.label for spec in specs}) == len(specs):
        return tuple(specs)
    if labels_must_agree:
        raise ProjectError(projects[0].path, "two objects have the same label", "make the projects agree")
    # Picks name their object, so labels of several projects that clash can be numbered anew.
    return tuple(replace(spec, label=label) for label, spec in enumerate(specs, start=1))
