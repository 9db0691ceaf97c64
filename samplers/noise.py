"""How the noise of one optimisation step is chosen, independent of the distillation method.

Notation of the IDS paper, "Identity-preserving Distillation Sampling by Fixed-Point Iterator":
``z`` source latents, ``z_t = alpha z + sigma e`` (Eq. 1, where alpha is written sqrt(alpha_t)),
``z_{0|t} = (z_t - sigma E(z_t)) / alpha`` the posterior mean (Tweedie, Eq. 5), E the guided noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from samplers.checks import flag, number, whole
from samplers.prior import Condition, Prior
from samplers.random import randn

Distance = Literal["l2", "l1", "ssim"]
Variable = Literal["z_t", "noise"]
Gradient = Literal["exact", "jacobian_free", "picard"]


@runtime_checkable
class NoiseStrategy(Protocol):
    """Chooses the noise that is added to source and target latents alike."""

    def __call__(
        self,
        prior: Prior,
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        *,
        guidance: float,
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        """Noise for the source latents ``z`` and the source condition at ``t``."""
        ...


@dataclass(frozen=True)
class RandomNoise:
    """Independent standard normal noise (SDS, DDS)."""

    def __call__(
        self,
        prior: Prior,
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        *,
        guidance: float,
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        return randn(z.shape, generators, z.device, z.dtype)


@dataclass(frozen=True)
class FixedPointNoise:
    """Noise whose posterior mean is the source: fixed-point regularization (IDS, Algorithm 1).

    The residual is z_{0|t} - z. How an iteration reduces it is a choice of ``gradient``:

    - ``exact``, the paper's: along the gradient of the distance, through the network. One guided
      prediction and one backward pass through it, with respect to its input only.
    - ``jacobian_free``, ours: the same without the network's own derivative, so that the gradient
      of the Euclidean norm is the residual over alpha and its norm. One prediction.
    - ``picard``, ours: where the residual is zero the prediction is the noise, so the prediction
      becomes the noise. One prediction; no lambda. With ``anderson`` the last iterates are combined
      so that their residuals cancel best (Walker and Ni 2011).

    Attributes:
        iterations: N of the paper.
        step_size: lambda of the paper.
        distance: d of Eq. 6, per image; see :func:`distance`.
        variable: what is moved, the noisy latent (the paper) or the noise (its Fig. S1).
        gradient: see above; only ``exact`` knows other distances and variables than the paper's.
        anderson: how many earlier iterates ``picard`` combines, 0 for none.
        early_stop: an image whose residual no longer falls keeps the noise with the least; what the
            last iteration makes is not evaluated any more.

    Raises:
        ValueError: for a number that is negative or none, an unknown distance, variable or
            gradient, or a combination that there is not.
    """

    iterations: int = 3
    step_size: float | int = 1.0
    distance: Distance = "l2"
    variable: Variable = "z_t"
    gradient: Gradient = "exact"
    anderson: int = 0
    early_stop: bool = False

    def __post_init__(self) -> None:
        whole("iterations", self.iterations, least=0)
        number("step_size", self.step_size, least=0)
        flag("early_stop", self.early_stop)
        if self.distance not in get_args(Distance):
            raise ValueError(f"distance must be l2, l1 or ssim, got {self.distance!r}")
        if self.variable not in get_args(Variable):
            raise ValueError(f"variable must be z_t or noise, got {self.variable!r}")
        if self.gradient not in get_args(Gradient):
            names = ", ".join(get_args(Gradient))
            raise ValueError(f"gradient must be one of {names}, got {self.gradient!r}")
        if self.gradient != "exact" and (self.distance, self.variable) != ("l2", "z_t"):
            raise ValueError(f"gradient={self.gradient} takes distance=l2 and variable=z_t only")
        if self.gradient == "picard" and self.step_size != 1:
            raise ValueError(f"step_size={self.step_size} cannot be used with gradient=picard")
        if whole("anderson", self.anderson, least=0) and self.gradient != "picard":
            raise ValueError(f"anderson={self.anderson} cannot be used without gradient=picard")

    def __call__(
        self,
        prior: Prior,
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        *,
        guidance: float,
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        noise = randn(z.shape, generators, z.device, z.dtype)
        alpha, sigma = prior.alpha_sigma(t)
        z_t = alpha * z + sigma * noise  # Eq. 1
        if self.early_stop:
            z_t = self.stop_early(prior, z_t, z, t, condition, guidance)
            return (z_t - alpha * z) / sigma
        history: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.iterations):
            z_t, _ = self.move(prior, z_t, z, t, condition, guidance, history)
        return (z_t - alpha * z) / sigma

    def stop_early(
        self,
        prior: Prior,
        z_t: Float[Tensor, "B C h w"],
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float,
    ) -> Float[Tensor, "B C h w"]:
        """The iterations, each of those images only whose residual still falls."""
        best, rows = z_t, torch.arange(len(z), device=z.device)
        least = z_t.new_full((len(z),), math.inf)
        history: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.iterations):
            now = z_t[rows]
            moved, residual = self.move(
                prior, now, z[rows], t[rows], condition[rows], guidance, history
            )
            falls = residual < least[rows]
            z_t = z_t.index_copy(0, rows[~falls], best[rows[~falls]])
            rows = rows[falls]
            best, least = best.index_copy(0, rows, now[falls]), least.clone()
            least[rows] = residual[falls]
            z_t = z_t.index_copy(0, rows, moved[falls])
            history = [(noise[falls], change[falls]) for noise, change in history]
            if not len(rows):
                break
        return z_t

    def move(
        self,
        prior: Prior,
        z_t: Float[Tensor, "B C h w"],
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float,
        history: list[tuple[Tensor, Tensor]],
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"]]:
        """One iteration: where ``z_t`` goes, and the distance that it came from."""
        alpha, sigma = prior.alpha_sigma(t)
        if self.gradient == "exact":
            # d z_t / d noise = sigma, so moving the noise by lambda times its own gradient moves
            # z_t by sigma^2 lambda times the gradient with respect to z_t.
            rate = self.step_size if self.variable == "z_t" else self.step_size * sigma**2
            gradient, loss = self.differentiate(prior, z_t, z, t, condition, guidance)
            return z_t - rate * gradient, loss  # Eq. 7
        predicted = prior.predict_noise(z_t, t, condition, guidance)
        residual = posterior_mean(prior, z_t, t, predicted) - z
        norm = torch.linalg.vector_norm(residual.flatten(1), dim=1)
        if self.gradient == "jacobian_free":
            length = alpha * norm.clamp_min(1e-12)[:, None, None, None]
            return z_t - self.step_size * residual / length, norm
        noise = (z_t - alpha * z) / sigma
        history.append((noise, predicted - noise))
        return alpha * z + sigma * anderson_mix(history[-1 - self.anderson :]), norm

    def differentiate(
        self,
        prior: Prior,
        z_t: Float[Tensor, "B C h w"],
        z: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float,
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"]]:
        """Exact gradient of d(z_{0|t}, z) with respect to ``z_t``, through the network; and d."""
        with torch.enable_grad():
            z_t = z_t.detach().requires_grad_()
            noise = prior.predict_noise(z_t, t, condition, guidance)
            loss = distance(posterior_mean(prior, z_t, t, noise), z, self.distance)  # Eq. 6
            # a sum over images that do not see each other: every image gets its own gradient
            (gradient,) = torch.autograd.grad(loss.sum(), z_t)
        return gradient, loss.detach()


def anderson_mix(history: Sequence[tuple[Tensor, Tensor]]) -> Float[Tensor, "B C h w"]:
    """The next iterate from the last ones, (x, f(x) - x) each, oldest first (Walker and Ni 2011).

    Per image, the combination of the iterates whose residuals come nearest to zero; with one
    iterate alone, f(x).
    """
    x, residual = history[-1]
    if len(history) == 1:
        return x + residual
    steps = torch.stack([x - before for before, _ in history[:-1]], -1).flatten(1, 3)
    changes = torch.stack([residual - before for _, before in history[:-1]], -1).flatten(1, 3)
    # Normal equations, a little damped: iterates that hardly differ must not blow up.
    gram = changes.mT @ changes
    damping = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-12
    right = changes.mT @ residual.flatten(1)[..., None]
    weights = torch.linalg.solve_ex(gram + damping * torch.eye(gram.shape[1]).to(gram), right)[0]
    correction = ((steps + changes) @ weights).view_as(x)
    return x + residual - correction


def posterior_mean(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    t: Int64[Tensor, " B"],
    noise: Float[Tensor, "B C h w"],
) -> Float[Tensor, "B C h w"]:
    """Tweedie's estimate of the clean latents, E[z | z_t] (IDS, Eq. 5)."""
    alpha, sigma = prior.alpha_sigma(t)
    return (z_t - sigma * noise) / alpha


def distance(
    x: Float[Tensor, "B C h w"], z: Float[Tensor, "B C h w"], kind: Distance
) -> Float[Tensor, " B"]:
    """Distance of ``x`` from the reference ``z``, one number per image.

    ``l2`` is the Euclidean norm, not squared. The paper does not give the scale of the other two;
    here they are scaled with n = C h w so that one lambda serves all three: ``l1`` is the sum of
    absolute differences over sqrt(n) (its gradient has norm 1, as that of ``l2``), ``ssim`` is
    sqrt(n) (1 - SSIM).
    """
    if kind == "l2":
        return torch.linalg.vector_norm((x - z).flatten(1), dim=1)
    root = math.sqrt(x[0].numel())
    if kind == "l1":
        return (x - z).flatten(1).abs().sum(1) / root
    return root * (1 - ssim(x, z))


def ssim(x: Float[Tensor, "B C h w"], z: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """Structural similarity per image (Wang et al. 2004, Eq. 13), on any value range.

    Gaussian window of 11 elements and width 1.5, K1 = 0.01, K2 = 0.03; borders are mirrored, and
    the window shrinks where a latent is too small to mirror. The data range is that of ``z``.
    """
    channels, size = x.shape[1], min(11, 2 * min(x.shape[-2:]) - 1)
    offsets = torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2
    line = torch.softmax(-(offsets**2) / (2 * 1.5**2), dim=0)
    window = (line[:, None] * line).expand(channels, 1, size, size)

    def blur(values: Tensor) -> Tensor:
        padded = F.pad(values, (size // 2,) * 4, mode="reflect")
        return F.conv2d(padded, window, groups=channels)

    # a constant reference has no range; any positive number keeps the quotient finite
    span = (z.flatten(1).amax(1) - z.flatten(1).amin(1)).clamp_min(1e-6)[:, None, None, None]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_z = blur(x), blur(z)
    var_x, var_z = blur(x * x) - mean_x**2, blur(z * z) - mean_z**2
    covariance = blur(x * z) - mean_x * mean_z
    luminance = (2 * mean_x * mean_z + c1) / (mean_x**2 + mean_z**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_z + c2)
    return (luminance * structure).flatten(1).mean(1)
