"""Measures the embedded model on held-out scenes and prints the figures of its model card.

python -m benchmarks.menagerie.evaluate [model=FOLDER] [scenes=200] [samples=200] [grid=samples.png]
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchvision.utils import make_grid
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from benchmarks import options
from benchmarks.menagerie.captions import caption
from benchmarks.menagerie.dataset import draw, png
from benchmarks.menagerie.scene import SPECIES, TEST_SEEDS, Scene, sample_scene
from benchmarks.menagerie.stages import EMBEDDED, normalized
from editing.caption import Clip
from editing.results import write

GUIDANCE, STEPS = 3.0, 40  # of the generated samples


@dataclass
class Options:
    model: str = str(EMBEDDED)  # folder
    scenes: int = 200
    samples: int = 200  # generated pictures, at most `scenes`; 0 for none
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
def reconstruction(pipeline: StableDiffusionPipeline, images: Float[Tensor, "B 3 S S"]) -> float:
    """Mean PSNR (dB) of pictures through the VAE."""
    values = []
    for x in images.split(32):
        y = pipeline.vae.decode(pipeline.vae.encode(2 * x - 1).latent_dist.mean).sample / 2 + 0.5
        psnr = peak_signal_noise_ratio(y.clamp(0, 1), x, 1.0, reduction="none", dim=(1, 2, 3))
        values.append(psnr)
    return float(torch.cat(values).mean())


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
    opts = options.read(Options, __doc__, argv)
    folder, seeds = Path(opts.model), TEST_SEEDS[: opts.scenes]
    classify = SpeciesClassifier(folder)
    scenes = [sample_scene(seed) for seed in seeds]
    data = draw(scenes, classify.size)
    images, masks = data["image"].float() / 255, data["animal"].float() / 255
    truth = species_index(scenes)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    drawn = f"{len(seeds)} (seeds {seeds[0]} to {seeds[-1]})"
    print(f"held-out scenes                      {drawn}")
    print(f"VAE reconstruction PSNR              {reconstruction(pipeline, images):.1f} dB")
    print(f"CLIP species accuracy on renders     {(classify(images) == truth).float().mean():.1%}")
    print(f"segmenter IoU on renders             {segmentation(folder, images, masks, scenes):.3f}")
    if opts.samples:
        pictures = generate(pipeline, [caption(s) for s in scenes[: opts.samples]])
        accuracy = (classify(pictures) == truth[: opts.samples]).float().mean()
        how = f"(guidance {GUIDANCE}, {STEPS} DDIM steps)"
        print(f"CLIP species accuracy on {len(pictures):4d} samples {accuracy:.1%} {how}")
        if opts.grid:
            write(Path(opts.grid), png(make_grid(pictures[:32], 8)))


if __name__ == "__main__":
    main()
