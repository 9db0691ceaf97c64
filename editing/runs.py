"""From checked options to a result folder: which pictures, their sizes and files."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from editing import results
from editing.build import load_model, make_editor
from editing.errors import UserError
from editing.images import fitted_size, read_picture
from editing.inversions import Known, find_inversions, jobs_of
from editing.jobs import Job, find_jobs, read_jobs
from editing.mask import Mask
from editing.paths import expanded
from editing.pictures import Picture, file_names
from editing.records import effective
from editing.session import Session
from editing.settings import Settings
from editing.sizes import check_largest, fitting_size


def edit_pictures(settings: Settings, config: dict[str, Any], command: str) -> None:
    """Edit every picture of the settings and write the run's folder.

    All pictures are looked at before the model is loaded, so that a bad one stops the run before
    anything is written. Pictures are written batch by batch and `result.json` comes last.

    Args:
        settings: the checked options.
        config: the whole config, for `config.yaml`.
        command: what was typed, for `result.json`.

    Raises:
        UserError: for what the user can mend; an empty folder is not left behind.
        KeyboardInterrupt: after Ctrl-C, saying what was kept.
    """
    known: Sequence[Known | None]
    if settings.inversion:
        jobs, known = zip(
            *jobs_of(find_inversions(settings.inversion), settings.target), strict=True
        )
    else:
        if settings.jobs:
            jobs = tuple(read_jobs(settings.jobs))
        else:
            jobs = tuple(find_jobs(settings.src, settings.target, settings.source))
        known = [None] * len(jobs)
    targets = list(dict.fromkeys(job.target for job in jobs))
    what = targets[0] if len(targets) == 1 else f"{len(targets)} targets"
    run_session(Session, jobs, what, settings, config, command, known)


def run_session(
    kind: type[Session],
    jobs: Sequence[Job],
    what: str,
    settings: Settings,
    config: dict[str, Any],
    command: str,
    known: Sequence[Known | None] = (),
) -> None:
    """Do what a kind of session does with every picture, and write the run's folder.

    Args:
        kind: of the session.
        jobs: the pictures.
        what: is made of them, for the name of a folder that the user did not name.
        settings: the checked options.
        config: the whole config.
        command: what was typed.
        known: of each job, the inversion that it begins with; none by default.
    """
    start = time.perf_counter()
    found = {path: read_picture(path).size for path in dict.fromkeys(job.path for job in jobs)}
    originals = [found[job.path] for job in jobs]
    if settings.mask:
        Mask(**settings.mask).check(found)
    name = results.run_name(list(found), what, settings.method)
    output = expanded(settings.output or Path(settings.parent) / name)
    named, overwrite = settings.output is not None, settings.overwrite or settings.resume
    with (
        memory_advice(),
        results.claimed_folder(output, named=named, overwrite=overwrite) as folder,
    ):
        kind.check_unfinished(folder, settings)
        prior = load_model(settings)
        size = fitting_size(settings.size, prior)
        known = known or [None] * len(jobs)
        check_apart(known, folder)
        sizes = [
            begun.header.size if begun else fitted_size(*original, size, prior.size_multiple)
            for original, begun in zip(originals, known, strict=True)
        ]
        check_largest(sizes, prior)
        files = results.picture_files(file_names(jobs), kind.file_kinds(settings))
        parts = zip(jobs, originals, sizes, files, strict=True)
        pictures = [Picture(index, *part) for index, part in enumerate(parts)]
        for picture, begun in zip(pictures, known, strict=True):
            picture.known = begun
        session = kind(settings, prior, make_editor(settings, prior), folder, start)
        try:
            session.edit(pictures)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(session.interrupted(len(pictures))) from None
        finally:
            if session.finished:
                shorter = {min(picture.size) for picture in pictures if picture.known}
                size = shorter.pop() if len(shorter) == 1 else size
                session.write_records(config | effective(settings, config, size), command)
    session.print_summary()


def check_apart(known: Sequence[Known | None], folder: Path) -> None:
    """Refuses to write where inversions are that edits begin with.

    Raises:
        UserError: naming the folder.
    """
    inside = folder.resolve()
    if any(begun and inside in begun.path.resolve().parents for begun in known):
        raise UserError(f"output={str(folder)!r} holds the inversion: choose another folder.")


@contextmanager
def memory_advice() -> Iterator[None]:
    """Running out of memory, wherever it happens, becomes a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "The model and the pictures do not fit into the memory of the device: "
            "try batch_size=1, a smaller size, or dtype=bf16."
        ) from error
