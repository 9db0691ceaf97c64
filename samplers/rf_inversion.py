"""RF-Inversion (Rout et al. 2025): a flow that is led to noise, and from it back to the source."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number
from samplers.flow import flow_levels, flow_scales, velocities
from samplers.prior import Condition, Prior, PromptPair
from samplers.random import randn
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Visit,
    Watcher,
    descent,
    unwatched,
)


class RFInversion(TrajectoryMethod):
    """The unconditional flow, led towards noise on the way there and to the source on the way back.

    Made for flow models; runs on every prior, in the coordinates of :mod:`samplers.flow`. The way
    there does not see the source's prompt.

    Args:
        prior: see :class:`TrajectoryMethod`.
        steps: of the whole schedule.
        guidance: of the target.
        gamma: how much the way there is that to a given noise, 0 to 1.
        eta: how much the way back is that to the source, 0 to 1.
        stop: fraction of the steps back after which it no longer is; the paper's tau.
    """

    inverts_with: tuple[str, ...] = ("steps", "gamma")
    reads_source = False

    def __init__(
        self,
        prior: Prior,
        *,
        steps: int = 28,
        guidance: float | int = 3.5,
        gamma: float | int = 0.5,
        eta: float | int = 0.9,
        stop: float | int = 0.25,
    ) -> None:
        super().__init__(prior, steps=steps, guidance=guidance)
        self.gamma, self.eta = number("gamma", gamma, 0, 1), number("eta", eta, 0, 1)
        self.stop = number("stop", stop, 0, 1)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        noise, null = randn(z.shape, generators, z.device, z.dtype), self.prior.null(len(z))
        levels, scales = self.schedule(z)
        x = z / scales[self.times[0]]
        for step, (t, to) in enumerate(pairwise(self.times), 1):
            (velocity,), (mean,) = velocities(self.prior, x, t, [null], [1.0])
            led = (noise - x) / (1 - levels[t])
            velocity = velocity + self.gamma * (led - velocity)  # Eq. 8
            x = x + (levels[to] - levels[t]) * velocity
            watch(Visit(step, self.steps, to, scales[to] * x, mean, sampling=False))
        return Inversion({"noise": x, "latents": z})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        x, z = inversion["noise"], inversion["latents"]
        target = prompts.expand(len(x)).target
        levels, scales = self.schedule(x)
        source = z / scales[self.times[0]]
        for step, (t, to) in enumerate(descent(self.times), 1):
            (velocity,), (mean,) = velocities(self.prior, x, t, [target], [self.guidance])
            if step <= self.stop * self.steps:
                led = (x - source) / (levels[t] - levels[0])  # to t_0, where latents are clean
                velocity = velocity + self.eta * (led - velocity)  # Eq. 15
            x = x + (levels[to] - levels[t]) * velocity
            z_t = watch(Visit(step, self.steps, to, scales[to] * x, mean))
            x = z_t / scales[to]
        return z_t

    def schedule(self, like: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """By time: the level of the noise, and z_t / x."""
        found = (which(self.prior, self.times).to(like) for which in (flow_levels, flow_scales))
        levels, scales = (dict(zip(self.times, each, strict=True)) for each in found)
        return levels, scales
