"""Priors whose score is known in closed form: Gaussian mixtures and finite sets of images.

Every prompt selects its own distribution p(z | y). No network, no training error, float64: what a
method computes can be compared with a formula. Latents are pictures here: z = 2 image - 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.errors import UserError
from samplers.prior import Condition, Prior, record_evaluations


def scaled_linear_alphas(num_timesteps: int = 1000) -> Float[Tensor, " T"]:
    """Cumulative alpha-bar of Stable Diffusion's schedule, float64, decreasing in (0, 1)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, num_timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


@dataclass(frozen=True)
class Mixture:
    """p(z) = sum_k weights_k N(means_k, variances_k I).

    Attributes:
        means: (K, C, h, w).
        variances: (K,), 0 for a delta function at the mean.
        weights: (K,), positive, summing to 1; equal weights if None.
    """

    means: Float[Tensor, "K C h w"]
    variances: Float[Tensor, " K"]
    weights: Float[Tensor, " K"] | None = None

    def log_weights(self) -> Float[Tensor, " K"]:
        if self.weights is None:
            return torch.full((len(self.means),), 1 / len(self.means)).to(self.means).log()
        return self.weights.log()


class GaussianMixturePrior(Prior):
    """Exact noise prediction of a Gaussian mixture per prompt.

    Args:
        mixtures: the distribution of each prompt, all of one latent shape. The empty prompt, the
            unconditional distribution, is the even mixture of all others unless it is given.
        alphas_cumprod: alpha-bar (T,), decreasing; alpha = sqrt(alpha-bar). Default: Stable
            Diffusion's schedule.
    """

    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(
        self,
        mixtures: Mapping[str, Mixture],
        alphas_cumprod: Float[Tensor, " T"] | None = None,
    ) -> None:
        mixtures = dict(mixtures)
        if "" not in mixtures:
            parts = list(mixtures.values())
            mixtures[""] = Mixture(
                torch.cat([part.means for part in parts]),
                torch.cat([part.variances for part in parts]),
                torch.cat([part.log_weights().exp() for part in parts]) / len(parts),
            )
        self.prompts = list(mixtures)
        components = max(len(mixture.means) for mixture in mixtures.values())
        shape = (len(mixtures), components)
        # Mixtures of fewer components are padded with components of weight 0.
        self.means = torch.zeros((*shape, *mixtures[""].means.shape[1:]), dtype=self.dtype)
        self.variances = torch.ones(shape, dtype=self.dtype)
        self.log_weights = torch.full(shape, -torch.inf, dtype=self.dtype)
        for row, mixture in enumerate(mixtures.values()):
            count = len(mixture.means)
            self.means[row, :count] = mixture.means.to(self.dtype)
            self.variances[row, :count] = mixture.variances.to(self.dtype)
            self.log_weights[row, :count] = mixture.log_weights().to(self.dtype)
        alphas = scaled_linear_alphas() if alphas_cumprod is None else alphas_cumprod
        self.alphas_cumprod = alphas.to(self.dtype)
        self.num_timesteps = len(alphas)

    def alpha_sigma(
        self, t: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
        alpha_bar = self.alphas_cumprod[t][:, None, None, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def predict_noise(
        self,
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float = 1.0,
    ) -> Float[Tensor, "B C h w"]:
        rows = condition.tensors["row"]
        if guidance == 1.0:
            return self.exact_noise(z_t, t, rows)
        null = torch.full_like(rows, self.prompts.index(""))
        noise = self.exact_noise(z_t.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([null, rows]))
        unconditional, conditional = noise.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def exact_noise(
        self, z_t: Float[Tensor, "B C h w"], t: Int64[Tensor, " B"], rows: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B C h w"]:
        """-sigma grad log p_t(z_t | y), with y given as a row of the table of mixtures.

        Component k of z_t is N(alpha mean_k, V_k I), V_k = alpha^2 v_k + sigma^2, so the noise is
        sigma sum_k r_k (z_t - alpha mean_k) / V_k with responsibilities r_k. For v_k = 0 this is
        Theorem 1 of "The Emergence of Reproducibility and Generalizability in Diffusion Models",
        with its s_t = alpha and s_t sigma_t = sigma.
        """
        z_t = record_evaluations(self, z_t)
        alpha, sigma = self.alpha_sigma(t)
        spread = alpha.flatten(1) ** 2 * self.variances[rows] + sigma.flatten(1) ** 2  # (B, K)
        residual = z_t[:, None] - alpha[:, None] * self.means[rows]  # (B, K, C, h, w)
        squared = residual.flatten(2).square().sum(2)
        size = z_t[0].numel()
        log_joint = self.log_weights[rows] - squared / (2 * spread) - size / 2 * spread.log()
        share = torch.softmax(log_joint, 1) / spread
        return sigma * torch.einsum("bk,bkchw->bchw", share, residual)

    def embed(self, prompts: list[str]) -> Condition:
        """Rows of the table of mixtures.

        Raises:
            UserError: for a prompt that has no mixture.
        """
        for prompt in prompts:
            if prompt not in self.prompts:
                known = ", ".join(repr(name) for name in self.prompts)
                raise UserError(f"This exact prior has no prompt {prompt!r}; it knows {known}.")
        rows = torch.tensor([self.prompts.index(prompt) for prompt in prompts], dtype=torch.int64)
        return Condition(tuple(prompts), {"row": rows})

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        return 2 * images.to(self.dtype) - 1

    def decode(self, latents: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        return ((latents + 1) / 2).clamp(0, 1)


class FiniteSetPrior(GaussianMixturePrior):
    """Exact noise prediction of a finite set of latents per prompt (a sum of delta functions).

    Args:
        latents: the latents (K, C, h, w) of each prompt, equally likely.
        alphas_cumprod: as for :class:`GaussianMixturePrior`.
    """

    def __init__(
        self,
        latents: Mapping[str, Float[Tensor, "_ C h w"]],
        alphas_cumprod: Float[Tensor, " T"] | None = None,
    ) -> None:
        mixtures = {
            prompt: Mixture(points, torch.zeros(len(points), dtype=self.dtype))
            for prompt, points in latents.items()
        }
        super().__init__(mixtures, alphas_cumprod)
