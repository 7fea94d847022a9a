"""The card of a model that was trained before cards said what tomograms looked like."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cryofind.errors import ModelError, OutputError
from cryofind.io import fingerprint_volume, open_project
from cryofind.models import ModelCard, copy_with_card
from cryofind.pipeline.familiarity import learn_familiar
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picker import Picker, load_model
from cryofind.types import Tomogram


def record_familiar(
    model: str | Path, projects: Sequence[Path], out: Path, *, selection: InputSelection = InputSelection()
) -> ModelCard:
    """Write a copy of a model whose card says what the tomograms look like that it learned from; return the card.

    Parameters
    ----------
    model
        Name or folder of a model; the weights stay as they are.
    projects
        Where the tomograms are that it learned from. Only those that the card names, recognised by their voxels, count.
    out
        A new folder.
    selection
        How to read them.

    Raises
    ------
    ModelError
        If the model is damaged or an ensemble, or no tomogram of the projects is one that it learned from.
    ProjectError, TomogramError, OutputError
        If a project or tomogram cannot be read, or the copy not be written.
    """
    if out.exists():
        raise OutputError(out, "is there already", "choose a new folder")
    picker = load_model(model)
    if len(picker.cards) > 1:
        raise ModelError(model, "is an ensemble", "give its members one by one")
    familiar = learn_familiar(picker.networks[0], _read_learned(picker, projects, selection))
    if not familiar:
        raise ModelError(model, "learned from none of the tomograms of these projects", "give those of its training")
    card = picker.card.model_copy(update={"familiar": familiar})
    copy_with_card(picker.folders[0], out, card)
    return card


def _read_learned(picker: Picker, projects: Sequence[Path], selection: InputSelection) -> Iterator[Tomogram]:
    learned = [run for run in picker.card.training_runs if run.role == "train"]
    hashes = {digest for run in learned for digest in run.volume_sha256}
    names = {run.run for run in learned}
    for path in projects:
        for entry in open_project(path).select_tomograms(selection.tomogram_uri):
            if entry.run not in names:
                continue  # not worth reading
            tomogram = entry.read(
                voxel_spacing_angstrom=selection.voxel_spacing_angstrom,
                allow_missing_chunks=selection.allow_missing_chunks,
            )
            if fingerprint_volume(tomogram.volume_zyx) in hashes:
                yield picker.prepare(tomogram, may_overwrite=True)
