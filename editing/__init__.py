"""Image editing by score distillation.

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
    from editing.edit import DistillationEditor, Edit
    from editing.errors import UserError
    from editing.priors import load_prior

_HOMES = {
    **dict.fromkeys(
        ("CDS", "DDS", "DRFS", "IDS", "ISM", "NFSD", "PDS", "SDS", "SSD"), "editing.distillers"
    ),
    "ScoreDistiller": "editing.distillers",
    "DistillationEditor": "editing.edit",
    "Edit": "editing.edit",
    "UserError": "editing.errors",
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
    "UserError",
    "load_prior",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
