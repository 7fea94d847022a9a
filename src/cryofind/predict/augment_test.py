"""Views of a block under which a particle stays a particle: flips and quarter turns in the plane of the sample.

z is never mixed with x or y: the missing wedge and the thickness of the sample set it apart.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class View:
    """A flip along x, then quarter turns in the xy plane.

    Parameters
    ----------
    quarter_turns
        Number of turns by 90 degrees, 0 to 3.
    flips_x
        Whether x is flipped first.
    """

    quarter_turns: int = 0
    flips_x: bool = False

    def apply(self, block: torch.Tensor) -> torch.Tensor:
        """Return the view of a tensor (..., z, y, x)."""
        flipped = block.flip(-1) if self.flips_x else block
        return torch.rot90(flipped, self.quarter_turns, dims=(-2, -1)) if self.quarter_turns else flipped

    def undo(self, block: torch.Tensor) -> torch.Tensor:
        """Return the tensor (..., z, y, x) that `apply` turned into `block`."""
        turned = torch.rot90(block, -self.quarter_turns, dims=(-2, -1)) if self.quarter_turns else block
        return turned.flip(-1) if self.flips_x else turned


IDENTITY = View()
HALF_TURN = View(quarter_turns=2)
FLIP_X = View(flips_x=True)
FLIP_Y = View(quarter_turns=2, flips_x=True)

# Up to four views leave the tilt axis along y; only the eight turn it.
_VIEWS = {
    1: (IDENTITY,),
    2: (IDENTITY, HALF_TURN),
    4: (IDENTITY, HALF_TURN, FLIP_X, FLIP_Y),
    8: tuple(View(turns, flips) for flips in (False, True) for turns in range(4)),
}


def choose_views(count: int) -> tuple[View, ...]:
    """Return 1, 2, 4 or 8 views, the identity first."""
    return _VIEWS[count]
