"""What stands beside the animal, from round cones and boxes: a tree, a ball, a house."""

import math
import random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.menagerie.measures import PALETTE
from benchmarks.menagerie.scene import Number, Scene
from benchmarks.menagerie.shapes import ABSENT, Boxes, Color, Cones

_Point = tuple[Number, Number, Number]
_TRUNK: Color = (0.40, 0.26, 0.15)
_WALL: Color = (0.90, 0.84, 0.72)
_STALK: Color = (0.93, 0.90, 0.82)
_MOST_CONES = 4  # of any prop


class _Cone(NamedTuple):
    a: _Point
    b: _Point
    ra: float
    rb: float
    color: Color


class _Box(NamedTuple):
    center: _Point
    half: _Point
    axes: tuple[_Point, _Point, _Point]
    color: Color


_NOTHING = _Cone((0.0, -9.0, 0.0), (0.0, -8.9, 0.0), ABSENT, ABSENT, (0.0, 0.0, 0.0))


def build(scenes: list[Scene], device: torch.device) -> tuple[Cones, Boxes]:
    """The props of `scenes`, in world coordinates; a scene without one has only absent parts."""
    cones = [_cones(scene) for scene in scenes]
    cones = [parts + [_NOTHING] * (_MOST_CONES - len(parts)) for parts in cones]
    boxes = [_boxes(scene) for scene in scenes]

    def column(rows: list[Any], name: str) -> Tensor:
        values = [[getattr(part, name) for part in row] for row in rows]
        return torch.tensor(values, device=device, dtype=torch.float32)

    return Cones(
        **{name: column(cones, name) for name in _Cone._fields},
        coat=torch.zeros(len(scenes), _MOST_CONES, device=device),
        worn=torch.zeros(_MOST_CONES, dtype=torch.bool, device=device),
    ), Boxes(**{name: column(boxes, name) for name in _Box._fields})


def _cones(scene: Scene) -> list[_Cone]:
    """The round cones of the scene's prop; a house and a box have none."""
    rng = random.Random(scene.texture)
    size = rng.uniform(0.9, 1.15)
    x, z = scene.prop_side, -scene.prop_depth
    if scene.prop == "ball":
        r = 0.21 * size
        return [_Cone((x, r, z), (x, r + 0.001, z), r, r, PALETTE[scene.prop_color])]
    if scene.prop == "rock":
        g = rng.uniform(0.42, 0.58)
        gray = (g, g * 0.98, g * 0.94)
        return [
            _Cone((x - 0.16, 0.10, z), (x + 0.14, 0.13, z), 0.24 * size, 0.19 * size, gray),
            _Cone((x + 0.02, 0.24, z - 0.03), (x + 0.08, 0.22, z), 0.16 * size, 0.15 * size, gray),
        ]
    if scene.prop == "tree":
        return _fir(x, z, size) if scene.place == "snow" else _oak(x, z, size, rng)
    if scene.prop == "mushroom":
        return _mushroom(x, z, size, PALETTE[scene.prop_color])
    return []


def _fir(x: Number, z: Number, size: float) -> list[_Cone]:
    green = (0.16, 0.36, 0.26)
    trunk = _Cone((x, 0.0, z), (x, 0.4, z), 0.07, 0.06, _TRUNK)
    tiers = ((0.35, 0.75, 0.36, 0.14), (0.72, 1.08, 0.29, 0.09), (1.05, 1.48, 0.21, 0.02))
    return [trunk] + [
        _Cone((x, low * size, z), (x, high * size, z), r0, r1, green) for low, high, r0, r1 in tiers
    ]


def _oak(x: Number, z: Number, size: float, rng: random.Random) -> list[_Cone]:
    g = rng.uniform(0.9, 1.1)
    leaf = (0.22 * g, 0.50 * g, 0.18 * g)
    trunk = _Cone((x, 0.0, z), (x + rng.uniform(-0.06, 0.06), 0.95, z), 0.085, 0.06, _TRUNK)
    crown = ((0.0, 1.28, 0.36), (-0.22, 1.08, 0.27), (0.23, 1.10, 0.28))
    return [trunk] + [
        _Cone((x + dx, y * size, z), (x + dx, (y + 0.06) * size, z), r, r, leaf)
        for dx, y, r in crown
    ]


def _mushroom(x: Number, z: Number, size: float, color: Color) -> list[_Cone]:
    """A stalk and a cap with two white dots towards the camera."""
    low, high = 0.42 * size, 0.56 * size
    dots = ((-0.13, low + 0.10, 0.23), (0.12, low + 0.13, 0.21))
    return [
        _Cone((x, 0.0, z), (x, low, z), 0.11, 0.08, _STALK),
        _Cone((x, low, z), (x, high, z), 0.30 * size, 0.17 * size, color),
        *(
            _Cone((x + dx, y, z + dz), (x + dx, y + 0.001, z + dz), 0.055, 0.055, _STALK)
            for dx, y, dz in dots
        ),
    ]


def _boxes(scene: Scene) -> list[_Box]:
    """The walls of a house, and its roof or a box; absent in a scene without."""
    there = scene.prop == "house"
    x, z = scene.prop_side, -scene.prop_depth - 0.3
    yaw = math.radians(25 + 20 * scene.tint)
    c, s = math.cos(yaw), math.sin(yaw)
    upright = ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))
    r = math.sqrt(0.5)  # the roof is a square bar lying on its edge
    on_edge = ((c, 0.0, s), (-s * r, r, c * r), (-s * r, -r, c * r))
    absent = (ABSENT, ABSENT, ABSENT)
    color = PALETTE[scene.prop_color]
    if scene.prop == "box":
        side = 0.27
        return [
            _Box((x, 0.0, z), absent, upright, _WALL),
            _Box((x, side, z + 0.3), (side, side, side), upright, color),
        ]
    return [
        _Box((x, 0.30, z), (0.42, 0.34, 0.36) if there else absent, upright, _WALL),
        _Box((x, 0.62, z), (0.47, 0.30, 0.30) if there else absent, on_edge, color),
    ]
