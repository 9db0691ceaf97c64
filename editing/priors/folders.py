"""Finding the folder of a model, by name, on this machine or on the hub, and looking at it."""

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from editing.errors import UserError
from editing.paths import expanded
from editing.priors.families import FAMILIES

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
