"""LoRA and textual inversion against diffusers' own use of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from editing.errors import UserError
from editing.priors import load_prior
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_sd3, save_sdxl


def adapted(folder: Path, seed: int = 0) -> Any:
    """The network of a pipeline, with a random LoRA on its attention."""
    from diffusers import DiffusionPipeline
    from peft import LoraConfig

    pipeline = DiffusionPipeline.from_pretrained(folder)
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"])
    network.add_adapter(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "lora_" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return pipeline, network


def save_lora(folder: Path, out: Path) -> Any:
    """Writes the LoRA to `out` as diffusers does, and returns the adapted network."""
    from peft import get_peft_model_state_dict

    pipeline, network = adapted(folder)
    layers = {"unet_lora_layers" if hasattr(pipeline, "unet") else "transformer_lora_layers": None}
    (kind,) = layers
    pipeline.save_lora_weights(
        out.parent, weight_name=out.name, **{kind: get_peft_model_state_dict(network)}
    )
    return network


@pytest.fixture(params=["sd", "sdxl", "sd3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, tiny_sd: Path) -> Path:
    if request.param == "sd":
        return tiny_sd
    save = {"sdxl": save_sdxl, "sd3": save_sd3}[request.param]
    with torch.random.fork_rng():
        return save(tmp_path / "tiny", tiny_tokenizer(16))


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_lora_is_added(folder: Path, tmp_path: Path, scale: float) -> None:
    """As diffusers adds it, scaled; and the model's hash tells the two apart."""
    network = save_lora(folder, tmp_path / "lora.safetensors")
    plain = load_prior(folder, device="cpu")
    prior = load_prior(folder, device="cpu", lora=tmp_path / "lora.safetensors", lora_scale=scale)
    z_t = torch.randn(1, prior.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    t, cat = torch.tensor([500]), prior.embed(["a cat"])
    found, before = (p.predict_noise(z_t, t, cat) for p in (prior, plain))
    assert (found - before).abs().max() > 1e-2
    for module in network.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", scale)
    plain.network = network
    torch.testing.assert_close(found, plain.predict_noise(z_t, t, cat), atol=1e-4, rtol=1e-4)
    assert prior.model_hash() != load_prior(folder, device="cpu").model_hash()
    options = {"lora": tmp_path / "lora.safetensors", "lora_scale": 0.3}
    other = load_prior(folder, device="cpu", **options)
    assert prior.model_hash() != other.model_hash(), "scaled otherwise it is another model"


def test_a_word_is_learned(tiny_sd: Path, tmp_path: Path) -> None:
    """Its vectors stand in the text as if the prompt had had two tokens there."""
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    save_file({"<hat>": vectors}, tmp_path / "hat.safetensors")
    prior = load_prior(tiny_sd, device="cpu", embeddings=[tmp_path / "hat.safetensors"])
    table = prior.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[-2:], vectors)
    ids = prior.tokenizer.convert_tokens_to_ids(["<hat>", "<hat>_1"])
    assert ids == [len(table) - 2, len(table) - 1]
    seen: list[torch.Tensor] = []
    prior.text_encoder.register_forward_pre_hook(
        lambda module, args: seen.append(args[0]), with_kwargs=False
    )
    text = prior.embed(["a cat with <hat>"]).tensors["text"]
    assert all(i in seen[-1][0].tolist() for i in ids)
    assert not torch.equal(text, prior.embed(["a cat with"]).tensors["text"])
    plain = load_prior(tiny_sd, device="cpu")
    torch.testing.assert_close(
        prior.embed(["a cat"]).tensors["text"], plain.embed(["a cat"]).tensors["text"]
    )


def test_a_word_of_sdxl_has_two_tensors(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        folder = save_sdxl(tmp_path / "tiny", tiny_tokenizer(16))
    parts = {name: torch.randn(1, 32) for name in ("clip_l", "clip_g")}
    save_file(parts, tmp_path / "hat.safetensors")
    prior = load_prior(folder, device="cpu", embeddings=[tmp_path / "hat.safetensors"])
    for suffix, part in (("", "clip_l"), ("_2", "clip_g")):
        encoder = getattr(prior.pipeline, f"text_encoder{suffix}")
        assert torch.equal(encoder.get_input_embeddings().weight[-1:], parts[part])


def test_what_does_not_fit_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"unet.nowhere.to_q.lora_A.weight": torch.zeros(2, 8)}, other)
    wide = tmp_path / "wide.safetensors"
    save_file({"<hat>": torch.zeros(1, 99)}, wide)
    (tmp_path / "lora.bin").write_bytes(b"x")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    for options, said in (
        ({"lora": "none.safetensors"}, r"There is no adapter at 'none\.safetensors'"),
        ({"lora": tmp_path / "lora.bin"}, "pickled weights can run code"),
        ({"lora": tmp_path / "broken.safetensors"}, "cannot be read"),
        ({"lora": other}, r"other\.safetensors does not fit the model"),
        ({"embeddings": [wide]}, r"wide\.safetensors does not fit the model"),
    ):
        with pytest.raises(UserError, match=said):
            load_prior(tiny_sd, device="cpu", **options)


def test_the_command_line(edit: Callable[..., Any], tmp_path: Path, tiny_sd: Path) -> None:
    save_lora(tiny_sd, tmp_path / "lora.safetensors")
    edits = []
    for name, words in {"plain": [], "lora": ["lora=lora.safetensors", "lora_scale=0.7"]}.items():
        outcome = edit(*words, f"output={name}")
        assert outcome.code == 0, outcome.err
        edits.append((tmp_path / name / "edited.png").read_bytes())
    assert edits[0] != edits[1]
    assert '"lora.safetensors"' in (tmp_path / "lora" / "result.json").read_text()
