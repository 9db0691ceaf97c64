"""DDS, CDS and IDS as their papers write them down: what the speed of the toolkit is measured by.

One image at a time, conditional and unconditional predictions one after the other, source and
target one after the other. CDS sends the target through the network once for its score and once
more for its features, as the reference implementation does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from editing.attention import recorded
from editing.distillers import CDS, DDS, IDS, ScoreDistiller
from editing.distillers.cds import as_grid, patch_nce
from samplers.noise import FixedPointNoise, RandomNoise, posterior_mean
from samplers.prior import Condition, Prior, PromptPair

Latent = Float[Tensor, "1 C h w"]


@dataclass(frozen=True)
class Step:
    """What a method is given for one step of one image.

    Attributes:
        prior: the model.
        target: z', the latents that are edited.
        source: z, those they come from.
        prompts: y and y'.
        t: the timestep.
        e: the noise.
        guidance: of every prediction.
    """

    prior: Prior
    target: Latent
    source: Latent
    prompts: PromptPair
    t: Int64[Tensor, " 1"]
    e: Latent
    guidance: float

    def noisy(self, z: Latent, e: Latent) -> Latent:
        """z_t = alpha z + sigma e."""
        alpha, sigma = self.prior.alpha_sigma(self.t)
        return alpha * z + sigma * e

    def guided(self, z_t: Latent, y: Condition) -> Latent:
        """E(z_t, y), from two calls of the network."""
        unconditional = self.prior.predict_noise(z_t, self.t, self.prior.null(1))
        conditional = self.prior.predict_noise(z_t, self.t, y)
        return unconditional + self.guidance * (conditional - unconditional)


@torch.no_grad()
def dds(step: Step) -> Latent:
    """E(z'_t, y') - E(z_t, y)."""
    of_target = step.guided(step.noisy(step.target, step.e), step.prompts.target)
    return of_target - step.guided(step.noisy(step.source, step.e), step.prompts.source)


def ids(step: Step) -> Latent:
    """Three iterations of Algorithm 1, then DDS."""
    z_t = step.noisy(step.source, step.e)
    for _ in range(3):
        z_t = z_t.detach().requires_grad_()
        predicted = step.guided(z_t, step.prompts.source)
        mean = posterior_mean(step.prior, z_t, step.t, predicted)
        loss = torch.linalg.vector_norm(mean - step.source)
        z_t = z_t - torch.autograd.grad(loss, z_t)[0]
    alpha, sigma = step.prior.alpha_sigma(step.t)
    return dds(replace(step, e=(z_t.detach() - alpha * step.source) / sigma))


def cds(step: Step) -> Latent:
    """DDS, and the gradient of the contrast from another pass of the target."""
    modules, size = step.prior.self_attention, step.target.shape[-2:]  # type: ignore[attr-defined]
    with recorded(modules) as features:
        delta = dds(step)
    of_source = features[-len(modules) :]  # the last call is the source's, with its prompt
    leaf = step.target.detach().requires_grad_()
    with recorded(modules) as again:
        step.guided(step.noisy(leaf, step.e), step.prompts.target)
    loss = torch.zeros((), device=leaf.device)
    for x, y in zip(again[-len(modules) :], of_source, strict=True):
        grids = [as_grid(f.float(), size) for f in (x, y)]
        for side in (1, 2):
            key, query = (F.avg_pool2d(grid, side).flatten(2).mT for grid in grids)
            rows = torch.randperm(key.shape[1])[:256].to(key.device)
            loss = loss + patch_nce(query[:, rows], key[:, rows], 0.07).sum()
    (pull,) = torch.autograd.grad(loss, leaf)
    return delta + 3.0 * size.numel() / 2000 * pull


def is_textbook(distiller: ScoreDistiller) -> bool:
    """Whether a distiller has the settings that are written down here."""
    if isinstance(distiller, CDS):
        return (
            isinstance(distiller.noise, RandomNoise)
            and (distiller.weight, distiller.temperature) == (3.0, 0.07)
            and (distiller.patches, distiller.patch_sizes) == (256, (1, 2))
        )
    expected = {DDS: RandomNoise(), IDS: FixedPointNoise()}.get(type(distiller))
    return (
        isinstance(distiller, DDS)
        and distiller.noise == expected
        and distiller.source_score == "network"
    )


TEXTBOOK: dict[str, Callable[[Step], Latent]] = {"dds": dds, "cds": cds, "ids": ids}
