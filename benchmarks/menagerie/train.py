"""Trains the embedded model on the Menagerie: tokenizer, CLIP, VAE, UNet, segmenter.

    python -m benchmarks.menagerie.train stage=all budget_minutes=120

Stages run in order, each resumable: run the same command again after a stop, or with more minutes to go on.
Each stage writes its part of the model, in half precision, as soon as it is trained; `work` holds renders and
checkpoints. On a GPU the same command trains with `device=cuda`.
"""

import copy
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from benchmarks.menagerie import models
from benchmarks.menagerie.captions import caption, grammar
from benchmarks.menagerie.dataset import load_shards, shards
from benchmarks.menagerie.fit import Plan, Progress, fit
from benchmarks.menagerie.scene import SPECIES, sample_scene

STAGES = ("tokenizer", "clip", "vae", "unet", "segmenter")
SHARES = {"clip": 0.10, "vae": 0.17, "unet": 0.68, "segmenter": 0.05}  # of the budget
MIN_SNR = 5.0
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Options:
    """What the command line sets, as `key=value`."""

    stage: str = "all"
    budget_minutes: float = 120.0
    out: str = str(Path(__file__).parents[2] / "editing" / "priors" / "menagerie")
    work: str = "menagerie-training"
    scenes: int = 16_000
    size: int = 64
    device: str = "cpu"
    threads: int = 0  # 0: torch's choice
    workers: int = 2  # processes that render
    seed: int = 0
    minutes: float = 0.0  # of the one stage named, instead of its share of the budget


class World:
    """The renders in memory, their mirror images, and fresh captions for them."""

    def __init__(self, options: Options) -> None:
        self.device = torch.device(options.device)
        self.data = load_shards(Path(options.work) / "renders", options.size, options.scenes)
        self.scenes = [sample_scene(int(seed)) for seed in self.data["seed"]]

    def __len__(self) -> int:
        return len(self.scenes)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices (count,) and which of them to mirror (count,) bool."""
        return (torch.randint(len(self), (count,), generator=generator),
                torch.rand(count, generator=generator) < 0.5)  # fmt: skip

    def get(self, name: str, index: Tensor, flip: Tensor) -> Tensor:
        """Pictures or masks in [0, 1], mirrored where told."""
        x = self.data[name][index].to(self.device).float() / 255
        return torch.where(flip.to(self.device)[:, None, None, None], x.flip(-1), x)

    def captions(self, index: Tensor, generator: torch.Generator) -> list[str]:
        rng = random.Random(int(torch.randint(1 << 40, (1,), generator=generator)))
        return [caption(self.scenes[i], rng) for i in index.tolist()]


def _half(module: nn.Module, folder: Path) -> None:
    """Saves a copy in half precision, in shards of at most 12 MiB."""
    shipped = copy.deepcopy(module).half()
    shipped.save_pretrained(folder, max_shard_size=12 * 2**20)  # type: ignore[operator]
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def _tokens(tokenizer: CLIPTokenizer, texts: list[str], device: torch.device) -> Tensor:
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids.to(device)


def normalized(images: Tensor) -> Tensor:
    """[0, 1] pictures as CLIP takes them."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16)


def train_tokenizer(options: Options, out: Path) -> None:
    """Learns the vocabulary from captions alone; needs no renders."""
    rng = random.Random(options.seed)
    tokenizer = models.train_tokenizer(caption(sample_scene(seed), rng) for seed in range(30_000))
    tokenizer.save_pretrained(out / "tokenizer")
    models.scheduler().save_pretrained(out / "scheduler")
    models.write_model_index(out)
    (out / "grammar.json").write_text(json.dumps(grammar(), indent=1) + "\n")


def train_clip(options: Options, out: Path, minutes: float) -> Progress:
    """Radford et al. 2021: each picture's caption among the batch's, and the reverse."""
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    torch.manual_seed(options.seed)
    model = models.clip(tokenizer, options.size).to(world.device)
    plan = Plan(minutes, batch=96, rate=1e-3, weight_decay=0.05)

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        ids = _tokens(tokenizer, world.captions(index, generator), world.device)
        with _autocast(world.device):
            result = m(input_ids=ids, pixel_values=normalized(world.get("image", index, flip)))
        logits = result.logits_per_image.float()
        labels = torch.arange(len(logits), device=logits.device)
        return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))

    trained, progress = fit(model, loss, plan, Path(options.work) / "clip.pt", world.device, options.seed)
    _half(trained, out / "clip")
    _half(models.text_encoder(trained), out / "text_encoder")  # type: ignore[arg-type]
    return progress


def train_vae(options: Options, out: Path, minutes: float) -> Progress:
    """Absolute and squared error, and the absolute error of differences (edges); a weak pull to a unit Gaussian."""
    world = World(options)
    torch.manual_seed(options.seed)
    model = models.vae().to(world.device, memory_format=torch.channels_last)
    plan = Plan(minutes, batch=8, rate=1e-3, weight_decay=0.0)

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        x = world.get("image", *world.draw(plan.batch, generator)) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        with _autocast(world.device):
            posterior = m.encode(x).latent_dist  # type: ignore[operator]
            noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
            y = m.decode(posterior.mean + posterior.std * noise).sample.float()  # type: ignore[operator]
        error = y - x
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + 2e-6 * posterior.kl().float().mean()

    trained, progress = fit(model, loss, plan, Path(options.work) / "vae.pt", world.device, options.seed)
    assert isinstance(trained, AutoencoderKL)
    latents = _latents(trained, world)
    trained.register_to_config(scaling_factor=round(float(1 / latents.float().std()), 5))
    _half(trained, out / "vae")
    return progress


@torch.no_grad()
def _latents(vae: AutoencoderKL, world: World) -> Tensor:
    """(2, N, 4, h, w) posterior means of all pictures and of their mirror images, in half precision."""
    sides = []
    for mirrored in (False, True):
        parts = []
        for index in torch.arange(len(world)).split(64):
            x = world.get("image", index, torch.full((len(index),), mirrored)) * 2 - 1
            with _autocast(world.device):
                parts.append(vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean.half())
        sides.append(torch.cat(parts).contiguous())
    return torch.stack(sides)


def train_unet(options: Options, out: Path, minutes: float) -> Progress:
    """v-prediction with min-SNR weights (Hang et al. 2023, Eq. 8) and one prompt in ten dropped."""
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    device = world.device
    vae = AutoencoderKL.from_pretrained(out / "vae", torch_dtype=torch.float32)
    vae = vae.to(device, memory_format=torch.channels_last).eval()
    clip = CLIPModel.from_pretrained(out / "clip", dtype=torch.float32)
    text = models.text_encoder(clip).to(device)
    latents = _latents(vae, world).float() * vae.config.scaling_factor
    alpha_bar = models.scheduler().alphas_cumprod
    torch.manual_seed(options.seed)
    model = models.unet(options.size // 4).to(device, memory_format=torch.channels_last)
    plan = Plan(minutes, batch=32, rate=6e-4, average=0.9995)

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        z = latents[flip.long().to(latents.device), index.to(latents.device)]
        prompts = world.captions(index, generator)
        dropped = torch.rand(plan.batch, generator=generator) < 0.1
        prompts = ["" if drop else p for p, drop in zip(prompts, dropped.tolist(), strict=True)]
        # Timesteps spread evenly over the batch: less variance for nothing.
        shift = torch.rand(1, generator=generator)
        t = (((torch.arange(plan.batch) / plan.batch + shift) % 1) * 1000).long()
        t = t[torch.randperm(plan.batch, generator=generator)]
        a = alpha_bar[t].sqrt()[:, None, None, None].to(device)
        s = (1 - alpha_bar[t]).sqrt()[:, None, None, None].to(device)
        e = torch.randn(z.shape, generator=generator).to(device)
        z_t = (a * z + s * e).contiguous(memory_format=torch.channels_last)
        with _autocast(device):
            with torch.no_grad():
                states = text(_tokens(tokenizer, prompts, device)).last_hidden_state
            v = m(z_t, t.to(device), states).sample.float()
        snr = a**2 / s**2
        weight = snr.clamp(max=MIN_SNR) / (snr + 1)
        return (weight * (v - (a * e - s * z)).square()).mean()

    trained, progress = fit(model, loss, plan, Path(options.work) / "unet.pt", device, options.seed)
    assert isinstance(trained, UNet2DConditionModel)
    _half(trained, out / "unet")
    return progress


def train_segmenter(options: Options, out: Path, minutes: float) -> Progress:
    """Prompts name what is there (its mask) or, one time in five, what is not (an empty mask)."""
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    torch.manual_seed(options.seed)
    clip = CLIPModel.from_pretrained(out / "clip", dtype=torch.float32)
    model = models.segmenter(clip, tokenizer).to(world.device)
    plan = Plan(minutes, batch=32, rate=1e-3)

    def ask(i: int, rng: random.Random) -> tuple[str, str | None]:
        scene = world.scenes[i]
        kind = rng.choices(("animal", "worn", "prop", "absent"), (0.55, 0.15, 0.1, 0.2))[0]
        if kind == "worn" and scene.worn != "none":
            word, mask = scene.worn, "worn"
        elif kind == "prop" and scene.prop != "none":
            word, mask = scene.prop, "prop"
        elif kind == "absent":
            return _phrase(rng.choice([s for s in SPECIES if s != scene.species]), rng), None
        else:
            word, mask = scene.species, "animal"
        return _phrase(word, rng), mask

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        rng = random.Random(int(torch.randint(1 << 40, (1,), generator=generator)))
        asked = [ask(i, rng) for i in index.tolist()]
        masks = {name: world.get(name, index, flip) for name in ("animal", "worn", "prop")}
        empty = torch.zeros_like(masks["animal"][0])
        wanted = torch.cat([masks[name][i] if name else empty for i, (_, name) in enumerate(asked)])
        ids = _tokens(tokenizer, [word for word, _ in asked], world.device)
        with _autocast(world.device):
            logits = m(input_ids=ids, pixel_values=normalized(world.get("image", index, flip))).logits
        logits = logits.float()
        p = logits.sigmoid()
        overlap = 2 * (p * wanted).sum((1, 2)) + 1
        dice = 1 - overlap / (p.sum((1, 2)) + wanted.sum((1, 2)) + 1)
        return F.binary_cross_entropy_with_logits(logits, wanted) + 0.3 * dice.mean()

    trained, progress = fit(model, loss, plan, Path(options.work) / "segmenter.pt", world.device, options.seed)
    _half(trained, out / "segmenter")
    return progress


def _phrase(word: str, rng: random.Random) -> str:
    return rng.choice(("a {}", "{}", "a photo of a {}", "the {}")).format(word)


_TRAIN: dict[str, Callable[[Options, Path, float], Progress]] = {
    "clip": train_clip, "vae": train_vae, "unet": train_unet, "segmenter": train_segmenter,
}  # fmt: skip


def _record(out: Path, stage: str, progress: Progress, options: Options) -> None:
    """Keeps in `training.json` how each part was made: the model card quotes it."""
    path = out / "training.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    record[stage] = {**asdict(progress), "scenes": options.scenes, "size": options.size, "seed": options.seed,
                     "device": options.device, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    path.write_text(json.dumps(record, indent=1) + "\n")


def parse(argv: list[str]) -> Options:
    """`key=value` arguments to options.

    Raises:
        SystemExit: an unknown key or stage, in one sentence.
    """
    values: dict[str, Any] = {}
    kinds = {f.name: f.type for f in fields(Options)}
    for argument in argv:
        key, equals, value = argument.partition("=")
        if key not in kinds or not equals:
            raise SystemExit(f"{argument!r} is not an option; use {', '.join(f'{k}=' for k in kinds)}.")
        kind = kinds[key]
        try:
            values[key] = kind(value)  # type: ignore[operator]
        except ValueError:
            raise SystemExit(f"{argument!r}: the value is not of the type {kind.__name__}.") from None  # type: ignore[union-attr]
    options = Options(**values)
    if options.stage not in (*STAGES, "all"):
        raise SystemExit(f"stage={options.stage} is none of {', '.join(STAGES)}, all.")
    return options


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        print("options (defaults):", *(f"  {k}={v}" for k, v in asdict(Options()).items()), sep="\n")
        return
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    out, work = Path(options.out), Path(options.work)
    out.mkdir(parents=True, exist_ok=True)
    chosen = STAGES if options.stage == "all" else (options.stage,)
    if chosen != ("tokenizer",):
        shards(work / "renders", options.scenes, options.size, workers=options.workers)
    for stage in chosen:
        print(f"stage {stage}", flush=True)
        if stage == "tokenizer":
            train_tokenizer(options, out)
            continue
        progress = _TRAIN[stage](options, out, options.minutes or SHARES[stage] * options.budget_minutes)
        _record(out, stage, progress, options)
    digest = hashlib.sha256()
    for path in sorted(out.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    print(f"{out}: {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
