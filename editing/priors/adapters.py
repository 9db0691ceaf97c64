"""LoRA and textual inversion: small files that change or extend a model."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from editing.errors import UserError
from editing.paths import expanded, is_file


def read_adapter(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: if there is no such file, or it is pickled or damaged.
    """
    file = expanded(path)
    if not is_file(file):
        raise UserError(f"There is no adapter at {str(path)!r}: give a .safetensors file.")
    if file.suffix != ".safetensors":
        raise UserError(
            f"{path} is not a .safetensors file; pickled weights can run code when loaded."
        )
    try:
        return load_file(file)
    except Exception as error:  # safetensors' own error type is not a public one
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise UserError(f"The adapter {path} cannot be read: {reason}") from error


def apply_lora(pipeline: Any, path: str | Path, scale: float | int) -> None:
    """Adds ``scale`` times the weights of a LoRA to those of a pipeline's parts, in place.

    Raises:
        UserError: if peft is not installed, or the LoRA was made for another kind of model.
    """
    read_adapter(path)
    file = expanded(path)
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError("A LoRA needs the package peft: pip install peft.") from error
    try:
        # From the file, and not its tensors: the file says what they are to be scaled by.
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, use_safetensors=True)
        # What matches no layer is left out without a word.
        fits = any(
            "lora_A" in name for part in _modules(pipeline) for name, _ in part.named_modules()
        )
        if fits:
            parts = [part for part in pipeline._lora_loadable_modules if hasattr(pipeline, part)]
            pipeline.fuse_lora(components=parts, lora_scale=float(scale))
        pipeline.unload_lora_weights()
    except Exception as error:  # diffusers, peft and torch: no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The LoRA {path} does not fit the model: {reason}") from error
    if not fits:
        raise UserError(f"The LoRA {path} does not fit the model: none of its layers is there.")


def _modules(pipeline: Any) -> list[nn.Module]:
    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


def apply_embedding(pipeline: Any, path: str | Path) -> str:
    """Teaches a pipeline a word by textual inversion, in place, and returns the word.

    It is the one the file names, or else the file's name. SDXL's files have a tensor for each of
    its two text encoders, `clip_l` and `clip_g`.

    Raises:
        UserError: if the file does not fit the model.
    """
    state, word = read_adapter(path), Path(path).stem
    if not hasattr(pipeline, "load_textual_inversion"):
        raise UserError(f"{type(pipeline).__name__} takes no textual inversion ({path}).")
    try:
        if "clip_g" in state:
            for name, suffix in (("clip_l", ""), ("clip_g", "_2")):
                pipeline.load_textual_inversion(
                    state[name],
                    token=word,
                    text_encoder=getattr(pipeline, f"text_encoder{suffix}"),
                    tokenizer=getattr(pipeline, f"tokenizer{suffix}"),
                )
            return word
        if len(state) == 1 and "emb_params" not in state:
            ((word, _),) = state.items()
            pipeline.load_textual_inversion(state)
        else:
            pipeline.load_textual_inversion(state, token=word)
    except Exception as error:  # diffusers and torch: no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The embedding {path} does not fit the model: {reason}") from error
    return word
