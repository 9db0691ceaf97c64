"""LPIPS (Zhang et al. 2018), and what stands in for it in the embedded world."""

from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.menagerie.classifier import AttributeClassifier, load_classifier
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics.base import MeanOverImages
from editing.errors import UserError

Net = Literal["alex", "vgg", "squeeze"]
FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


def load_lpips(net: Net = "alex") -> nn.Module:
    """The network of LPIPS 0.1.

    Raises:
        UserError: its backbone is not there and cannot be loaded; says which file goes where.
    """
    import lpips

    try:
        return lpips.LPIPS(net=net, verbose=False).eval().requires_grad_(False)
    except (URLError, OSError, RuntimeError) as error:
        path = Path(torch.hub.get_dir()) / "checkpoints" / FILES[net]
        raise UserError(
            f"LPIPS needs the backbone {net}, which cannot be loaded: put {FILES[net]} of "
            f"torchvision at {path}."
        ) from error


class LPIPS(MeanOverImages):
    """Mean LPIPS distance of pictures in [0, 1].

    Args:
        net: `alex`, `vgg` or `squeeze`.
        network: instead of the one that is loaded.

    Raises:
        UserError: see :func:`load_lpips`.
    """

    def __init__(self, net: Net = "alex", network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = load_lpips(net) if network is None else network

    @torch.no_grad()
    def values(self, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]) -> Tensor:
        return self.network(x, y, normalize=True).flatten()


def menagerie_distance(
    judge: AttributeClassifier, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, " B"]:
    """Distance of pictures in [0, 1] in the features of the Menagerie's classifier. Not LPIPS.

    As there, features of every layer are divided by their length at each place, and the squared
    differences are averaged over the places and summed over the layers; there are no learned
    weights. 0 for equal pictures, at most 4 a layer.
    """
    total = torch.zeros(len(x), device=x.device)
    a, b = 2 * x - 1, 2 * y - 1
    for layer in judge.trunk:
        a, b = layer(a), layer(b)
        if isinstance(layer, nn.SiLU):
            change = F.normalize(a, dim=1) - F.normalize(b, dim=1)
            total = total + change.square().sum(1).mean((1, 2))
    return total


class MenagerieDistance(MeanOverImages):
    """Mean of :func:`menagerie_distance`."""

    @cached_property
    def judge(self) -> AttributeClassifier:
        return load_classifier(EMBEDDED)

    @torch.no_grad()
    def values(self, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]) -> Tensor:
        return menagerie_distance(self.judge.to(x.device), x, y)
