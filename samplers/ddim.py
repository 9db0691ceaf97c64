"""Deterministic sampling and its inversion (Song et al. 2021, "DDIM"), and the noisy steps."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from samplers.noise import posterior_mean
from samplers.prior import Prior
from samplers.trajectory import Visit, Watcher, descent, everywhere, unwatched

# The noise that is predicted at latents and a time.
Predict = Callable[[Tensor, int], Tensor]


def ddim_step(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    t: Int64[Tensor, " B"],
    to: Int64[Tensor, " B"],
    noise: Float[Tensor, "B C h w"],
) -> Float[Tensor, "B C h w"]:
    """From ``t`` to the time ``to``, earlier or (inversion) later, along the predicted ``noise``.

    Times may differ between images. DDIM, Eq. 12 with sigma = 0.
    """
    alpha, sigma = prior.alpha_sigma(to)
    return alpha * posterior_mean(prior, z_t, t, noise) + sigma * noise


def stochastic_step(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    t: int,
    to: int,
    noise: Float[Tensor, "B C h w"],
    eta: float,
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B 1 1 1"]]:
    """Mean and deviation of the latents at ``to``, earlier than ``t``. DDIM, Eq. 12 and 16.

    ``eta`` is 0 for DDIM and 1 for DDPM's ancestral sampling.
    """
    deviation = eta * posterior_deviation(prior, t, to, z_t)
    mean = posterior_mean(prior, z_t, everywhere(t, z_t), noise)
    alpha, sigma = prior.alpha_sigma(everywhere(to, z_t))
    return alpha * mean + (sigma**2 - deviation**2).clamp_min(0).sqrt() * noise, deviation


def posterior_deviation(prior: Prior, t: int, to: int, like: Tensor) -> Float[Tensor, "B 1 1 1"]:
    """Standard deviation of z_to given z_t and z in the Markov chain of the forward process."""
    alpha, sigma = prior.alpha_sigma(everywhere(t, like))
    alpha_to, sigma_to = prior.alpha_sigma(everywhere(to, like))
    beta = sigma**2 - (alpha / alpha_to) ** 2 * sigma_to**2
    return beta.clamp_min(0).sqrt() * sigma_to / sigma


def sample_ddim(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    times: Sequence[int],
    predict: Predict,
    watch: Watcher = unwatched,
) -> Float[Tensor, "B C h w"]:
    """From the last of ``times`` down to the first.

    Args:
        prior: whose noise schedule it is.
        z_t: latents at the last time.
        times: ascending.
        predict: called with latents and time.
        watch: sees every step, and may change the latents.
    """
    for step, (t, to) in enumerate(descent(times), 1):
        noise = predict(z_t, t)
        here, there = everywhere(t, z_t), everywhere(to, z_t)
        mean = posterior_mean(prior, z_t, here, noise)
        z_t = ddim_step(prior, z_t, here, there, noise)
        z_t = watch(Visit(step, len(times) - 1, to, z_t, mean))
    return z_t


def invert_ddim(
    prior: Prior,
    z: Float[Tensor, "B C h w"],
    times: Sequence[int],
    predict: Predict,
    iterations: int = 1,
    watch: Watcher = unwatched,
) -> Float[Tensor, "B S_plus_1 C h w"]:
    """The trajectory whose sampling ends at ``z``: latents at all ``times``, the first of them z.

    The step from t to the next time asks for the noise at that later time, of latents that are not
    known there. The first of ``iterations`` takes those at t for them, which is DDIM inversion, and
    each further one what the last has found: to the fixed point, from which a step of DDIM leads
    back exactly (Meiri et al. 2023, "Fixed-point inversion for text-to-image diffusion models").
    """
    trajectory = [z]
    for step, (t, to) in enumerate(pairwise(times), 1):
        here, there = everywhere(t, z), everywhere(to, z)
        found = trajectory[-1]
        for _ in range(iterations):
            noise = predict(found, to)
            found = ddim_step(prior, trajectory[-1], here, there, noise)
        mean = posterior_mean(prior, found, there, noise)
        trajectory.append(watch(Visit(step, len(times) - 1, to, found, mean, sampling=False)))
    return torch.stack(trajectory, 1)


def sample_ancestral(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    times: Sequence[int],
    predict: Predict,
    draw: Callable[[int], Tensor],
    eta: float,
    watch: Watcher = unwatched,
) -> Float[Tensor, "B C h w"]:
    """From the last of ``times`` down to the first, with noise in between.

    Arguments as for :func:`sample_ddim`; ``draw`` is called with 0, 1, ... for the noise of every
    step, and ``eta`` is that of :func:`stochastic_step`.
    """
    for step, (t, to) in enumerate(descent(times), 1):
        noise = predict(z_t, t)
        mean = posterior_mean(prior, z_t, everywhere(t, z_t), noise)
        centre, deviation = stochastic_step(prior, z_t, t, to, noise, eta)
        z_t = centre + deviation * draw(step - 1) if eta else centre
        z_t = watch(Visit(step, len(times) - 1, to, z_t, mean))
    return z_t
