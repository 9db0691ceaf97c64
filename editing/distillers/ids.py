"""Identity-preserving distillation sampling (IDS) by fixed-point iteration."""

from typing import Any

from editing.distillers.dds import DDS
from samplers.noise import FixedPointNoise, NoiseStrategy
from samplers.prior import Prior


class IDS(DDS):
    """DDS whose noise is corrected until the source's score points at the source.

    The defaults are the paper's: N = 3 iterations of lambda = 1 on the Euclidean norm. Costs
    4 + 2N forward and 2N backward network evaluations per image.

    Args:
        prior: see :class:`DDS`, as ``timesteps``, ``guidance`` and ``source_score`` are.
        noise: fixed-point regularization (Algorithm 1) by default.
    """

    def __init__(self, prior: Prior, *, noise: NoiseStrategy | None = None, **options: Any) -> None:
        super().__init__(prior, noise=FixedPointNoise() if noise is None else noise, **options)
