"""Identity-preserving distillation sampling (IDS) by fixed-point iteration."""

from editing.distillers.dds import DDS
from samplers.noise import FixedPointNoise, NoiseStrategy
from samplers.prior import Prior
from samplers.timesteps import TimestepSampler


class IDS(DDS):
    """DDS whose noise is corrected until the source's score points at the source.

    The defaults are the paper's: N = 3 iterations of lambda = 1 on the Euclidean norm. Costs
    4 + 2N forward and 2N backward network evaluations per image.

    Args:
        prior: see :class:`ScoreDistiller`, as ``timesteps`` and ``guidance`` are.
        noise: fixed-point regularization (Algorithm 1) by default.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        noise: NoiseStrategy | None = None,
        timesteps: TimestepSampler | None = None,
        guidance: float | int = 7.5,
    ) -> None:
        noise = FixedPointNoise() if noise is None else noise
        super().__init__(prior, noise=noise, timesteps=timesteps, guidance=guidance)
