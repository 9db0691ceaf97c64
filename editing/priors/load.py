"""Reading a model by a name of conf/prior, a folder or a hub name."""

import json
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from editing.errors import UserError
from editing.priors.adapters import apply_embedding, apply_lora
from editing.priors.diffusion import DiffusionPrior, SDXLPrior
from editing.priors.families import FAMILIES, T5, Family
from editing.priors.flow import FluxPrior, SD3Prior, scheduler_shift
from editing.priors.folders import check_folder, find_folder
from editing.priors.latent import LatentPrior
from editing.priors.tuning import Tuning, tune

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_prior(
    name_or_path: str | Path = "menagerie",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    lora: str | Path | None = None,
    lora_scale: float | int = 1.0,
    embeddings: Sequence[str | Path] = (),
    tuning: Tuning | None = None,
    distilled_guidance: float | int | None = None,
) -> LatentPrior:
    """Load a text-to-image model: Stable Diffusion 1, 2, XL or 3, or FLUX.

    Args:
        name_or_path: a name of conf/prior (``menagerie``, ``sd15``, ``sdxl``, ...), a folder in
            diffusers' layout, or a hub name such as ``owner/model``.
        device: ``auto`` takes CUDA where there is one, else the CPU.
        dtype: precision of the network: ``fp32``, ``bf16``, ``fp16`` or ``auto``, which is bf16 on
            CUDA and fp32 elsewhere. T5 has it too; the VAE and CLIP are float32.
        lora: a safetensors file of LoRA weights to add; needs peft.
        lora_scale: factor of these weights.
        embeddings: safetensors files of textual inversion, each of which teaches the model a word.
        tuning: how the network runs.
        distilled_guidance: what a guidance-distilled FLUX is told; 3.5 if left out.

    Raises:
        UserError: for an unknown name, device or dtype, a missing folder, a model that cannot be
            downloaded, a folder that is no such pipeline, weights that are pickled or damaged.
    """
    device, tuning = resolve_device(device), tuning or Tuning()
    network_dtype = resolve_dtype(dtype, device)
    folder = find_folder(name_or_path)
    kind = check_folder(folder)
    # Imported late: the imports take seconds, and wrong arguments shall fail at once.
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    with_bar = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in with_bar:
        library.disable_progress_bar()
    try:
        parts = read_parts(folder, FAMILIES[kind], network_dtype)
        if kind in ("sd", "sdxl"):
            # DDPM computes alpha-bar from the betas of any scheduler's config, zero-SNR included
            scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
            schedule = scheduler.alphas_cumprod, scheduler.config.prediction_type
        else:
            shift = scheduler_shift(
                FlowMatchEulerDiscreteScheduler.load_config(folder, subfolder="scheduler")
            )
    except Exception as error:  # two libraries, a Rust reader and the file system: no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The model in {folder} cannot be read: {reason}") from error
    finally:
        for library in with_bar:
            library.enable_progress_bar()
    if distilled_guidance is not None and kind != "flux":
        raise UserError(
            f"distilled_guidance={distilled_guidance} is for FLUX, which {name_or_path} is not."
        )
    at = torch.device("cpu") if tuning.cpu_offload else device
    options: dict[str, Any] = {"name": str(name_or_path), "folder": folder, "device": at}
    family = FAMILIES[kind]
    pipeline = make_pipeline(folder, family, parts) if kind != "sd" or lora or embeddings else None
    for embedding in embeddings:
        apply_embedding(pipeline, embedding)
    if lora:
        apply_lora(pipeline, lora, lora_scale)
    added = {Path(lora): float(lora_scale)} if lora else {}
    options["adapters"] = added | {Path(path): 1.0 for path in embeddings}
    prior: LatentPrior
    if kind == "sd":
        prior = DiffusionPrior(
            **parts,
            alphas_cumprod=schedule[0],
            prediction_type=schedule[1],
            pipeline=pipeline,
            **options,
        )
    elif kind == "sdxl":
        prior = SDXLPrior(pipeline, *schedule, **options)
    elif kind == "sd3":
        prior = SD3Prior(pipeline, schedule_shift=shift, **options)
    else:
        if distilled_guidance is not None:
            options["distilled_guidance"] = distilled_guidance
        prior = FluxPrior(pipeline, schedule_shift=shift, **options)
    tune(prior, tuning, device)
    return prior


def read_parts(folder: Path, family: Family, dtype: torch.dtype) -> dict[str, Any]:
    """The modules and tokenizers of a pipeline, by part; None for an optional one it lacks.

    Raises:
        ValueError: if a tensor is missing: an untrained one would be a silent mistake.
    """
    parts: dict[str, Any] = {}
    network = next(iter(family.modules))
    for part, name in {**family.modules, **family.tokenizers}.items():
        if part in family.optional and not (folder / part).is_dir():
            parts[part] = None
            continue
        library, kind = name.split(".")
        cls = getattr(import_module(library), kind)
        if part in family.tokenizers:
            parts[part] = cls.from_pretrained(folder, subfolder=part)
            continue
        half = part == network or name == T5
        key = "torch_dtype" if library == "diffusers" else "dtype"
        parts[part], report = cls.from_pretrained(
            folder,
            subfolder=part,
            use_safetensors=True,
            variant=variant_of(folder / part),
            output_loading_info=True,
            **{key: dtype if half else torch.float32},
        )
        if report["missing_keys"]:
            raise ValueError(f"{part} lacks {', '.join(sorted(report['missing_keys'])[:3])}")
    return parts


def variant_of(folder: Path) -> str | None:
    """The variant of a part's weights: `fp16` if it has no others, in one file or in shards."""
    names = [path.name for path in folder.glob("*.safetensors")]
    half = [name for name in names if re.search(r"\.fp16[.-]", name)]
    return "fp16" if half and len(half) == len(names) else None


def make_pipeline(folder: Path, family: Family, parts: dict[str, Any]) -> Any:
    """The parts as a pipeline of diffusers, which knows how to encode prompts."""
    import diffusers

    cls = getattr(diffusers, family.pipeline)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    options: dict[str, Any] = {}
    if family.pipeline == "StableDiffusionPipeline":
        options = {"safety_checker": None, "feature_extractor": None}
        options["requires_safety_checker"] = False
    if family.pipeline == "StableDiffusionXLPipeline":
        options["force_zeros_for_empty_prompt"] = index.get("force_zeros_for_empty_prompt", True)
    return cls(**parts, scheduler=None, **options)


def resolve_device(device: str | torch.device) -> torch.device:
    """``auto`` or a torch device name to a device that exists here."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"There is no device {device} here; device=auto finds one.") from error


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """``auto``, ``fp32``, ``bf16``, ``fp16`` or a torch dtype to a torch dtype."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r}; choose auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]
