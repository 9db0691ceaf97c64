"""Prompt-to-Prompt (Hertz et al. 2022): the source's attention takes part in drawing the target."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.alignment import Alignment, Tokens, read_tokens, refinement, replacement
from samplers.attention import AttentionControl, Site, controlled, unet_attention
from samplers.blend import WordMaps
from samplers.checks import number
from samplers.ddim import invert_ddim, sample_ddim
from samplers.null_text import NullText, with_text
from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Visit,
    Watcher,
    everywhere,
    guided_noise,
    unwatched,
)

EDITS = ("auto", "replace", "refine")
INVERTERS = ("ddim", "null_text", "direct")
SELF_PLACES = 32**2  # of a square; self-attention of more is left alone, as in the authors' code


class P2P(TrajectoryMethod):
    """Source and target drawn side by side from one noise; the target is shown where to look.

    Both have the same guidance. A picture whose two prompts are the same, with nothing reweighted,
    has one branch and not two: the target's is the source's.

    The fractions are those of the authors' notebook for Stable Diffusion.

    Args:
        prior: see :class:`TrajectoryMethod`, as ``steps`` and ``guidance`` are. Its network must be
            a UNet with cross-attention.
        inverter: of the source, at guidance 1. ``ddim``; ``null_text`` finds embeddings of the
            empty prompt with which guidance leads back to the source (Mokady et al. 2023);
            ``direct`` sets the source's branch back to the inverted trajectory after every step
            (Ju et al. 2024, "Direct inversion").
        edit: how attention to the source's tokens becomes attention to the target's: ``replace``
            word by word, ``refine`` for the tokens that both have, ``auto`` the first where both
            prompts have the same number of words.
        cross_replace: how much of the steps, from the first, cross-attention is edited.
        self_replace: how much of the steps, from the first, self-attention is the source's.
        reweight: a mapping, how many times as much attention words of the target get, while
            cross-attention is edited; None for none.
        blend: change only where the source's or the target's word is seen: a sequence of one for
            each, or one for both; None to change everything.
        blend_threshold: of the maps of these words, as a fraction of their maximum.
        blend_start: after how much of the steps that begins.

    Raises:
        ValueError: for a prior without such a network, or another value that cannot be used.
    """

    inverts_with: tuple[str, ...] = ("steps", "inverter")

    def __init__(
        self,
        prior: Prior,
        *,
        inverter: str = "ddim",
        edit: str = "auto",
        cross_replace: float | int = 0.8,
        self_replace: float | int = 0.4,
        reweight: Any = None,
        blend: Any = None,
        blend_threshold: float | int = 0.3,
        blend_start: float | int = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        self.modules = unet_attention(prior)
        self.edit, self.inverter = _one_of("edit", edit, EDITS), inverter
        self.cross_steps = self._steps("cross_replace", cross_replace)
        self.self_steps = self._steps("self_replace", self_replace)
        if not isinstance(reweight or {}, Mapping):
            raise ValueError(f"reweight={reweight} cannot be used: give factors, {{pig: 2}}")
        self.reweight = {
            str(word): number(f"reweight.{word}", factor, least=0)
            for word, factor in (reweight or {}).items()
        }
        words: list[Any] = [] if blend is None else [blend]
        if isinstance(blend, Sequence) and not isinstance(blend, str):
            words = list(blend)
        if len(words) > 2 or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"blend={blend} cannot be used: give a word, or two as in [cat,pig]")
        self.blend = words * 2 if len(words) == 1 else words
        if self.blend and getattr(prior, "graphed", False):
            raise ValueError(
                "blend keeps maps that a CUDA graph would overwrite: give tuning.compile=true, say"
            )
        self.blend_threshold = number("blend_threshold", blend_threshold, least=0, most=1)
        self.blend_start = self._steps("blend_start", blend_start)
        self.null_text: NullText | None = None
        if _one_of("inverter", inverter, INVERTERS) == "null_text":
            self.null_text = NullText(prior, steps=self.steps, guidance=self.guidance)
            self.inverts_with = (*self.inverts_with, "guidance")

    def _steps(self, name: str, fraction: float | int) -> int:
        return round(number(name, fraction, least=0, most=1) * self.steps)

    def check_prompts(self, prompts: PromptPair) -> None:
        self._control(prompts, torch.zeros(len(prompts), 1, 1, 1))

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        if self.null_text is not None:
            return self.null_text.invert(z, source, generators, watch, store)
        source = source.expand(len(z))

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, source, 1.0)

        found = invert_ddim(self.prior, z, self.times, predict, watch=watch)
        if self.inverter == "direct":
            return Inversion({"trajectory": found})
        return Inversion({"noise": found[:, -1]})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        """See :meth:`TrajectoryMethod.sample`.

        Raises:
            PromptError: for a word that is not in its prompt, or if ``edit`` does not fit them.
        """
        prompts = prompts.expand(len(inversion))
        direct = self.inverter == "direct"
        noise = inversion["trajectory"][:, -1] if direct else inversion["noise"]
        control = self._control(prompts, noise)
        height, width = noise.shape[2:]
        pairs = zip(prompts.source.prompts, prompts.target.prompts, strict=True)
        one_branch = torch.tensor([not self.reweight and a == b for a, b in pairs])
        one_branch = one_branch.to(noise.device)[:, None, None, None]

        def predict(z_t: Tensor, t: int) -> Tensor:
            control.step = self.steps - self.times.index(t)
            return self._noise(z_t, t, prompts, self._null(inversion, control.step))

        def after(visit: Visit) -> Tensor:
            z_source, z_target = visit.z_t.chunk(2)
            if direct:  # the source's deviation added back (Ju et al., Algorithm 1)
                z_source = inversion.along("trajectory", self.steps + 1)[
                    :, self.steps - visit.step
                ].to(z_target)
            if control.maps is not None and visit.step > self.blend_start:
                mask = control.maps.mask(height, width, self.blend_threshold)
                seen = torch.logical_or(*mask.chunk(2))
                z_target = torch.where(seen, z_target, z_source)
            z_target = torch.where(one_branch, z_source, z_target)
            mean = visit.mean.chunk(2)[1]
            return torch.cat([z_source, watch(replace(visit, z_t=z_target, mean=mean))])

        with controlled(self.modules, control):
            both = sample_ddim(self.prior, noise.repeat(2, 1, 1, 1), self.times, predict, after)
        return both.chunk(2)[1]

    def reconstructing(self) -> "P2P":
        plain = copy(self)
        plain.reweight, plain.blend = {}, []
        return plain

    def _noise(
        self, z_t: Float[Tensor, "N C h w"], t: int, prompts: PromptPair, null: Condition
    ) -> Float[Tensor, "N C h w"]:
        """Guided predictions of source and target, whose rows come last in one network call.

        With ``direct`` what becomes of the source does not matter, and it needs no guidance.
        """
        both = Condition.cat([prompts.source, prompts.target])
        if self.guidance == 1.0:
            return guided_noise(self.prior, z_t, t, both, 1.0)
        alone = len(null) if self.inverter == "direct" else 0
        z_all = torch.cat([z_t[alone:], z_t])
        conditions = [null] if alone else [null, null]
        found = self.prior.predict_noise(
            z_all, everywhere(t, z_all), Condition.cat([*conditions, both])
        )
        unconditional, source, conditional = found.split(
            [len(z_t) - alone, alone, len(z_t) - alone]
        )
        guided = unconditional + self.guidance * (conditional - unconditional)
        return torch.cat([source, guided])

    def _null(self, inversion: Inversion, step: int) -> Condition:
        null = self.prior.null(len(inversion))
        if self.null_text is None:
            return null
        return with_text(null, inversion.along("null", self.steps)[:, step])

    def _control(self, prompts: PromptPair, z: Float[Tensor, "B C h w"]) -> "_Control":
        sides, device = sorted(z.shape[2:]), z.device
        places = min(2 * SELF_PLACES, SELF_PLACES * sides[1] // sides[0])  # memory is its square
        n = self.prior.tokenizer.model_max_length  # type: ignore[attr-defined]
        sources = [read_tokens(self.prior, prompt) for prompt in prompts.source.prompts]
        targets = [read_tokens(self.prior, prompt) for prompt in prompts.target.prompts]
        aligned = [self._align(*pair, n) for pair in zip(sources, targets, strict=True)]
        weights = torch.ones(len(targets), n)
        for row, tokens in zip(weights, targets, strict=True):
            for word, factor in self.reweight.items():
                row[tokens.find(word)] = factor
        maps = None
        if self.blend:
            seen = torch.zeros(2 * len(targets), n)
            words = [self.blend[0]] * len(sources) + [self.blend[1]] * len(targets)
            for row, tokens, word in zip(seen, sources + targets, words, strict=True):
                row[tokens.find(word)] = 1
            maps = WordMaps(seen.to(device))
        matrix = torch.stack([each.matrix for each in aligned]).to(device)
        own = torch.stack([each.own for each in aligned]).to(device)
        steps, alignment = (self.cross_steps, self.self_steps), Alignment(matrix, own)
        return _Control(*steps, alignment, weights.to(device), maps, places)

    def _align(self, source: Tokens, target: Tokens, n: int) -> Alignment:
        same = len(source.words()) == len(target.words())
        if self.edit == "replace" or (self.edit == "auto" and same):
            return replacement(source, target, n)
        return refinement(source, target, n)


def _one_of(name: str, value: str, choices: Sequence[str]) -> str:
    if value in choices:
        return value
    raise ValueError(f"{name}={value} cannot be used: it is one of {', '.join(choices)}")


class _Control(AttentionControl):
    """Edits the attention of the target in a batch whose last rows are source and target."""

    def __init__(
        self,
        cross_steps: int,
        self_steps: int,
        alignment: Alignment,
        weights: Float[Tensor, "B n"],
        maps: WordMaps | None,
        self_places: int = SELF_PLACES,
    ) -> None:
        self.cross_steps, self.self_steps, self.maps = cross_steps, self_steps, maps
        self.self_places = self_places
        self.alignment, self.weights = alignment, weights
        self.step = 0  # those that are done

    def exposes(self, site: Site) -> bool:
        if site.cross:
            return self.step < self.cross_steps or self.maps is not None
        return self.step < self.self_steps and site.places <= self.self_places

    def probabilities(
        self, site: Site, probabilities: Float[Tensor, "N H P K"]
    ) -> Float[Tensor, "N H P K"]:
        batch = len(self.weights)
        rest, source, target = probabilities.split([len(probabilities) - 2 * batch, batch, batch])
        if not site.cross:
            target = source
        elif self.step < self.cross_steps:
            matrix, own = self.alignment.matrix[:, None], self.alignment.own[:, None, None]
            # Section 3.2: word swap and refinement, then c of "attention re-weighting"
            edited = source.float() @ matrix + own * target
            target = (self.weights[:, None, None] * edited).to(target)
        edited_rows = torch.cat([source, target])
        if site.cross and self.maps is not None:
            self.maps.add(edited_rows)
        return torch.cat([rest, edited_rows])
