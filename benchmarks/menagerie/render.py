"""Renders scenes in pure torch.

Sphere tracing, Lambert shading, soft shadows, ambient occlusion, 2x2 antialiasing. The same scene
gives the same picture whatever else is in the batch, on the CPU or (to rounding) a GPU.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie import anatomy, props, styles
from benchmarks.menagerie.measures import coat_color, coat_pattern
from benchmarks.menagerie.noise import value_noise
from benchmarks.menagerie.places import Places
from benchmarks.menagerie.scene import Number, Scene
from benchmarks.menagerie.sdf import FAR, Solid, distance, pick, shadow, surface, take, trace

FIELD_OF_VIEW = 34.0  # degrees, horizontal and vertical
TARGET_HEIGHT = 0.46  # what the camera looks at, in body lengths above the ground
_BACKGROUND, _ANIMAL, _PROP = 0, 1, 2


@dataclass(frozen=True)
class Rendering:
    """B pictures of size S.

    Attributes:
        image: in [0, 1].
        animal: coverage by the animal and what it wears, in [0, 1].
        worn: coverage by what it wears.
        prop: coverage by the prop.
        depth: distance along the ray in body lengths, the nearest in a pixel; `FAR` in the sky.
    """

    image: Float[Tensor, "B 3 S S"]
    animal: Float[Tensor, "B 1 S S"]
    worn: Float[Tensor, "B 1 S S"]
    prop: Float[Tensor, "B 1 S S"]
    depth: Float[Tensor, "B 1 S S"]


def camera_to_world(
    scene: Scene, azimuth: Number = 0.0, elevation: Number | None = None
) -> Float[Tensor, "4 4"]:
    """Pose in the OpenGL convention: x right, y up, looking along -z.

    Args:
        scene: its own camera gives distance and aim.
        azimuth: degrees around the animal, from the scene's camera on to its right.
        elevation: degrees above the horizon, instead of the scene's.
    """
    e = math.radians(scene.elevation if elevation is None else elevation)
    a = math.radians(scene.azimuth + azimuth)
    backward = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    right = torch.tensor([math.cos(a), 0.0, -math.sin(a)])
    up = torch.linalg.cross(backward, right)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, up, backward], 1)
    pose[:3, 3] = torch.tensor([scene.pan, TARGET_HEIGHT, 0.0]) + scene.distance * backward
    return pose


def _rays(poses: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (B, S*S, 3) through the pixel centres."""
    half = math.tan(math.radians(FIELD_OF_VIEW / 2))
    line = ((torch.arange(size, device=poses.device) + 0.5) / size * 2 - 1) * half
    y, x = torch.meshgrid(-line, line, indexing="ij")
    local = F.normalize(torch.stack([x, y, -torch.ones_like(x)], -1).reshape(1, -1, 3), dim=-1)
    direction = local @ poses[:, :3, :3].mT
    return poses[:, None, :3, 3].expand_as(direction), direction


def _light(scenes: list[Scene], device: torch.device) -> Tensor:
    a = torch.tensor([math.radians(s.light_azimuth) for s in scenes], device=device)
    e = torch.tensor([math.radians(s.light_elevation) for s in scenes], device=device)
    return torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], -1)


def _turn(heading: Number) -> Tensor:
    """(3, 3) the animal's axes in the world, one a row."""
    h = math.radians(heading)
    return torch.tensor([[math.cos(h), 0, math.sin(h)], [0, 1, 0], [-math.sin(h), 0, math.cos(h)]])


class _Shader:
    """Colours the points that rays hit; holds what a batch of scenes is made of."""

    def __init__(self, scenes: list[Scene], device: torch.device) -> None:
        self.scenes = scenes
        self.places = Places(scenes, device)
        self.animal = Solid.of(anatomy.build(scenes, device))
        self.prop = Solid.of(*props.build(scenes, device))
        self.light = _light(scenes, device)
        self.turn = torch.stack([_turn(s.heading) for s in scenes]).to(device)

        def column(values: list) -> Tensor:
            return torch.tensor(values, device=device)[:, None]

        self.seed = column([s.texture for s in scenes])
        self.flat = column([s.style == "drawing" for s in scenes])[..., None]
        patterns = [coat_pattern(s) for s in scenes]

        def marked(pattern: str, weight: float = 1.0) -> Tensor:
            return column([weight * (p == pattern) for p in patterns])

        self.striped, self.tabby = marked("striped"), marked("tabby", 0.30)
        self.patched, self.spotted = marked("patched"), marked("spotted")
        dark, light = (0.12, 0.11, 0.12), (0.85, 0.83, 0.8)
        self.patch = column([dark if coat_color(s)[0] > 0.4 else light for s in scenes])

    def shade(self, color: Tensor, normal: Tensor, lit: Tensor, occlusion: Tensor) -> Tensor:
        """Lambert with a hemisphere of ambient light; a drawing has two tones."""
        lambert = (normal * self.light[:, None]).sum(-1, keepdim=True).clamp(min=0) * lit[..., None]
        lambert = torch.where(self.flat, torch.sigmoid((lambert - 0.35) * 30) * 0.85, lambert)
        sky = (0.72 + 0.28 * normal[..., 1:2]) * (0.45 + 0.55 * occlusion[..., None])
        return color * (self.places.sun * lambert * 1.05 + self.places.ambient * sky * 1.25)

    def coat(self, p: Tensor, color: Tensor, weight: Tensor) -> Tensor:
        """Stripes, patches, spots and fur, in the animal's own frame so that they move with it."""
        local = p @ self.turn.mT
        wobble = value_noise(local * 5.0, self.seed + 11)
        fur = value_noise(local * torch.tensor([22.0, 30.0, 22.0], device=p.device), self.seed + 12)
        stripes = torch.sigmoid(
            (torch.sin(local[..., 0] * 36 + 1.6 * wobble + 3 * local[..., 1]) - 0.15) * 6
        )
        dark = torch.tensor([0.10, 0.08, 0.08], device=p.device)
        stripe = (self.striped * weight * stripes)[..., None]
        color = torch.lerp(color, dark.expand_as(color), stripe)
        color = color * (1 - (self.tabby * weight * stripes)[..., None])
        blotch = value_noise(local * 3.4 + 5.1, self.seed + 13)
        patch = torch.sigmoid((blotch - 0.12) * 14) * weight * self.patched
        color = torch.lerp(color, self.patch.expand_as(color), patch[..., None])
        dots = value_noise(local * 10.0 + 2.3, self.seed + 14)
        spot = torch.sigmoid((dots - 0.22) * 14) * weight * self.spotted
        color = torch.lerp(color, 2 * dark.expand_as(color), spot[..., None])
        return color * (1 + 0.10 * (weight * fur * (1 - self.flat[..., 0].float()))[..., None])


def _trace(solid: Solid, poses: Tensor, size: int, origin: Tensor, direction: Tensor) -> Tensor:
    """Traces a cone through every pixel first, and its four rays from near the surface."""
    # Wide enough to hold the rays, which are a quarter of a pixel from the middle.
    slope = 0.6 * math.tan(math.radians(FIELD_OF_VIEW / 2)) / size
    near = trace(solid, *_rays(poses, size), slope=slope).reshape(-1, size, 1, size, 1)
    begin = near.expand(-1, size, 2, size, 2).reshape(len(near), -1)
    return trace(solid, origin, direction, begin)


def _paint(shader: _Shader, poses: Tensor, size: int) -> tuple[Tensor, ...]:
    """Colour (B, N, 3), depth, object id and worn weight (B, N) of the (2 size)^2 rays."""
    places, animal, prop = shader.places, shader.animal, shader.prop
    origin, direction = _rays(poses, 2 * size)
    t_animal, t_prop = (_trace(solid, poses, size, origin, direction) for solid in (animal, prop))
    t_place, is_ground = places.hit(origin, direction)
    t = torch.minimum(torch.minimum(t_animal, t_prop), t_place)
    nearer = torch.where(t_animal <= t_prop, _ANIMAL, _PROP)
    what = torch.where(torch.minimum(t_animal, t_prop) < t_place, nearer, _BACKGROUND)
    point = origin + t.clamp(max=60.0)[..., None] * direction

    def light_on(p: Tensor, wanted: Tensor) -> Tensor:
        return torch.minimum(
            shadow(animal, p, shader.light, wanted), shadow(prop, p, shader.light, wanted)
        )

    color = torch.empty_like(point)
    index, valid = take((what == _BACKGROUND) & ~is_ground)
    _put(color, index, valid, places.backdrop(pick(point, index), pick(direction, index)))
    index, valid = take((what == _BACKGROUND) & is_ground)
    p = pick(point, index)
    up = torch.tensor([0.0, 1.0, 0.0], device=p.device).expand_as(p)
    lit = light_on(p + 0.01 * up, valid)
    painted = shader.shade(places.ground(p, pick(t, index)), up, lit, _contact(animal, p, valid))
    _put(color, index, valid, painted)

    worn = torch.zeros_like(t)
    for solid, name in ((animal, _ANIMAL), (prop, _PROP)):
        index, valid = take(what == name)
        if index.shape[1] == 0:
            continue
        p = pick(point, index)
        normal, albedo, weight, garment = surface(solid, p)
        if name == _ANIMAL:
            albedo = shader.coat(p, albedo, weight)
            rows, columns = valid.nonzero(as_tuple=True)
            worn[rows, index[rows, columns]] = garment[rows, columns]
        lit = light_on(p + 0.025 * normal, valid & ((normal * shader.light[:, None]).sum(-1) > 0))
        occlusion = (distance(solid, p + 0.10 * normal) / 0.10).clamp(0, 1)
        _put(color, index, valid, shader.shade(albedo, normal, lit, occlusion))
    depth = torch.where((what == _BACKGROUND) & (t_place >= 60.0), torch.full_like(t, FAR), t)
    return color, depth, what, worn


def _contact(animal: Solid, p: Tensor, valid: Tensor) -> Tensor:
    """Ambient occlusion of the ground near the animal, from its distance."""
    offset = (p - animal.center[:, None]).norm(dim=-1)
    index, near = take(valid & (offset < animal.radius[:, None] + 0.1))
    result = torch.ones_like(offset)
    if index.shape[1]:
        d = distance(animal, pick(p, index))
        rows, columns = near.nonzero(as_tuple=True)
        result[rows, index[rows, columns]] = (d[rows, columns] / 0.22).clamp(0, 1).sqrt()
    return result


def _put(target: Tensor, index: Tensor, valid: Tensor, values: Tensor) -> None:
    rows, columns = valid.nonzero(as_tuple=True)
    target[rows, index[rows, columns]] = values[rows, columns]


def _outline(what: Tensor, depth: Tensor, image: Tensor, flat: Tensor) -> Tensor:
    """For drawings, dark lines where the object or the depth changes, and paper shining through."""
    key = torch.where(what > 0, depth.clamp(max=9), torch.full_like(depth, 9.0))
    key = key + 3.0 * what
    jump = F.max_pool2d(key, 3, 1, 1) + F.max_pool2d(-key, 3, 1, 1)
    line = torch.sigmoid((jump - 0.22) * 40) * (jump > 0.05)
    paper = 0.22 + 0.82 * image
    return torch.where(flat, paper * (1 - 0.8 * line), image)


@torch.no_grad()
def render(
    scenes: list[Scene],
    size: int = 64,
    poses: Float[Tensor, "B 4 4"] | None = None,
    device: str = "cpu",
) -> Rendering:
    """Draws scenes.

    Args:
        scenes: B of them.
        size: S, width and height in pixels.
        poses: a camera for each, see `camera_to_world`; by default the scene's own.
        device: where to draw, and where the rendering is returned.
    """
    where = torch.device(device)
    if poses is None:
        poses = torch.stack([camera_to_world(scene) for scene in scenes])
    shader = _Shader(scenes, where)
    color, depth, what, worn = _paint(shader, poses.to(where), size)

    def grid(x: Tensor) -> Tensor:
        return x.float().reshape(len(scenes), 2 * size, 2 * size, -1).permute(0, 3, 1, 2)

    image = _outline(grid(what), grid(depth), grid(color), shader.flat[..., None]).clamp(0, 1)
    image = styles.brush(image, scenes)
    pool = F.avg_pool2d
    return Rendering(
        pool(image, 2),
        pool(grid(what == _ANIMAL), 2),
        pool(grid(worn), 2),
        pool(grid(what == _PROP), 2),
        -F.max_pool2d(-grid(depth), 2),
    )
