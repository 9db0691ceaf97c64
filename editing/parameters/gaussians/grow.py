"""More Gaussians where they are missing, fewer where nothing is to be seen of them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.parameters.gaussians.scene import Gaussians
from editing.parameters.views import Cameras

FAINT = 0.01  # opacity below which a Gaussian is dropped
LARGE = 0.01  # of the scene's size: what is larger is split, what is smaller doubled
SHRINK = 1.6  # the halves of a Gaussian are so many times smaller


@dataclass
class Movement:
    """How far the loss would move Gaussians in the pictures (Kerbl et al. 2023, Sec. 5.2).

    Attributes:
        total: of each Gaussian, the length of the loss's gradient with respect to its place, in
            pictures as wide as their focal length; summed over the steps that saw it.
        seen: how many these are.
    """

    total: Float[Tensor, " N"]
    seen: Float[Tensor, " N"]

    @classmethod
    def none(cls, like: Gaussians) -> "Movement":
        """Of steps that were not taken yet."""
        zeros = torch.zeros_like(like.opacity_logits, requires_grad=False)
        return cls(zeros, zeros.clone())

    def add(self, gaussians: Gaussians, camera: Cameras) -> None:
        """Count a step, after the backward pass of the view of one camera."""
        gradients = gaussians.means.grad
        if gradients is None:
            return
        distances = (gaussians.means.detach() - camera.origins[0]).norm(dim=-1)
        lengths = gradients.norm(dim=-1) * distances
        self.total += lengths
        self.seen += lengths > 0

    def mean(self) -> Float[Tensor, " N"]:
        return self.total / self.seen.clamp(min=1)


def survivors(gaussians: Gaussians, cameras: Cameras, near: float | int) -> Int64[Tensor, " M"]:
    """Those neither faint nor within ``near`` of a camera, where views say that nothing is."""
    distances = torch.cdist(gaussians.means, cameras.origins.to(gaussians.means)).amin(1)
    return ((gaussians.opacities() > FAINT) & (distances >= near)).nonzero()[:, 0]


def divide(
    gaussians: Gaussians,
    movement: Float[Tensor, " N"],
    count: int,
    extent: float,
    generator: torch.Generator,
) -> tuple[Gaussians, Int64[Tensor, " M"]]:
    """``count`` more Gaussians (at most twice as many): two for each of those that moved most.

    Both are drawn from the one that they replace. Where that was large they are smaller; where it
    was not they share its opacity, 1 - (1 - a)^2 = opacity (Rota Bulo et al. 2024).

    Returns:
        The Gaussians, those divided at the end, and the rows of those that are left as they were.
    """
    order = movement.argsort(descending=True, stable=True)
    parents, rest = order[:count], order[count:].sort().values
    chosen = gaussians[parents.repeat(2)]
    noise = torch.randn(len(chosen), 3, 1, generator=generator).to(chosen.means)
    means = chosen.means + (chosen.axes() @ noise)[..., 0]
    large = chosen.log_scales.exp().amax(1) > LARGE * extent
    log_scales = chosen.log_scales - math.log(SHRINK) * large[:, None]
    opacities = chosen.opacities()
    shared = (1 - (1 - opacities).sqrt()).clamp(min=1e-4).logit()
    logits = torch.where(large, chosen.opacity_logits, shared)
    children = Gaussians(means, log_scales, chosen.quaternions, logits, chosen.harmonics)
    pairs = zip(gaussians[rest].tensors(), children.tensors(), strict=True)
    return Gaussians(*(torch.cat(pair) for pair in pairs)), rest
