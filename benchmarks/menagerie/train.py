"""Trains the embedded model on the Menagerie: tokenizer, CLIP, VAE, UNet, segmenter, classifier.

    python -m benchmarks.menagerie.train stage=all budget_minutes=120

Stages run in order, each resumable: run the same command again after a stop, or with more minutes
to go on. Each stage writes its part of the model, in half precision, as soon as it is trained;
`work` holds renders and checkpoints. Once the UNet has begun, what it stands on stays: the VAE and
CLIP's text tower. On a GPU the same command trains with `device=cuda`.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import options
from benchmarks.menagerie.dataset import shards
from benchmarks.menagerie.fit import Progress
from benchmarks.menagerie.judges import train_classifier, train_segmenter
from benchmarks.menagerie.stages import (
    Options,
    train_clip,
    train_tokenizer,
    train_vae,
)
from benchmarks.menagerie.unet import train_unet
from editing.results import to_json, write

TRAIN: dict[str, Callable[[Options, Path, float], Progress]] = {
    "clip": train_clip,
    "vae": train_vae,
    "unet": train_unet,
    "segmenter": train_segmenter,
    "classifier": train_classifier,
}
STAGES = ("tokenizer", *TRAIN)
SHARES = {
    "clip": 0.20,
    "vae": 0.25,
    "unet": 0.42,
    "segmenter": 0.10,
    "classifier": 0.03,
}  # of the budget


def _record(out: Path, stage: str, progress: Progress, opts: Options) -> None:
    """Keeps in `training.json` how each part was made: the model card quotes it."""
    path = out / "training.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    record[stage] = {
        **dataclasses.asdict(progress),
        "scenes": opts.scenes,
        "size": opts.size,
        "seed": opts.seed,
        "start": opts.start,
        "device": opts.device,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    write(path, to_json(record))


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    if opts.stage not in (*STAGES, "all"):
        raise SystemExit(f"stage={opts.stage} is none of {', '.join(STAGES)}, all.")
    if opts.threads:
        torch.set_num_threads(opts.threads)
    out, work = Path(opts.out), Path(opts.work)
    out.mkdir(parents=True, exist_ok=True)
    chosen = STAGES if opts.stage == "all" else (opts.stage,)
    if chosen != ("tokenizer",):
        shards(work / "renders", opts.scenes, opts.size, workers=opts.workers)
    for stage in chosen:
        print(f"stage {stage}", flush=True)
        if stage == "tokenizer":
            train_tokenizer(opts, out)
            continue
        minutes = opts.minutes or SHARES[stage] * opts.budget_minutes
        if (work / "unet.pt").exists() and stage in ("clip", "vae"):
            opts = dataclasses.replace(opts, freeze_text=True)
            if stage == "vae":
                print(f"vae: stays as it is, for {work / 'unet.pt'} was trained on its latents")
                continue
        try:
            _record(out, stage, TRAIN[stage](opts, out, minutes), opts)
        except ValueError as error:
            raise SystemExit(str(error)) from error
    digest = hashlib.sha256()
    for path in sorted(out.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    print(f"{out}: {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
