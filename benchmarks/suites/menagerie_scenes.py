"""3D scenes of the Menagerie, reconstructed from views, edited, and seen from new ones.

The picture of a case is a strip: views side by side, below each the distance of what is seen, so
that the exact answer holds the exact depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import radians, tan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.classifier import labels
from benchmarks.menagerie.dataset import poses_around
from benchmarks.menagerie.render import FIELD_OF_VIEW, camera_to_world, render
from benchmarks.menagerie.scene import SPECIES, Number, Scene, sample_scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics.clip import clip_score
from benchmarks.metrics.lpips import menagerie_distance
from benchmarks.metrics.psnr import psnr
from benchmarks.suites.base import Case, Measures, Pictures, several, shown
from benchmarks.suites.world import OfScenes, Scenes, region, scene_case, seeds
from editing.caption import Clip
from editing.edit import DistillationEditor
from editing.editor import Edit, Editor
from editing.errors import NonFiniteError, UserError
from editing.parameters.views import Cameras, Views
from editing.settings import suggestion, whole
from samplers.prior import Evaluations, PromptPair
from samplers.random import make_generators

SEEN = 4  # new views of a case
ELEVATION = 16.0  # of their cameras, degrees
FARTHEST = 8.0  # body lengths that the brightest grey of a distance stands for
COATS = ("orange", "pink", "blue", "golden", "green")
KINDS = ("species", "coat")


@dataclass(eq=False)
class MenagerieScenes(OfScenes):
    """Cats in photo-like scenes, made another species or dyed.

    Measured on views that the edit has not seen: whether the classifier sees what should have
    changed, in how many of them; CLIP; the perceptual distance to the source's views; PSNR to the
    exact answer's views, to them where something should change, and to the source's elsewhere; and
    how far the distance of what is seen is from the exact one, where something should change and
    the exact answer or the edit has something nearer than `FARTHEST`.

    Attributes:
        cases: scenes.
        kinds: of `KINDS`, each done to every scene.
        split: `test`, or `validation` to choose defaults on.
        size: of a view, in pixels.
        views: that a scene is made and edited from.
        arc: degrees that they span.

    Raises:
        UserError: there is no such kind or split, or it has fewer scenes.
    """

    cases: int = 4
    kinds: Sequence[str] = KINDS
    split: str = "test"
    size: int = 64
    views: int = 24
    arc: Number = 60.0

    name = "menagerie_scenes"
    judges = ("clip",)
    metrics = (
        "success",
        "clip_score",
        "source_distance",
        "views_psnr",
        "kept_psnr",
        "exact_psnr",
        "depth_error",
    )

    def __post_init__(self) -> None:
        seeds(self.split, self.cases)
        whole("suite.size", self.size, least=8)
        whole("suite.views", self.views, least=2)
        self.kinds = several(self.kinds)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(f"There is no kind {kind!r}: {suggestion(kind, KINDS)}")

    def make_cases(self) -> list[Case]:
        made = []
        for kind in self.kinds:
            for turn, seed in enumerate(seeds(self.split, self.cases)):
                cat = sample_scene(seed, species="cat", coat="natural", worn="none", style="photo")
                if kind == "species":
                    value = SPECIES[1 + turn % (len(SPECIES) - 1)]
                    target = f"a {value}"
                else:
                    value = COATS[turn % len(COATS)]
                    target = f"{'an' if value[0] in 'aeiou' else 'a'} {value} cat"
                scenes = Scenes(cat, cat.replace(**{kind: value}))
                case = scene_case(f"{kind}-{seed}", scenes, ("a cat", target), self.size, kind)
                more = {"views": self.views, "arc": float(self.arc), "seen": SEEN}
                size = (2 * self.size, SEEN * self.size)
                made.append(
                    Case(
                        case.name,
                        case.prompts,
                        {**case.identity, **more},
                        kind,
                        size,
                        scenes,
                        case.cluster,
                    )
                )
        return made

    def load(self, cases: Sequence[Case]) -> Pictures:
        """Strips of the new views, before and after."""
        source = [self.drawn(case.about.source) for case in cases]
        answer = [self.drawn(case.about.answer) for case in cases]
        return Pictures(shown(torch.stack(source)), shown(torch.stack(answer)))

    def drawn(self, scene: Scene) -> Float[Tensor, "3 H W"]:
        """The new views of a scene as a strip."""
        poses = new_poses(scene, float(self.arc))
        made = render([scene] * len(poses), self.size, poses)
        return strip(made.image, made.depth)

    def edit(self, editor: Editor, cases: Sequence[Case], prompts: PromptPair, seed: int) -> Edit:
        """Reconstructs the scenes, each once, edits them one by one, and looks at them.

        Raises:
            NonFiniteError: one did not stay finite; with all of them in ``last_good``.
        """
        assert isinstance(editor, DistillationEditor)
        parameters: Any = editor.parameters
        if not hasattr(parameters, "prepare"):
            raise UserError("suite=menagerie_scenes edits 3D scenes: add parameters=nerf.")
        strips, records, total, seconds = [], [], Evaluations(), 0.0
        stopped: list[str | None] = []
        errors: list[NonFiniteError] = []
        for row, case in enumerate(cases):
            scene, device = case.about.source, editor.distiller.prior.device
            posed = prepared(parameters, scene, self.size, self.views, float(self.arc), str(device))
            first = case.index * parameters.views
            generators = make_generators(seed, range(first, first + parameters.views))
            try:
                made = editor(posed, prompts[row : row + 1], generators)
            except NonFiniteError as error:  # the others are none the worse for it
                made = error.last_good
                errors.append(error)
            assert made.canvas is not None
            stopped.append(made.stopped[0])
            strips.append(self.seen(made.canvas, scene))
            records += made.records
            seconds += made.seconds
            total.forward += made.evaluations.forward
            total.backward += made.evaluations.backward
        edit = Edit(torch.stack(strips), (), records, total, seconds, tuple(stopped))
        if errors:
            errors[0].last_good = edit
            raise errors[0]
        return edit

    @torch.no_grad()
    def seen(self, canvas: Any, scene: Scene) -> Float[Tensor, "3 H W"]:
        """The new views of a canvas as a strip."""
        poses = new_poses(scene, float(self.arc))
        made = [canvas.scene.render(cameras(pose[None], self.size)) for pose in poses]
        image = torch.cat([each.image for each in made]).cpu()
        return strip(image, torch.cat([each.depth for each in made]).cpu())

    @cached_property
    def clip(self) -> Clip:
        return Clip(EMBEDDED)

    @torch.no_grad()
    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        assert pictures.answer is not None
        distance = partial(menagerie_distance, self.classifier)
        found = []
        for row, case in enumerate(cases):
            seen, depth = parted(edited[row])
            source, _ = parted(pictures.source[row])
            answer, exact = parted(pictures.answer[row])
            truth = labels([case.about.answer])[case.group][0]
            right = self.classifier.predict(seen)[case.group] == truth
            text = self.clip.embed_texts([case.prompts[1]]).expand(len(seen), -1)
            touched = region(source, answer)
            there = (torch.minimum(depth, exact) < 1) & touched
            error = (depth - exact).abs()[there].mean() * FARTHEST
            found.append(
                {
                    "success": float(right.float().mean()),
                    "clip_score": float(clip_score(self.clip.embed_images(seen), text).mean()),
                    "source_distance": float(distance(seen, source).mean()),
                    "views_psnr": float(psnr(seen, answer).mean()),
                    "kept_psnr": float(psnr(seen, source, ~touched).mean()),
                    "exact_psnr": float(psnr(seen, answer, touched).mean()),
                    "depth_error": float(error),
                }
            )
        return found


def cameras(poses: Float[Tensor, "V 4 4"], size: int) -> Cameras:
    """The Menagerie's cameras."""
    focal = 0.5 * size / tan(radians(FIELD_OF_VIEW / 2))
    count = len(poses)
    return Cameras(
        poses, torch.full((count, 2), focal), torch.full((count, 2), size / 2), size, size
    )


def new_poses(scene: Scene, arc: float) -> Float[Tensor, "N 4 4"]:
    """The poses from which an edit is looked at: between those that it was made from."""
    azimuths = [arc * ((i + 0.5) / SEEN - 0.5) for i in range(SEEN)]
    return torch.stack([camera_to_world(scene, azimuth, ELEVATION) for azimuth in azimuths])


@cache
def prepared(parameters: Any, scene: Scene, size: int, count: int, arc: float, device: str) -> Any:
    """A scene reconstructed from its views; all methods of a process edit the same."""
    poses = poses_around(scene, count, arc)
    drawn = render([scene] * count, size, poses)
    names = tuple(f"{i}" for i in range(count))
    views = Views(drawn.image, cameras(poses, size), names, scene.distance / 3, FARTHEST)
    return parameters.prepare(views, torch.device(device), 0, None)


def strip(
    images: Float[Tensor, "N 3 S S"], depth: Float[Tensor, "N 1 S S"]
) -> Float[Tensor, "3 H W"]:
    """Views side by side, and their distances below as greys."""
    grey = (depth / FARTHEST).clamp(0, 1).expand(-1, 3, -1, -1)
    return torch.cat(list(torch.cat([images, grey], 2)), -1)


def parted(
    picture: Float[Tensor, "3 H W"],
) -> tuple[Float[Tensor, "N 3 S S"], Float[Tensor, "N 1 S S"]]:
    """The views of a strip, and their distances in `FARTHEST`."""
    views = torch.stack(picture.chunk(SEEN, -1))
    images, depth = views.chunk(2, 2)
    return images, depth[:, :1]
