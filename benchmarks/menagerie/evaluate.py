"""Measures the embedded model on held-out scenes and prints the figures of its model card.

    python -m benchmarks.menagerie.evaluate [model=FOLDER] [scenes=200] [samples=200] [pairs=1000]
                                            [grid=samples.png]

Reconstruction by the VAE, overall and on the animal; denoising error of the UNet by timestep;
retrieval by CLIP; the segmenter's overlap; and whether generated pictures show what their captions
say, by CLIP and by the classifier, which shares nothing with the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.utils import make_grid
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from benchmarks import options
from benchmarks.menagerie.captions import caption, one_slot_captions, slot_value
from benchmarks.menagerie.classifier import AttributeClassifier, labels, load_classifier
from benchmarks.menagerie.dataset import draw, png
from benchmarks.menagerie.scene import SPECIES, TEST_SEEDS, Scene, sample_scene
from benchmarks.menagerie.stages import EMBEDDED, normalized
from benchmarks.metrics.psnr import psnr
from editing.caption import Clip
from editing.priors.diffusion import DiffusionPrior
from editing.results import write
from samplers.random import make_generators, randn

GUIDANCE, STEPS = 3.0, 40  # of the generated samples
TIMESTEPS = tuple(range(50, 1000, 150))


@dataclass
class Options:
    model: str = str(EMBEDDED)  # folder
    scenes: int = 200
    samples: int = 200  # generated pictures, at most `scenes`; 0 for none
    pairs: int = 1000  # pictures and captions of the retrieval; 0 for none
    grid: str = ""  # where to write the first 32 of them


class SpeciesClassifier:
    """Zero-shot, by the embedded CLIP: which "a photo of a {species}" is nearest to a picture.

    Attributes:
        size: of the pictures it was trained on, in pixels.
    """

    @torch.no_grad()
    def __init__(self, folder: Path) -> None:
        self.clip = Clip(folder)
        self.size: int = self.clip.model.config.vision_config.image_size
        self.named = self.clip.embed_texts([f"a photo of a {species}" for species in SPECIES])

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "B 3 S S"]) -> Int64[Tensor, " B"]:
        """Indices into SPECIES of pictures in [0, 1]."""
        pictures = torch.cat([self.clip.embed_images(batch) for batch in images.split(64)])
        return (pictures @ self.named.T).argmax(1)


def species_index(scenes: list[Scene]) -> Int64[Tensor, " B"]:
    """Indices into SPECIES."""
    return torch.tensor([SPECIES.index(s.species) for s in scenes])


@torch.no_grad()
def reconstructed(
    pipeline: StableDiffusionPipeline, images: Float[Tensor, "B 3 S S"]
) -> Float[Tensor, "B 3 S S"]:
    """Pictures in [0, 1] through the VAE and back."""
    vae = pipeline.vae
    parts = [vae.decode(vae.encode(2 * x - 1).latent_dist.mean).sample for x in images.split(32)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def denoising_errors(
    pipeline: StableDiffusionPipeline,
    images: Float[Tensor, "B 3 S S"],
    prompts: list[str],
    timesteps: Sequence[int],
) -> list[float]:
    """Mean squared error of the predicted noise at each timestep; 1 is what predicting 0 has.

    The noise of a picture is the same at all timesteps.
    """
    prior = DiffusionPrior(
        pipeline.unet,
        pipeline.vae,
        pipeline.text_encoder,
        pipeline.tokenizer,
        pipeline.scheduler.alphas_cumprod,
        pipeline.scheduler.config.prediction_type,
    )
    sums = torch.zeros(len(timesteps))
    for start in range(0, len(images), 50):
        part = slice(start, start + 50)
        z, condition = prior.encode(images[part]), prior.embed(prompts[part])
        noise = randn(z.shape, make_generators(0, range(start, start + len(z))))
        for i, step in enumerate(timesteps):
            t = torch.full((len(z),), step)
            alpha, sigma = prior.alpha_sigma(t)
            found = prior.predict_noise(alpha * z + sigma * noise, t, condition)
            sums[i] += (found - noise).square().mean((1, 2, 3)).sum()
    return (sums / len(images)).tolist()


@torch.no_grad()
def retrieval(
    clip: Clip, images: Float[Tensor, "B 3 S S"], captions: list[str]
) -> tuple[float, float]:
    """How often a picture's nearest caption is right, and a caption's nearest picture.

    Scenes with the same caption are right answers for each other.
    """
    seen = torch.cat([clip.embed_images(batch) for batch in images.split(64)])
    said = torch.cat([clip.embed_texts(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    scores = seen @ said.T

    def share(best: list[int]) -> float:
        right = (captions[i] == captions[j] for i, j in enumerate(best))
        return sum(right) / len(captions)

    return share(scores.argmax(1).tolist()), share(scores.argmax(0).tolist())


@torch.no_grad()
def clip_accuracy(
    clip: Clip, images: Float[Tensor, "B 3 S S"], scenes: list[Scene]
) -> dict[str, float]:
    """How often CLIP prefers the true one of captions that differ in one slot, by slot."""
    seen = torch.cat([clip.embed_images(batch) for batch in images.split(64)])
    found = {}
    for slot, rows in one_slot_captions().items():
        said = torch.stack([clip.embed_texts(row) for row in rows])
        row = species_index(scenes) if len(rows) > 1 else torch.zeros(len(scenes), dtype=torch.long)
        best = torch.einsum("bd,bwd->bw", seen, said[row]).argmax(1).tolist()
        right = (b == slot_value(scene, slot) for b, scene in zip(best, scenes, strict=True))
        found[slot] = sum(right) / len(scenes)
    return found


def classifier_accuracy(
    judge: AttributeClassifier, images: Float[Tensor, "B 3 S S"], scenes: list[Scene]
) -> dict[str, float]:
    """How often the classifier sees what is true of the scenes; colours of what is worn only."""
    truth, found = labels(scenes), judge.predict(images)
    right = {name: (found[name] == truth[name]).float() for name in truth}
    right["worn_color"] = right["worn_color"][truth["worn"] > 0]
    return {name: float(hits.mean()) for name, hits in right.items()}


@torch.no_grad()
def segmentation(
    folder: Path,
    images: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    scenes: list[Scene],
) -> float:
    """Mean IoU of the animal, asked for by its species."""
    load = CLIPSegForImageSegmentation.from_pretrained
    model = load(folder / "segmenter", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    values = []
    for i in range(0, len(scenes), 32):
        prompts = [f"a {s.species}" for s in scenes[i : i + 32]]
        ids = tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
        pictures = normalized(images[i : i + 32])
        found = model(input_ids=ids, pixel_values=pictures).logits > 0
        true = masks[i : i + 32, 0] > 0.5
        values.append((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1))
    return float(torch.cat(values).mean())


@torch.no_grad()
def generate(
    pipeline: StableDiffusionPipeline, prompts: list[str], seed: int = 0
) -> Float[Tensor, "B 3 S S"]:
    """Pictures in [0, 1], one generator per picture."""
    made = []
    for i in range(0, len(prompts), 20):
        part = prompts[i : i + 20]
        generators = [torch.Generator().manual_seed(seed + i + k) for k in range(len(part))]
        out = pipeline(
            part,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generators,
            output_type="pt",
        )
        made.append(out.images.float())
    return torch.cat(made)


def main(argv: list[str] | None = None) -> None:
    evaluate(options.read(Options, __doc__, argv))


def evaluate(opts: Options) -> dict[str, str]:
    """Prints the figures of a model as they are found, and returns them."""
    found: dict[str, str] = {}
    folder, seeds = Path(opts.model), TEST_SEEDS[: opts.scenes]
    classify, judge = SpeciesClassifier(folder), load_classifier(folder)
    scenes = [sample_scene(seed) for seed in seeds]
    captions = [caption(scene) for scene in scenes]
    data = draw(scenes, classify.size)
    images, masks = data["image"].float() / 255, data["animal"].float() / 255
    truth = species_index(scenes)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)

    def row(what: str, value: str) -> None:
        found[what] = value
        print(f"{what:37}{value}", flush=True)

    def shares(accuracy: dict[str, float]) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in accuracy.items())

    row("held-out scenes", f"{len(seeds)} (seeds {seeds[0]} to {seeds[-1]})")
    again = reconstructed(pipeline, images)
    everywhere, animal = torch.ones_like(masks) > 0, masks > 0.5
    row("VAE reconstruction PSNR", f"{psnr(again, images, everywhere).mean():.1f} dB")
    row("VAE reconstruction PSNR, animal", f"{psnr(again, images, animal).mean():.1f} dB")
    ssim, local = structural_similarity_index_measure(
        again, images, data_range=1.0, return_full_image=True
    )
    row("VAE reconstruction SSIM", f"{ssim:.3f}")
    row("VAE reconstruction SSIM, animal", f"{local.mean(1, keepdim=True)[animal].mean():.3f}")
    errors = denoising_errors(pipeline, images, captions, TIMESTEPS)
    by_time = (f"{t}: {error:.3f}" for t, error in zip(TIMESTEPS, errors, strict=True))
    row("noise prediction error at t", ", ".join(by_time))
    row("CLIP species accuracy on renders", f"{(classify(images) == truth).float().mean():.1%}")
    row("CLIP accuracy on renders", shares(clip_accuracy(classify.clip, images, scenes)))
    row("classifier accuracy on renders", shares(classifier_accuracy(judge, images, scenes)))
    row("segmenter IoU on renders", f"{segmentation(folder, images, masks, scenes):.3f}")
    if opts.pairs:
        others = [sample_scene(seed) for seed in TEST_SEEDS[: opts.pairs]]
        pictures = draw(others, classify.size)["image"].float() / 255
        there, back = retrieval(classify.clip, pictures, [caption(scene) for scene in others])
        row(f"CLIP retrieval among {opts.pairs} pairs", f"caption {there:.1%}, picture {back:.1%}")
    if opts.samples:
        made, shown = generate(pipeline, captions[: opts.samples]), scenes[: opts.samples]
        row(f"{len(made)} samples", f"guidance {GUIDANCE}, {STEPS} DDIM steps")
        accuracy = (classify(made) == truth[: opts.samples]).float().mean()
        row("CLIP species accuracy on samples", f"{accuracy:.1%}")
        row("CLIP accuracy on samples", shares(clip_accuracy(classify.clip, made, shown)))
        row("classifier accuracy on samples", shares(classifier_accuracy(judge, made, shown)))
        if opts.grid:
            write(Path(opts.grid), png(make_grid(made[:32], 8)))
    return found


if __name__ == "__main__":
    main()
