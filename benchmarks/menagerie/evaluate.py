"""Measures the embedded model on held-out scenes and prints the figures of its model card.

    python -m benchmarks.menagerie.evaluate [model=FOLDER] [scenes=200] [samples=200] [grid=samples.png]
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchvision.utils import make_grid, save_image
from transformers import CLIPModel, CLIPSegForImageSegmentation, CLIPTokenizer

from benchmarks.menagerie.captions import caption
from benchmarks.menagerie.dataset import draw
from benchmarks.menagerie.scene import SPECIES, TEST_SEEDS, Scene, sample_scene
from benchmarks.menagerie.train import normalized

EMBEDDED = Path(__file__).parents[2] / "editing" / "priors" / "menagerie"
GUIDANCE, STEPS = 3.0, 40  # of the generated samples


class SpeciesClassifier:
    """Zero-shot: which of "a photo of a {species}" is nearest to a picture, by the embedded CLIP."""

    def __init__(self, folder: Path) -> None:
        self.clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        prompts = [f"a photo of a {species}" for species in SPECIES]
        self.ids = tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Indices into SPECIES (B,) of pictures (B, 3, S, S) in [0, 1]."""
        batches = images.split(64)
        logits = [self.clip(input_ids=self.ids, pixel_values=normalized(b)).logits_per_image for b in batches]
        return torch.cat(logits).argmax(1)


def species_index(scenes: list[Scene]) -> Tensor:
    return torch.tensor([SPECIES.index(s.species) for s in scenes])


@torch.no_grad()
def reconstruction(pipeline: StableDiffusionPipeline, images: Tensor) -> float:
    """Mean PSNR (dB) of pictures through the VAE."""
    values = []
    for x in images.split(32):
        y = pipeline.vae.decode(pipeline.vae.encode(2 * x - 1).latent_dist.mean).sample / 2 + 0.5
        values.append(peak_signal_noise_ratio(y.clamp(0, 1), x, 1.0, reduction="none", dim=(1, 2, 3)))
    return float(torch.cat(values).mean())


@torch.no_grad()
def segmentation(folder: Path, images: Tensor, masks: Tensor, scenes: list[Scene]) -> float:
    """Mean IoU of the animal, asked for by its species."""
    model = CLIPSegForImageSegmentation.from_pretrained(folder / "segmenter", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    values = []
    for i in range(0, len(scenes), 32):
        ids = tokenizer([f"a {s.species}" for s in scenes[i : i + 32]], padding="max_length", return_tensors="pt")
        found = model(input_ids=ids.input_ids, pixel_values=normalized(images[i : i + 32])).logits > 0
        true = masks[i : i + 32, 0] > 0.5
        values.append((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1))
    return float(torch.cat(values).mean())


@torch.no_grad()
def generate(pipeline: StableDiffusionPipeline, prompts: list[str], seed: int = 0) -> Tensor:
    """Pictures (B, 3, S, S) in [0, 1], one generator per picture."""
    made = []
    for i in range(0, len(prompts), 20):
        part = prompts[i : i + 20]
        generators = [torch.Generator().manual_seed(seed + i + k) for k in range(len(part))]
        out = pipeline(part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, output_type="pt")
        made.append(out.images.float())
    return torch.cat(made)


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    options = {"model": str(EMBEDDED), "scenes": "200", "samples": "200", "grid": ""}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in options:
            raise SystemExit(f"{argument!r} is not an option; use {', '.join(f'{k}=' for k in options)}.")
        options[key] = value
    folder, count = Path(options["model"]), int(options["scenes"])
    scenes = [sample_scene(seed) for seed in TEST_SEEDS[:count]]
    data = draw(scenes, 64)
    images, masks = data["image"].float() / 255, data["animal"].float() / 255
    truth = species_index(scenes)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    classify = SpeciesClassifier(folder)
    print(f"held-out scenes                      {count} (seeds {TEST_SEEDS[0]} to {TEST_SEEDS[count - 1]})")
    print(f"VAE reconstruction PSNR              {reconstruction(pipeline, images):.1f} dB")
    print(f"CLIP species accuracy on renders     {(classify(images) == truth).float().mean():.1%}")
    print(f"segmenter IoU on renders             {segmentation(folder, images, masks, scenes):.3f}")
    if samples := int(options["samples"]):
        pictures = generate(pipeline, [caption(s) for s in scenes[:samples]])
        accuracy = (classify(pictures) == truth[:samples]).float().mean()
        print(f"CLIP species accuracy on {samples:4d} samples {accuracy:.1%} (guidance {GUIDANCE}, {STEPS} DDIM steps)")
        if options["grid"]:
            save_image(make_grid(pictures[:32], 8), options["grid"])


if __name__ == "__main__":
    main()
