"""One run of the command line on a scene: a NeRF, Gaussians or a drawing."""

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from editing import results
from editing.build import load_model, make_editor, make_parameters
from editing.callbacks import Progress, Trace
from editing.caption import unfamiliar
from editing.checkpoint import Checkpoint
from editing.edit import DistillationEditor
from editing.editor import Edit
from editing.errors import NonFiniteError, UserError
from editing.images import enlarged, to_image
from editing.jobs import Job, split_targets
from editing.parameters import SceneParameters, Source
from editing.paths import expanded
from editing.pictures import Picture
from editing.records import effective
from editing.runs import memory_advice
from editing.session import Session, write_file
from editing.settings import Settings
from editing.sizes import fitting_size
from samplers.random import make_generators

CHECKPOINT = "checkpoint.pt"
FRAMES = 12  # of trace.gif, besides the source; each shows several views
# What settings may differ in while the result stays the same.
FREE = ("output", "overwrite", "resume", "debug", "tuning", "trace", "batch_size", "src")


def is_scene(settings: Settings) -> bool:
    """Whether what is moved is no picture, but something with a file or folder of its own."""
    return hasattr(get_class(settings.parameters["_target_"]), "read")


def edit_scene(settings: Settings, config: dict[str, Any], command: str) -> None:
    """Edit the scene of the settings and write the run's folder.

    A run that was interrupted goes on from its last checkpoint with `resume=true` and the same
    `output`.

    Args:
        settings: the checked options.
        config: the whole config, for `config.yaml`.
        command: what was typed, for `result.json`.

    Raises:
        UserError: for what the user can mend; an empty folder is not left behind.
        KeyboardInterrupt: after Ctrl-C, saying how to go on.
    """
    start = time.perf_counter()
    job = find_job(settings)
    make_parameters(settings).check(job.path)
    name = results.run_name([job.path], job.target, settings.method)
    output, named = expanded(settings.output or Path(settings.parent) / name), bool(settings.output)
    going_on = settings.resume and (output / CHECKPOINT).exists()
    free = settings.overwrite or going_on
    with (
        memory_advice(),
        results.claimed_folder(output, named=named, overwrite=free) as folder,
    ):
        begun = (folder / CHECKPOINT).exists()
        if begun and not (settings.resume or settings.overwrite):
            raise UserError(
                f"output={str(output)!r} holds an unfinished edit: add resume=true to go on with "
                "it, or overwrite=true to start again."
            )
        if begun and settings.overwrite:
            (folder / CHECKPOINT).unlink()
        prior = load_model(settings)
        editor = make_editor(settings, prior)
        size = fitting_size(settings.size, prior)
        session = SceneSession(settings, prior, editor, folder, start)
        try:
            session.edit_scene(job, size, config)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(how_to_go_on(folder, settings.overwrite)) from None
        finally:
            if session.finished:
                session.write_records(config | effective(settings, config, size), command)
                (folder / CHECKPOINT).unlink(missing_ok=True)
    session.print_summary()


def find_job(settings: Settings) -> Job:
    """The one scene and target of the settings, checked as far as that goes quickly.

    Raises:
        UserError: for what scenes do not take.
    """
    if settings.jobs:
        raise UserError("jobs= is for pictures: give src and target for a scene.")
    for option, given in (
        ("mask", settings.mask),
        ("reverse", settings.reverse),
        ("early_stop", settings.early_stop),
    ):
        if given:
            raise UserError(f"{option}= is for pictures and cannot be used with a scene.")
    targets = split_targets(settings.target)
    if len(targets) > 1:
        raise UserError("A scene takes one target: run several with -m target='a pig','a cow'.")
    return Job(expanded(settings.src), targets[0], settings.source)


def how_to_go_on(folder: Path, overwrite: bool) -> str:
    """What to say after Ctrl-C."""
    if not (folder / CHECKPOINT).exists():
        return "Interrupted; nothing of this edit can be gone on with."
    but = ", without overwrite=true," if overwrite else ""
    return f"Interrupted; the same command with output={folder} resume=true{but} goes on from here."


def fingerprint(
    config: dict[str, Any], prompts: tuple[str, str], source: Source, model: str
) -> str:
    """A hash of all that determines the result of an edit."""
    kept = {key: value for key, value in config.items() if key not in FREE}
    text = json.dumps([kept, prompts, model], sort_keys=True, default=str)
    digest = sha256(text.encode(errors="backslashreplace"))
    for data in source.files.values():
        digest.update(data)
    digest.update(source.shown.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class SceneSession(Session):
    """A run on one scene."""

    def edit_scene(self, job: Job, size: int, config: dict[str, Any]) -> None:
        """Edit a scene, seen `size` pixels wide or high, and write what came of it."""
        editor, settings = self.editor, self.settings
        assert isinstance(editor, DistillationEditor)
        assert isinstance(editor.parameters, SceneParameters)
        source = self.find_source(editor.parameters, job.path, size)
        height, width = source.shown.shape[-2:]
        picture = Picture(0, job, (width, height), (width, height), {})
        self.check_prompts([picture])
        with self.timed("caption"):
            middle = source.shown[len(source.shown) // 2][None]
            some = source.shown[:: max(1, len(source.shown) // 8)]
            if 2 * sum(unfamiliar(some, self.prior)) > len(some):  # one view may be an odd one
                self.warn_unfamiliar(picture)
            self.choose_prompts([picture], middle)
        prompts = (picture.prompt, job.target)
        key = fingerprint(config, prompts, source, self.prior.model_hash())
        checkpoint = Checkpoint(self.folder / CHECKPOINT, key)
        trace = Trace(frames=FRAMES) if settings.trace else None
        progress = Progress(job.path.name)
        generators = make_generators(settings.seed, range(editor.parameters.views))
        try:
            with self.timed("edit"):
                edit = editor(
                    source,
                    self.prior.pair(source=prompts[0], target=prompts[1]),
                    generators,
                    [progress, *([trace] if trace else [])],
                    checkpoint=checkpoint,
                )
        except NonFiniteError as error:
            self.keep_scene(picture, source, error.last_good, trace)
            raise
        finally:
            if progress.bar is not None:
                progress.bar.close()
        self.keep_scene(picture, source, edit, trace)
        self.status = "finished"

    def find_source(self, parameters: SceneParameters, path: Path, size: int) -> Source:
        """Read the scene, reconstruct it if need be, and keep it as it was."""
        begun = (self.folder / CHECKPOINT).exists() or not (self.folder / results.RESULT).exists()
        if self.settings.resume and not self.settings.overwrite and begun:
            parameters = parameters.kept(self.folder)
        bar = tqdm(desc="reconstruction", unit="step", leave=False, delay=1)

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        with self.timed("read"):
            found = parameters.read(path, size, self.prior.size_multiple)
        with self.timed("reconstruct"), bar:
            source = parameters.prepare(found, self.prior.device, self.settings.seed, progress)
        for name, data in source.files.items():
            write_file(self.folder / name, data)
        return source

    def keep_scene(self, picture: Picture, source: Source, edit: Edit, trace: Trace | None) -> None:
        """Write the scene and pictures of it, and note what they are."""
        assert edit.canvas is not None
        self.forward, self.backward = edit.evaluations.forward, edit.evaluations.backward
        text = results.edit_text(self.settings.method, picture.prompt, picture.job.target)
        with self.timed("write"):
            results.clear(self.folder, keep=source.files)
            before, after = row(source.shown), row(edit.images)
            # one picture beside the other; rows of views above each other
            both = torch.cat([before, after], -1 if len(edit.images) == 1 else 1)
            pictures = {
                "edited": ("edited.png", results.png(to_image(after), text)),
                "side_by_side": ("side_by_side.png", results.png(enlarged(to_image(both)), text)),
            }
            if trace is not None:
                frames = [before, *(row(frame) for frame in trace.frames)]
                film = results.gif([enlarged(to_image(frame)) for frame in frames])
                pictures["trace"] = ("trace.gif", film)
            files = edit.canvas.files()
            for name, data in [*pictures.values(), *files.items()]:
                write_file(self.folder / name, data)
        self.finished[0] = {
            "source": str(picture.path),
            "edited_size": list(picture.size),
            "source_prompt": picture.prompt,
            "target_prompt": picture.job.target,
            "caption": picture.caption.full if picture.caption else None,
            "stopped": edit.stopped[0],
            **source.notes,
            **{kind: name for kind, (name, _) in pictures.items()},
            "files": [*source.files, *files],
        }

    def print_summary(self) -> None:
        """Print how long it took, what it cost, and where what was made is."""
        print(
            f"{self.total:.1f} seconds, network evaluations: "
            f"{self.forward} forward, {self.backward} backward"
        )
        made = next(name for name in self.finished[0]["files"] if name.startswith("edited"))
        print(f"Edited scene: {self.folder / made}")


def row(images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "3 H W_all"]:
    """Pictures of one size beside each other."""
    return torch.cat(list(images), -1)
