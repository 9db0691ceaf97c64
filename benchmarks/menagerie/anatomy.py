"""The shared body plan: every species is the same list of round cones with other measures.

The list has one length for all species, so a batch of different animals is one tensor; a part that
a species lacks has radius `ABSENT`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.menagerie.measures import (
    AMBER,
    BEAK,
    BLACK,
    CREAM,
    CREAM_BELLY,
    LIGHT_BELLY,
    LIGHT_SNOUT,
    MANE,
    MEASURES,
    NOSE,
    PALETTE,
    PINK,
    WHITE,
    coat_color,
)
from benchmarks.menagerie.scene import SPECIES, Number, Scene
from benchmarks.menagerie.shapes import ABSENT, Color, Cones

FORWARD = 0.10  # body lengths from the middle of the spine to the middle of the animal


def build(scenes: list[Scene], device: torch.device) -> Cones:
    """The animals of `scenes` as round cones, posed and turned to their heading."""
    body = _Body(scenes, device)
    for add_parts in (_torso, _head, _eyes_and_ears, _limbs, _tail, _mane_or_horns, _clothes):
        add_parts(body)
    return body.in_world()


class _Body:
    """B animals while they are put together, each at the origin and looking along +x.

    Attributes:
        m: the measures, (B,) each.
        hip: (B, 3), the rear end of the spine.
        shoulder: (B, 3), its front end.
        below: (B, 3) unit vector from the spine to the belly.
        along_neck: (B, 3) unit vector from the shoulder to the head.
        head: (B, 3), its centre.
        forward: (B, 3), where the head looks.
        side: (B, 3), to its right.
        facing: (B,) 1 where the camera is on the animal's right, -1 where on its left.
        coat: (B, 3) colour; `dark` is its shade and `light` the belly's colour.
    """

    def __init__(self, scenes: list[Scene], device: torch.device) -> None:
        self.scenes, self.device = scenes, device
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]] = []
        self._worn: list[bool] = []
        index = torch.tensor([SPECIES.index(s.species) for s in scenes], device=device)
        self.m = {
            name: torch.tensor(row, device=device, dtype=torch.float32)[index]
            for name, row in MEASURES.items()
        }
        self.gait = self.number("gait")
        self.zero, self.one = torch.zeros_like(self.gait), torch.ones_like(self.gait)
        self.up = self.axis(0, 1, 0)
        self.coat = self.paint([coat_color(s) for s in scenes])
        self.dark = self.coat * 0.55
        self.light = self.paint([CREAM if s.species in CREAM_BELLY else WHITE for s in scenes])
        self._set_spine()
        self._set_head()

    def _set_spine(self) -> None:
        pitch, half = _rad(self.m["pitch"]), self.m["half_length"]
        along = self.axis(torch.cos(pitch), torch.sin(pitch), 0)
        self.hip = self.axis(-half * torch.cos(pitch), self.m["hip"], 0)
        self.shoulder = self.hip + 2 * half[:, None] * along
        self.below = self.axis(torch.sin(pitch), -torch.cos(pitch), 0)

    def _set_head(self) -> None:
        angle = _rad(self.m["neck_angle"])
        self.along_neck = self.axis(torch.cos(angle), torch.sin(angle), 0)
        self.head = self.shoulder + self.m["neck"][:, None] * self.along_neck
        # The head turns towards the camera: to the animal's right when it looks to the right.
        to_right = torch.cos(_rad(self.number("heading"))) >= 0
        self.facing = torch.where(to_right, self.one, -self.one)
        turn = _rad(self.number("head_turn")) * self.facing
        self.forward = self.axis(torch.cos(turn), -0.05, torch.sin(turn))
        self.side = self.axis(-torch.sin(turn), 0, torch.cos(turn))

    def number(self, name: str) -> Tensor:
        """(B,) an attribute of the scenes."""
        values = [getattr(s, name) for s in self.scenes]
        return torch.tensor(values, device=self.device, dtype=torch.float32)

    def paint(self, colors: list[Color]) -> Tensor:
        """(B, 3), or (1, 3) to be broadcast."""
        return torch.tensor(colors, device=self.device, dtype=torch.float32)

    def axis(self, x: Tensor | Number, y: Tensor | Number, z: Tensor | Number) -> Tensor:
        """(B, 3) from coordinates that are (B,) or the same for all."""
        columns = (c if isinstance(c, Tensor) else torch.full_like(self.one, c) for c in (x, y, z))
        return torch.stack(list(columns), -1)

    def of(self, *species: str) -> Tensor:
        """(B,) bool: which animals are of these species."""
        return torch.tensor([s.species in species for s in self.scenes], device=self.device)

    def wearing(self, thing: str) -> Tensor:
        """(B,) bool: which animals wear it."""
        return torch.tensor([s.worn == thing for s in self.scenes], device=self.device)

    def add(
        self,
        a: Tensor,
        b: Tensor,
        ra: Tensor,
        rb: Tensor,
        color: Tensor,
        coat: Tensor | None = None,
        worn: bool = False,
    ) -> None:
        """Adds a part to every animal; without `coat` it is bare."""
        bare = self.zero if coat is None else coat
        self._parts.append((a, b, ra, rb, color.expand_as(a), bare))
        self._worn.append(worn)

    def in_world(self) -> Cones:
        """All parts, turned to the scenes' headings."""
        a, b, ra, rb, color, coat = (
            torch.stack(column, 1) for column in zip(*self._parts, strict=True)
        )
        # The head reaches further than the rump: the camera looks at the middle of both.
        middle = torch.tensor([FORWARD, 0.0, 0.0], device=self.device)
        heading = _rad(self.number("heading"))
        # Rows: the animal's axes in the world; heading 90 looks at the camera on +z.
        rows = (
            self.axis(torch.cos(heading), 0, torch.sin(heading)),
            self.axis(0, 1, 0),
            self.axis(-torch.sin(heading), 0, torch.cos(heading)),
        )
        turn = torch.stack(rows, 1)
        worn = torch.tensor(self._worn, device=self.device)
        return Cones(
            (a - middle) @ turn, (b - middle) @ turn, ra, rb, color.clamp(0, 1), coat, worn
        )


def _rad(degrees: Tensor) -> Tensor:
    return degrees * (math.pi / 180)


def _where(mask: Tensor, then: Tensor | float, otherwise: Tensor | float) -> Tensor:
    """`torch.where` for a mask (B,) and numbers, (B,) or (B, 3) choices."""
    wide = any(isinstance(x, Tensor) and x.dim() == 2 for x in (then, otherwise))
    return torch.where(mask[:, None] if wide else mask, then, otherwise)


def _torso(body: _Body) -> None:
    m, light = body.m, body.of(*LIGHT_BELLY)
    body.add(body.hip, body.shoulder, m["rump_r"], m["chest_r"], body.coat, body.one)
    # The light belly shows below the body; the penguin's covers its front.
    bulge = _where(body.of("penguin"), 0.075, 0.035)[:, None] * body.below
    body.add(
        body.hip + bulge,
        body.shoulder + bulge,
        m["rump_r"] * 0.90,
        m["chest_r"] * 0.90,
        _where(light, body.light, body.coat),
        _where(light, body.zero, body.one),
    )
    body.add(body.shoulder, body.head, m["chest_r"] * 0.78, m["head_r"] * 0.72, body.coat, body.one)


def _head(body: _Body) -> None:
    m, head, forward, up = body.m, body.head, body.forward, body.up
    r, snout_r = m["head_r"], m["snout_r"]
    body.add(head, head + 0.05 * forward, r, r * 0.92, body.coat, body.one)
    drop = m["snout_drop"]
    snout = head + (0.55 * r)[:, None] * forward - drop[:, None] * up
    end = head + (0.75 * r + m["snout"])[:, None] * forward - (1.1 * drop)[:, None] * up
    color = _where(body.of(*LIGHT_SNOUT), body.light, body.coat)
    color = _where(body.of("cow"), body.paint([PINK]), color)
    body.add(snout, end, snout_r * 1.05, snout_r * 0.85, color)
    nose = end + (0.75 * snout_r)[:, None] * forward + (0.25 * snout_r)[:, None] * up
    nose = _where(body.of("pig", "cow"), end + (0.35 * snout_r)[:, None] * forward, nose)
    tip = nose + m["nose_length"][:, None] * (forward - 0.25 * up)
    tip_r = _where(body.of("penguin"), 0.012, m["nose"])
    colors = body.paint([NOSE.get(s.species, BLACK) for s in body.scenes])
    body.add(nose, tip, m["nose"], tip_r, colors)


def _eyes_and_ears(body: _Body) -> None:
    m, up, side = body.m, body.up, body.side
    r = m["head_r"][:, None]
    # Black eyes would be lost on a dark coat.
    dark = body.coat.mean(1) < 0.25
    iris = _where(dark, body.paint([AMBER]), body.paint([BLACK]))
    for sign in (-1.0, 1.0):
        eye = body.head + r * (0.80 * body.forward + 0.34 * up + sign * 0.52 * side)
        body.add(eye, eye + 0.001 * up, m["eye"], m["eye"], iris)
        spread = sign * m["ear_spread"][:, None] * side
        ear = body.head + r * (0.72 * up + spread - 0.08 * body.forward)
        direction = m["ear_up"][:, None] * up + sign * m["ear_out"][:, None] * side
        tip = ear + m["ear"][:, None] * direction
        color = _where(body.of("dog"), body.dark, body.coat)
        body.add(ear, tip, m["ear_r"], m["ear_tip"], color)


def _limbs(body: _Body) -> None:
    for sign in (-1.0, 1.0):
        for front in (False, True):
            _limb(body, sign, front)


def _limb(body: _Body, sign: float, front: bool) -> None:
    """A leg, arm or flipper on the left (-1) or right (1) side."""
    leg_r = body.m["leg_r"]
    joint, foot = _reach(body, sign, front)
    knee = 0.5 * (joint + foot)
    bent = knee + body.axis(0.02 if front else -0.035, 0, 0)
    knee = _where(body.of("penguin"), knee, bent)
    body.add(joint, knee, leg_r * (1.15 if front else 1.35), leg_r, body.coat, body.one)
    sock = _where(body.of("cat"), body.light, body.dark)
    sock = _where(body.of("lion", "tiger", "squirrel"), body.coat, sock)
    sock = _where(body.of("dog"), body.coat * 0.8, sock)
    if front:
        sock = _where(body.of("penguin"), body.coat, sock)
    else:  # the penguin's feet are the colour of its beak
        foot = _where(body.of("penguin"), foot + body.axis(0.10, -0.01, 0), foot)
        sock = _where(body.of("penguin"), body.paint([BEAK]), sock)
    body.add(knee, foot, leg_r * 0.95, leg_r * 1.02, 0.5 * (sock + body.coat))


def _reach(body: _Body, sign: float, front: bool) -> tuple[Tensor, Tensor]:
    """(B, 3) where a limb begins and where it ends."""
    m = body.m
    swing = (body.gait if front == (sign > 0) else -body.gait) * 0.17
    joint = (body.shoulder if front else body.hip) + body.axis(0, 0, sign * m["stance"])
    joint = joint - 0.04 * body.up
    height = joint[:, 1]
    if front:
        height = torch.where(m["pitch"] > 20, m["front"], height)
    foot = joint + body.axis(swing * height, -(height - m["leg_r"]), 0)
    if not front:
        return joint, foot
    # The arms of the squirrel reach forward, the penguin's flippers hang out.
    foot = _where(body.of("squirrel"), joint + body.axis(0.14, -0.16, 0), foot)
    hanging = body.axis(-0.05 + 0.05 * body.gait, -0.34, sign * (0.15 + 0.03 * body.gait))
    foot = _where(body.of("penguin"), joint + body.axis(0, 0, sign * 0.10) + hanging, foot)
    joint = _where(body.of("penguin"), joint + body.axis(0, 0, sign * 0.06), joint)
    return joint, foot


def _tail(body: _Body) -> None:
    """Three joints, each bent by the curl; the pose raises and sways it."""
    m, rump = body.m, body.m["rump_r"]
    up_swing = body.number("tail_raise") * _where(body.of("squirrel"), 8.0, 22.0)
    angle = 180 - m["tail_angle"] - up_swing
    bend = _where(body.of("squirrel"), m["tail_curl"], -m["tail_curl"])
    point = body.hip + body.axis(-0.75 * rump, 0.35 * rump, 0)
    point = _where(body.of("penguin"), body.hip + body.axis(-0.8 * rump, -0.05, 0), point)
    radii = [m["tail_r"], 0.5 * (m["tail_r"] + m["tail_mid"]), m["tail_mid"], m["tail_tip"]]
    for joint in range(3):
        bent = _rad(angle + bend * joint)
        sideways = 0.45 * body.number("tail_sway") * (0.5 + 0.5 * joint)
        step = body.axis(torch.cos(bent), torch.sin(bent), sideways)
        step = step / step.norm(dim=-1, keepdim=True) * (m["tail"] / 3)[:, None]
        tuft = body.of("lion", "cow") if joint == 2 else body.of()
        color = _where(tuft, body.dark, body.coat)
        body.add(point, point + step, radii[joint], radii[joint + 1], color, body.one)
        point = point + step


def _mane_or_horns(body: _Body) -> None:
    """What only some have: the lion's mane, the cow's horns."""
    up, r, lion, cow = body.up, body.m["head_r"][:, None], body.of("lion"), body.of("cow")
    mane_color = body.paint([MANE]) * (0.75 + 0.35 * body.coat)
    for sign in (-1.0, 1.0):
        horn = body.head + r * (0.85 * up + sign * 0.45 * body.side)
        mane = body.head + r * (-0.55 * body.forward + (0.22 * sign + 0.02) * up)
        body.add(
            _where(lion, mane, horn),
            _where(
                lion,
                mane - 0.10 * up - 0.02 * body.forward,
                horn + 0.15 * up + sign * 0.09 * body.side,
            ),
            _where(lion, 0.235, _where(cow, 0.036, ABSENT)),
            _where(lion, 0.215, _where(cow, 0.014, ABSENT)),
            _where(lion, mane_color, body.paint([CREAM])),
        )


def _worn_color(body: _Body) -> Tensor:
    return body.paint([PALETTE[s.worn_color] for s in body.scenes])


# A part: where it begins and ends, its radii there, and its colour.
_Part = tuple[Tensor, Tensor, Tensor | float, Tensor | float, Tensor]
_WORN_PARTS = 4  # of anything worn


def _clothes(body: _Body) -> None:
    """What is worn, one thing at most: all things share the same few parts."""
    nothing = (body.head, body.head, body.one * ABSENT, body.one * ABSENT, body.paint([WHITE]))
    parts: list[Any] = [nothing] * _WORN_PARTS
    for thing, make in _CLOTHES.items():
        wearing = body.wearing(thing)
        for i, part in enumerate(make(body)):
            parts[i] = tuple(_where(wearing, x, y) for x, y in zip(part, parts[i], strict=True))
    for a, b, ra, rb, color in parts:
        body.add(a, b, ra, rb, color, worn=True)


def _hat(body: _Body) -> list[_Part]:
    """A cone with a white ball."""
    up = body.up
    brow = body.head + (0.78 * body.m["head_r"])[:, None] * up - 0.02 * body.forward
    brow = _where(body.of("lion"), brow + 0.06 * up, brow)
    top = brow + 0.26 * up - 0.03 * body.forward
    ball = brow + 0.29 * up - 0.03 * body.forward
    return [
        (brow, top, 0.115, 0.022, _worn_color(body)),
        (ball, ball + 0.001 * up, 0.048, 0.048, body.paint([WHITE])),
    ]


def _scarf(body: _Body) -> list[_Part]:
    """A ring around the neck with an end hanging on the camera's side."""
    m = body.m
    collar = body.shoulder + (0.50 * m["neck"])[:, None] * body.along_neck
    girth = 0.5 * (0.78 * m["chest_r"] + 0.72 * m["head_r"]) + 0.035
    girth = _where(body.of("lion"), girth + 0.06, girth)
    half = 0.025 * body.along_neck
    out = 0.6 * body.below + body.facing[:, None] * body.axis(0, 0, 1)
    knot = collar + (0.75 * girth)[:, None] * out
    end = knot - 0.20 * body.up + 0.03 * body.forward
    color = _worn_color(body)
    return [
        (collar - half, collar + half, girth, girth * 0.97, color),
        (knot, end, 0.050, 0.056, color * 0.85),
    ]


def _sweater(body: _Body) -> list[_Part]:
    """Around the trunk from the waist to the neck, with sleeves."""
    m, color = body.m, _worn_color(body)
    thick = _where(body.of("penguin"), 0.070, 0.034)
    waist = torch.lerp(body.hip, body.shoulder, 0.30)
    waist_r = torch.lerp(m["rump_r"], m["chest_r"], 0.30)
    neck = body.shoulder + (0.40 * m["neck"])[:, None] * body.along_neck
    parts: list[_Part] = [
        (waist, body.shoulder, waist_r + thick, m["chest_r"] + thick, color),
        (body.shoulder, neck, 0.85 * m["chest_r"] + 0.03, 0.66 * m["chest_r"] + 0.04, color * 0.9),
    ]
    for sign in (-1.0, 1.0):
        joint, foot = _reach(body, sign, front=True)
        cuff = torch.lerp(joint, foot, 0.55)
        parts.append((joint, cuff, 1.15 * m["leg_r"] + 0.026, m["leg_r"] + 0.026, color))
    return parts


def _boots(body: _Body) -> list[_Part]:
    """On all feet; the squirrel's arms and the penguin's flippers go bare."""
    short = body.of("squirrel", "penguin")
    radius, color = body.m["leg_r"] + _where(short, 0.042, 0.024), _worn_color(body)
    parts: list[_Part] = []
    for sign in (-1.0, 1.0):
        for front in (False, True):
            joint, foot = _reach(body, sign, front)
            bare = short if front else body.of()
            there = _where(bare, ABSENT, radius)
            shaft = torch.lerp(joint, foot, _where(body.of("penguin"), 0.8, 0.62)[:, None])
            toe = foot + _where(short, body.axis(0.11, 0.01, 0), body.axis(0.045, 0.01, 0))
            parts.append((shaft, toe, there, there, color))
    return parts


_CLOTHES: dict[str, Callable[[_Body], list[_Part]]] = {
    "hat": _hat,
    "scarf": _scarf,
    "sweater": _sweater,
    "boots": _boots,
}
