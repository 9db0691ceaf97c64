"""`task=invert`: what a method needs to know about pictures is found out once, and kept."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from editing import results
from editing.callbacks import Progress
from editing.checkpoint import Checkpoint
from editing.editor import Edit
from editing.errors import NonFiniteError, UserError
from editing.images import enlarged, side_by_side, to_image
from editing.inversions import Header, Known, file_digest, read_header
from editing.jobs import find_jobs
from editing.pictures import Picture, names
from editing.reverse import psnr
from editing.runs import run_session
from editing.session import Session, write_file
from editing.settings import Settings
from editing.stored import CheckpointStore, read_inversions, to_file
from editing.trajectory import TrajectoryEditor
from samplers.prior import count_evaluations
from samplers.random import make_generators
from samplers.trajectory import Inversion

CHECKPOINT = "checkpoint.pt"


def invert_pictures(settings: Settings, config: dict[str, Any], command: str) -> None:
    """Invert every picture of the settings and write the run's folder.

    A run that was interrupted goes on with `resume=true` and the same `output`.

    Args:
        settings: the checked options.
        config: the whole config, for `config.yaml`.
        command: what was typed, for `result.json`.

    Raises:
        UserError: for what the user can mend; an empty folder is not left behind.
        KeyboardInterrupt: after Ctrl-C, saying how to go on.
    """
    jobs = [replace(job, target="") for job in find_jobs(settings.src, "-", settings.source)]
    run_session(InvertSession, jobs, "inversion", settings, config, command)


class InvertSession(Session):
    """A run that inverts pictures, and samples them again to see what the inversions are worth."""

    made = ("inversion", "Inversion")

    @staticmethod
    def file_kinds(settings: Settings) -> dict[str, str]:
        return results.INVERTED

    @staticmethod
    def check_unfinished(folder: Path, settings: Settings) -> None:
        if settings.overwrite:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        elif settings.resume:
            if not may_go_on(results.read_record(folder)):
                raise UserError(
                    f"output={str(folder)!r} holds a result that is finished, or no inversion: "
                    "name another folder, or add overwrite=true."
                )
        elif (folder / CHECKPOINT).exists():
            raise UserError(
                f"output={str(folder)!r} holds an unfinished run: add resume=true to go on with "
                "it, or overwrite=true to start again."
            )

    def edit(self, pictures: list[Picture]) -> None:
        """Invert all pictures, and count on from what an interrupted run has spent on them."""
        record = results.read_record(self.folder)
        if record and self.settings.resume and not self.settings.overwrite:
            counts = record.get("network_evaluations") or {}
            self.forward, self.backward = (counts.get(way, 0) for way in ("forward", "backward"))
        super().edit(pictures)

    def edit_batch(self, batch: list[Picture]) -> None:
        """Invert pictures of one size, and write what came of it."""
        images = self.prepare(batch)
        files = [self.folder / picture.files["inversion"] for picture in batch]
        headers = [self.header(picture) for picture in batch]
        checkpoint = self.checkpoint(headers)
        pairs = list(zip(files, headers, strict=True))
        there = [self.is_there(path, header) for path, header in pairs]
        if all(there):
            for picture in batch:
                self.note(picture)
        else:
            self.invert(batch, images, headers, checkpoint)
        checkpoint.discard()
        known, broken = [Known(path, header) for path, header in pairs], None
        with self.timed("sample"), torch.no_grad():
            try:
                edit = self.sample(known, images)
            except NonFiniteError as error:  # the others are none the worse for it
                if error.last_good is None:
                    raise
                edit, broken = error.last_good, error
            own = self.prior.decode(self.prior.encode(images.to(self.prior.device))).float().cpu()
        self.keep_inversions(batch, images, edit, own)
        if broken:
            raise broken

    def header(self, picture: Picture) -> Header:
        """What stands in the file of a picture's inversion."""
        assert isinstance(self.editor, TrajectoryEditor)
        options = {name: self.settings.distiller[name] for name in self.editor.method.inverts_with}
        return Header(
            method=self.settings.method,
            options=options,
            model=self.prior.model_hash(),
            seed=self.settings.seed,
            source=str(picture.path.resolve()),
            sha256=file_digest(picture.path),
            size=picture.size,
            prompt=picture.prompt,
            dtype=str(self.prior.dtype).removeprefix("torch."),
        )

    def is_there(self, path: Path, header: Header) -> bool:
        """Whether an interrupted run, which is gone on with, has made a file.

        Raises:
            UserError: if what it has made is something else.
        """
        if self.settings.overwrite or not self.settings.resume or not path.exists():
            return False
        if read_header(path) != header:
            raise UserError(
                f"{str(path)!r} is the inversion of another picture, or with other settings or in "
                "another precision: give the same ones to go on, or add overwrite=true to start "
                "again."
            )
        return True

    def checkpoint(self, headers: list[Header]) -> Checkpoint:
        """Where the inversion of a batch is kept while it goes on."""
        text = json.dumps([header.metadata() for header in headers])
        return Checkpoint(self.folder / CHECKPOINT, sha256(text.encode()).hexdigest())

    def invert(
        self,
        batch: list[Picture],
        images: Float[Tensor, "B 3 H W"],
        headers: list[Header],
        checkpoint: Checkpoint,
    ) -> None:
        """Find out about pictures, and write a file for each."""
        editor = self.editor
        assert isinstance(editor, TrajectoryEditor)
        generators = make_generators(self.settings.seed, [0] * len(batch))
        source = self.prior.embed([picture.prompt for picture in batch])
        progress = Progress(names(batch))
        try:
            with self.timed("invert"), count_evaluations(self.prior) as spent:
                store = CheckpointStore(checkpoint, generators, self.prior.device, spent)
                inversion, _ = editor.invert(images, source, generators, [progress], store)
        finally:
            if progress.bar is not None:
                progress.bar.close()
        self.forward, self.backward = self.forward + spent.forward, self.backward + spent.backward
        with self.timed("write"):
            if self.settings.overwrite and not self.finished:
                results.clear(self.folder)
            bad = not_finite(inversion)
            for row, (picture, header) in enumerate(zip(batch, headers, strict=True)):
                if row not in bad:
                    data = to_file(inversion, row, generators[row], header)
                    write_file(self.folder / picture.files["inversion"], data)
                    self.note(picture)
        if bad:
            checkpoint.discard()
            name = str(self.prior.dtype).removeprefix("torch.")
            raise NonFiniteError(
                f"The inversion of {batch[bad[0]].path.name} is not finite (network in {name}): "
                "try dtype=fp32."
            )

    def note(self, picture: Picture) -> None:
        """Record that the inversion of a picture is there."""
        self.finished[picture.index] = {
            "source": str(picture.path),
            "source_size": list(picture.original),
            "edited_size": list(picture.size),
            "source_prompt": picture.prompt,
            "caption": picture.caption.full if picture.caption else None,
            "inversion": picture.files["inversion"],
        }

    def sample(self, known: list[Known], images: Float[Tensor, "B 3 H W"]) -> Edit:
        """The pictures again, from their inversions and with their own prompts."""
        assert isinstance(self.editor, TrajectoryEditor)
        seed = self.settings.seed
        generators = make_generators(seed, [0] * len(known))
        model, device = self.prior.model_hash(), self.prior.device
        inversion = read_inversions(known, generators, seed=seed, model=model, device=device)
        prompts = [each.header.prompt for each in known]
        pair = self.prior.pair(source=prompts, target=prompts)
        method = self.editor.method.reconstructing()
        return replace(self.editor, method=method, inversion=inversion)(images, pair, generators)

    def keep_inversions(
        self,
        batch: list[Picture],
        images: Float[Tensor, "B 3 H W"],
        edit: Edit,
        own: Float[Tensor, "B 3 H W"],
    ) -> None:
        """Write the pictures that came back, and note how near they are."""
        self.forward += edit.evaluations.forward
        found = similarities(edit.images, images), similarities(own, images)
        for row, picture in enumerate(batch):
            if edit.stopped[row] is not None:
                continue
            text = results.edit_text(self.settings.method, picture.prompt, picture.prompt)
            again, shown = to_image(edit.images[row]), [to_image(images[row])]
            both = side_by_side([enlarged(each) for each in (*shown, again)])
            with self.timed("write"):
                for kind, image in (("reconstructed", again), ("side_by_side", both)):
                    write_file(self.folder / picture.files[kind], results.png(image, text))
            (psnr_, ssim), (own_psnr, own_ssim) = (each[row] for each in found)
            print(
                f"{picture.path.name} comes back with {psnr_} dB, SSIM {ssim}; "
                f"the autoencoder alone has {own_psnr} dB, {own_ssim}",
                flush=True,
            )
            self.finished[picture.index] |= {
                "psnr": psnr_,
                "ssim": ssim,
                "autoencoder_psnr": own_psnr,
                "autoencoder_ssim": own_ssim,
                **{kind: picture.files[kind] for kind in ("reconstructed", "side_by_side")},
            }

    def interrupted(self, count: int) -> str:
        """What to say after Ctrl-C."""
        begun = (self.folder / CHECKPOINT).exists()
        if not self.finished and not begun:
            return "Interrupted; nothing of this run can be gone on with."
        return (
            f"Interrupted; {len(self.finished)} of {count} are inverted. The same command with "
            f"output={self.folder} resume=true goes on from here."
        )


def may_go_on(record: dict[str, Any] | None) -> bool:
    """Whether a run that left this `result.json`, or none, inverts and is not finished."""
    if record is None:
        return True
    pictures = record.get("pictures") or []
    return record.get("status") != "finished" and all("inversion" in each for each in pictures)


def not_finite(inversion: Inversion) -> list[int]:
    """Rows that have numbers which are not finite."""
    tensors = [each for each in inversion.tensors.values() if each.is_floating_point()]
    good = torch.stack([each.isfinite().flatten(1).all(1) for each in tensors]).all(0)
    return (~good).nonzero().flatten().tolist()


def similarities(
    made: Float[Tensor, "B 3 H W"], images: Float[Tensor, "B 3 H W"]
) -> list[tuple[float, float]]:
    """PSNR, dB, and SSIM of each."""
    ssim = structural_similarity_index_measure(made, images, data_range=1.0, reduction="none")
    assert isinstance(ssim, Tensor)
    pairs = zip(psnr(made, images).tolist(), ssim.flatten().tolist(), strict=True)
    return [(round(each, 2), round(other, 4)) for each, other in pairs]
