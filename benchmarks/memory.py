"""The peak of a device's memory, or of this process's."""

from pathlib import Path

import torch


def reset_peak(device: torch.device) -> None:
    """Forget the peak of memory so far; without effect on a system that has no such counter."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (counter := Path("/proc/self/clear_refs")).exists():
        counter.write_text("5")


def peak(device: torch.device) -> float:
    """The peak of memory since `reset_peak`, MiB; NaN where it cannot be known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10
