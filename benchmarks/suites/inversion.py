"""How well inverters find a picture again, and what guidance, noise and wrong prompts do to that.

    python -m benchmarks.run -m suite=inversion method=ddib,cyclediffusion,null_text,latent_top

Held-out scenes are inverted and sampled again with the prompt of the inversion. Guidance is moved,
then the picture (noise of several pixel values), then the prompt, as in "On the Robustness of
Diffusion Inversion in Image Manipulation", sections 3.1 and 3.2. What is found again is compared
with what was inverted: the noisy picture where there is noise. `method=autoencoder` shows what no
inverter can do better than.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.captions import caption, reworded
from benchmarks.menagerie.scene import TRAIN_SEEDS, Scene, dyes, sample_scene
from benchmarks.metrics.lpips import menagerie_distance
from benchmarks.metrics.psnr import psnr, ssim
from benchmarks.suites.axes import Moved, check_axes, study, varied
from benchmarks.suites.base import Case, Measures, Pictures, shown
from benchmarks.suites.world import OfScenes, Scenes, drawn, scene_case, seeds
from editing.errors import UserError
from editing.settings import Settings, number, suggestion, whole
from samplers.random import make_generators, randn

METRICS = ("psnr", "ssim", "source_distance")


def _other_coat(scene: Scene) -> str:
    """The caption, with an adjective that is not true."""
    others = [coat for coat in dyes(scene.species) if coat != scene.coat]
    return caption(scene.replace(coat=others[scene.texture % len(others)]))


def _other_scene(scene: Scene) -> str:
    """The caption of another scene."""
    return caption(sample_scene(TRAIN_SEEDS[scene.texture % len(TRAIN_SEEDS)]))


PROMPTS: dict[str, Callable[[Scene], str]] = {
    "own": caption,
    "synonyms": reworded,
    "wrong adjective": _other_coat,
    "empty": lambda scene: "",
    "another": _other_scene,
}


@dataclass(eq=False)
class Reconstructions(OfScenes):
    """Held-out scenes, whose edit is to change nothing.

    Attributes:
        cases: number of scenes.
        split: `test`, or `validation` to choose defaults on.
        size: of the pictures, in pixels.
        noise: its standard deviation in the picture, of 255.
        prompt: one of `PROMPTS`, of source and target alike.

    Raises:
        UserError: an option has no such value.
    """

    cases: int = 8
    split: str = "test"
    size: int = 64
    noise: float | int = 0
    prompt: str = "own"

    name = "inversion"
    metrics = METRICS

    def __post_init__(self) -> None:
        seeds(self.split, self.cases)
        whole("suite.size", self.size, least=8)
        self.noise = number("suite.axes.noise", self.noise, least=0.0)
        if self.prompt not in PROMPTS:
            raise UserError(
                f"There is no prompt {self.prompt!r}: {suggestion(self.prompt, PROMPTS)}"
            )

    def make_cases(self) -> list[Case]:
        made = []
        for seed in seeds(self.split, self.cases):
            scene = sample_scene(seed)
            text = PROMPTS[self.prompt](scene)
            case = scene_case(str(seed), Scenes(scene, scene), (text, text), self.size)
            identity = {**case.identity, "noise": self.noise}
            made.append(
                Case(case.name, case.prompts, identity, "", case.size, case.about, case.cluster)
            )
        return made

    def load(self, cases: Sequence[Case]) -> Pictures:
        """The scenes, with noise that is each case's own."""
        clean = drawn([case.about.source for case in cases], self.size).image
        noise = randn(clean.shape, make_generators(0, [case.index for case in cases]))
        return Pictures(shown(clean + self.noise / 255 * noise))

    @torch.no_grad()
    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        distance = partial(menagerie_distance, self.classifier)
        found = [measure(edited, pictures.source) for measure in (psnr, ssim, distance)]
        rows = torch.stack(found, 1).tolist()
        return [dict(zip(METRICS, row, strict=True)) for row in rows]


@dataclass(eq=False)
class Inversion:
    """Reconstructions with one thing after the other moved.

    Attributes:
        axes: values of `noise` and `prompt`, see `Reconstructions`, and of settings as for
            `Robustness`.
        beside: by the name of an axis, other settings while that one is moved.
        cases: see `Reconstructions`, as `split` and `size` are.

    Raises:
        UserError: an axis has no values or a wrong one, or `beside` names none of the axes.
    """

    axes: Mapping[str, Any]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: int = 8
    split: str = "test"
    size: int = 64

    def __post_init__(self) -> None:
        check_axes(self.axes, self.beside)
        for axis, others in self.beside.items():
            if own := [name for name in others if name in OWN]:
                raise UserError(f"suite.beside.{axis}.{own[0]}: {own[0]} can only be an axis.")
        plain = Reconstructions(self.cases, self.split, self.size)
        self.suites = {
            axis: [replace(plain, **{axis: value}) if axis in OWN else plain for value in values]
            for axis, values in self.axes.items()
        }

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Inverts and samples, prints a table per axis, and plots all methods in `output`.

        Raises:
            UserError: the method runs no sampler, or does not take one of the values.
        """
        if not settings.trajectory:
            raise UserError(
                f"suite=inversion is for methods that run a sampler, which "
                f"method={settings.method} does not."
            )
        moved: Moved = {
            (axis, str(value)): (changed, suite)
            for axis, values in self.axes.items()
            for value, suite in zip(values, self.suites[axis], strict=True)
            if (changed := varied(settings, self._changes(axis, value)))
        }
        options = {"cases": self.cases, "split": self.split, "size": self.size}
        study("inversion", moved, options, METRICS, settings, prior, output, command)

    def _changes(self, axis: str, value: Any) -> dict[str, Any]:
        own = {} if axis in OWN else {axis: value}
        return {**self.beside.get(axis, {}), **own}


OWN = ("noise", "prompt")  # axes that are of the suite, not of the method
