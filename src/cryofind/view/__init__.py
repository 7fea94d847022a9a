"""An interactive viewer of one tomogram and what was found in it: a scene, its drawing, and the server.

Needs the package neuroglancer (the extra `view`), which is imported when a viewer is opened.
"""

from cryofind.view.drawing import SCORE_DIGITS
from cryofind.view.grey import GreyScale, choose_grey_scale
from cryofind.view.scene import GreyVolume, Labels, Particles, Probability, Scene
from cryofind.view.server import LOOPBACK, ViewServer, is_loopback, open_server

__all__ = [
    "LOOPBACK",
    "SCORE_DIGITS",
    "GreyScale",
    "GreyVolume",
    "Labels",
    "Particles",
    "Probability",
    "Scene",
    "ViewServer",
    "choose_grey_scale",
    "is_loopback",
    "open_server",
]
