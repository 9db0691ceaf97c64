"""Score distillation methods: each turns latents and prompts into a gradient."""

from editing.distillers.base import Distillation, ScoreDistiller
from editing.distillers.dds import DDS
from editing.distillers.ids import IDS
from editing.distillers.sds import SDS

__all__ = ["DDS", "IDS", "SDS", "Distillation", "ScoreDistiller"]
