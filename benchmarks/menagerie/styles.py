"""Styles that a picture takes on after it is drawn: a painting, a watercolour.

What they do is measured in widths of the picture, so that it looks the same at every size. A
drawing is not among them: its flat light and its outlines are part of the rendering.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.noise import value_noise
from benchmarks.menagerie.scene import Scene


def brush(image: Float[Tensor, "B 3 S S"], scenes: list[Scene]) -> Float[Tensor, "B 3 S S"]:
    """Pictures in [0, 1] in the styles of their scenes; a photo or drawing stays as it is."""
    made = image.clone()
    for style, paint in (("painting", _painting), ("watercolor", _watercolor)):
        rows = [i for i, scene in enumerate(scenes) if scene.style == style]
        if rows:
            seed = torch.tensor([scenes[i].texture for i in rows], device=image.device)
            made[rows] = paint(image[rows], seed[:, None]).clamp(0, 1)
    return made


def _grid(size: int, device: torch.device) -> Float[Tensor, "1 N 2"]:
    """Pixel centres, row by row, as (x, y) in [0, 1]."""
    line = (torch.arange(size, device=device) + 0.5) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).reshape(1, -1, 2)


def _painting(image: Tensor, seed: Tensor) -> Tensor:
    """Oil on canvas: strong colours in short strokes, along which they are smeared."""
    size = image.shape[-1]
    p = _grid(size, image.device).expand(len(image), -1, -1)
    slant = torch.tensor([[0.94, 0.34], [-0.34, 0.94]], device=image.device)
    along = p @ slant.mT
    stroke = value_noise(along * torch.tensor([9.0, 24.0], device=p.device), seed + 21)
    moved = p + 0.011 * torch.stack([stroke, value_noise(along * 12.0, seed + 22)], -1)
    moved = (2 * moved - 1).reshape(-1, size, size, 2)
    smeared = F.grid_sample(image, moved, padding_mode="border", align_corners=False)
    gray = smeared.mean(1, keepdim=True)
    vivid = gray + 1.3 * (smeared - gray)
    relief = stroke.reshape(-1, 1, size, size)
    return (0.5 + 1.12 * (vivid - 0.5)) * (1 + 0.10 * relief)


def _watercolor(image: Tensor, seed: Tensor) -> Tensor:
    """Thin colour in blots on white paper, that ends before the paper does."""
    size = image.shape[-1]
    p = _grid(size, image.device).expand(len(image), -1, -1)
    reach = size // 64 * 2 + 1
    soft = F.avg_pool2d(F.pad(image, (reach // 2,) * 4, mode="replicate"), reach, 1)
    blot = value_noise(p * 6.0, seed + 23) + 0.5 * value_noise(p * 15.0, seed + 24)
    thin = (0.74 + 0.16 * blot).reshape(-1, 1, size, size)
    edge = torch.minimum(p, 1 - p).amin(-1) + 0.035 * value_noise(p * 8.0, seed + 25)
    inked = torch.sigmoid((edge - 0.035) * 70).reshape(-1, 1, size, size)
    gray = soft.mean(1, keepdim=True)
    washed = 1 - thin * (1 - (gray + 1.25 * (soft - gray)))
    return torch.lerp(torch.ones_like(washed), washed, inked)
