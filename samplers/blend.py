"""Local blending (Hertz et al. 2022, "Prompt-to-Prompt", section 4): a mask from attention.

Notation: ``R`` rows, ``H`` heads, ``P`` places, ``n`` tokens.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

SIDE = 16  # of the maps that the paper takes, for its pictures of 512 pixels


@dataclass
class WordMaps:
    """Cross-attention maps of words, summed over heads, layers and steps.

    Attributes:
        words: 1 for the tokens of a row's words, else 0.
    """

    words: Float[Tensor, "R n"]
    _sums: dict[int, Tensor] = field(default_factory=dict)

    def add(self, probabilities: Float[Tensor, "R H P n"]) -> None:
        """One more layer or step."""
        maps = torch.einsum("rhpn,rn->rp", probabilities.float(), self.words)
        places = maps.shape[1]
        self._sums[places] = self._sums.get(places, torch.zeros_like(maps)) + maps

    def mask(self, height: int, width: int, threshold: float) -> Bool[Tensor, "R 1 h w"]:
        """Where the words are seen, in latents of this height and width.

        That is where the sum, spread to its neighbours, is above ``threshold`` of its maximum. The
        maps are those whose size is nearest to 16 x 16. They spread by a 16th of the picture, as
        those do by one place in the authors' code.
        """
        places = min(self._sums, key=lambda places: abs(math.log(places / SIDE**2)))
        maps = self._sums[places].unflatten(1, (1, *grid(places, height, width)))
        radius = round(math.sqrt(places) / SIDE)
        spread = max_pool2d(maps, 2 * radius + 1, stride=1, padding=radius)
        large = interpolate(spread, (height, width))
        return large > threshold * large.amax((1, 2, 3), keepdim=True)


def grid(places: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of so many places in a UNet on latents of ``height`` x ``width``.

    Raises:
        ValueError: if no halving of the latents has so many.
    """
    while height * width > places:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != places:
        raise ValueError(f"{places} places are no level of a UNet")
    return height, width
