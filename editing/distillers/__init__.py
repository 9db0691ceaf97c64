"""Score distillation methods: each turns latents and prompts into a gradient."""

from editing.distillers.base import Distillation, ScoreDistiller
from editing.distillers.cds import CDS
from editing.distillers.dds import DDS
from editing.distillers.drfs import DRFS
from editing.distillers.ids import IDS
from editing.distillers.ism import ISM
from editing.distillers.nfsd import NFSD
from editing.distillers.pds import PDS
from editing.distillers.sds import SDS
from editing.distillers.ssd import SSD

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
    "Distillation",
    "ScoreDistiller",
]
