"""Reconstruction: Gaussians that look like the views of a scene."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from editing.errors import UserError
from editing.parameters.gaussians.grow import Movement, divide, survivors
from editing.parameters.gaussians.raster import NEAR, render
from editing.parameters.gaussians.scene import Gaussians
from editing.parameters.gaussians.start import begin
from editing.parameters.readers import look_at
from editing.parameters.views import Cameras, Views

# Of means (per unit of the scene's size), log-scales, quaternions, opacity logits and harmonics.
# Kerbl et al. 2023 take 1.6e-4, 5e-3, 1e-3, 5e-2 and 2.5e-3 for 30,000 steps; a thousand steps
# need larger ones.
RATES = (1.2e-2, 5e-2, 2e-2, 2e-1, 2.5e-2)
DECAY = 0.03  # of all of them, over the run
DSSIM = 0.2  # lambda of the paper's Eq. 7
# Weights of the mean opacity and of the mean width, seen from the camera, in radians. Haze between
# cameras and scene hardly shows in the views it was made from, and much in others: 1.4 dB around a
# scene with 20 views. Kheradmand et al. 2024 take 0.01 for both, the width in units of the scene.
OPACITY, WIDTH = 0.03, 0.1
FIRST = 0.4  # share of the Gaussians that there are at the beginning
ROUNDS, LAST = 10, 0.7  # how often there get more of them, and until when


def fit(
    views: Views,
    *,
    count: int = 3000,
    steps: int = 1000,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gaussians:
    """Gaussians reconstructed from views; the same seed gives the same ones on the same machine.

    The loss of Kerbl et al. 2023, one view a step, Adam. A budget takes the place of the paper's
    threshold: the number grows evenly to ``count``, where the gradients are largest. Colours do
    not depend on the direction: few views do not determine how.

    Args:
        views: at least two.
        count: of Gaussians, at most.
        steps: of optimisation.
        seed: of where the Gaussians begin and divide, and of the order of the views.
        device: where it is computed.
        progress: called with the steps done and all of them.

    Raises:
        UserError: for fewer than two views, or if no two see the same.
    """
    if len(views) < 2:
        raise UserError(f"Gaussians cannot be made from {len(views)} view: give at least two.")
    generator = torch.Generator().manual_seed(seed)
    extent = look_at(views.cameras, (views.near, views.far))[1]
    device = device or torch.device("cpu")
    gaussians = begin(views, round(FIRST * count), generator).to(device).leaves()
    images, cameras = views.images.to(device), views.cameras.to(device)
    optimizer = _adam(gaussians, extent)
    movement, every = Movement.none(gaussians), max(1, round(LAST * steps / ROUNDS))
    order: list[int] = []
    for step in range(steps):
        order = order or torch.randperm(len(views), generator=generator).tolist()
        row = [order.pop()]
        made = render(gaussians, cameras[row], near=min(NEAR, views.near)).image
        optimizer.zero_grad()
        (loss(made, images[row]) + restraint(gaussians, cameras[row])).backward()
        movement.add(gaussians, cameras[row])
        for group in optimizer.param_groups:
            group["lr"] = group["first"] * DECAY ** (step / steps)
        optimizer.step()
        done = step + 1
        if done % every == 0 or done == steps:
            rows = survivors(gaussians, cameras, views.near)
            grown = min(1.0, FIRST + (1 - FIRST) * done / (LAST * steps))
            more = min(round(grown * count) - len(rows), len(rows)) if done <= LAST * steps else 0
            moved = movement.mean()[rows]
            divided, rest = divide(gaussians[rows], moved, max(0, more), extent, generator)
            gaussians = divided.leaves()
            optimizer = _adam(gaussians, extent, optimizer, rows[rest])
            movement = Movement.none(gaussians)
        if progress is not None:
            progress(done, steps)
    return Gaussians(*(tensor.detach() for tensor in gaussians.tensors()))


def loss(made: Float[Tensor, "V 3 H W"], images: Float[Tensor, "V 3 H W"]) -> Float[Tensor, ""]:
    """Kerbl et al. 2023, Eq. 7: (1 - lambda) L1 + lambda D-SSIM, of pictures in [0, 1]."""
    ssim = structural_similarity_index_measure(made, images, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return (1 - DSSIM) * (made - images).abs().mean() + DSSIM * (1 - ssim)


def restraint(gaussians: Gaussians, camera: Cameras) -> Float[Tensor, ""]:
    """What keeps the Gaussians few and small: of two scenes that fit the views, the emptier."""
    distances = (gaussians.means.detach() - camera.origins[0]).norm(dim=-1)
    widths = gaussians.log_scales.exp().mean(1) / distances.clamp(min=NEAR)
    return OPACITY * gaussians.opacities().mean() + WIDTH * widths.mean()


def _adam(
    gaussians: Gaussians,
    extent: float,
    before: torch.optim.Adam | None = None,
    rows: Int64[Tensor, " M"] | None = None,
) -> torch.optim.Adam:
    """An optimiser; ``rows`` of another's Gaussians are its first, and keep their moments."""
    tensors, factors = gaussians.tensors(), (extent, 1, 1, 1, 1)
    groups = [
        {"params": [tensor], "first": rate * factor}
        for tensor, rate, factor in zip(tensors, RATES, factors, strict=True)
    ]
    optimizer = torch.optim.Adam(groups, lr=1.0, eps=1e-15)
    if before is not None and rows is not None:
        for tensor, group in zip(tensors, before.param_groups, strict=True):
            old = before.state[group["params"][0]]
            new = {name: torch.zeros_like(tensor) for name in ("exp_avg", "exp_avg_sq")}
            for name, moments in new.items():
                moments[: len(rows)] = old[name][rows]
            optimizer.state[tensor] = {"step": old["step"].clone(), **new}
    return optimizer
