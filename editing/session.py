"""One run of the command line after its options are checked: pictures in, a result folder out."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from editing import results
from editing.caption import Caption, describe, source_prompt, unfamiliar
from editing.edit import DistillationEditor, Edit, Editor, Progress, Trace
from editing.errors import NonFiniteError, UserError
from editing.images import (
    find_pictures,
    fit,
    fitted_size,
    read_picture,
    side_by_side,
    to_image,
    to_tensor,
)
from editing.priors import load_prior
from editing.prompts import escape_interpolation
from editing.settings import Settings, fitting_size
from samplers.random import make_generators

FRAMES = 25  # of trace.gif, besides the source


@dataclass
class Picture:
    """One source picture and what becomes of it.

    Attributes:
        index: its place in the run, which its random numbers depend on.
        path: where it is.
        original: its width and height, upright, before resizing.
        size: width and height of the edit.
        files: where its results go inside the run's folder, by kind.
    """

    index: int
    path: Path
    original: tuple[int, int]
    size: tuple[int, int]
    files: dict[str, str]


@dataclass
class Session:
    """What a run has done so far; becomes `result.json`."""

    finished: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> float:
        """Seconds since the session began."""
        return time.perf_counter() - self.start

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the wall time of the block to `seconds[what]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

    def warn(self, message: str) -> None:
        """Note a warning and print it, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            print(f"Warning: {message}", file=sys.stderr)


def edit_pictures(settings: Settings, config: dict[str, Any], command: str) -> None:
    """Edit every picture of `settings.src` and write the run's folder.

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
    session = Session()
    paths = find_pictures(settings.src)
    originals = [read_picture(path).size for path in paths]
    default = Path("results") / results.run_name(paths, settings.target, settings.method)
    output = Path(settings.output).expanduser() if settings.output else default
    named = settings.output is not None
    with results.claimed_folder(output, named=named, overwrite=settings.overwrite) as folder:
        with session.timed("load"):
            prior = _load(settings)
            editor = make_editor(settings, prior)
        size = fitting_size(settings.size, prior)
        sizes = [fitted_size(*original, size, prior.size_multiple) for original in originals]
        files = results.picture_files(paths)
        pictures = [
            Picture(index, *rest)
            for index, rest in enumerate(zip(paths, originals, sizes, files, strict=True))
        ]
        record = _record(settings, prior, command)
        try:
            _edit_all(session, settings, prior, editor, pictures, folder)
            record["status"] = "finished"
        except KeyboardInterrupt:
            record["status"] = "interrupted"
            raise KeyboardInterrupt(_interrupted(session, pictures, folder)) from None
        finally:
            if session.finished:
                _write_records(session, config | _effective(settings, config, size), record, folder)
    _print_summary(session, folder)


def _load(settings: Settings) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # of reading files, a second at most
    return load_prior(settings.prior, settings.device, settings.dtype)


def make_editor(settings: Settings, prior: Any) -> Editor:
    """The editor that the settings describe.

    Raises:
        UserError: if the method does not take one of its options.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        distiller = instantiate(settings.distiller)(prior)
        parameters = instantiate(settings.parameters)
    except (InstantiationException, TypeError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        raise UserError(f"method={settings.method} cannot be set up: {reason}.") from error
    return DistillationEditor(distiller, parameters, settings.steps, settings.step_size)


def batches(pictures: Sequence[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures of one size together, at most `batch_size` of them, in their order."""
    for size in dict.fromkeys(picture.size for picture in pictures):
        same = [picture for picture in pictures if picture.size == size]
        for start in range(0, len(same), batch_size):
            yield same[start : start + batch_size]


def _edit_all(
    session: Session,
    settings: Settings,
    prior: Any,
    editor: Editor,
    pictures: list[Picture],
    folder: Path,
) -> None:
    if prior.prompt_was_truncated(settings.target):
        session.warn("The target is longer than the model reads; its end has no effect.")
    for batch in batches(pictures, settings.batch_size):
        images = torch.stack(
            [to_tensor(fit(read_picture(p.path), min(p.size), prior.size_multiple)) for p in batch]
        )
        with session.timed("caption"):
            captions = _captions(session, settings, prior, batch, images)
        sources = _source_prompts(session, settings, prior, batch, captions)
        trace = Trace(every=max(1, round(settings.steps / FRAMES)))
        with session.timed("edit"):
            try:
                edit = _edit(editor, settings, prior, batch, images, sources, trace)
            except NonFiniteError as error:
                _keep(
                    session,
                    settings,
                    batch,
                    images,
                    sources,
                    captions,
                    error.last_good,
                    trace,
                    folder,
                )
                raise
        _keep(session, settings, batch, images, sources, captions, edit, trace, folder)


def _edit(
    editor: Editor,
    settings: Settings,
    prior: Any,
    batch: list[Picture],
    images: Float[Tensor, "B 3 H W"],
    sources: list[str],
    trace: Trace,
) -> Edit:
    progress = Progress(_names(batch))
    try:
        prompts = prior.pair(source=sources, target=[settings.target] * len(batch))
        generators = make_generators(settings.seed, [picture.index for picture in batch])
        return editor(images, prompts, generators, callbacks=(trace, progress))
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{len(batch)} pictures of {batch[0].size[0]}x{batch[0].size[1]} do not fit into the "
            "memory of the device: try batch_size=1, a smaller size, or dtype=bf16."
        ) from error
    finally:
        if progress.bar is not None:
            progress.bar.close()


def _captions(
    session: Session,
    settings: Settings,
    prior: Any,
    batch: list[Picture],
    images: Float[Tensor, "B 3 H W"],
) -> list[Caption] | None:
    """What each picture shows; None if the user said so. Warns of what the prior does not know."""
    for picture, strange in zip(batch, unfamiliar(images, prior), strict=True):
        if strange:
            session.warn(
                f"{picture.path.name} is unlike anything that prior={settings.prior} was trained "
                "on; use prior=sd15 for photographs."
            )
    return None if settings.source else describe(images, prior, settings.captioner)


def _source_prompts(
    session: Session,
    settings: Settings,
    prior: Any,
    batch: list[Picture],
    captions: list[Caption] | None,
) -> list[str]:
    """The source prompt of each picture: the user's, or its caption as it fits the target."""
    if captions is None:
        assert settings.source is not None
        prompts = [settings.source] * len(batch)
    else:
        prompts = [source_prompt(caption, settings.target) for caption in captions]
        for picture, prompt, caption in zip(batch, prompts, captions, strict=True):
            seen = "" if prompt == caption.full else f" (seen: {caption.full})"
            print(f"Source prompt of {picture.path.name}, captioned: {prompt}{seen}", flush=True)
    for prompt in dict.fromkeys(prompts):
        if prior.prompt_was_truncated(prompt):
            session.warn("The source prompt is longer than the model reads; its end has no effect.")
        if prompt.strip().casefold() == settings.target.strip().casefold():
            session.warn(f"Source and target are both {prompt!r}, so there is little to change.")
    return prompts


def _keep(
    session: Session,
    settings: Settings,
    batch: list[Picture],
    images: Float[Tensor, "B 3 H W"],
    sources: list[str],
    captions: list[Caption] | None,
    edit: Edit,
    trace: Trace,
    folder: Path,
) -> None:
    """Write the pictures of a batch and note what they are."""
    session.forward += edit.evaluations.forward
    session.backward += edit.evaluations.backward
    with session.timed("write"):
        for row, picture in enumerate(batch):
            text = results.edit_text(settings.method, sources[row], settings.target)
            source, edited = to_image(images[row]), to_image(edit.images[row])
            frames = [source, *(to_image(frame[row]) for frame in trace.frames)]
            contents = {
                "edited": results.png(edited, text),
                "side_by_side": results.png(side_by_side([source, edited]), text),
                "trace": results.gif(frames),
            }
            for kind, data in contents.items():
                _write(folder / picture.files[kind], data)
            session.finished.append(
                {
                    "source": str(picture.path),
                    "source_size": list(picture.original),
                    "edited_size": list(picture.size),
                    "source_prompt": sources[row],
                    "target_prompt": settings.target,
                    "caption": captions[row].full if captions else None,
                    "seed": [settings.seed, picture.index],
                    "stopped": edit.stopped,
                    **picture.files,
                }
            )


def _record(settings: Settings, prior: Any, command: str) -> dict[str, Any]:
    """What is known before the first edit."""
    return {
        "software": results.software(),
        "status": "stopped",  # unless it goes on to the end
        "command": command,
        "method": settings.method,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "seed": settings.seed,
        "model": {"name": prior.name, "folder": str(prior.folder), "sha256": prior.model_hash()},
        "device": str(prior.device),
        "dtype": str(prior.dtype).removeprefix("torch."),
        "versions": results.versions(),
        "git_revision": results.git_revision(),
    }


def _write_records(
    session: Session, config: dict[str, Any], record: dict[str, Any], folder: Path
) -> None:
    """Write `config.yaml`, and `result.json` as the last file of the run."""
    yaml = OmegaConf.to_yaml(OmegaConf.create(_escaped(config)))
    _write(folder / results.CONFIG, yaml.encode())
    seconds = session.seconds | {"total": session.total}
    record |= {
        "pictures": sorted(session.finished, key=lambda picture: picture["seed"][1]),
        "network_evaluations": {"forward": session.forward, "backward": session.backward},
        "seconds": {what: round(seconds, 3) for what, seconds in seconds.items()},
        "warnings": session.warnings,
    }
    _write(folder / results.RESULT, results.to_json(record))


def _write(path: Path, data: bytes) -> None:
    try:
        results.write(path, data)
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error


def _effective(settings: Settings, config: dict[str, Any], size: int) -> dict[str, Any]:
    """The entries of the config whose defaults depend on method and prior, as they were used."""
    used = {"steps": settings.steps, "guidance": settings.guidance}
    return used | {"size": size, "method": config["method"] | used}


def _escaped(value: Any) -> Any:
    """A config whose texts OmegaConf reads back as they are."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return escape_interpolation(value) if isinstance(value, str) else value


def _names(batch: list[Picture]) -> str:
    first = batch[0].path.name
    return first if len(batch) == 1 else f"{first} and {len(batch) - 1} more"


def _interrupted(session: Session, pictures: list[Picture], folder: Path) -> str:
    if not session.finished:
        return "Interrupted; nothing was written."
    return f"Interrupted; {len(session.finished)} of {len(pictures)} edits are kept in {folder}."


def _print_summary(session: Session, folder: Path) -> None:
    for picture in session.finished:
        print(f"Edited picture: {folder / picture['edited']}")
    print(
        f"{session.total:.1f} seconds, network evaluations: "
        f"{session.forward} forward, {session.backward} backward"
    )
