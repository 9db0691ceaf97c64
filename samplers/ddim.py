"""Deterministic steps along a diffusion trajectory (Song et al. 2021, "DDIM")."""

from jaxtyping import Float, Int64
from torch import Tensor

from samplers.noise import posterior_mean
from samplers.prior import Prior


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
