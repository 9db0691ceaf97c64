"""Metrics: each a pure function and, where it is summed over batches, a `torchmetrics.Metric`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """How a metric stands in a table.

    Attributes:
        title: above the column.
        better: 1 if more is better, -1 if less is, 0 if neither.
        digits: after the point.
        share: whether it is shown in percent.
    """

    title: str
    better: int
    digits: int = 2
    share: bool = False


COLUMNS = {
    "success": Column("success", 1, 1, share=True),
    "kept": Column("kept", 1, 1, share=True),
    "target_species": Column("target species", 1, 1, share=True),
    "clip_direction": Column("CLIP direction", 1, 3),
    "iou": Column("IoU", 1, 3),
    "kept_psnr": Column("kept PSNR, dB", 1, 1),
    "background_psnr": Column("background PSNR, dB", 1, 1),
    "source_distance": Column("distance to source", -1, 3),
    "exact_distance": Column("distance to exact", -1, 3),
    "exact_psnr": Column("PSNR to exact, dB", 1, 1),
    "exact_ssim": Column("SSIM to exact", 1, 3),
}
