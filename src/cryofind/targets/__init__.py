"""Picks or label volumes, and a grid -> what a network is asked to say there."""

from cryofind.targets.draw import TrainingTarget, draw_targets
from cryofind.targets.labels import targets_from_labels
from cryofind.targets.regions import mark_near_picks

__all__ = ["TrainingTarget", "draw_targets", "mark_near_picks", "targets_from_labels"]
