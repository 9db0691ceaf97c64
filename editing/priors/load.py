"""Finding and reading a model by a name of conf/prior, a folder or a hub name."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch

from editing.errors import UserError
from editing.paths import expanded
from editing.priors.adapters import apply_embedding, apply_lora
from editing.priors.diffusion import DiffusionPrior, SDXLPrior
from editing.priors.flow import FluxPrior, SD3Prior
from editing.priors.latent import LatentPrior
from editing.priors.tuning import Tuning, tune

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CLIP = "transformers.CLIPTextModel"
_CLIP_PROJECTED = "transformers.CLIPTextModelWithProjection"
_T5 = "transformers.T5EncoderModel"
_CLIP_TOKENIZER, _T5_TOKENIZER = "transformers.CLIPTokenizer", "transformers.T5TokenizerFast"


@dataclass(frozen=True)
class Family:
    """What the pipelines of one kind are made of.

    Attributes:
        name: for messages.
        pipeline: class of diffusers.
        modules: class of each part with weights; the first is the network.
        tokenizers: class of each tokenizer.
        optional: parts that a pipeline may lack.
    """

    name: str
    pipeline: str
    modules: Mapping[str, str]
    tokenizers: Mapping[str, str]
    optional: tuple[str, ...] = field(default=())


_UNET = {"unet": "diffusers.UNet2DConditionModel", "vae": "diffusers.AutoencoderKL"}
FAMILIES = {
    "sd": Family(
        "Stable Diffusion 1 or 2",
        "StableDiffusionPipeline",
        {**_UNET, "text_encoder": _CLIP},
        {"tokenizer": _CLIP_TOKENIZER},
    ),
    "sdxl": Family(
        "Stable Diffusion XL",
        "StableDiffusionXLPipeline",
        {**_UNET, "text_encoder": _CLIP, "text_encoder_2": _CLIP_PROJECTED},
        {"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": _CLIP_TOKENIZER},
    ),
    "sd3": Family(
        "Stable Diffusion 3",
        "StableDiffusion3Pipeline",
        {
            "transformer": "diffusers.SD3Transformer2DModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": _CLIP_PROJECTED,
            "text_encoder_2": _CLIP_PROJECTED,
            "text_encoder_3": _T5,
        },
        {
            "tokenizer": _CLIP_TOKENIZER,
            "tokenizer_2": _CLIP_TOKENIZER,
            "tokenizer_3": _T5_TOKENIZER,
        },
        optional=("text_encoder_3", "tokenizer_3"),
    ),
    "flux": Family(
        "FLUX",
        "FluxPipeline",
        {
            "transformer": "diffusers.FluxTransformer2DModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": _CLIP,
            "text_encoder_2": _T5,
        },
        {"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": _T5_TOKENIZER},
    ),
}
# Only what is read: many repositories also hold pickles, fp16 variants and single-file checkpoints.
HUB_FILES = [
    "model_index.json",
    *(f"{part}/*.json" for part in ("unet", "transformer", "vae", "text_encoder*", "scheduler")),
    *(f"tokenizer*/*.{kind}" for kind in ("json", "txt", "model")),
    *(
        f"{part}/{stem}{shard}.safetensors"
        for part in ("unet", "transformer", "vae", "text_encoder*")
        for stem in ("diffusion_pytorch_model", "model")
        for shard in ("", "-?????-of-?????")
    ),
]
# Of a repository that has no others; their index comes with the configs.
HUB_HALVES = [
    f"{part}/{stem}.fp16{shard}.safetensors"
    for part in ("unet", "transformer", "vae", "text_encoder*")
    for stem in ("diffusion_pytorch_model", "model")
    for shard in ("", "-?????-of-?????")
]


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
    from diffusers import DDPMScheduler
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
    except Exception as error:  # two libraries, a Rust reader and the file system: no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The model in {folder} cannot be read: {reason}") from error
    finally:
        for library in with_bar:
            library.enable_progress_bar()
    at = torch.device("cpu") if tuning.cpu_offload else device
    options: dict[str, Any] = {"name": str(name_or_path), "folder": folder, "device": at}
    family = FAMILIES[kind]
    pipeline = make_pipeline(folder, family, parts) if kind != "sd" or lora or embeddings else None
    for embedding in embeddings:
        apply_embedding(pipeline, embedding)
    if lora:
        apply_lora(pipeline, lora, lora_scale)
    options["adapters"] = [Path(path) for path in (lora, *embeddings) if path]
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
        prior = SD3Prior(pipeline, **options)
    else:
        if distilled_guidance is not None:
            options["distilled_guidance"] = distilled_guidance
        prior = FluxPrior(pipeline, **options)
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
        half = part == network or name == _T5
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


def named_models() -> dict[str, dict[str, Any]]:
    """The models of conf/prior by name: ``folder`` below editing/priors, or ``hub`` name."""
    from omegaconf import OmegaConf

    models = {}
    for file in sorted((resources.files("conf") / "prior").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            config = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
            assert isinstance(config, dict)
            models[file.name.removesuffix(".yaml")] = {str(key): config[key] for key in config}
    return models


def find_folder(name_or_path: str | Path) -> Path:
    """The folder of a model on this machine, downloaded from the hub if need be.

    Raises:
        UserError: if there is no such folder and no such model on the hub.
    """
    models, name = named_models(), str(name_or_path)
    if name in models and "folder" in models[name]:
        folder = Path(__file__).parent / models[name]["folder"]
        if not folder.is_dir():
            raise UserError(f"The model {name} is not installed: {folder} is missing.")
        return folder
    if name in models:
        return download(models[name]["hub"])
    folder = expanded(name)
    if folder.is_dir():
        return folder.resolve()
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return download(name)
    raise UserError(
        f"There is no model {name!r}: neither a folder, nor a hub name (owner/model), "
        f"nor one of {', '.join(models)}."
    )


def download(hub_name: str) -> Path:
    """The hub's files of a model, from the local cache where they are there.

    Raises:
        UserError: if they can neither be found nor downloaded.
    """
    import huggingface_hub

    def fetch(patterns: Sequence[str]) -> Path:
        return Path(huggingface_hub.snapshot_download(hub_name, allow_patterns=list(patterns)))

    try:
        folder = fetch(HUB_FILES)
        networks = [folder / name for name in ("unet", "transformer")]
        if not any(any(network.glob("*.safetensors")) for network in networks):
            folder = fetch(HUB_HALVES)
        return folder
    except huggingface_hub.errors.GatedRepoError as error:
        raise UserError(
            f"The model {hub_name!r} asks you to accept its licence: do so at "
            f"https://huggingface.co/{hub_name}, and log in with: hf auth login"
        ) from error
    except Exception as error:  # HTTP library, hub and file system: no common class
        raise UserError(
            f"The model {hub_name!r} is neither a folder nor can it be downloaded from the hub "
            f"({type(error).__name__}); check the name and the network, or give a folder."
        ) from error


def check_folder(folder: Path) -> str:
    """Which of ``FAMILIES`` the pipeline in ``folder`` belongs to.

    Raises:
        UserError: unless it is one of them, complete and in safetensors.
    """
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a diffusers pipeline: model_index.json is missing."
        ) from None
    except ValueError as error:
        raise UserError(f"{folder}/model_index.json is not JSON.") from error
    if not isinstance(index, dict):
        raise UserError(f"{folder}/model_index.json does not list the parts of a pipeline.")
    named = str(index.get("_class_name", "unknown"))
    if named.startswith("Flux"):
        kind = "flux"
    elif "transformer" in index:
        kind = "sd3"
    else:
        kind = "sdxl" if "text_encoder_2" in index else "sd"
    if kind in ("sd", "sdxl"):
        check_schedule(folder)
    family = FAMILIES[kind]
    parts = [*family.modules, *family.tokenizers, "scheduler"]
    parts = [part for part in parts if part not in family.optional or (folder / part).is_dir()]
    if missing := [part for part in parts if not (folder / part).is_dir()]:
        raise UserError(
            f"{folder} ({named}) is not a {family.name} style pipeline: "
            f"it lacks {', '.join(missing)}."
        )
    for part in family.modules:
        if part not in parts or any((folder / part).glob("*.safetensors")):
            continue
        suffixes = {path.suffix for path in (folder / part).iterdir()}
        pickled = not suffixes.isdisjoint({".bin", ".pt", ".pth", ".ckpt"})
        raise UserError(
            f"The weights in {folder / part} are pickled, which can run code when loaded; "
            "convert them to safetensors."
            if pickled
            else f"There are no safetensors in {folder / part}: other weights are not read."
        )
    return kind


def check_schedule(folder: Path) -> None:
    """Refuses schedules that are not those of DDPM: their betas would be read wrongly.

    Raises:
        UserError: for the schedules of EDM and of flows.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return  # what is missing is named later
    try:
        named = str(json.loads(path.read_text(encoding="utf-8")).get("_class_name", ""))
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not the config of a scheduler.") from error
    if named.startswith(("EDM", "FlowMatch")):
        raise UserError(
            f"{folder} has the schedule {named}: only models trained with DDPM's noise schedule, "
            "Stable Diffusion 3 and FLUX are supported."
        )
