"""FlowEdit (Kulikov et al. 2025): a path from source to target that needs no inversion."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number, whole
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
    partial_times,
    unwatched,
)


class FlowEdit(TrajectoryMethod):
    """Integrates the difference of the velocities of target and source, with fresh noise each step.

    Made for flow models; runs on every prior, in the coordinates of :mod:`samplers.flow`, from
    clean latents to clean ones. Defaults are the paper's for Stable Diffusion 3, with the shifted
    schedule that this model brings along.

    Args:
        prior: see :class:`TrajectoryMethod`.
        steps: T, of the whole schedule.
        guidance: of the target.
        source_guidance: of the source.
        strength: fraction of the schedule that is run, n_max / T.
        last: n_min, how many of these steps, the lowest, sample with the target's prompt alone.
        averages: n_avg, noises whose velocities are averaged.
    """

    inverts_with: tuple[str, ...] = ()

    def __init__(
        self,
        prior: Prior,
        *,
        steps: int = 50,
        guidance: float | int = 13.5,
        source_guidance: float | int = 3.5,
        strength: float | int = 0.66,
        last: int = 0,
        averages: int = 1,
    ) -> None:
        super().__init__(prior, steps=steps, guidance=guidance)
        self.source_guidance = number("source_guidance", source_guidance, least=-math.inf)
        self.strength = number("strength", strength, 0, 1)
        self.run = partial_times(self.times, self.strength)
        self.last = whole("last", last, 0, len(self.run) - 1)
        self.averages = whole("averages", averages, least=1)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        """Nothing but the source and its prompt is needed."""
        return Inversion({"latents": z})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        source = inversion["latents"]
        prompts, times = prompts.expand(len(source)), self.run
        levels = dict(zip(times, flow_levels(self.prior, times).to(source), strict=True))
        levels[times[0]] = torch.zeros_like(levels[times[0]])  # to the end, which t_0 may not be
        scales = dict(zip(times, flow_scales(self.prior, times).to(source), strict=True))
        scales[times[0]] = torch.ones_like(scales[times[0]])
        edit, x = source, None
        for step, (t, to) in enumerate(descent(times), 1):
            change, level = levels[to] - levels[t], levels[t]
            if step <= len(times) - 1 - self.last:
                moved, mean = torch.zeros_like(edit), torch.zeros_like(edit)
                for _ in range(self.averages):
                    noise = randn(source.shape, generators, source.device, source.dtype)
                    x_source = (1 - level) * source + level * noise
                    both = torch.cat([edit + x_source - source, x_source])
                    (of_target, of_source), (clean, _) = velocities(
                        self.prior,
                        both,
                        t,
                        [prompts.target, prompts.source],
                        [self.guidance, self.source_guidance],
                    )
                    moved = moved + (of_target - of_source) / self.averages
                    mean = mean + clean / self.averages
                edit = edit + change * moved  # Alg. 1
                edit = watch(Visit(step, len(times) - 1, to, edit, mean, noisy=False))
                continue
            if x is None:
                noise = randn(source.shape, generators, source.device, source.dtype)
                x = edit + level * (noise - source)
            (velocity,), (mean,) = velocities(self.prior, x, t, [prompts.target], [self.guidance])
            x = x + change * velocity
            ended = to == times[0]
            z_t = watch(Visit(step, len(times) - 1, to, scales[to] * x, mean, noisy=not ended))
            edit = x = z_t / scales[to]
        return edit
