"""A run in progress: pictures are edited batch by batch, and what came of them is written."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from editing import results
from editing.callbacks import Progress, Trace
from editing.caption import Caption, describe, find_clip, source_prompt, unfamiliar, unknown_words
from editing.edit import DistillationEditor
from editing.editor import Callback, Edit, Editor
from editing.errors import NonFiniteError, UserError
from editing.images import (
    enlarged,
    fit,
    read_picture,
    side_by_side,
    to_image,
    to_tensor,
)
from editing.mask import Mask, pasted, preview
from editing.pictures import Picture, batches, names
from editing.plateau import Plateau
from editing.records import config_yaml, run_record
from editing.reverse import psnr, there_and_back
from editing.settings import Settings
from editing.stored import read_inversions
from editing.trajectory import TrajectoryEditor
from samplers.prior import Condition, PromptPair
from samplers.random import make_generators

FRAMES = 25  # of trace.gif, besides the source


@dataclass
class Session:
    """A run in progress, and what it has done so far."""

    made: ClassVar[tuple[str, str]] = ("edited", "Edited picture")  # the kind of file, and its name

    settings: Settings
    prior: Any
    editor: Editor
    folder: Path
    start: float
    status: str = "stopped"
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    captions: dict[Path, Caption] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    forward: int = 0
    backward: int = 0

    def __post_init__(self) -> None:
        self.seconds["load"] = self.total
        self.mask = Mask(**self.settings.mask) if self.settings.mask else None

    @staticmethod
    def file_kinds(settings: Settings) -> dict[str, str]:
        """What is written per picture, with the ends of the names."""
        return results.edit_files(settings.reverse, settings.trace)

    @staticmethod
    def check_unfinished(folder: Path, settings: Settings) -> None:
        """Refuses a folder with an unfinished run that is not to be gone on with.

        Raises:
            UserError: if something is to be gone on with, and this kind of run cannot.
        """
        if settings.resume:
            raise UserError("resume=true is for scenes and task=invert: leave it out.")

    @property
    def total(self) -> float:
        """Seconds since the run began."""
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

    def edit(self, pictures: list[Picture]) -> None:
        """Edit all pictures, batch by batch."""
        self.check_prompts(pictures)
        errors = []
        try:
            for batch in batches(pictures, self.settings.batch_size):
                try:
                    self.edit_batch(batch)
                except NonFiniteError as error:  # the others are none the worse for it
                    errors.append(error)
        except KeyboardInterrupt:
            self.status = "interrupted"
            raise
        if errors:
            raise errors[0]
        self.status = "finished"

    def check_prompts(self, pictures: list[Picture]) -> None:
        """Warn of what the prior cannot read."""
        targets = dict.fromkeys(picture.job.target for picture in pictures)
        if any(self.prior.prompt_was_truncated(target) for target in targets):
            self.warn("The target is longer than the model reads; its end has no effect.")
        sources = dict.fromkeys(picture.job.source or "" for picture in pictures)
        for prompt in (*targets, *sources):
            for word, hint in unknown_words(prompt, self.prior).items():
                self.warn(f"prior={self.settings.prior} was not trained on {word!r}: {hint}")
        if isinstance(self.editor, TrajectoryEditor) and self.settings.task == "edit":
            said = [(p.job.source, p.job.target) for p in pictures if p.job.source is not None]
            for source, target in dict.fromkeys(said):  # the others when they are captioned
                texts = (Condition((prompt,), {}) for prompt in (source, target))
                self.editor.check_prompts(PromptPair(*texts))  # whose words need no embedding

    def edit_batch(self, batch: list[Picture]) -> None:
        """Edit pictures of one size, and write what came of them."""
        images = self.prepare(batch)
        trace = Trace(frames=FRAMES) if self.settings.trace else None
        mask = self.find_mask(batch, images)
        progress = Progress(names(batch))
        watchers: list[Callback] = [*self.watch_for_plateaus(batch, images), progress]
        watchers += [trace] if trace else []
        try:
            with self.timed("edit"):
                edit, back = self.run_editor(batch, images, watchers, mask)
        except NonFiniteError as error:
            self.keep(batch, images, error.last_good, trace, mask)
            raise
        finally:
            if progress.bar is not None:
                progress.bar.close()
        self.keep(batch, images, edit, trace, mask, back)

    def prepare(self, batch: list[Picture]) -> Float[Tensor, "B 3 H W"]:
        """The pictures of a batch, whose prompts are set."""
        multiple = self.prior.size_multiple
        images = torch.stack(
            [to_tensor(fit(read_picture(p.path), min(p.size), multiple)) for p in batch]
        )
        with self.timed("caption"):
            self.check_familiar(batch, images)
            self.choose_prompts(batch, images)
        return images

    def find_mask(
        self, batch: list[Picture], images: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B 1 H W"] | None:
        """Where the pictures may change, if that is not everywhere."""
        if self.mask is None:
            return None
        with self.timed("mask"):
            return self.mask([picture.path for picture in batch], images, self.prior)

    def watch_for_plateaus(
        self, batch: list[Picture], images: Float[Tensor, "B 3 H W"]
    ) -> list[Callback]:
        """What stops pictures early, if that is asked for."""
        if self.settings.early_stop is None:
            return []
        options = dict(self.settings.early_stop)
        clip = find_clip(self.prior, options.pop("model"))
        sources = [picture.prompt for picture in batch]
        targets = [picture.job.target for picture in batch]
        return [Plateau(clip, images, sources, targets, **options)]

    def check_familiar(self, batch: list[Picture], images: Float[Tensor, "B 3 H W"]) -> None:
        """Warn of pictures that the prior cannot know."""
        for picture, strange in zip(batch, unfamiliar(images, self.prior), strict=True):
            if strange:
                self.warn_unfamiliar(picture)

    def warn_unfamiliar(self, picture: Picture) -> None:
        """Warn that the prior cannot know a picture."""
        self.warn(
            f"{picture.path.name} is unlike anything that prior={self.settings.prior} was trained "
            "on; use prior=sd15 for photographs."
        )

    def choose_prompts(self, batch: list[Picture], images: Float[Tensor, "B 3 H W"]) -> None:
        """Set the source prompt of each picture: the user's, or its caption."""
        unsaid = {row: p.path for row, p in enumerate(batch) if p.job.source is None}
        if isinstance(self.editor, TrajectoryEditor) and self.settings.task == "edit":
            unsaid = unsaid if self.editor.method.reads_source else {}
        new = {path: row for row, path in unsaid.items() if path not in self.captions}
        if new:
            found = describe(images[list(new.values())], self.prior, self.settings.captioner)
            self.captions |= dict(zip(new, found, strict=True))
        for row, path in unsaid.items():
            picture, caption = batch[row], self.captions[path]
            picture.caption = caption
            picture.prompt = source_prompt(caption, picture.job.target)
            seen = "" if picture.prompt == caption.full else f" (seen: {caption.full})"
            print(
                f"Source prompt of {picture.path.name}, captioned: {picture.prompt}{seen}",
                flush=True,
            )
        for picture in batch:
            if picture.job.source is not None:
                picture.prompt = picture.job.source
        for prompt in dict.fromkeys(picture.prompt for picture in batch):
            if self.prior.prompt_was_truncated(prompt):
                self.warn("The source prompt is longer than the model reads; its end is ignored.")
        for prompt, target in dict.fromkeys((p.prompt, p.job.target) for p in batch):
            same = prompt.strip().casefold() == target.strip().casefold()
            if same and self.settings.task == "edit":
                self.warn(f"Source and target are both {prompt!r}, so there is little to change.")

    def run_editor(
        self,
        batch: list[Picture],
        images: Float[Tensor, "B 3 H W"],
        callbacks: Sequence[Callback],
        mask: Float[Tensor, "B 1 H W"] | None,
    ) -> tuple[Edit, Edit | None]:
        """Edit one batch, and back if that is asked for."""
        sources = [picture.prompt for picture in batch]
        prompts = self.prior.pair(source=sources, target=[picture.job.target for picture in batch])
        # The same index for all: what becomes of a picture depends on no other picture.
        generators = make_generators(self.settings.seed, [0] * len(batch))
        if self.settings.reverse and isinstance(self.editor, DistillationEditor):
            return there_and_back(self.editor, images, prompts, generators, callbacks, mask)
        if self.settings.inversion and isinstance(self.editor, TrajectoryEditor):
            known = [picture.known for picture in batch if picture.known]
            own = str(self.prior.dtype).removeprefix("torch.")
            for other in {each.header.dtype for each in known} - {own}:
                self.warn(
                    f"The inversion was made in {other}, and this edit runs in {own}: it is not "
                    "quite the same as one that inverts anew."
                )
            inversion = read_inversions(
                known,
                generators,
                seed=self.settings.seed,
                model=self.prior.model_hash(),
                device=self.prior.device,
            )
            begun = replace(self.editor, inversion=inversion)
            return begun(images, prompts, generators, callbacks, mask), None
        return self.editor(images, prompts, generators, callbacks, mask), None

    def keep(
        self,
        batch: list[Picture],
        images: Float[Tensor, "B 3 H W"],
        edit: Edit,
        trace: Trace | None,
        mask: Float[Tensor, "B 1 H W"] | None = None,
        back: Edit | None = None,
    ) -> None:
        """Write the pictures of a batch and note what they are."""
        for run in (edit, back) if back else (edit,):
            self.forward += run.evaluations.forward
            self.backward += run.evaluations.backward
        settings = self.settings
        made = edit.images
        if mask is not None and self.mask is not None and self.mask.paste:
            made = pasted(made, images.cpu(), mask)
        with self.timed("write"):
            # a sampler has no last good state, as an optimisation has
            finite = edit.images.isfinite().flatten(1).all(1).tolist()
            if settings.overwrite and not self.finished and any(finite):
                results.clear(self.folder)
            for row, picture in enumerate(batch):
                if not finite[row]:
                    continue
                text = results.edit_text(settings.method, picture.prompt, picture.job.target)
                source, edited = to_image(images[row]), to_image(made[row])
                shown = [source, edited]
                if mask is not None:
                    shown.insert(1, preview(images[row].cpu(), mask[row]))
                contents = {
                    "edited": results.png(edited, text),
                    "side_by_side": results.png(
                        side_by_side([enlarged(picture) for picture in shown]), text
                    ),
                }
                if trace is not None:
                    frames = [source, *(to_image(frame[row]) for frame in trace.frames)]
                    contents["trace"] = results.gif([enlarged(frame) for frame in frames])
                if back is not None:
                    contents["reconstructed"] = results.png(to_image(back.images[row]), text)
                for kind, data in contents.items():
                    write_file(self.folder / picture.files[kind], data)
                self.finished[picture.index] = {
                    "source": str(picture.path),
                    "source_size": list(picture.original),
                    "edited_size": list(picture.size),
                    "source_prompt": picture.prompt,
                    "target_prompt": picture.job.target,
                    "caption": picture.caption.full if picture.caption else None,
                    "stopped": edit.stopped[row],
                    **({"from_inversion": str(picture.known.path)} if picture.known else {}),
                    **_reconstruction(images[row], None if back is None else back.images[row]),
                    **{kind: picture.files[kind] for kind in contents},
                }

    def write_records(self, config: dict[str, Any], command: str) -> None:
        """Write `config.yaml`, and `result.json` as the last file of the run."""
        write_file(self.folder / results.CONFIG, config_yaml(config))
        done = {
            "status": self.status,
            "command": command,
            "pictures": [self.finished[index] for index in sorted(self.finished)],
            "network_evaluations": {"forward": self.forward, "backward": self.backward},
            "seconds": self.seconds | {"total": self.total},
            "warnings": self.warnings,
        }
        record = run_record(self.settings, self.prior, done)
        write_file(self.folder / results.RESULT, results.to_json(record))

    def interrupted(self, count: int) -> str:
        """What to say after Ctrl-C, of `count` pictures."""
        if not self.finished:
            return "Interrupted; nothing of this edit was written."
        return f"Interrupted; {len(self.finished)} of {count} edits are kept in {self.folder}."

    def print_summary(self) -> None:
        """Print how long it took, what it cost, and where what was made is."""
        print(
            f"{self.total:.1f} seconds, network evaluations: "
            f"{self.forward} forward, {self.backward} backward"
        )
        for index in sorted(self.finished):
            kind, name = self.made
            print(f"{name}: {self.folder / self.finished[index][kind]}")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        results.write(path, data)
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error


def _reconstruction(
    source: Float[Tensor, "3 H W"], back: Float[Tensor, "3 H W"] | None
) -> dict[str, float]:
    """What is recorded of an edit that was run back; nothing of another."""
    if back is None:
        return {}
    value = round(float(psnr(back[None], source[None].cpu())), 2)
    print(f"PSNR of the way back: {value} dB")
    return {"reconstruction_psnr": value}
