"""Where a scene is: the light, the sky or the walls, and the ground's colour, for every place."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.menagerie.noise import value_noise
from benchmarks.menagerie.scene import PLACES, Scene
from benchmarks.menagerie.sdf import FAR
from benchmarks.menagerie.shapes import Color

ROOM = 2.3  # half the width of the room, in body lengths
SHORE = 1.7  # how far behind the animal the sea begins


@dataclass(frozen=True)
class _Place:
    """The colours of one place.

    Attributes:
        zenith: of the sky above; in the room, of the walls.
        horizon: of the sky at the horizon.
        ground: of the ground.
        ground_dark: of its darker spots.
        hills: of the hills on the horizon; on the beach, of the open sea.
        sun: of the light that has a direction.
        ambient: of the light that has none.
        clouds: how white they are, 0..1.
        grain: contrast of the ground's texture.
    """

    zenith: Color
    horizon: Color
    ground: Color
    ground_dark: Color
    hills: Color
    sun: Color
    ambient: Color
    clouds: float
    grain: float


_PLACES = {
    "meadow": _Place((0.36, 0.62, 0.93), (0.78, 0.89, 0.97), (0.42, 0.66, 0.24), (0.26, 0.48, 0.15),
                     (0.36, 0.56, 0.34), (0.72, 0.70, 0.62), (0.42, 0.44, 0.48), 0.5, 1.0),
    "beach": _Place((0.32, 0.66, 0.94), (0.80, 0.93, 0.98), (0.93, 0.83, 0.60), (0.80, 0.67, 0.45),
                    (0.15, 0.47, 0.72), (0.74, 0.70, 0.58), (0.42, 0.42, 0.45), 0.3, 0.6),
    "room": _Place((0.86, 0.80, 0.70), (0.80, 0.72, 0.60), (0.66, 0.43, 0.26), (0.50, 0.30, 0.17),
                   (0.5, 0.5, 0.5), (0.52, 0.49, 0.42), (0.55, 0.53, 0.51), 0.0, 0.8),
    "snow": _Place((0.66, 0.75, 0.86), (0.90, 0.92, 0.95), (0.95, 0.96, 0.99), (0.82, 0.87, 0.94),
                   (0.66, 0.74, 0.82), (0.50, 0.49, 0.47), (0.54, 0.56, 0.60), 0.2, 0.5),
    "night": _Place((0.04, 0.05, 0.17), (0.16, 0.19, 0.40), (0.20, 0.32, 0.24), (0.12, 0.21, 0.19),
                    (0.09, 0.13, 0.22), (0.46, 0.50, 0.64), (0.31, 0.33, 0.46), 0.0, 0.7),
    "desert": _Place((0.46, 0.66, 0.88), (0.97, 0.88, 0.72), (0.93, 0.62, 0.34), (0.78, 0.46, 0.24),
                     (0.82, 0.50, 0.29), (0.80, 0.70, 0.54), (0.43, 0.41, 0.41), 0.1, 0.5),
    "forest": _Place((0.16, 0.36, 0.15), (0.46, 0.62, 0.34), (0.44, 0.36, 0.20), (0.24, 0.25, 0.11),
                     (0.13, 0.27, 0.12), (0.54, 0.55, 0.42), (0.40, 0.43, 0.38), 0.0, 1.0),
    "street": _Place((0.56, 0.66, 0.78), (0.84, 0.88, 0.93), (0.43, 0.43, 0.46), (0.34, 0.34, 0.37),
                     (0.60, 0.58, 0.56), (0.62, 0.60, 0.55), (0.47, 0.47, 0.50), 0.3, 0.5),
    "sunset": _Place((0.36, 0.24, 0.50), (0.99, 0.60, 0.26), (0.42, 0.42, 0.26), (0.28, 0.27, 0.20),
                     (0.33, 0.18, 0.26), (0.86, 0.52, 0.30), (0.40, 0.33, 0.40), 0.2, 0.8),
}  # fmt: skip


class Places:
    """The places of a batch of scenes, as tensors.

    Attributes:
        sun: (B, 1, 3) colour of the light that has a direction.
        ambient: (B, 1, 3) colour of the light that has none.
    """

    def __init__(self, scenes: list[Scene], device: torch.device) -> None:
        chosen = [_PLACES[s.place] for s in scenes]

        def column(name: str) -> Tensor:
            return torch.tensor(
                [getattr(p, name) for p in chosen], device=device, dtype=torch.float32
            )

        self.sun, self.ambient = column("sun")[:, None], column("ambient")[:, None]
        self._zenith, self._horizon = column("zenith")[:, None], column("horizon")[:, None]
        self._ground, self._dark, self._hills = (
            column(n)[:, None] for n in ("ground", "ground_dark", "hills")
        )
        self._clouds, self._grain = column("clouds")[:, None], column("grain")[:, None]
        self._tint = torch.tensor([s.tint for s in scenes], device=device)[:, None, None]
        self._seed = torch.tensor([s.texture for s in scenes], device=device)[:, None]
        self._is = {
            p: torch.tensor([s.place == p for s in scenes], device=device)[:, None] for p in PLACES
        }
        # Warmer or cooler surroundings, by the scene's tint.
        self._cast = 1 + self._tint * torch.tensor([0.06, 0.0, -0.06], device=device)

    def hit(
        self, origin: Float[Tensor, "B N 3"], direction: Float[Tensor, "B N 3"]
    ) -> tuple[Float[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """Distance to the ground or a wall (large for the sky), and whether it is the ground."""
        down = direction[..., 1].clamp(max=-1e-6)
        ground = torch.where(
            direction[..., 1] < -1e-3, -origin[..., 1] / down, torch.full_like(down, FAR)
        ).clamp(max=FAR)
        # The room is a box seen from inside: of its walls, the one a ray leaves by.
        flat = direction[..., ::2]
        flat = torch.where(flat.abs() < 1e-6, torch.full_like(flat, 1e-6), flat)
        wall = ((ROOM * flat.sign() - origin[..., ::2]) / flat).amin(-1)
        in_room = self._is["room"]
        t = torch.where(in_room, torch.minimum(ground, wall), ground)
        return t, torch.where(in_room, ground < wall, ground < 60.0)

    def ground(
        self, p: Float[Tensor, "B N 3"], far: Float[Tensor, "B N"]
    ) -> Float[Tensor, "B N 3"]:
        """Colour of the ground; how `far` points are fades its texture before it aliases."""
        fade = torch.exp(-0.12 * far)[..., None]
        xz = p[..., ::2]
        coarse = value_noise(xz * 1.3, self._seed)[..., None]
        fine = value_noise(xz * 7.0 + 13.7, self._seed + 1)[..., None]
        mix = 0.5 + (0.30 * coarse + 0.35 * fine * fade) * self._grain[..., None]
        color = torch.lerp(self._dark.expand_as(p), self._ground.expand_as(p), mix.clamp(0, 1))
        color = color * self._cast
        for place, change in (
            ("room", self._planks),
            ("desert", self._ripples),
            ("street", self._road),
        ):
            if self._is[place].any():
                color = change(p, color)
        return self._sea(p, coarse, color) if self._is["beach"].any() else color

    def _planks(self, p: Tensor, color: Tensor) -> Tensor:
        """The floor of the room has seams, and each plank its tone."""
        plank = torch.floor(p[..., 2:] / 0.42)
        spread = torch.sin(plank * 12.9898 + self._seed[..., None] * 0.37) * 43758.5453
        tone = 0.92 + 0.10 * torch.frac(spread)
        seam = 1 - 0.35 * torch.exp(-(((p[..., 2:] / 0.42 - plank) - 0.5).abs() - 0.5).abs() * 25)
        return torch.where(self._is["room"][..., None], color * tone * seam, color)

    def _ripples(self, p: Tensor, color: Tensor) -> Tensor:
        """The wind's marks on the sand of the desert."""
        bend = value_noise(p[..., ::2] * 0.9, self._seed + 6)
        wave = torch.sin(p[..., 2] * 13 + 4 * bend)[..., None]
        return torch.where(self._is["desert"][..., None], color * (1 + 0.10 * wave), color)

    def _road(self, p: Tensor, color: Tensor) -> Tensor:
        """Behind the animal, in the street, a broken white line and then the pavement."""
        back = -p[..., 2:]
        dash = ((back - 1.0).abs() < 0.09) & (torch.frac(p[..., :1] / 1.1 + 50) < 0.6)
        pale = torch.tensor([0.70, 0.68, 0.65], device=p.device)
        road = torch.where(dash, torch.full_like(p, 0.92), color)
        road = torch.where(back > 2.2, pale.expand_as(p), road)
        return torch.where(self._is["street"][..., None], road, color)

    def _sea(self, p: Tensor, coarse: Tensor, color: Tensor) -> Tensor:
        """On the beach: behind the shore line, water; at it, foam."""
        edge = -p[..., 2:] - SHORE + 0.12 * coarse
        near = torch.tensor([0.25, 0.66, 0.78], device=p.device)
        water = torch.lerp(near, self._hills.expand_as(p), (edge * 0.25).clamp(0, 1))
        foam = torch.exp(-(((edge - 0.05) * 9) ** 2))
        sea = torch.lerp(water, torch.ones_like(water), 0.85 * foam)
        return torch.where(self._is["beach"][..., None] & (edge > 0), sea, color)

    def backdrop(
        self, p: Float[Tensor, "B N 3"], direction: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N 3"]:
        """Colour of the sky in `direction`, or of the wall at `p`."""
        in_room = self._is["room"][..., None]
        return torch.where(in_room, self._wall(p), self._sky(p, direction))

    def _wall(self, p: Tensor) -> Tensor:
        warmth = torch.tensor([0.3, -0.2, -1.0], device=p.device)
        wall = self._zenith * (1 + 0.18 * self._tint * warmth)
        skirting = (p[..., 1:2] < 0.16) & (p[..., 1:2] > 0)
        return torch.where(skirting, torch.full_like(p, 0.93), wall.expand_as(p))

    def _sky(self, p: Tensor, direction: Tensor) -> Tensor:
        """Blue above, clouds, hills on the horizon, and the lights of the night."""
        height = direction[..., 1:2]
        above = (height * 2.2).clamp(0, 1).sqrt()
        sky = torch.lerp(self._horizon.expand_as(p), self._zenith.expand_as(p), above)
        around = torch.atan2(direction[..., 0], -direction[..., 2])
        dome = torch.stack([around * 3.0, height[..., 0] * 9.0], -1)
        puff = value_noise(dome, self._seed + 2) + 0.5 * value_noise(dome * 2.3, self._seed + 3)
        clouds = self._clouds[..., None] * (puff[..., None] * 1.4 - 0.1).clamp(0, 1)
        sky = torch.lerp(sky, torch.ones_like(sky), clouds)
        line = torch.stack([around * 2.2, around * 0], -1)
        ridge = 0.045 + 0.035 * value_noise(line, self._seed + 4)[..., None]
        ridge = torch.where(self._is["beach"][..., None], torch.zeros_like(ridge), ridge)
        hills = torch.sigmoid((ridge - height) * 220)
        sky = torch.lerp(sky, self._hills.expand_as(sky), hills)
        for place, change in (
            ("night", self._night),
            ("sunset", self._low_sun),
            ("forest", self._trunks),
            ("street", self._houses),
        ):
            there = self._is[place][..., None]
            if there.any():
                sky = torch.where(there, change(sky, around, height), sky)
        return sky * (1 + 0.3 * (self._cast - 1))

    def _night(self, sky: Tensor, around: Tensor, height: Tensor) -> Tensor:
        return torch.maximum(sky, self._stars_and_moon(around, height))

    def _low_sun(self, sky: Tensor, around: Tensor, height: Tensor) -> Tensor:
        """The setting sun, half behind the hills."""
        far = torch.hypot(around - 0.2 * torch.sign(self._tint[..., 0]), height[..., 0] - 0.055)
        disc = torch.sigmoid((0.075 - far) * 120)[..., None] * (height > 0.045)
        glow = torch.exp(-((far / 0.22) ** 2))[..., None] * 0.35
        color = torch.tensor([1.0, 0.86, 0.45], device=around.device)
        return torch.lerp(sky, color.expand_as(sky), torch.maximum(disc, glow))

    def _trunks(self, sky: Tensor, around: Tensor, height: Tensor) -> Tensor:
        """Two rows of tree trunks, the farther one paler, and leaves above them."""
        for row, (count, width) in enumerate(((24.0, 0.18), (14.0, 0.20))):
            cell = around * count + 0.5 * row
            middle = torch.floor(cell) + 0.5
            slot = torch.stack([middle * 7.31, torch.zeros_like(middle)], -1)
            shift = 0.25 * value_noise(slot, self._seed + 7 + row)
            trunk = torch.sigmoid((width - (cell - middle - shift).abs()) * 40)[..., None]
            bark = torch.tensor([[0.34, 0.30, 0.20], [0.24, 0.16, 0.10]][row], device=sky.device)
            sky = torch.lerp(sky, bark.expand_as(sky), trunk)
        leaves = torch.stack([around * 14, height[..., 0] * 16], -1)
        rough = value_noise(leaves, self._seed + 9)[..., None]
        crown = torch.sigmoid((height - 0.16 + 0.06 * rough) * 60)
        green = torch.tensor([0.13, 0.32, 0.12], device=sky.device) * (1 + 0.35 * rough)
        return torch.lerp(sky, green, crown)

    def _houses(self, sky: Tensor, around: Tensor, height: Tensor) -> Tensor:
        """A row of houses of several heights and colours, with windows."""
        cell = around * 5.5
        index = torch.floor(cell)
        spot = torch.stack([index * 3.17, torch.zeros_like(index)], -1)
        tall, hue = (value_noise(spot + 9 * i, self._seed + 7 + i)[..., None] for i in range(2))
        up = height - 0.01
        wall = self._hills * (1 + 0.30 * hue * torch.tensor([1.0, 0.3, -0.7], device=sky.device))
        across = torch.frac((cell - index) * 3)[..., None]
        pane = (across > 0.3) & (across < 0.75) & (torch.frac(up * 17) > 0.4)
        pane = pane & (up > 0.01)
        glass = torch.tensor([0.28, 0.34, 0.44], device=sky.device)
        front = torch.where(pane, glass.expand_as(sky), wall.expand_as(sky))
        return torch.where(height < 0.20 + 0.09 * tall, front, sky)

    def _stars_and_moon(self, around: Tensor, height: Tensor) -> Tensor:
        """(B, N, 3) light of the night sky; the moon is on the right or left."""
        cell = torch.stack([around * 26, height[..., 0] * 26], -1)
        spark = (value_noise(cell, self._seed + 5)[..., None] - 0.86).clamp(min=0) * 7
        moon_at = 0.22 * torch.sign(self._tint[..., 0]) + 0.05 * self._tint[..., 0]
        from_moon = torch.hypot(around - moon_at, height[..., 0] - 0.20)
        moon = torch.sigmoid((0.055 - from_moon) * 160)[..., None]
        color = torch.tensor([1.0, 0.97, 0.85], device=around.device)
        return torch.maximum(spark * 0.9 * (height > 0.08), moon) * color
