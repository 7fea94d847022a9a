"""Made-up data with a known truth, for tests, demonstrations and authors of plug-ins."""

from cryofind.testing.phantoms import Phantom, make_phantom, missing_wedge_mask
from cryofind.testing.projects import write_phantom, write_phantom_project

__all__ = ["Phantom", "make_phantom", "missing_wedge_mask", "write_phantom", "write_phantom_project"]
