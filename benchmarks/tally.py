"""What a run did, and how long it took."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a run did.

    Attributes:
        made: rows that it wrote, failed ones included.
        kept: rows that were there.
        failed: names of the cases that could not be edited, with the reason.
        seconds: wall time, and of it the time spent editing and measuring.
        batch_size: cases at once that were asked for, and as many as memory had room for.
    """

    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"wall": 0.0, "edit": 0.0, "measure": 0.0}
    )
    batch_size: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        wall, edit, measure = (self.seconds[name] for name in ("wall", "edit", "measure"))
        asked, used = self.batch_size
        halved = f"; memory ran out: batches of {used} instead of {asked}" if used < asked else ""
        return (
            f"{self.made} rows made, {self.kept} kept, {wall:.0f} s: editing {edit:.0f} s, "
            f"measuring {measure:.0f} s, all else {wall - edit - measure:.1f} s{halved}"
        )
