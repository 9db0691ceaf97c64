"""What all score distillation methods share: drawing t, and handing a gradient to autograd."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from samplers.checks import number
from samplers.noise import NoiseStrategy, RandomNoise
from samplers.prior import Prior, PromptPair
from samplers.random import make_generators
from samplers.timesteps import TimestepSampler, UniformTimesteps


@dataclass(frozen=True)
class Distillation:
    """One evaluation of a method.

    Attributes:
        gradient: what the method adds up on the target latents, (B, C, h, w), no graph.
        t: the timestep of each image, (B,).
    """

    gradient: Float[Tensor, "B C h w"]
    t: Int64[Tensor, " B"]


class ScoreDistiller:
    """Turns target latents, source latents and prompts into a gradient on the target latents.

    A method overrides :meth:`gradient`. A distiller keeps nothing of a picture between calls.

    Args:
        prior: the model that is asked.
        noise: how the noise is chosen; independent noise by default.
        timesteps: how t is drawn; uniform by default.
        guidance: scale g of eps_uncond + g (eps_cond - eps_uncond). The IDS paper's omega (Eq. 2)
            is g - 1. No unit.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        noise: NoiseStrategy | None = None,
        timesteps: TimestepSampler | None = None,
        guidance: float | int = 7.5,
    ) -> None:
        self.prior = prior
        self.noise = RandomNoise() if noise is None else noise
        self.timesteps = UniformTimesteps() if timesteps is None else timesteps
        self.guidance = number("guidance", guidance, least=-math.inf)

    def __call__(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        generators: Sequence[torch.Generator] | None = None,
        progress: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Scalar loss whose gradient on ``target`` is exactly the method's.

        The value of the loss is half the squared norm of the gradient, summed over the images, in
        float32 for latents of less.

        Args:
            target: latents of the edit, with a graph to whatever is optimised.
            source: latents of the original.
            prompts: one pair per image, or one for all.
            generators: one per image. Without them, new ones are seeded from torch's global random
                state, so ``torch.manual_seed`` makes a loop of calls repeatable.
            progress: fraction of the optimisation that is done, in [0, 1].
        """
        gradient = self.distill(target, source, prompts, generators, progress).gradient
        surrogate = (gradient * target.to(gradient.dtype)).sum()
        return surrogate - surrogate.detach() + 0.5 * gradient.square().sum()

    @torch.no_grad()
    def distill(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        generators: Sequence[torch.Generator] | None = None,
        progress: float = 0.0,
    ) -> Distillation:
        """Draw t and evaluate the method; arguments as for calling the distiller.

        Raises:
            ValueError: if the numbers of images, prompts and generators do not fit.
        """
        if generators is None:
            seed = int(torch.randint(2**62, ()))
            generators = make_generators(seed, range(len(target)))
        if len(generators) != len(target):
            raise ValueError(f"{len(target)} images need as many generators, got {len(generators)}")
        t = self.draw_timesteps(generators, progress).to(target.device)
        target, source = widen(target.detach()), widen(source.detach())
        prompts = prompts.expand(len(target))
        return Distillation(self.gradient(target, source, prompts, t, generators), t)

    def draw_timesteps(
        self, generators: Sequence[torch.Generator], progress: float = 0.0
    ) -> Int64[Tensor, " B"]:
        """What the timestep sampler chooses; a method that cannot use every t overrides this."""
        return self.timesteps(self.prior.num_timesteps, generators, progress)

    def draw_noise(
        self,
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        """What the noise strategy chooses for the source, at the guidance of the source's score."""
        scale = self.source_guidance
        return self.noise(
            self.prior, source, t, prompts.source, guidance=scale, generators=generators
        )

    @property
    def source_guidance(self) -> float:
        """The scale at which the method asks for the source's score."""
        return self.guidance

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        """The method: its gradient on ``target``, per image and without a graph.

        Called without autograd, on float32 (or float64) latents. A method with a differentiable
        term makes a leaf of ``target`` under ``torch.enable_grad()`` and adds the term's gradient.
        A method with several noises calls :meth:`draw_noise` several times.
        """
        raise NotImplementedError


def widen(latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Half-precision latents as float32; float32 and float64 as they are."""
    return latents.to(torch.promote_types(latents.dtype, torch.float32))
