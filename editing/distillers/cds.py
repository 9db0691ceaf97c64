"""Contrastive denoising score (Nam et al. 2024, "Contrastive Denoising Score")."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from editing.attention import recorded
from editing.distillers.base import ScoreDistiller
from samplers.attention import check_uncompiled
from samplers.checks import number, whole
from samplers.prior import Condition, Prior, PromptPair


class CDS(ScoreDistiller):
    """DDS plus patch-wise contrast between the self-attention of target and source.

    Each patch of the source's features shall be nearer to the target's patch in the same place than
    to the target's other patches; all self-attention outputs of the up blocks count, at the
    text-conditioned prediction. Costs 4 forward and 1 backward network evaluations per image: only
    the target's conditional prediction is differentiated, and it serves the score as well.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise``, ``timesteps`` and ``guidance`` are.
            Its ``self_attention`` lists the modules.
        weight: of the contrast, w_cut of the reference implementation.
        patches: how many patches of each picture are drawn, at most all.
        patch_sizes: sides of the patches in elements of the feature map, each averaged over.
        temperature: of the contrast.

    Raises:
        ValueError: for a prior that has no self-attention, or a compiled network.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        weight: float | int = 3.0,
        patches: int = 256,
        patch_sizes: Sequence[int] | int = (1, 2),
        temperature: float | int = 0.07,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        if not getattr(prior, "self_attention", ()):
            raise ValueError("the prior's network has no self-attention to contrast")
        self.modules: Sequence[nn.Module] = prior.self_attention  # type: ignore[attr-defined]
        check_uncompiled(prior, "cds")
        self.weight = number("weight", weight, least=0)
        self.temperature = number("temperature", temperature, least=1e-3)
        self.patches = whole("patches", patches, least=1)
        sides = [patch_sizes] if isinstance(patch_sizes, int) else patch_sizes
        self.patch_sizes = tuple(whole("patch_sizes", side, least=1) for side in sides)
        if not self.patch_sizes:
            raise ValueError("patch_sizes is empty: give at least one side")

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        noise = self.draw_noise(source, prompts, t, generators)
        alpha, sigma = self.prior.alpha_sigma(t)
        z_t, size = alpha * source + sigma * noise, source.shape[-2:]
        null = self.prior.null(len(target))
        with torch.enable_grad(), recorded(self.modules) as of_target:
            leaf = target.detach().requires_grad_()
            z_t_target = alpha * leaf + sigma * noise
            conditional = self.prior.predict_noise(z_t_target, t, prompts.target)
        with recorded(self.modules) as others:  # apart: nothing of this needs a graph
            rest = self.prior.predict_noise(
                torch.cat([z_t_target.detach(), z_t, z_t]),
                t.repeat(3),
                Condition.cat([null, null, prompts.source]),
            )
        of_source = [features.chunk(3)[2] for features in others]
        with torch.enable_grad():
            loss = self.contrast(of_target, of_source, size, generators)
            (pull,) = torch.autograd.grad(loss, leaf)
        null_target, null_source, predicted = rest.chunk(3)
        delta = conditional.detach() - predicted
        delta = self.guidance * delta + (1 - self.guidance) * (null_target - null_source)
        # The reference implementation adds the contrast to 2000 / (h w) times the score's loss.
        return delta + self.weight * size.numel() / 2000 * pull

    def contrast(
        self,
        of_target: Sequence[Float[Tensor, "B n c"]],
        of_source: Sequence[Float[Tensor, "B n c"]],
        size: torch.Size,
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, ""]:
        """The patch-NCE losses of all modules and patch sizes, summed over images too."""
        total = of_target[0].new_zeros((), dtype=torch.float32)
        for x, y in zip(of_target, of_source, strict=True):
            grids = [as_grid(features, size) for features in (x.float(), y.float())]
            for side in self.patch_sizes:
                side = min(side, *grids[0].shape[-2:])
                key, query = (F.avg_pool2d(grid, side).flatten(2).mT for grid in grids)
                if key.shape[1] > self.patches:
                    drawn = draw_patches(key.shape[1], self.patches, generators).to(key.device)
                    rows = drawn[..., None].expand(-1, -1, key.shape[2])
                    key, query = (patches.gather(1, rows) for patches in (key, query))
                total = total + patch_nce(query, key, self.temperature).sum()
        return total


def as_grid(features: Float[Tensor, "B n c"], size: torch.Size) -> Float[Tensor, "B c rows cols"]:
    """Tokens of a feature map as a picture; ``size`` is that of the latents, h and w.

    Raises:
        ValueError: if no repeated halving of the latents has so many elements.
    """
    for halvings in range(max(size).bit_length()):
        rows, cols = (math.ceil(side / 2**halvings) for side in size)
        if rows * cols == features.shape[1]:
            return features.mT.unflatten(2, (rows, cols))
    raise ValueError(f"{features.shape[1]} tokens are no map of {size[0]} x {size[1]} latents")


def draw_patches(
    count: int, most: int, generators: Sequence[torch.Generator]
) -> Int64[Tensor, "B k"]:
    """For each image, ``most`` of ``count`` places, none twice."""
    drawn = [torch.randperm(count, generator=g, device=g.device)[:most] for g in generators]
    return torch.stack([places.cpu() for places in drawn])


def patch_nce(
    query: Float[Tensor, "B k c"], key: Float[Tensor, "B k c"], temperature: float
) -> Float[Tensor, " B"]:
    """Cross-entropy of finding each query's own key among the keys of its image, the mean of k."""
    logits = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT / temperature
    labels = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.mT, labels, reduction="none").mean(1)
