"""Image editing by score distillation.

A distiller is a loss on latents, and latents come from pictures, whatever draws them:

>>> import torch
>>> from editing import IDS, load_prior
>>> prior = load_prior("menagerie", device="cpu")
>>> ids, prompts = IDS(prior), prior.pair(source="a cat", target="a pig")
>>> original = torch.rand(1, 3, 64, 64)
>>> rendered = original.clone().requires_grad_()
>>> ids(prior.encode(rendered), prior.encode(original), prompts).backward()
>>> rendered.grad.shape
torch.Size([1, 3, 64, 64])

The public names are imported when they are first used, so that ``import editing`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing.distillers import (
        CDS,
        DDS,
        DRFS,
        IDS,
        ISM,
        NFSD,
        PDS,
        SDS,
        SSD,
        ScoreDistiller,
    )
    from editing.edit import DistillationEditor
    from editing.editor import Edit
    from editing.errors import UserError
    from editing.parameters.pull import encode
    from editing.priors import load_prior
    from editing.trajectory import TrajectoryEditor

_HOMES = {
    **dict.fromkeys(
        ("CDS", "DDS", "DRFS", "IDS", "ISM", "NFSD", "PDS", "SDS", "SSD"), "editing.distillers"
    ),
    "ScoreDistiller": "editing.distillers",
    "DistillationEditor": "editing.edit",
    "Edit": "editing.editor",
    "UserError": "editing.errors",
    "encode": "editing.parameters.pull",
    "TrajectoryEditor": "editing.trajectory",
    "load_prior": "editing.priors",
}

__all__ = [
    "CDS",
    "DDS",
    "DRFS",
    "IDS",
    "ISM",
    "NFSD",
    "PDS",
    "SDS",
    "SSD",
    "DistillationEditor",
    "Edit",
    "ScoreDistiller",
    "TrajectoryEditor",
    "UserError",
    "encode",
    "load_prior",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
