"""Front-to-back compositing of ellipses, tile by tile, in plain torch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from editing.parameters.gaussians.project import ALPHA_MIN, Ellipses

SIDE = 8  # of a tile, in pixels
ALPHA_MAX = 0.99
# Ellipses times pixels that are evaluated at once; on a CPU they had better stay in its cache.
CHUNK_CPU, CHUNK_CUDA = 2**18, 2**24
KEEP = 2**25  # above so many, all chunks together, a backward pass evaluates them again (1.5 GB)
_NOWHERE = -1e4  # logarithm of the opacity of what fills up the shorter lists of a chunk


@dataclass(frozen=True)
class Tiles:
    """Which ellipses reach which tiles.

    Attributes:
        columns: number of tiles in a row of the picture.
        rows: number of rows of tiles.
        members: indices of ellipses, tile after tile, within a tile the nearest first.
        counts: how many of them belong to each tile, row by row.
    """

    columns: int
    rows: int
    members: Int64[Tensor, " P"]
    counts: Int64[Tensor, " T"]


@torch.no_grad()
def find_tiles(ellipses: Ellipses, width: int, height: int) -> Tiles:
    """The tiles of a picture (in pixels) with all ellipses that are to be seen in each."""
    columns, rows = -(-width // SIDE), -(-height // SIDE)
    grid = ellipses.centers.new_tensor([columns, rows])
    # Pixel centres, not edges, are what counts: the first of a tile at 0.5, the last at SIDE - 0.5.
    low = ((ellipses.centers - ellipses.reaches - SIDE + 0.5) / SIDE).ceil().clamp(min=0)
    high = ((ellipses.centers + ellipses.reaches - 0.5) / SIDE).floor().minimum(grid - 1)
    first, extent = low.long(), (high - low + 1).clamp(min=0).long()
    copies = extent.prod(1)
    members = torch.arange(len(copies), device=copies.device).repeat_interleave(copies)
    offsets = torch.arange(len(members), device=copies.device)
    offsets = offsets - (copies.cumsum(0) - copies)[members]
    x = first[members, 0] + offsets % extent[members, 0]
    y = first[members, 1] + offsets // extent[members, 0]
    tiles = y * columns + x
    order = tiles.argsort(stable=True)
    counts = tiles.bincount(minlength=columns * rows)
    return Tiles(columns, rows, members[order], counts)


def chunks(tiles: Tiles, budget: int) -> Iterator[tuple[Int64[Tensor, " t"], Int64[Tensor, "t m"]]]:
    """Tiles with lists of about the same length: their numbers and their members, padded with -1.

    ``budget`` bounds the ellipses times pixels of a chunk, but for a single tile that has more.
    """
    order = tiles.counts.argsort(descending=True, stable=True)
    starts = tiles.counts.cumsum(0) - tiles.counts
    lengths = tiles.counts[order].tolist()
    begin = 0
    while begin < len(lengths):
        longest = max(lengths[begin], 1)
        some = order[begin : begin + max(1, budget // (longest * SIDE**2))]
        slots = torch.arange(longest, device=some.device)
        inside = slots < tiles.counts[some, None]
        places = torch.where(inside, starts[some, None] + slots, 0)
        padded = torch.cat([tiles.members, tiles.members.new_zeros(1)])[places]
        yield some, torch.where(inside, padded, -1)
        begin += len(some)


def composite_tiles(
    ellipses: Ellipses, features: Float[Tensor, "M F"], width: int, height: int
) -> tuple[Float[Tensor, "F H W"], Float[Tensor, "1 H W"]]:
    """Features of the ellipses, each weighted with what of it is seen, and the sum of the weights.

    Kerbl et al. 2023, Eq. 3: c = sum_i c_i alpha_i prod_{j<i} (1 - alpha_j), with
    alpha = opacity exp(-d^T Sigma'^-1 d / 2), at most ``ALPHA_MAX``, 0 below ``ALPHA_MIN``. What
    the tiles are does not change a pixel.

    Args:
        ellipses: the nearest first.
        features: of the ellipses.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
    """
    tiles = find_tiles(ellipses, width, height)
    budget = CHUNK_CUDA if features.is_cuda else CHUNK_CPU
    again = torch.is_grad_enabled() and len(tiles.members) * SIDE**2 > KEEP
    ones = torch.ones_like(ellipses.depths)[:, None]
    columns = [ellipses.centers, ellipses.conics, ellipses.opacities.log()[:, None], features, ones]
    table = torch.cat(columns, -1)
    empty = table.new_zeros(1, table.shape[1])
    empty[:, 5] = _NOWHERE
    table = torch.cat([table, empty])  # the last row is what -1 points to
    made, numbers = [], []
    for some, members in chunks(tiles, budget):
        corners = torch.stack([some % tiles.columns, some // tiles.columns], -1) * SIDE
        inputs = table, members, corners.to(table)
        made.append(checkpoint(_blend, *inputs, use_reentrant=False) if again else _blend(*inputs))
        numbers.append(some)
    pixels = torch.cat(made)[torch.cat(numbers).argsort()]
    grid = pixels.view(tiles.rows, tiles.columns, -1, SIDE, SIDE)
    picture = grid.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[:, :height, :width]
    return picture[:-1], picture[-1:]


def _blend(
    table: Float[Tensor, "rows columns"],
    members: Int64[Tensor, "t m"],
    corners: Float[Tensor, "t 2"],
) -> Float[Tensor, "t out P"]:
    """The pixels of some tiles, row by row."""
    middle = SIDE / 2
    entries = table[members]
    x, y = (entries[..., :2] - (corners + middle)[:, None]).unbind(-1)
    xx, xy, yy, log_opacity = entries[..., 2:6].unbind(-1)
    right, down = xx * x + xy * y, xy * x + yy * y
    # log alpha is a quadratic polynomial in the pixel's place: one matrix product for all of them
    polynomials = torch.stack(
        [log_opacity - (right * x + down * y) / 2, right, down, -xx / 2, -xy, -yy / 2], -1
    )
    side = torch.arange(SIDE, device=table.device, dtype=table.dtype) + 0.5 - middle
    v, u = (axis.flatten() for axis in torch.meshgrid(side, side, indexing="ij"))
    powers = torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v])
    alpha = (polynomials @ powers).exp().clamp(max=ALPHA_MAX)  # (t, m, P)
    alpha = torch.where(alpha < ALPHA_MIN, 0.0, alpha)
    logs = torch.log1p(-alpha)
    weights = alpha * (logs.cumsum(1) - logs).exp()  # Eq. 3
    return entries[..., 6:].mT @ weights
