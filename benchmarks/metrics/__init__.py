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
    "background_psnr": Column("PSNR outside the animals, dB", 1, 1),
    "source_distance": Column("distance to source", -1, 3),
    "exact_distance": Column("distance to exact", -1, 3),
    "exact_psnr": Column("PSNR to exact, dB", 1, 1),
    "exact_ssim": Column("SSIM to exact", 1, 3),
    "outside_distance": Column("distance to exact, outside", -1, 3),
    "outside_psnr": Column("PSNR to exact, outside, dB", 1, 1),
    "outside_ssim": Column("SSIM to exact, outside", 1, 3),
    "views_psnr": Column("PSNR to exact views, dB", 1, 1),
    "depth_error": Column("depth error, body lengths", -1, 3),
    "dinov2_direction": Column("DINOv2 direction", 1, 3),
    "imagenet": Column("success (ImageNet)", 1, 1, share=True),
    "clip_score": Column("CLIP", 1, 2),
    "residual_psnr": Column("background PSNR (residual), dB", 1, 2),
    "residual_psnr_median": Column("background PSNR (residual, median), dB", 1, 2),
    "residual_psnr_paper": Column("background PSNR (IDS paper), dB", 1, 2),
    "residual_psnr_paper_median": Column("background PSNR (IDS paper, median), dB", 1, 2),
    "lpips": Column("LPIPS", -1, 3),
    "structure": Column("structure distance", -1, 4),
    "psnr": Column("PSNR, dB", 1, 2),
    "ssim": Column("SSIM", 1, 3),
    "mse": Column("MSE", -1, 5),
    "pie_structure": Column("PIE structure", -1, 4),
    "pie_psnr": Column("PIE PSNR, dB", 1, 2),
    "pie_lpips": Column("PIE LPIPS", -1, 4),
    "pie_mse": Column("PIE MSE", -1, 5),
    "pie_ssim": Column("PIE SSIM", 1, 4),
    "pie_clip_source": Column("PIE CLIP, source", 0, 2),
    "pie_clip_whole": Column("PIE CLIP, whole", 1, 2),
    "pie_clip_edited": Column("PIE CLIP, edited", 1, 2),
}
