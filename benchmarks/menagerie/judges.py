"""The stages that train what judges pictures: the segmenter and the classifier."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from benchmarks.menagerie import models
from benchmarks.menagerie.classifier import (
    FILE,
    AttributeClassifier,
    classification_loss,
    labels,
)
from benchmarks.menagerie.dataset import draw
from benchmarks.menagerie.fit import Plan, Progress
from benchmarks.menagerie.scene import SPECIES, VALIDATION_SEEDS, sample_scene
from benchmarks.menagerie.stages import (
    Options,
    World,
    autocast,
    begin,
    digest_of,
    fit_stage,
    half,
    normalized,
    tokens,
)
from editing.results import write


def train_segmenter(options: Options, out: Path, minutes: float) -> Progress:
    """Prompts name what is there (its mask) or, one time in five, what is not (an empty mask)."""
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    torch.manual_seed(options.seed)
    clip = CLIPModel.from_pretrained(out / "clip", dtype=torch.float32)
    model = models.segmenter(clip, tokenizer).to(world.device)
    begin(model, options, "segmenter", ("clip.vision_model", "decoder"))  # its text is CLIP's
    plan = Plan(minutes, batch=32, rate=5e-4)

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
        ids = tokens(tokenizer, [word for word, _ in asked], world.device)
        pictures = normalized(world.get("image", index, flip))
        with autocast(world.device):
            logits = models.segmenter_logits(m, ids, pictures).float()
        p = logits.sigmoid()
        overlap = 2 * (p * wanted).sum((1, 2)) + 1
        dice = 1 - overlap / (p.sum((1, 2)) + wanted.sum((1, 2)) + 1)
        return F.binary_cross_entropy_with_logits(logits, wanted) + dice.mean()

    base = digest_of(out / "text_encoder")
    trained, progress = fit_stage("segmenter", model, loss, plan, options, base)
    _calibrate(trained, tokenizer, options)
    half(trained, out / "segmenter")
    return progress


@torch.no_grad()
def _calibrate(model: nn.Module, tokenizer: CLIPTokenizer, options: Options) -> None:
    """Moves the logits, in place, so that masks cut at 0 overlap best with those of validation."""
    scenes = [sample_scene(seed) for seed in VALIDATION_SEEDS[:128]]
    data = draw(scenes, options.size)
    ids = tokens(tokenizer, [f"a {scene.species}" for scene in scenes], torch.device("cpu"))
    pictures, true = normalized(data["image"].float() / 255), data["animal"][:, 0] > 127
    logits = models.segmenter_logits(model.cpu(), ids, pictures)

    def overlap(shift: float) -> float:
        found = logits + shift > 0
        union = (found | true).sum((1, 2)).clamp(min=1)
        return float(((found & true).sum((1, 2)) / union).mean())

    best = max((step / 8 for step in range(-16, 17)), key=overlap)
    model.decoder.transposed_convolution.bias += best  # type: ignore[union-attr,operator]


def _phrase(word: str, rng: random.Random) -> str:
    return rng.choice(("a {}", "{}", "a photo of a {}", "the {}")).format(word)


def train_classifier(options: Options, out: Path, minutes: float) -> Progress:
    """Labels of renders, softened and noisy half of the time, as generated pictures are."""
    world = World(options)
    truth = {name: value.to(world.device) for name, value in labels(world.scenes).items()}
    torch.manual_seed(options.seed)
    model = AttributeClassifier().to(world.device)
    plan = Plan(minutes, batch=64, rate=2e-3)

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        x = world.get("image", index, flip)
        soft = F.avg_pool2d(F.pad(x, (1,) * 4, mode="replicate"), 3, 1)
        soft = soft + 0.04 * torch.randn(x.shape, generator=generator).to(x.device)
        softened = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(softened[:, None, None, None], soft, x)
        index = index.to(x.device)
        return classification_loss(m(x), {name: value[index] for name, value in truth.items()})

    trained, progress = fit_stage("classifier", model, loss, plan, options)
    write(out / FILE, save({name: p.half() for name, p in trained.state_dict().items()}))
    return progress
