"""Any prior as a rectified flow: x = z_t / (a + s) at the level sigma = s / (a + s) of the noise.

Then x = (1 - sigma) z + sigma e, as for a model that was trained so, and the velocity
dx / dsigma = E - z_{0|t} follows from the predicted noise E, whatever the network predicts.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior
from samplers.trajectory import everywhere


def flow_levels(prior: Prior, times: Sequence[int]) -> Float[Tensor, " n"]:
    """sigma of each time, on the prior's device."""
    alpha, sigma = prior.alpha_sigma(torch.tensor(times, device=prior.device))
    return (sigma / (alpha + sigma)).flatten()


def flow_scales(prior: Prior, times: Sequence[int]) -> Float[Tensor, " n"]:
    """z_t / x of each time, on the prior's device."""
    alpha, sigma = prior.alpha_sigma(torch.tensor(times, device=prior.device))
    return (alpha + sigma).flatten()


def velocities(
    prior: Prior,
    x: Float[Tensor, "N C h w"],
    t: int,
    conditions: Sequence[Condition],
    guidances: Sequence[float],
) -> tuple[list[Float[Tensor, "B C h w"]], list[Float[Tensor, "B C h w"]]]:
    """Guided velocities of several batches of latents, and the clean latents that they lead to.

    All are asked for in one call of the network.

    Args:
        prior: the model.
        x: the batches one after the other, in flow coordinates.
        t: their time.
        conditions: of each batch.
        guidances: of each batch; at 1 the empty prompt is not evaluated.
    """
    here = everywhere(t, x)
    alpha, sigma = prior.alpha_sigma(here)
    z_t = (alpha + sigma) * x
    batches = z_t.chunk(len(conditions))
    rows, texts = [], []
    for batch, condition, guidance in zip(batches, conditions, guidances, strict=True):
        rows += [batch] if guidance == 1.0 else [batch, batch]
        texts += [condition] if guidance == 1.0 else [prior.null(len(batch)), condition]
    stacked = torch.cat(rows)
    predicted = prior.predict_noise(stacked, everywhere(t, stacked), Condition.cat(texts))
    parts = list(predicted.chunk(len(rows)))
    found, means = [], []
    for batch, guidance in zip(batches, guidances, strict=True):
        noise = parts.pop(0)
        if guidance != 1.0:
            noise = noise + guidance * (parts.pop(0) - noise)
        mean = posterior_mean(prior, batch, here[: len(batch)], noise)
        found.append(noise - mean)
        means.append(mean)
    return found, means
