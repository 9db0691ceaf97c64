"""Latent trajectory optimisation with a prior, "latent-TOP" ("On the Robustness of Diffusion
Inversion in Image Manipulation"): biases on the empty prompt and on the first noise."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number, whole
from samplers.null_text import TEXT, NullText, mean_square, move, prior_trajectory
from samplers.prior import Condition, Prior
from samplers.random import randn
from samplers.trajectory import (
    Inversion,
    Store,
    Visit,
    Watcher,
    descent,
    guided_noise,
    unwatched,
)


class LatentTOP(NullText):
    """DDIM inversion at guidance 1 gives the prior trajectory; biases on the embedding of the empty
    prompt, one for every time, and on the noise make guided sampling follow it.

    The optimisation begins at the best of several random biases; where the paper hops within every
    start, here the best of all starts is changed. Sampling is that of :class:`NullText`. Costs, for
    every time, N + 2 forward and N backward network evaluations per image; at the first time, where
    the noise moves and both predictions with it, 3 N + 2 and 2 N, and 2 forward ones for every
    start and hop and for the beginning without bias; and S forward ones for the trajectory. No more
    than the activations of one evaluation are held at a time.

    Args:
        prior: see :class:`NullText`, as ``steps`` and ``guidance`` are.
        iterations: N, steps of Adam for every time (m of the paper).
        rate: its learning rate for the biases of the prompt; it falls to half of that.
        noise_rate: its learning rate for the bias of the noise.
        starts: random biases that are drawn, each of which is one start; none is one more.
        hops: how often the best so far is changed at random, and kept if that is better.
        scale: standard deviation of the biases that are drawn, as a fraction of the embedding's own
            for the prompt, and in units of the noise.
    """

    inverts_with: tuple[str, ...] = (
        *("steps", "guidance", "iterations", "rate"),
        *("noise_rate", "starts", "hops", "scale"),
    )

    def __init__(
        self,
        prior: Prior,
        *,
        noise_rate: float | int = 0.01,
        starts: int = 20,
        hops: int = 5,
        scale: float | int = 0.05,
        **options: Any,
    ) -> None:
        super().__init__(prior, **{"tolerance": 0.0} | options)
        self.noise_rate = number("noise_rate", noise_rate, least=0)
        self.starts, self.hops = whole("starts", starts, least=0), whole("hops", hops, least=0)
        self.scale = number("scale", scale, least=0)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        source, saved = source.expand(len(z)), (store and store.load()) or {}
        trajectory = prior_trajectory(self.prior, z, self.times, source, watch, store, saved)
        noise, nulls = saved.get("noise", trajectory[:, -1]), saved.get("null")
        z_t = saved.get("z_t", noise)
        if nulls is None:
            nulls = self.prior.null(len(z)).tensors[TEXT].float()[:, None]
        for step, (t, to) in enumerate(descent(self.times), 1):
            if step < nulls.shape[1]:
                continue  # saved by an earlier run
            goal = trajectory[:, self.steps - step]
            if step == 1:
                begun = self.begin(noise, source, goal, generators)
                noise, null = self.fit_both(*begun, t, to, source, goal)
                z_t = noise
            conditional = guided_noise(self.prior, z_t, t, source, 1.0)
            if step > 1:
                null = self.fit(nulls[:, -1], z_t, t, to, conditional, goal, step)
            z_t, mean = self.step(null, z_t, t, to, conditional)
            nulls = torch.cat([nulls, null[:, None]], 1)
            if store is not None:
                store.save({"trajectory": trajectory, "noise": noise, "z_t": z_t, "null": nulls})
            watch(Visit(step, self.steps, to, z_t, mean, sampling=False))
        return Inversion({"noise": noise, "null": nulls[:, 1:]})

    def begin(
        self,
        noise: Float[Tensor, "B C h w"],
        source: Condition,
        goal: Float[Tensor, "B C h w"],
        generators: Sequence[torch.Generator],
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B n c"]]:
        """Of the biases that are drawn, those whose first step ends nearest to ``goal``."""
        t, to = self.times[-1], self.times[-2]
        null = self.prior.null(len(noise)).tensors[TEXT].float()
        # of the prompt's: the empty one's may be all zeros, as Stable Diffusion XL's are
        spread = self.scale * source.tensors[TEXT].float().std(dim=(1, 2), keepdim=True)

        def error(noise: Tensor, null: Tensor) -> Tensor:
            conditional = guided_noise(self.prior, noise, t, source, 1.0)
            return mean_square(self.step(null, noise, t, to, conditional)[0] - goal)

        best, least = (noise, null), error(noise, null)
        for draw in range(self.starts + self.hops):
            centre = (noise, null) if draw < self.starts else best
            bias = randn(noise.shape, generators, noise.device, noise.dtype)
            text = randn(null.shape, generators, null.device, null.dtype)
            tried = (centre[0] + self.scale * bias, centre[1] + spread * text)
            found = error(*tried)
            better = found < least
            least = torch.where(better, found, least)
            best = (
                torch.where(better[:, None, None, None], tried[0], best[0]),
                torch.where(better[:, None, None], tried[1], best[1]),
            )
        return best

    def fit_both(
        self,
        noise: Float[Tensor, "B C h w"],
        null: Float[Tensor, "B n c"],
        t: int,
        to: int,
        source: Condition,
        goal: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B n c"]]:
        """Noise and embeddings with which the first step ends nearest to ``goal``."""
        still = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        with torch.enable_grad():
            noise, null = noise.clone().requires_grad_(), null.clone().requires_grad_()
            groups: list[dict[str, Any]] = [
                {"params": [noise], "lr": self.noise_rate},
                {"params": [null]},
            ]
            optimizer = torch.optim.Adam(groups, lr=self.rate)
            size = goal[0].numel()
            for _ in range(self.iterations):
                with torch.no_grad():
                    conditional = guided_noise(self.prior, noise, t, source, 1.0)
                conditional.requires_grad_()
                found, _ = self.step(null, noise, t, to, conditional)
                error = size * mean_square(found - goal).sum()
                gradients = torch.autograd.grad(error, [noise, null, conditional])
                # asked again, so that the two predictions' activations are not held together
                again = guided_noise(self.prior, noise, t, source, 1.0)
                (through,) = torch.autograd.grad(again, noise, gradients[2])
                of_noise, of_null = gradients[0] + through, gradients[1]
                move(optimizer, [noise, null], [of_noise / size, of_null / size], still)
        return noise.detach(), null.detach()
