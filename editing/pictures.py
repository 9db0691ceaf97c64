"""The pictures of a run: what each is, and in which batches they are edited."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from editing import results
from editing.caption import Caption
from editing.inversions import Known
from editing.jobs import Job


@dataclass
class Picture:
    """One edit: a source picture and what becomes of it.

    Attributes:
        index: its place in the run.
        job: where it is, what it shall show, and perhaps what it shows.
        original: its width and height, upright, before resizing.
        size: width and height of the edit.
        files: where its results go inside the run's folder, by kind.
        caption: what a captioner saw in it, or None if the user said what it shows.
        prompt: the source prompt.
        known: the inversion that its edit begins with, if it is not to be found out.
    """

    index: int
    job: Job
    original: tuple[int, int]
    size: tuple[int, int]
    files: dict[str, str]
    caption: Caption | None = None
    prompt: str = ""
    known: Known | None = None

    @property
    def path(self) -> Path:
        """Where the source is."""
        return self.job.path


def batches(pictures: Sequence[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures of one size together, at most `batch_size` of them, in their order."""
    for size in dict.fromkeys(picture.size for picture in pictures):
        same = [picture for picture in pictures if picture.size == size]
        for start in range(0, len(same), batch_size):
            yield same[start : start + batch_size]


def file_names(jobs: Sequence[Job]) -> list[Path]:
    """What the files of each job are named after: its picture, and its target if there are many."""
    if len({job.target for job in jobs}) == 1:
        return [job.path for job in jobs]
    return [
        job.path.with_name(f"{job.path.stem}-{results.slug(job.target)}{job.path.suffix}")
        for job in jobs
    ]


def names(batch: list[Picture]) -> str:
    """What to call a batch beside its progress bar."""
    first = batch[0].path.name
    return first if len(batch) == 1 else f"{first} and {len(batch) - 1} more"
