"""What the world is made of: unions of round cones and of boxes, batched over scenes."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

ABSENT = -50.0  # the radius of a part that is not there
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Cones:
    """A batch of unions of P round cones, in world coordinates.

    A round cone is the hull of two spheres: centre `a` of radius `ra`, centre `b` of radius `rb`.

    Attributes:
        a: one end.
        b: the other end.
        ra: radius at `a`; `ABSENT` where there is no part.
        rb: radius at `b`.
        color: RGB in [0, 1].
        coat: 1 where the coat's pattern and fur show, else 0.
        worn: whether the part is a thing worn.
    """

    a: Float[Tensor, "B P 3"]
    b: Float[Tensor, "B P 3"]
    ra: Float[Tensor, "B P"]
    rb: Float[Tensor, "B P"]
    color: Float[Tensor, "B P 3"]
    coat: Float[Tensor, "B P"]
    worn: Bool[Tensor, " P"]


@dataclass(frozen=True)
class Boxes:
    """A batch of Q boxes turned about y and, the roof, about the ridge.

    Attributes:
        center: of the box.
        half: half of its size along its axes; `ABSENT` where there is none.
        axes: its axes in the world, one a row.
        color: RGB in [0, 1].
    """

    center: Float[Tensor, "B Q 3"]
    half: Float[Tensor, "B Q 3"]
    axes: Float[Tensor, "B Q 3 3"]
    color: Float[Tensor, "B Q 3"]
