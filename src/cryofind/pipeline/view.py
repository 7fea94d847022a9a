"""`cryofind view`: what a path holds of one run, shown in a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.view_points import describe_objects, draw_picks, draw_truth, find_points, warn_of_outside
from cryofind.pipeline.view_subject import find_subject
from cryofind.pipeline.view_volumes import read_grey, read_probabilities, read_segmentations
from cryofind.view import LOOPBACK, Scene, ViewServer, open_server


@dataclass(frozen=True)
class ViewRequest:
    """What to look at.

    Parameters
    ----------
    path
        A result folder of `cryofind pick`, a project, an MRC file or an OME-Zarr folder.
    selection
        Which tomogram, and how to read it; of several runs the first.
    picks, truth
        A path to picks, or whose of the project's in copick's grammar; empty for what the path holds.
    objects
        `NAME:RADIUS_A` each: radii that nothing else states, or that are wrong.
    """

    path: Path
    selection: InputSelection = InputSelection()
    picks: str = ""
    truth: str = ""
    objects: tuple[str, ...] = ()


@contextmanager
def open_view(
    request: ViewRequest, *, host: str = LOOPBACK, port: int = 0, token: str | None = None
) -> Iterator[ViewServer]:
    """Show what is asked for until the context ends; the address of the page is the server's `url`.

    Parameters
    ----------
    request
        What to look at.
    host, port, token
        Where to listen, and the secret in the address; see `cryofind.view.open_server`.

    Raises
    ------
    CryofindError
        If the address cannot be used, or there is nothing to look at.
    """
    with open_server(host, port, token) as server:  # first, since it may fail and reading takes its time
        server.show(gather_scene(request))
        yield server


def gather_scene(request: ViewRequest) -> Scene:
    """Read what is asked for.

    Raises
    ------
    CryofindError
        If the tomogram, or what is shown with it, cannot be read.
    """
    subject = find_subject(request.path, request.selection)
    picks, truth = find_points(subject, picks=request.picks, truth=request.truth)
    specs = describe_objects(request.objects, picks, truth)
    tomogram = read_grey(subject)
    scene = Scene(
        f"{subject.run} {subject.tomogram.flavour}".strip(),
        tomogram,
        draw_picks(picks, specs),
        draw_truth(truth, specs),
        read_probabilities(subject),
        read_segmentations(subject),
    )
    warn_of_outside((*scene.picks, *scene.truth), tomogram.grid)
    return scene
