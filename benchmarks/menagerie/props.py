"""What stands beside the animal: trees, balls, houses and rocks, from round cones and boxes."""

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.menagerie.anatomy import ABSENT, PALETTE, Cones
from benchmarks.menagerie.scene import Scene

_Color = tuple[float, float, float]
_TRUNK: _Color = (0.40, 0.26, 0.15)
_CONES, _BOXES = 4, 2


@dataclass(frozen=True)
class Boxes:
    """A batch of Q rounded boxes turned about y and, the roof, about the ridge.

    Attributes:
        center, half: (B, Q, 3); half is `ABSENT` where there is none. axes: (B, Q, 3, 3) rows. color: (B, Q, 3).
    """

    center: Tensor
    half: Tensor
    axes: Tensor
    color: Tensor


def _cones(scene: Scene, x: float, z: float) -> list[tuple[tuple[float, ...], tuple[float, ...], float, float, _Color]]:
    rng = random.Random(scene.texture)
    size = rng.uniform(0.9, 1.15)
    if scene.prop == "ball":
        r = 0.21 * size
        return [((x, r, z), (x, r + 0.001, z), r, r, PALETTE[scene.prop_color])]
    if scene.prop == "rock":
        g = rng.uniform(0.42, 0.58)
        gray = (g, g * 0.98, g * 0.94)
        return [
            ((x - 0.16, 0.10, z), (x + 0.14, 0.13, z), 0.24 * size, 0.19 * size, gray),
            ((x + 0.02, 0.24, z - 0.03), (x + 0.08, 0.22, z), 0.16 * size, 0.15 * size, gray),
        ]
    if scene.prop == "tree" and scene.place == "snow":
        green = (0.16, 0.36, 0.26)
        tiers = ((0.35, 0.75, 0.36, 0.14), (0.72, 1.08, 0.29, 0.09), (1.05, 1.48, 0.21, 0.02))
        trunk = ((x, 0.0, z), (x, 0.4, z), 0.07, 0.06, _TRUNK)
        return [trunk] + [((x, lo * size, z), (x, hi * size, z), r0, r1, green) for lo, hi, r0, r1 in tiers]
    if scene.prop == "tree":
        g = rng.uniform(0.9, 1.1)
        leaf = (0.22 * g, 0.50 * g, 0.18 * g)
        crown = [(0.0, 1.28, 0.36), (-0.22, 1.08, 0.27), (0.23, 1.10, 0.28)]
        trunk = ((x, 0.0, z), (x + rng.uniform(-0.06, 0.06), 0.95, z), 0.085, 0.06, _TRUNK)
        return [trunk] + [((x + dx, y * size, z), (x + dx, (y + 0.06) * size, z), r, r, leaf) for dx, y, r in crown]
    return []


def build(scenes: list[Scene], device: torch.device) -> tuple[Cones, Boxes]:
    """The props of `scenes`, in world coordinates; a scene without one has only absent parts."""
    cones, boxes = [], []
    nothing = ((0.0, -9.0, 0.0), (0.0, -8.9, 0.0), ABSENT, ABSENT, (0.0, 0.0, 0.0))
    for scene in scenes:
        x, z = scene.prop_side, -scene.prop_depth
        parts = _cones(scene, x, z) if scene.prop != "none" else []
        cones.append(parts + [nothing] * (_CONES - len(parts)))
        house = scene.prop == "house"
        yaw = math.radians(25 + 20 * scene.tint)
        c, s = math.cos(yaw), math.sin(yaw)
        flat = ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))
        r = math.sqrt(0.5)  # the roof is a square bar lying on its edge
        roof = ((c, 0.0, s), (-s * r, r, c * r), (-s * r, -r, c * r))
        half = (0.42, 0.34, 0.36) if house else (ABSENT,) * 3
        top = (0.47, 0.30, 0.30) if house else (ABSENT,) * 3
        wall = (0.90, 0.84, 0.72)
        boxes.append(((x, 0.30, z - 0.3), half, flat, wall, (x, 0.62, z - 0.3), top, roof, PALETTE[scene.prop_color]))

    def tensor(values: list) -> Tensor:  # type: ignore[type-arg]
        return torch.tensor(values, device=device, dtype=torch.float32)

    color = tensor([[p[4] for p in row] for row in cones])
    plain = torch.zeros(color.shape[:2], device=device)
    made = Cones(
        tensor([[p[0] for p in row] for row in cones]),
        tensor([[p[1] for p in row] for row in cones]),
        tensor([[p[2] for p in row] for row in cones]),
        tensor([[p[3] for p in row] for row in cones]),
        color,
        plain,
        torch.zeros(color.shape[1], dtype=torch.bool, device=device),
    )
    center, half, axes, paint = (tensor([[row[i], row[i + 4]] for row in boxes]) for i in range(4))
    return made, Boxes(center, half, axes, paint)
