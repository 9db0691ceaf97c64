import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.distillers import DRFS
from editing.errors import UserError
from editing.priors.folders import find_folder, named_models
from editing.priors.load import load_prior, resolve_device, resolve_dtype
from samplers.random import make_generators


@pytest.fixture
def broken(tiny_sd: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pipeline to damage."""
    return Path(shutil.copytree(tiny_sd, tmp_path / "broken"))


def test_a_folder_is_loaded(tiny_sd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prior = load_prior(str(tiny_sd), device="cpu")
    assert prior.folder == tiny_sd.resolve()
    assert prior.name == str(tiny_sd)
    assert prior.dtype == torch.float32
    assert capfd.readouterr() == ("", "")  # no bars, no warnings


def test_the_names_of_conf_are_known() -> None:
    assert {"menagerie", "sd15", "sd21"} <= set(named_models())
    for model in named_models().values():
        assert ("hub" in model) != ("folder" in model)


def test_a_name_leads_to_the_hub(monkeypatch: pytest.MonkeyPatch, tiny_sd: Path) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tiny_sd)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_folder("sd15") == find_folder("owner/model") == tiny_sd
    assert [name for name, _ in asked] == [named_models()["sd15"]["hub"], "owner/model"]
    from huggingface_hub.utils import filter_repo_objects

    repository = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
        "v1-5-pruned.safetensors",
    ]
    taken = list(filter_repo_objects(repository, allow_patterns=asked[0][1]))
    assert taken == [*repository[:4], *repository[6:8]]


def test_a_repository_of_halves_is_read_as_such(
    monkeypatch: pytest.MonkeyPatch, tiny_sd: Path, tmp_path: Path
) -> None:
    """The first download finds no weights, the second asks for the fp16 variant."""
    shutil.copytree(tiny_sd, tmp_path / "hub")
    for path in (tmp_path / "hub").glob("*/*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path / ("hub" if len(asked) == 2 else "nothing"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found, plain = load_prior("owner/halves", device="cpu"), load_prior(tiny_sd, device="cpu")
    assert len(asked) == 2 and all(".fp16" in name for name in asked[1])
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor)
    assert fnmatch("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", asked[1][1])


def test_halves_in_shards(broken: Path, tiny_sd: Path) -> None:
    plain = load_prior(tiny_sd, device="cpu")
    shutil.rmtree(broken / "unet")
    plain.network.save_pretrained(broken / "unet", max_shard_size="100KB", variant="fp16")
    names = [path.name for path in (broken / "unet").glob("*.safetensors")]
    assert len(names) > 1 and all(".fp16" in name for name in names)
    found = load_prior(broken, device="cpu")
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor)


def test_a_licence_that_was_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError

    def download(name: str, allow_patterns: list[str]) -> str:
        raise GatedRepoError.__new__(GatedRepoError)  # it is made of a response of some library

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=r"licence: do so at https://.*hf auth login"):
        load_prior("sd3")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("scheduler/scheduler_config.json", "{", "is not the config of a scheduler"),
        ("scheduler/scheduler_config.json", "[]", "is not the config of a scheduler"),
        ("model_index.json", "[]", "does not list the parts of a pipeline"),
    ],
)
def test_damaged_configs(broken: Path, file: str, text: str, said: str) -> None:
    (broken / file).write_text(text)
    with pytest.raises(UserError, match=said):
        load_prior(broken, device="cpu")


@pytest.mark.parametrize(("said", "side"), [(None, 128), ([8, 16], 8)])
def test_a_network_that_says_its_size_in_another_way(broken: Path, said: Any, side: int) -> None:
    config = broken / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": said}))
    prior = load_prior(broken, device="cpu")
    assert prior.image_size == side * prior.vae_factor


def test_a_signal_of_zero_leaves_a_little(broken: Path) -> None:
    """Zero-terminal-SNR schedules (Lin et al. 2024): no division by zero at the last t."""
    config = broken / "scheduler" / "scheduler_config.json"
    entries = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    config.write_text(json.dumps(json.loads(config.read_text()) | entries))
    prior = load_prior(broken, device="cpu")
    alpha, sigma = prior.alpha_sigma(torch.tensor([999]))
    assert float(alpha) == 2**-12 and float(sigma) == pytest.approx(1, abs=1e-6)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prompts = prior.pair(source="a cat", target="a pig")
    found = DRFS(prior).distill(z, z, prompts, make_generators(0, [0]), 0.0)
    assert int(found.t) == 999 and found.gradient.isfinite().all()


def test_models_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, allow_patterns: list[str]) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(
        UserError, match=r"'owner/model'.*downloaded from the hub \(ConnectionError\)"
    ):
        load_prior("owner/model")


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./no/such", "a b/c", ""])
def test_missing_folders(name: str) -> None:
    if name == "":
        name = "~nobody-has-this-name"
    with pytest.raises(UserError, match=r"There is no model .*menagerie, sd15, sd21"):
        load_prior(name)


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_index.json is missing"):
        load_prior(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load_prior(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match=r"FluxPipeline.* it lacks transformer, vae"):
        load_prior(tmp_path)


def test_a_pipeline_with_two_text_encoders(broken: Path) -> None:
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps(index | {"text_encoder_2": []}))
    with pytest.raises(UserError, match=r"Diffusion XL style pipeline: it lacks text_encoder_2"):
        load_prior(broken)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_and_missing_weights(broken: Path, part: str) -> None:
    (weights,) = (broken / part).glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UserError, match=f"{part} are pickled.*convert them to safetensors"):
        load_prior(broken)
    weights.with_suffix(".bin").unlink()
    with pytest.raises(UserError, match=f"There are no safetensors in .*{part}"):
        load_prior(broken)


def test_damaged_weights(broken: Path) -> None:
    weights = broken / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read") as caught:
        load_prior(broken)
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_tensor(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    tensors: dict[str, Any] = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"unet.*conv_in.weight"):
        load_prior(broken)


def test_devices_and_dtypes() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert resolve_device("cpu") == cpu
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("auto", cuda) == torch.bfloat16
    assert resolve_dtype("fp16", cpu) == resolve_dtype(torch.float16, cpu) == torch.float16
    with pytest.raises(UserError, match="no dtype 'int8'"):
        resolve_dtype("int8", cpu)
    for device in ("gpu", "cuda:99"):
        with pytest.raises(UserError, match=f"no device {device}"):
            resolve_device(device)
