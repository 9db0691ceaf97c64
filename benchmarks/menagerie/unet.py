"""The stage that trains the UNet."""

from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.menagerie import models
from benchmarks.menagerie.captions import caption, names
from benchmarks.menagerie.dataset import draw
from benchmarks.menagerie.fit import Plan, Progress
from benchmarks.menagerie.scene import VALIDATION_SEEDS, sample_scene
from benchmarks.menagerie.stages import (
    Options,
    World,
    autocast,
    begin,
    digest_of,
    fit_stage,
    half,
    latents_of,
    tokens,
    update_json,
)
from editing.caption import strangeness
from editing.priors import load_prior
from editing.results import write

MIN_SNR = 5.0
NAMED_WEIGHT = {"animal": 1.0, "prop": 6.0, "worn": 5.0}  # of the error, beyond the rest's


def _kept_latents(vae: AutoencoderKL, world: World, options: Options, out: Path) -> Tensor:
    """What `latents_of` returns, kept in the work folder for the next session."""
    name = f"latents-{options.size}px-{len(world)}-{digest_of(out / 'vae')}.safetensors"
    kept = Path(options.work) / name
    if not kept.exists():
        write(kept, save({"latents": latents_of(vae, world).cpu()}))
    return load_file(kept)["latents"].to(world.device)


def train_unet(options: Options, out: Path, minutes: float) -> Progress:
    """v-prediction with min-SNR weights (Hang et al. 2023, Eq. 8) and one prompt in ten dropped.

    What the prompt names weighs more where it is to be seen: a hat fills one pixel in fifty.
    """
    world, tokenizer = World(options), CLIPTokenizer.from_pretrained(out / "tokenizer")
    device = world.device
    vae = AutoencoderKL.from_pretrained(out / "vae")
    vae = vae.to(device, memory_format=torch.channels_last).eval()
    text = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)
    text = text.requires_grad_(False).to(device).eval()
    latents = _kept_latents(vae, world, options, out).float() * vae.config.scaling_factor
    size = latents.shape[-1]
    alpha_bar = models.scheduler().alphas_cumprod
    torch.manual_seed(options.seed)
    model = models.unet(size).to(device, memory_format=torch.channels_last)
    begin(model, options, "unet")
    plan = Plan(minutes, batch=32, rate=6e-4, averages=(0.02, 0.05, 0.10))

    def errors(
        m: nn.Module, z: Tensor, prompts: list[str], generator: torch.Generator
    ) -> Float[Tensor, "B 4 h w"]:
        # Timesteps spread evenly over the batch: less variance for nothing.
        shift = torch.rand(1, generator=generator)
        t = (((torch.arange(len(z)) / len(z) + shift) % 1) * 1000).long()
        t = t[torch.randperm(len(z), generator=generator)]
        a = alpha_bar[t].sqrt()[:, None, None, None].to(device)
        s = (1 - alpha_bar[t]).sqrt()[:, None, None, None].to(device)
        e = torch.randn(z.shape, generator=generator).to(device)
        z_t = (a * z + s * e).contiguous(memory_format=torch.channels_last)
        # On few positions a CPU is quicker without the fused attention: its backward is slow.
        plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
        with autocast(device), plain:
            with torch.no_grad():
                states = text(tokens(tokenizer, prompts, device)).last_hidden_state
            v = m(z_t, t.to(device), states).sample.float()
        snr = a**2 / s**2
        return snr.clamp(max=MIN_SNR) / (snr + 1) * (v - (a * e - s * z)).square()

    def loss(m: nn.Module, generator: torch.Generator) -> Tensor:
        index, flip = world.draw(plan.batch, generator)
        z = latents[flip.long().to(latents.device), index.to(latents.device)]
        prompts = world.captions(index, generator)
        dropped = torch.rand(plan.batch, generator=generator) < 0.1
        prompts = ["" if drop else p for p, drop in zip(prompts, dropped.tolist(), strict=True)]
        weight = torch.ones(plan.batch, 1, size, size, device=device)
        for name, more in NAMED_WEIGHT.items():
            named = [names(p, world.scenes[i], name) for i, p in zip(index, prompts, strict=True)]
            seen = F.adaptive_avg_pool2d(world.get(name, index, flip), size)
            weight += more * seen * torch.tensor(named, device=device)[:, None, None, None]
        return (weight / weight.mean() * errors(m, z, prompts, generator)).mean()

    scenes = [sample_scene(seed) for seed in VALIDATION_SEEDS[:256]]
    pictures = draw(scenes, options.size)["image"].to(device).float() / 255
    with torch.no_grad():
        held_out = [vae.encode(2 * x - 1).latent_dist.mean for x in pictures.split(64)]
    held_out = [z * vae.config.scaling_factor for z in held_out]

    @torch.no_grad()
    def judge(m: nn.Module) -> float:
        generator, said = torch.Generator().manual_seed(0), iter(scenes)
        found = [errors(m, z, [caption(next(said)) for _ in z], generator).mean() for z in held_out]
        return float(torch.stack(found).mean())

    base = digest_of(out / "text_encoder", out / "vae")
    trained, progress = fit_stage("unet", model, loss, plan, options, base, judge)
    assert isinstance(trained, UNet2DConditionModel)
    half(trained, out / "unet")
    # The runner warns of a picture that is stranger to the model than its own world ever is.
    most = strangeness(pictures.cpu(), load_prior(out, device="cpu")).max()
    update_json(out / "grammar.json", {"familiar": {"strangeness": round(float(most), 3)}})
    return progress
