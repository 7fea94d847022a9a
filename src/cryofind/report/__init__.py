"""Pictures of what was found."""

from cryofind.report.picture import draw_slices

__all__ = ["draw_slices"]
