"""Finding and reading a model by a name of conf/prior, a folder or a hub name."""

import json
import re
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from editing.errors import UserError
from editing.priors.diffusion import DiffusionPrior

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
WEIGHTED = ("unet", "vae", "text_encoder")
# Only what is read: many repositories also hold pickles, fp16 variants and single-file checkpoints.
HUB_FILES = [
    "model_index.json",
    *(f"{part}/*.json" for part in PARTS),
    "tokenizer/*.txt",
    *(
        f"{part}/{stem}{shard}.safetensors"
        for part in WEIGHTED
        for stem in ("diffusion_pytorch_model", "model")
        for shard in ("", "-?????-of-?????")
    ),
]


def load_prior(
    name_or_path: str | Path = "menagerie",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> DiffusionPrior:
    """Load a Stable-Diffusion-style model.

    Args:
        name_or_path: a name of conf/prior (``menagerie``, ``sd15``, ``sd21``), a folder in
            diffusers' layout, or a hub name such as ``owner/model``.
        device: ``auto`` takes CUDA where there is one, else the CPU.
        dtype: precision of the network: ``fp32``, ``bf16``, ``fp16`` or ``auto``, which is bf16 on
            CUDA and fp32 elsewhere.

    Raises:
        UserError: for an unknown name, device or dtype, a missing folder, a model that cannot be
            downloaded, a folder that is not a Stable-Diffusion-style pipeline, weights that are
            pickled or damaged.
    """
    device = resolve_device(device)
    network_dtype = resolve_dtype(dtype, device)
    folder = find_folder(name_or_path)
    check_folder(folder)
    # Imported late: the imports take seconds, and wrong arguments shall fail at once.
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.utils import logging as diffusers_logging
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils import logging as transformers_logging

    def read(kind: Any, part: str, **options: Any) -> Any:
        """A module from its safetensors; an untrained tensor would be a silent mistake."""
        module, report = kind.from_pretrained(
            folder, subfolder=part, use_safetensors=True, output_loading_info=True, **options
        )
        if report["missing_keys"]:
            raise ValueError(f"{part} lacks {', '.join(sorted(report['missing_keys'])[:3])}")
        return module

    libraries = (diffusers_logging, transformers_logging)
    with_bar = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in with_bar:
        library.disable_progress_bar()
    try:
        unet = read(UNet2DConditionModel, "unet", torch_dtype=network_dtype)
        vae = read(AutoencoderKL, "vae", torch_dtype=torch.float32)
        text_encoder = read(CLIPTextModel, "text_encoder", dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        # DDPM computes alpha-bar from the betas of any scheduler's config, zero-SNR included
        scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    except Exception as error:  # two libraries, a Rust reader and the file system: no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The model in {folder} cannot be read: {reason}") from error
    finally:
        for library in with_bar:
            library.enable_progress_bar()
    return DiffusionPrior(
        unet,
        vae,
        text_encoder,
        tokenizer,
        scheduler.alphas_cumprod,
        scheduler.config.prediction_type,
        name=str(name_or_path),
        folder=folder,
        device=device,
    )


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
    folder = Path(name)
    with suppress(RuntimeError):  # ~somebody who does not exist
        folder = folder.expanduser()
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

    try:
        return Path(huggingface_hub.snapshot_download(hub_name, allow_patterns=HUB_FILES))
    except Exception as error:  # HTTP library, hub and file system: no common class
        raise UserError(
            f"The model {hub_name!r} is neither a folder nor can it be downloaded from the hub "
            f"({type(error).__name__}); check the name and the network, or give a folder."
        ) from error


def check_folder(folder: Path) -> None:
    """Raise a UserError unless ``folder`` is a Stable-Diffusion-style pipeline in safetensors."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a diffusers pipeline: model_index.json is missing."
        ) from None
    except ValueError as error:
        raise UserError(f"{folder}/model_index.json is not JSON.") from error
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or "text_encoder_2" in index:
        lacks = f"it lacks {', '.join(missing)}" if missing else "it has two text encoders"
        raise UserError(
            f"{folder} ({index.get('_class_name', 'unknown')}) is not a Stable Diffusion 1 or 2 "
            f"style pipeline: {lacks}."
        )
    for part in WEIGHTED:
        if not any((folder / part).glob("*.safetensors")):
            suffixes = {path.suffix for path in (folder / part).iterdir()}
            pickled = not suffixes.isdisjoint({".bin", ".pt", ".pth", ".ckpt"})
            raise UserError(
                f"The weights in {folder / part} are pickled, which can run code when loaded; "
                "convert them to safetensors."
                if pickled
                else f"There are no weights in {folder / part}."
            )
