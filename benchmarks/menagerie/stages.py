"""What all stages of training share, and those of the tokenizer, CLIP and the VAE.

`unet` and `judges` have the others. Each reads the renders and what the stages before it made, and
writes its part of the model, in half precision, as soon as it is trained.
"""

import copy
import hashlib
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from benchmarks.menagerie import models
from benchmarks.menagerie.captions import caption, grammar, one_slot_captions, slot_value
from benchmarks.menagerie.dataset import draw, load_shards
from benchmarks.menagerie.fit import Plan, Progress, fit
from benchmarks.menagerie.scene import COATS, OWN_COAT, SPECIES, VALIDATION_SEEDS, sample_scene
from editing.caption import Grammar, best_choices, read_clip
from editing.results import to_json, write

EMBEDDED = Path(__file__).parents[2] / "editing" / "priors" / "menagerie"
SURE = 0.75  # of the time CLIP must fill a slot rightly for the captioner to speak of it
ANIMAL_WEIGHT = 4.0  # of the VAE's error on the animal, beyond that of the surroundings


@dataclass(frozen=True)
class Options:
    """What the command line sets, as `key=value`."""

    stage: str = "all"
    budget_minutes: float = 120.0
    out: str = str(EMBEDDED)
    work: str = "menagerie-training"
    scenes: int = 16_000
    size: int = 64
    device: str = "cpu"
    threads: int = 0  # 0: torch's choice
    workers: int = 2  # processes that render
    seed: int = 0
    minutes: float = 0.0  # of each stage, instead of its share of the budget
    start: str = ""  # a model folder, whose weights training begins with
    freeze_text: bool = False  # stage=clip goes on without moving what a UNet was trained on


class World:
    """The renders in memory, their mirror images, and fresh captions for them.

    Attributes:
        device: where `get` puts what it returns.
        data: `image`, `animal`, `worn` and `prop`, (N, C, S, S) uint8.
        scenes: what they show.
    """

    def __init__(self, options: Options) -> None:
        self.device = torch.device(options.device)
        self.data = load_shards(Path(options.work) / "renders", options.size, options.scenes)
        self.scenes = [sample_scene(int(seed)) for seed in self.data["seed"]]

    def __len__(self) -> int:
        return len(self.scenes)

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, " B"], Bool[Tensor, " B"]]:
        """Random indices, and which of their pictures to mirror."""
        index = torch.randint(len(self), (count,), generator=generator)
        return index, torch.rand(count, generator=generator) < 0.5

    def get(
        self, name: str, index: Int64[Tensor, " B"], flip: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B C S S"]:
        """Pictures or masks in [0, 1], mirrored where told."""
        x = self.data[name][index].to(self.device).float() / 255
        return torch.where(flip.to(self.device)[:, None, None, None], x.flip(-1), x)

    def captions(self, index: Int64[Tensor, " B"], generator: torch.Generator) -> list[str]:
        """A random wording for each."""
        rng = random.Random(int(torch.randint(1 << 40, (1,), generator=generator)))
        return [caption(self.scenes[i], rng) for i in index.tolist()]


def half(module: nn.Module, folder: Path) -> None:
    """Saves a copy in half precision, in shards of at most 12 MiB; it loads in single."""
    shipped = copy.deepcopy(module).half()
    shipped.save_pretrained(folder, max_shard_size=12 * 2**20)  # type: ignore[operator]
    config = json.loads((folder / "config.json").read_text())
    if "dtype" in config:  # transformers would load what it says, diffusers loads in single
        config["dtype"] = "float32"
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def tokens(
    tokenizer: CLIPTokenizer, texts: list[str], device: torch.device, padding: str = "max_length"
) -> Int64[Tensor, "B tokens"]:
    made = tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    return made.input_ids.to(device)


def normalized(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """[0, 1] pictures as CLIP takes them."""
    mean = torch.tensor(OPENAI_CLIP_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(OPENAI_CLIP_STD, device=images.device)[:, None, None]
    return (images - mean) / std


def fit_stage(
    stage: str,
    model: nn.Module,
    loss: Callable[[nn.Module, torch.Generator], Tensor],
    plan: Plan,
    options: Options,
    base: str = "",
    judge: Callable[[nn.Module], float] | None = None,
) -> tuple[nn.Module, Progress]:
    checkpoint = Path(options.work) / f"{stage}.pt"
    device = torch.device(options.device)
    return fit(model, loss, plan, checkpoint, device, options.seed, base, judge)


@torch.no_grad()
def begin(model: nn.Module, options: Options, part: str, only: tuple[str, ...] = ("",)) -> None:
    """Gives `model` the weights of the same part in `options.start`, where shapes agree.

    Only those are taken whose names begin as one of `only`.

    A vocabulary that was learned anew takes the old embeddings of the same tokens, and for a new
    token the mean of those it was made of.

    Raises:
        ValueError: there is no such part.
    """
    if not options.start:
        return
    files = sorted((Path(options.start) / part).glob("*.safetensors"))
    if not files:
        raise ValueError(f"{options.start} has no {part} to start from.")
    own = model.state_dict()
    state = {name: value.float() for path in files for name, value in load_file(path).items()}
    for name in state:
        if name.endswith("token_embedding.weight"):
            old, new = (
                CLIPTokenizer.from_pretrained(Path(folder) / "tokenizer")
                for folder in (options.start, options.out)
            )
            state[name] = models.moved_embeddings(state[name], old, new)
    fits = [name for name in state if name in own and state[name].shape == own[name].shape]
    state = {name: state[name] for name in fits if name.startswith(only)}
    model.load_state_dict(state, strict=False)


def digest_of(*folders: Path) -> str:
    """Of the weights in the folders: names a frozen part that a stage was trained on."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16)


def train_tokenizer(options: Options, out: Path) -> None:
    """Learns the vocabulary from captions alone; needs no renders. One that is there stays."""
    if (out / "tokenizer").exists():
        return
    rng = random.Random(options.seed)
    tokenizer = models.train_tokenizer(caption(sample_scene(seed), rng) for seed in range(30_000))
    tokenizer.save_pretrained(out / "tokenizer")
    models.scheduler().save_pretrained(out / "scheduler")
    models.write_model_index(out)
    update_json(out / "grammar.json", grammar())


def train_clip(options: Options, out: Path, minutes: float) -> Progress:
    """Radford et al. 2021: each picture's caption among the batch's, and the reverse.

    In a batch most other captions are wrong in many ways at once. So that every picture also meets
    captions wrong in one, it is compared with short ones that differ in a single slot of the
    grammar (`one_slot_captions`).
    """
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    torch.manual_seed(options.seed)
    model = models.clip(tokenizer, options.size).to(world.device)
    begin(model, options, "clip")
    if options.freeze_text:
        text = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)
        models.set_text_encoder(model, text)
        model.text_model.requires_grad_(False)
    plan = Plan(minutes, batch=128, rate=1e-3, weight_decay=0.05)
    slots = one_slot_captions()
    asked = [sentence for rows in slots.values() for row in rows for sentence in row]
    asked_ids = tokens(tokenizer, asked, world.device, padding="longest")
    species = torch.tensor([SPECIES.index(scene.species) for scene in world.scenes])
    true = {
        slot: torch.tensor([slot_value(scene, slot) for scene in world.scenes]) for slot in slots
    }

    own = torch.zeros(len(world), len(COATS), dtype=torch.bool)
    for i, scene in enumerate(world.scenes):
        if scene.coat == "natural" and scene.species in OWN_COAT:
            own[i, COATS.index(OWN_COAT[scene.species])] = True

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        captions = world.captions(index, generator)
        ids = tokens(tokenizer, captions, world.device, padding="longest")
        with autocast(world.device):
            images = normalized(world.get("image", index, flip))
            scores = models.clip_scores(m, images, ids, asked_ids)
        logits, scores = scores[:, : plan.batch], scores[:, plan.batch :]
        labels = torch.arange(len(logits), device=logits.device)
        total = 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
        for slot, rows in slots.items():
            count = len(rows) * len(rows[0])
            each, scores = scores[:, :count].unflatten(1, (len(rows), -1)), scores[:, count:]
            row = species[index] if len(rows) > 1 else torch.zeros_like(index)
            mine = each[labels, row.to(each.device)]
            if slot == "coat":  # "a pink pig" is as true of a natural pig as "a pig"
                mine = mine.masked_fill(own[index].to(each.device), -math.inf)
            total = total + F.cross_entropy(mine, true[slot][index].to(each.device))
        return total

    trained, progress = fit_stage("clip", model, loss, plan, options)
    assert isinstance(trained, CLIPModel)
    if not options.freeze_text:
        half(models.text_encoder(trained), out / "text_encoder")
    half(trained, out / "clip")
    _record_grammar(options, out)
    return progress


def _record_grammar(options: Options, out: Path) -> None:
    """Writes into `grammar.json` the slots that CLIP fills rightly, for the captioner."""
    scenes = [sample_scene(seed) for seed in VALIDATION_SEEDS[:128]]
    images = draw(scenes, options.size)["image"].float() / 255
    spoken = grammar()
    read_clip.cache_clear()  # CLIP has just been written anew
    choices = best_choices(images, out, Grammar(spoken["template"], spoken["slots"]))
    unsure = []
    for slot in ("coat", "worn", "place"):
        said = [spoken["slots"][slot].index(choice[slot]) for choice in choices]
        right = sum(s == slot_value(scene, slot) for s, scene in zip(said, scenes, strict=True))
        if right < SURE * len(scenes):
            unsure.append(slot)
    update_json(out / "grammar.json", grammar(without=unsure))


def update_json(path: Path, entries: dict[str, Any]) -> None:
    """Sets entries of a JSON file, which need not be there yet."""
    before = json.loads(path.read_text()) if path.exists() else {}
    write(path, to_json(before | entries))


def train_vae(options: Options, out: Path, minutes: float) -> Progress:
    """Absolute and squared error, and the absolute error of differences (edges).

    The animal weighs more than its surroundings. Latents are drawn to a unit Gaussian, weakly.
    """
    world = World(options)
    torch.manual_seed(options.seed)
    model = models.vae(options.size).to(world.device, memory_format=torch.channels_last)
    begin(model, options, "vae")
    plan = Plan(minutes, batch=8, rate=1e-3, weight_decay=0.0)

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        drawn = world.draw(plan.batch, generator)
        x = world.get("image", *drawn) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        weight = 1 + ANIMAL_WEIGHT * F.max_pool2d(world.get("animal", *drawn), 3, 1, 1)
        weight = weight / weight.mean()
        with autocast(world.device):
            posterior = m.encode(x).latent_dist  # type: ignore[operator]
            noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
            y = m.decode(posterior.mean + posterior.std * noise).sample.float()  # type: ignore[operator]
        error = y - x
        across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
        edges = (across * weight[..., 1:]).mean() + (down * weight[..., 1:, :]).mean()
        recon = (weight * (error.abs() + 2 * error.square())).mean()
        return recon + 0.5 * edges + 1e-7 * posterior.kl().float().mean()

    trained, progress = fit_stage("vae", model, loss, plan, options)
    assert isinstance(trained, AutoencoderKL)
    latents = latents_of(trained, world).float()
    models.normalise_latents(trained, latents.mean((0, 1, 3, 4)), latents.std((0, 1, 3, 4)))
    half(trained, out / "vae")
    return progress


@torch.no_grad()
def latents_of(vae: AutoencoderKL, world: World) -> Tensor:
    """Posterior means of all pictures and of their mirror images: (2, N, 4, h, w) float16."""
    sides = []
    for mirrored in (False, True):
        parts = []
        for index in torch.arange(len(world)).split(64):
            x = world.get("image", index, torch.full((len(index),), mirrored)) * 2 - 1
            x = x.contiguous(memory_format=torch.channels_last)
            with autocast(world.device):
                parts.append(vae.encode(x).latent_dist.mean.half())
        sides.append(torch.cat(parts).contiguous())
    return torch.stack(sides)
