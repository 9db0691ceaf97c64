"""Editing the points, colours and widths of a vector drawing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from editing.errors import UserError
from editing.images import MAX_ASPECT, fitted_size
from editing.parameters.base import Canvas
from editing.parameters.pull import Pull, encode, pull_of
from editing.parameters.svg import Drawing, read_svg, render, write_svg
from samplers.checks import flag, number, whole
from samplers.prior import Prior


@dataclass(frozen=True)
class Page:
    """The source of an edit: a drawing, and how large it is seen.

    Attributes:
        drawing: as it was read.
        size: width and height of its pictures, in pixels.
    """

    drawing: Drawing
    size: tuple[int, int]

    @property
    def shown(self) -> Float[Tensor, "1 3 H W"]:
        """The drawing as a picture."""
        with torch.no_grad():
            return render(self.drawing, self.size)[None].clamp(0, 1).cpu()

    @property
    def notes(self) -> dict[str, Any]:
        """How much there is to move."""
        counts = {name: len(tensor) for name, tensor in self.drawing.tensors().items()}
        return {"drawing": counts}

    @property
    def files(self) -> dict[str, bytes]:
        """The drawing, written as the edit will be."""
        return {"source.svg": write_svg(self.drawing)}


class DrawingCanvas(Canvas):
    """Tensors of a drawing that start as they were read; a :class:`Canvas`.

    Args:
        prior: the model.
        source: the drawing.
        rates: by the name of a tensor of the drawing, the factor of its step size; of those that
            are moved.
        pull: see :func:`editing.parameters.pull.encode`.
    """

    def __init__(
        self, prior: Prior, source: Page, rates: dict[str, float], pull: Pull = "encoder"
    ) -> None:
        self.prior, self.size, self.pull = prior, source.size, pull
        drawing = source.drawing.detached().to(prior.device)
        moved = {name: rate for name, rate in rates.items() if len(drawing.tensors()[name])}
        if not moved:
            raise UserError("There is nothing in the drawing that parameters= lets move.")
        self.drawing = drawing
        self.tensors = [drawing.tensors()[name].requires_grad_() for name in moved]
        self.rates, self.per_image = tuple(moved.values()), False
        with torch.no_grad():
            self.source = prior.encode(self.picture())

    def picture(self) -> Float[Tensor, "1 3 H W"]:
        """The drawing as it is now, brought back into the range of colours and widths."""
        self.drawing.clamp_()
        return render(self.drawing, self.size)[None]

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        batch = len(generators)
        latents = encode(self.prior, self.picture(), self.pull)
        return latents.expand(batch, -1, -1, -1), self.source.expand(batch, -1, -1, -1)

    @torch.no_grad()
    def images(self) -> Float[Tensor, "1 3 H W"]:
        return self.picture().float().clamp(0, 1).cpu()

    def files(self) -> dict[str, bytes]:
        return {"edited.svg": write_svg(self.drawing.clamp_())}


@dataclass(frozen=True)
class SVG:
    """A vector drawing; what is moved are its numbers, and its structure stays.

    Attributes:
        points: whether control points are moved.
        colors: whether colours of fills and strokes are.
        widths: whether widths of strokes are.
        opacities: whether opacities are.
        point_rate: factor of the step size of points, per length of the drawing's longer side.
        color_rate: factor of the step size of colours and opacities, which are in [0, 1].
        width_rate: factor of the step size of widths, per length as for points.
        views: timesteps and noises that a step looks at, all of one picture.
        pull: which way the gradient comes back to the picture, `decoder` or `encoder`; see
            :func:`editing.parameters.pull.encode`.

    Raises:
        ValueError: for an option of another kind, or if nothing is to be moved.
    """

    points: bool = True
    colors: bool = True
    widths: bool = True
    opacities: bool = False
    point_rate: float | int = 0.1
    color_rate: float | int = 1.0
    width_rate: float | int = 0.1
    views: int = 1
    pull: Pull = "encoder"

    def __post_init__(self) -> None:
        pull_of(self.pull)
        switches = [flag(name, getattr(self, name)) for name in ("points", "colors", "widths")]
        for name in ("point_rate", "color_rate", "width_rate"):
            number(name, getattr(self, name), least=0)
        whole("views", self.views, least=1)
        if not any([*switches, flag("opacities", self.opacities)]):
            raise ValueError("nothing of the drawing is to be moved")

    def check(self, path: Path) -> None:
        """Refuse what is no drawing."""
        read_svg(path)

    def kept(self, folder: Path) -> "SVG":
        """The same: a drawing needs no reconstruction."""
        return self

    def read(self, path: Path, size: int, multiple: int) -> Page:
        """The drawing, `size` pixels wide or high, whichever is less."""
        drawing = read_svg(path)
        _, _, width, height = drawing.structure.view_box
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise UserError(
                f"{str(path)!r} is {width:g} x {height:g}, too long and thin: give it a viewBox of "
                f"at most {MAX_ASPECT:g} to 1."
            )
        # fitted_size wants whole numbers; the ratio is all that counts
        scale = 1000 / min(width, height)
        return Page(
            drawing, fitted_size(round(width * scale), round(height * scale), size, multiple)
        )

    def prepare(
        self,
        found: Page,
        device: torch.device,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Page:
        """The drawing on a device."""
        return replace(found, drawing=found.drawing.to(device))

    def start(self, prior: Prior, sources: Page) -> DrawingCanvas:
        """A canvas that shows a copy of the drawing."""
        length = max(sources.drawing.structure.view_box[2:])
        rates: dict[str, float] = {}
        if self.points:
            rates["points"] = self.point_rate * length
        if self.colors:
            rates |= dict.fromkeys(("fills", "strokes"), float(self.color_rate))
        if self.widths:
            rates["widths"] = self.width_rate * length
        if self.opacities:
            names = ("fill_alphas", "stroke_alphas", "opacities")
            rates |= dict.fromkeys(names, float(self.color_rate))
        return DrawingCanvas(prior, sources, rates, self.pull)
