"""Metrics over many batches, from functions that return a value per picture."""

from abc import abstractmethod
from typing import Any

from torch import Tensor
from torchmetrics.aggregation import MeanMetric


class MeanOverImages(MeanMetric):
    """Mean of a value per picture over all batches; pictures without a value (NaN) do not count.

    A metric overrides :meth:`values`.
    """

    def __init__(self) -> None:
        super().__init__(nan_strategy="ignore")

    def update(self, *args: Any, **named: Any) -> None:
        """Takes a batch; arguments as for :meth:`values`."""
        super().update(self.values(*args, **named))

    @abstractmethod
    def values(self, *args: Any, **named: Any) -> Tensor:
        """A value for each picture of a batch, (B,)."""
