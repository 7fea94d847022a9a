"""Picks or label volumes, and a grid -> what a network is asked to say there."""

from cryofind.targets.draw import TrainingTarget, draw_targets
from cryofind.targets.labels import average_blocks, targets_from_labels
from cryofind.targets.regions import mark_near_picks

__all__ = ["TrainingTarget", "average_blocks", "draw_targets", "mark_near_picks", "targets_from_labels"]
