"""The shared body plan: every species is the same list of round cones with other measures.

A round cone is the hull of two spheres (centre `a` of radius `ra`, centre `b` of radius `rb`). The list has one
length for all species, so a batch of different animals is one tensor; a part a species lacks has radius `ABSENT`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.menagerie.scene import COLORS, SPECIES, Scene

ABSENT = -50.0
FORWARD = 0.10  # body lengths from the middle of the spine to the middle of the animal

# Measures in body lengths, angles in degrees; a column per species in the order of SPECIES.
#                    cat    dog    pig    cow    lion   tiger  squirrel penguin
_MEASURES: dict[str, tuple[float, ...]] = {
    "half_length":   (0.26,  0.27,  0.27,  0.31,  0.27,  0.30,  0.15,  0.19),  # hip to shoulder, halved
    "pitch":         (3,     5,     0,     0,     6,     3,     38,    84),  # of the spine
    "hip":           (0.42,  0.43,  0.33,  0.44,  0.44,  0.42,  0.26,  0.26),  # height of the hip
    "front":         (0.42,  0.43,  0.33,  0.44,  0.46,  0.43,  0.27,  0.36),  # length of the front limbs
    "chest_r":       (0.150, 0.165, 0.235, 0.225, 0.185, 0.180, 0.120, 0.190),
    "rump_r":        (0.145, 0.145, 0.245, 0.225, 0.160, 0.170, 0.155, 0.240),
    "leg_r":         (0.058, 0.066, 0.078, 0.074, 0.078, 0.078, 0.052, 0.050),
    "stance":        (0.085, 0.090, 0.125, 0.125, 0.100, 0.100, 0.085, 0.120),  # from the midline
    "neck":          (0.26,  0.30,  0.27,  0.30,  0.27,  0.27,  0.20,  0.24),
    "neck_angle":    (38,    42,    12,    28,    36,    30,    55,    86),
    "head_r":        (0.175, 0.155, 0.180, 0.150, 0.170, 0.178, 0.130, 0.155),
    "snout":         (0.07,  0.18,  0.085, 0.13,  0.12,  0.10,  0.09,  0.03),
    "snout_r":       (0.085, 0.085, 0.098, 0.115, 0.095, 0.095, 0.062, 0.060),
    "snout_drop":    (0.055, 0.050, 0.040, 0.060, 0.060, 0.060, 0.040, 0.010),
    "nose":          (0.034, 0.048, 0.076, 0.070, 0.045, 0.040, 0.028, 0.060),
    "nose_length":   (0.00,  0.00,  0.02,  0.01,  0.00,  0.00,  0.00,  0.17),  # the penguin's beak
    "eye":           (0.046, 0.042, 0.040, 0.040, 0.042, 0.042, 0.040, 0.040),
    "ear":           (0.19,  0.22,  0.13,  0.13,  0.08,  0.08,  0.10,  0),
    "ear_r":         (0.070, 0.060, 0.065, 0.050, 0.062, 0.062, 0.050, ABSENT),
    "ear_tip":       (0.010, 0.066, 0.012, 0.030, 0.052, 0.052, 0.016, ABSENT),
    "ear_up":        (0.95,  -0.85, 0.55,  -0.10, 0.75,  0.75,  1.00,  0),
    "ear_out":       (0.30,  0.50,  0.70,  1.00,  0.65,  0.65,  0.25,  0),
    "ear_spread":    (0.52,  0.78,  0.60,  0.80,  0.72,  0.70,  0.55,  0),
    "tail":          (0.55,  0.36,  0.16,  0.46,  0.50,  0.50,  0.66,  0.10),
    "tail_r":        (0.036, 0.036, 0.026, 0.024, 0.028, 0.034, 0.085, 0.060),
    "tail_mid":      (0.034, 0.032, 0.024, 0.022, 0.026, 0.034, 0.150, 0.040),
    "tail_tip":      (0.030, 0.022, 0.018, 0.052, 0.062, 0.032, 0.110, 0.020),
    "tail_angle":    (48,    40,    35,    -58,   -5,    10,    78,    -35),
    "tail_curl":     (14,    18,    70,    -8,    28,    22,    30,    0),
}  # fmt: skip

_WHITE, _BLACK, _PINK, _CREAM = (0.93, 0.92, 0.89), (0.10, 0.10, 0.12), (0.93, 0.60, 0.62), (0.90, 0.83, 0.70)
_NATURAL = {
    "cat": (0.56, 0.57, 0.60), "dog": (0.50, 0.31, 0.17), "pig": (0.95, 0.64, 0.66), "cow": (0.92, 0.91, 0.88),
    "lion": (0.86, 0.64, 0.30), "tiger": (0.93, 0.52, 0.12), "squirrel": (0.66, 0.29, 0.12),
    "penguin": (0.13, 0.15, 0.22),
}  # fmt: skip
_COATS = {
    "gray": (0.54, 0.54, 0.56), "white": (0.92, 0.91, 0.89), "black": (0.15, 0.14, 0.16),
    "brown": (0.44, 0.27, 0.15), "golden": (0.88, 0.67, 0.28), "blue": (0.27, 0.44, 0.78),
}  # fmt: skip
_NOSE = {"pig": (0.84, 0.44, 0.50), "cow": (0.85, 0.62, 0.60), "penguin": (0.96, 0.62, 0.10), "cat": (0.80, 0.45, 0.47)}
_LIGHT_SNOUT = {"cat", "lion", "tiger", "squirrel"}
_LIGHT_BELLY = {"cat", "lion", "tiger", "squirrel", "penguin"}
PALETTE = {"red": (0.86, 0.13, 0.12), "blue": (0.13, 0.33, 0.85), "yellow": (0.96, 0.80, 0.12),
           "green": (0.13, 0.58, 0.25)}  # fmt: skip


@dataclass(frozen=True)
class Cones:
    """A batch of unions of P round cones, in world coordinates.

    Attributes:
        a, b: (B, P, 3) end points. ra, rb: (B, P) radii; `ABSENT` where there is no part.
        color: (B, P, 3) in [0, 1]. coat: (B, P) 1 where the coat's pattern and fur show. worn: (P,) bool.
    """

    a: Tensor
    b: Tensor
    ra: Tensor
    rb: Tensor
    color: Tensor
    coat: Tensor
    worn: Tensor


def coat_color(scene: Scene) -> tuple[float, float, float]:
    """The colour of the coat, in [0, 1]; `tint` makes it up to 8 % lighter or darker."""
    r, g, b = _NATURAL[scene.species] if scene.coat == "natural" else _COATS[scene.coat]
    shade = 1 + 0.08 * scene.tint
    return min(r * shade, 1.0), min(g * shade, 1.0), min(b * shade, 1.0)


def _axis(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.stack([x, y, z], -1)


def build(scenes: list[Scene], device: torch.device) -> Cones:
    """The animals of `scenes` as round cones, posed and turned to their heading."""
    index = torch.tensor([SPECIES.index(s.species) for s in scenes], device=device)
    table = {name: torch.tensor(row, device=device, dtype=torch.float32) for name, row in _MEASURES.items()}
    m = {name: row[index] for name, row in table.items()}

    def number(name: str) -> Tensor:
        return torch.tensor([getattr(s, name) for s in scenes], device=device, dtype=torch.float32)

    def paint(colors: list[tuple[float, float, float]]) -> Tensor:
        return torch.tensor(colors, device=device, dtype=torch.float32)

    def rad(degrees: Tensor) -> Tensor:
        return degrees * (math.pi / 180)

    gait, raise_, sway = number("gait"), number("tail_raise"), number("tail_sway")
    zero, one = torch.zeros_like(gait), torch.ones_like(gait)
    up = _axis(zero, one, zero)
    # The head turns towards the camera, which is on the animal's right when it looks to the right of the picture.
    facing = torch.where(torch.cos(rad(number("heading"))) >= 0, one, -one)
    turn = rad(number("head_turn")) * facing

    base = [coat_color(s) for s in scenes]
    coat = paint(base)
    dark = coat * 0.55
    belly = paint([_CREAM if s.species in {"lion", "squirrel", "tiger"} else _WHITE for s in scenes])
    has_belly = torch.tensor([s.species in _LIGHT_BELLY for s in scenes], device=device)[:, None]
    snout_light = torch.tensor([s.species in _LIGHT_SNOUT for s in scenes], device=device)[:, None]
    is_ = {name: torch.tensor([s.species == name for s in scenes], device=device) for name in SPECIES}

    parts: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, bool]] = []

    def add(a: Tensor, b: Tensor, ra: Tensor, rb: Tensor, color: Tensor, fur: Tensor, worn: bool = False) -> None:
        parts.append((a, b, ra, rb, color.expand_as(a), fur, worn))

    pitch = rad(m["pitch"])
    spine = _axis(torch.cos(pitch), torch.sin(pitch), zero)
    hip = _axis(-m["half_length"] * torch.cos(pitch), m["hip"], zero)
    shoulder = hip + 2 * m["half_length"][:, None] * spine
    below = _axis(torch.sin(pitch), -torch.cos(pitch), zero)  # from the spine to the belly
    add(hip, shoulder, m["rump_r"], m["chest_r"], coat, one)
    # The light belly shows below the body; the penguin's covers its front.
    bulge = torch.where(is_["penguin"], 0.075 * one, 0.035 * one)[:, None]
    size = torch.where(is_["penguin"], 0.90 * one, 0.90 * one)
    add(hip + bulge * below, shoulder + bulge * below, m["rump_r"] * size, m["chest_r"] * size,
        torch.where(has_belly, belly, coat), torch.where(has_belly[:, 0], zero, one))  # fmt: skip

    neck_angle = rad(m["neck_angle"])
    neck_dir = _axis(torch.cos(neck_angle), torch.sin(neck_angle), zero)
    head = shoulder + m["neck"][:, None] * neck_dir
    add(shoulder, head, m["chest_r"] * 0.78, m["head_r"] * 0.72, coat, one)
    forward = _axis(torch.cos(turn), zero - 0.05, torch.sin(turn))
    side = _axis(-torch.sin(turn), zero, torch.cos(turn))
    hr = m["head_r"]
    add(head, head + 0.05 * forward, hr, hr * 0.92, coat, one)
    snout0 = head + (0.55 * hr)[:, None] * forward - m["snout_drop"][:, None] * up
    snout1 = head + (0.75 * hr + m["snout"])[:, None] * forward - (1.1 * m["snout_drop"])[:, None] * up
    snout_color = torch.where(snout_light, belly, coat)
    snout_color = torch.where(is_["cow"][:, None], paint([_PINK]), snout_color)
    add(snout0, snout1, m["snout_r"] * 1.05, m["snout_r"] * 0.85, snout_color, zero)
    nose0 = snout1 + (0.75 * m["snout_r"])[:, None] * forward + (0.25 * m["snout_r"])[:, None] * up
    nose0 = torch.where((is_["pig"] | is_["cow"])[:, None], snout1 + (0.35 * m["snout_r"])[:, None] * forward, nose0)
    nose1 = nose0 + m["nose_length"][:, None] * (forward - 0.25 * up)
    tip = torch.where(is_["penguin"], 0.012 * one, m["nose"])
    add(nose0, nose1, m["nose"], tip, paint([_NOSE.get(s.species, _BLACK) for s in scenes]), zero)

    for sign in (-1.0, 1.0):  # eyes and ears
        eye = head + hr[:, None] * (0.80 * forward + 0.34 * up + sign * 0.52 * side)
        ring = torch.where((is_["penguin"])[:, None], paint([_WHITE]), paint([_BLACK]))
        add(eye, eye + 0.001 * up, m["eye"], m["eye"], paint([_BLACK]) if sign else ring, zero)
        ear0 = head + hr[:, None] * (0.72 * up + sign * m["ear_spread"][:, None] * side - 0.08 * forward)
        ear1 = ear0 + m["ear"][:, None] * (m["ear_up"][:, None] * up + sign * m["ear_out"][:, None] * side)
        ear_color = torch.where((is_["dog"])[:, None], dark, coat)
        add(ear0, ear1, m["ear_r"], m["ear_tip"], ear_color, zero)

    for sign in (-1.0, 1.0):  # limbs
        out = _axis(zero, zero, sign * m["stance"])
        for front in (False, True):
            swing = (gait if front == (sign > 0) else -gait) * 0.17
            joint = (shoulder if front else hip) + out - 0.04 * up
            length = m["front"] if front else m["hip"]
            ground = torch.where(m["pitch"] > 20, length, joint[:, 1]) if front else joint[:, 1]
            foot = joint + _axis(swing * ground, -(ground - m["leg_r"]), zero)
            if front:  # arms of the squirrel reach forward, the penguin's flippers hang out
                reach = torch.where(is_["squirrel"], 0.14 * one, zero)
                foot = torch.where(is_["squirrel"][:, None], joint + _axis(reach, -0.16 * one, zero), foot)
                spread = _axis(-0.05 + 0.05 * gait, -0.34 * one, sign * (0.15 + 0.03 * gait))
                foot = torch.where(is_["penguin"][:, None], joint + _axis(zero, zero, sign * 0.10 * one) + spread, foot)
                joint = torch.where(is_["penguin"][:, None], joint + _axis(zero, zero, sign * 0.06 * one), joint)
            knee = 0.5 * (joint + foot) + _axis((0.02 if front else -0.035) * one, zero, zero)
            knee = torch.where(is_["penguin"][:, None], 0.5 * (joint + foot), knee)
            thick = m["leg_r"] * (1.15 if front else 1.35)
            add(joint, knee, thick, m["leg_r"], coat, one)
            sock = torch.where(is_["cat"][:, None], belly, dark)
            sock = torch.where((is_["lion"] | is_["tiger"] | is_["squirrel"])[:, None], coat, sock)
            sock = torch.where((is_["dog"])[:, None], coat * 0.8, sock)
            if not front:
                orange = paint([_NOSE["penguin"]])
                toe = foot + _axis(0.10 * one, -0.01 * one, zero)
                foot = torch.where(is_["penguin"][:, None], toe, foot)
                sock = torch.where(is_["penguin"][:, None], orange, sock)
            else:
                sock = torch.where(is_["penguin"][:, None], coat, sock)
            add(knee, foot, m["leg_r"] * 0.95, m["leg_r"] * 1.02, 0.5 * (sock + coat), zero)

    # The tail: three joints, each bent by the curl; pose raises and sways it.
    angle = 180 - m["tail_angle"] - raise_ * torch.where(is_["squirrel"], 8 * one, 22 * one)
    bend = torch.where(is_["squirrel"], m["tail_curl"], -m["tail_curl"])
    point = hip + _axis(-0.75 * m["rump_r"], 0.35 * m["rump_r"], zero)
    point = torch.where(is_["penguin"][:, None], hip + _axis(-0.8 * m["rump_r"], -0.05 * one, zero), point)
    radii = [m["tail_r"], 0.5 * (m["tail_r"] + m["tail_mid"]), m["tail_mid"], m["tail_tip"]]
    for joint_index in range(3):
        th = rad(angle + bend * joint_index)
        sideways = 0.45 * sway * (0.5 + 0.5 * joint_index)
        step = _axis(torch.cos(th), torch.sin(th), sideways)
        step = step / step.norm(dim=-1, keepdim=True) * (m["tail"] / 3)[:, None]
        tuft = (is_["lion"] | is_["cow"])[:, None] if joint_index == 2 else torch.zeros_like(is_["lion"])[:, None]
        add(point, point + step, radii[joint_index], radii[joint_index + 1], torch.where(tuft, dark, coat), one)
        point = point + step

    # What only some have: the lion's mane, the cow's horns.
    mane = is_["lion"][:, None]
    absent = ABSENT * one
    cow = is_["cow"]
    for sign in (-1.0, 1.0):
        horn0 = head + hr[:, None] * (0.85 * up + sign * 0.45 * side)
        horn1 = horn0 + 0.15 * up + sign * 0.09 * side
        behind = -0.55 * forward + (0.22 * sign + 0.02) * up
        mane0 = head + hr[:, None] * behind
        add(torch.where(mane, mane0, horn0), torch.where(mane, mane0 - 0.10 * up - 0.02 * forward, horn1),
            torch.where(is_["lion"], 0.235 * one, torch.where(cow, 0.036 * one, absent)),
            torch.where(is_["lion"], 0.215 * one, torch.where(cow, 0.014 * one, absent)),
            torch.where(mane, paint([(0.42, 0.22, 0.10)]) * (0.75 + 0.35 * coat), paint([_CREAM])), zero)  # fmt: skip

    worn_color = paint([PALETTE[s.worn_color] for s in scenes])
    hat = torch.tensor([s.worn == "hat" for s in scenes], device=device)
    scarf = torch.tensor([s.worn == "scarf" for s in scenes], device=device)
    brow = head + (0.78 * hr)[:, None] * up - 0.02 * forward
    brow = torch.where(mane, brow + 0.06 * up, brow)
    add(brow, brow + 0.26 * up - 0.03 * forward, torch.where(hat, 0.115 * one, absent),
        torch.where(hat, 0.022 * one, absent), worn_color, zero, worn=True)  # fmt: skip
    ball = brow + 0.29 * up - 0.03 * forward
    add(ball, ball + 0.001 * up, torch.where(hat, 0.048 * one, absent), torch.where(hat, 0.048 * one, absent),
        paint([_WHITE]), zero, worn=True)  # fmt: skip
    collar = shoulder + (0.50 * m["neck"])[:, None] * neck_dir
    girth = 0.5 * (0.78 * m["chest_r"] + 0.72 * hr) + 0.035
    girth = torch.where(is_["lion"], girth + 0.06, girth)
    ring0, ring1 = collar - 0.025 * neck_dir, collar + 0.025 * neck_dir
    add(ring0, ring1, torch.where(scarf, girth, absent), torch.where(scarf, girth * 0.97, absent),
        worn_color, zero, worn=True)  # fmt: skip
    knot = collar + (0.75 * girth)[:, None] * (0.6 * below + facing[:, None] * _axis(zero, zero, one))
    add(knot, knot - 0.20 * up + 0.03 * forward, torch.where(scarf, 0.050 * one, absent),
        torch.where(scarf, 0.056 * one, absent), worn_color * 0.85, zero, worn=True)  # fmt: skip

    # The head reaches further than the rump: the camera looks at the middle of both.
    middle = torch.tensor([FORWARD, 0.0, 0.0], device=device)
    a, b, ra, rb, color, fur = (torch.stack(column, 1) for column in list(zip(*parts, strict=True))[:6])
    worn = torch.tensor([p[6] for p in parts], device=device)
    heading = rad(number("heading"))
    rotation = torch.stack([
        _axis(torch.cos(heading), zero, torch.sin(heading)),
        _axis(zero, one, zero),
        _axis(-torch.sin(heading), zero, torch.cos(heading)),
    ], 1)  # rows: the animal's axes in the world; heading 90 looks at the camera on +z  # fmt: skip
    return Cones((a - middle) @ rotation, (b - middle) @ rotation, ra, rb, color.clamp(0, 1), fur, worn)
