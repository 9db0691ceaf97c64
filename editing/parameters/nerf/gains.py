"""How far each point of the added grids goes in a step: the more pixels it is seen in, the less.

A point of a coarse grid is in a thousand pixels, one of a fine grid in a few, one inside an animal
in none. Plain gradient descent moves each by the sum of what its pixels ask for, and Adam by the
same length whatever they ask for, so that noise moves what is not edited. Here a step is divided by
how much the views depend on a point, as a Jacobi preconditioner of Gauss-Newton's would: each moves
by about the mean of what its pixels ask for.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from editing.parameters.nerf.radiance import Radiance
from editing.parameters.views import Cameras

LEAST, SHARE = 8, 4  # views that are looked at, evenly spaced: as many, or one of so many if more
SLOPE = 0.2  # of the sigmoid behind a colour, where most colours are
# What is added to the dependence of a view, per pixel of it. It keeps what is hardly seen where it
# is, and fine grids behind coarse ones. For colours a sum of weights, for density of their squares.
COLOR_FLOOR, DENSITY_FLOOR = 2 / 64**2, 0.006 / 64**2


def find_gains(scene: Radiance, cameras: Cameras) -> list[Float[Tensor, "1 1 d d d"]]:
    """Factors of the steps of the grids of density, then of those of colour, one for every level.

    What only views see that are not looked at counts as unseen, and goes furthest.
    """
    count = len(scene.densities)
    leaves = [grid.detach().clone().requires_grad_() for grid in (*scene.densities, *scene.colors)]
    probed = Radiance(scene.field, leaves[:count], leaves[count:])
    squares, sums = ([torch.zeros_like(leaf[:, :1]) for leaf in leaves[:count]] for _ in range(2))
    views = min(len(cameras), max(LEAST, -(-len(cameras) // SHARE)))
    rows = torch.linspace(0, len(cameras) - 1, views).round().int().tolist()
    generator = torch.Generator().manual_seed(0)
    for row in rows:
        image = probed.render(cameras[[row]]).image
        signs = torch.randint(0, 2, image.shape, generator=generator).to(image) * 2 - 1
        # Hutchinson: the square of a sum with random signs is a sum of squares in expectation
        mixed = torch.autograd.grad((image * signs).sum(), leaves[:count], retain_graph=True)
        summed = torch.autograd.grad(image.sum(), leaves[count:])
        for level in range(count):
            squares[level] += mixed[level].square() / len(rows)
            sums[level] += summed[level].mean(1, keepdim=True) / len(rows)
    pixels = cameras.width * cameras.height
    density = [1 / (_blurred(grid) + DENSITY_FLOOR * pixels) / count for grid in squares]
    # a feature is an input of the network too, by which it may darken what it colours
    color = [1 / (grid.abs() + COLOR_FLOOR * pixels) / (SLOPE * count) for grid in sums]
    return [*density, *color]


def _blurred(grid: Float[Tensor, "1 1 d d d"]) -> Float[Tensor, "1 1 d d d"]:
    """What was estimated with few signs, as neighbours agree on it."""
    return F.avg_pool3d(grid, 3, 1, 1, count_include_pad=False)
