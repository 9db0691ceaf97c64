"""DDS, CDS and IDS as their papers write them down: what the speed of the toolkit is measured by.

One image at a time, conditional and unconditional predictions one after the other, source and
target one after the other. CDS sends the target through the network once for its score and once
more for its features, as the reference implementation does.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from editing.attention import recorded
from editing.distillers.cds import as_grid, patch_nce
from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior, PromptPair

Latent = Float[Tensor, "1 C h w"]


def guided(prior: Prior, z_t: Latent, t: Int64[Tensor, " 1"], y: Condition, g: float) -> Latent:
    """E(z_t, y), from two calls of the network."""
    unconditional = prior.predict_noise(z_t, t, prior.null(1))
    return unconditional + g * (prior.predict_noise(z_t, t, y) - unconditional)


@torch.no_grad()
def dds(
    prior: Prior,
    target: Latent,
    source: Latent,
    prompts: PromptPair,
    t: Int64[Tensor, " 1"],
    e: Latent,
    g: float,
) -> Latent:
    """E(z'_t, y') - E(z_t, y)."""
    alpha, sigma = prior.alpha_sigma(t)
    of_target = guided(prior, alpha * target + sigma * e, t, prompts.target, g)
    return of_target - guided(prior, alpha * source + sigma * e, t, prompts.source, g)


def ids(
    prior: Prior,
    target: Latent,
    source: Latent,
    prompts: PromptPair,
    t: Int64[Tensor, " 1"],
    e: Latent,
    g: float,
) -> Latent:
    """Three iterations of Algorithm 1, then DDS."""
    alpha, sigma = prior.alpha_sigma(t)
    z_t = alpha * source + sigma * e
    for _ in range(3):
        z_t = z_t.detach().requires_grad_()
        mean = posterior_mean(prior, z_t, t, guided(prior, z_t, t, prompts.source, g))
        loss = torch.linalg.vector_norm(mean - source)
        z_t = z_t - torch.autograd.grad(loss, z_t)[0]
    corrected = (z_t.detach() - alpha * source) / sigma
    return dds(prior, target, source, prompts, t, corrected, g)


def cds(
    prior: Prior,
    target: Latent,
    source: Latent,
    prompts: PromptPair,
    t: Int64[Tensor, " 1"],
    e: Latent,
    g: float,
) -> Latent:
    """DDS, and the gradient of the contrast from another pass of the target."""
    alpha, sigma = prior.alpha_sigma(t)
    modules = prior.self_attention  # type: ignore[attr-defined]
    with recorded(modules) as features:
        delta = dds(prior, target, source, prompts, t, e, g)
    of_source = features[-len(modules) :]  # the last call is the source's, with its prompt
    leaf = target.detach().requires_grad_()
    with recorded(modules) as again:
        guided(prior, alpha * leaf + sigma * e, t, prompts.target, g)
    loss = torch.zeros((), device=target.device)
    for x, y in zip(again[-len(modules) :], of_source, strict=True):
        grids = [as_grid(f.float(), target.shape[-2:]) for f in (x, y)]
        for side in (1, 2):
            key, query = (F.avg_pool2d(grid, side).flatten(2).mT for grid in grids)
            rows = torch.randperm(key.shape[1])[:256].to(key.device)
            loss = loss + patch_nce(query[:, rows], key[:, rows], 0.07).sum()
    (pull,) = torch.autograd.grad(loss, leaf)
    return delta + 3.0 * target.shape[-2:].numel() / 2000 * pull


TEXTBOOK: dict[str, Callable[..., Tensor]] = {"dds": dds, "cds": cds, "ids": ids}
