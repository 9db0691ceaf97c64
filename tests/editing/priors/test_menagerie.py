"""The embedded model as it is shipped."""

import json
from pathlib import Path

import pytest
import skimage
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from editing import DDS, DistillationEditor, load_prior
from editing.caption import describe, unfamiliar, unknown_words
from editing.images import fit, read_picture, to_tensor
from editing.priors.diffusion import DiffusionPrior
from editing.priors.folders import named_models
from editing.run import main
from samplers.random import make_generators

MIB = 2**20
CAT = Path(__file__).parents[3] / "cat.png"


@pytest.fixture(scope="module")
def menagerie() -> DiffusionPrior:
    return load_prior("menagerie", device="cpu")


@pytest.fixture(scope="module")
def cat() -> torch.Tensor:
    return to_tensor(read_picture(CAT))[None]


def test_weights_are_small_and_in_safetensors(menagerie: DiffusionPrior) -> None:
    assert menagerie.folder is not None
    files = [path for path in menagerie.folder.rglob("*") if path.is_file()]
    weights = [path.stat().st_size for path in files if path.suffix == ".safetensors"]
    assert sum(weights) <= 32 * MIB
    assert max(weights) <= 12 * MIB
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}


def test_unet_is_within_its_budget(menagerie: DiffusionPrior) -> None:
    side = menagerie.unet.config.sample_size
    z, t = torch.zeros(1, menagerie.latent_channels, side, side), torch.tensor([500])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        menagerie.network(z, t, menagerie.embed(["a cat"]).tensors["text"])
    assert counter.get_total_flops() <= 1.5e9


def test_loads_as_a_stable_diffusion_pipeline(menagerie: DiffusionPrior) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(menagerie.folder)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a photo of a pig", num_inference_steps=2, output_type="pt").images
    assert made.shape == (1, 3, menagerie.image_size, menagerie.image_size)
    prompt_embeds, _ = pipeline.encode_prompt("a pig", torch.device("cpu"), 1, False)
    assert torch.allclose(prompt_embeds, menagerie.embed(["a pig"]).tensors["text"], atol=1e-5)


def test_reconstructs_the_shipped_cat(menagerie: DiffusionPrior, cat: torch.Tensor) -> None:
    with torch.no_grad():
        error = menagerie.decode(menagerie.encode(cat)) - cat
    assert -10 * error.square().mean().log10() > 26


def test_captions_the_shipped_cat(menagerie: DiffusionPrior, cat: torch.Tensor) -> None:
    (caption,) = describe(cat, menagerie)
    assert caption.choice["species"] == "cat"
    assert "a cat" in caption.full and "  " not in caption.full


def test_the_command_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It captions the cat, warns of nothing and takes the defaults for this model."""
    monkeypatch.chdir(tmp_path)
    assert main(["method=ids", f"src={CAT}", "target=a pig", "steps=2"]) == 0
    printed = capsys.readouterr()
    assert "Source prompt of cat.png, captioned: a cat" in printed.out
    assert "Warning" not in printed.err
    result = json.loads((tmp_path / "results/cat-a_pig-ids/result.json").read_text())
    assert result["warnings"] == []
    recommended = named_models()["menagerie"]["recommended"]
    assert (result["guidance"], result["model"]["name"]) == (
        recommended["ids"]["guidance"],
        "menagerie",
    )
    assert result["network_evaluations"] == {"forward": 2 * 10, "backward": 2 * 6}
    assert Image.open(tmp_path / "results/cat-a_pig-ids/edited.png").size == (64, 64)


def test_the_shipped_grammar_is_the_worlds(menagerie: DiffusionPrior) -> None:
    assert unknown_words("a photo of a golden lion with a scarf in the snow", menagerie) == {}
    assert list(unknown_words("a giraffe", menagerie)) == ["giraffe"]


def test_a_picture_of_another_shape(menagerie: DiffusionPrior) -> None:
    """15 x 19 latents: neither side a multiple of what the UNet halves."""
    z = menagerie.encode(torch.rand(1, 3, 60, 76))
    noise = menagerie.predict_noise(z, torch.tensor([500]), menagerie.embed(["a cat"]))
    assert noise.shape == z.shape == (1, 4, 15, 19)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "motorcycle_left", "camera"])
def test_photographs_are_unlike_its_world(menagerie: DiffusionPrior, name: str) -> None:
    (path,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*")
    picture = fit(read_picture(path), menagerie.image_size, menagerie.size_multiple)
    assert unfamiliar(to_tensor(picture)[None], menagerie) == [True]


def test_turns_the_cat_into_a_pig(menagerie: DiffusionPrior, cat: torch.Tensor) -> None:
    """The animal reddens as pigs do, and the corners stay as they were."""
    edit = DistillationEditor(DDS(menagerie), steps=60)(
        cat, menagerie.pair(source="a cat", target="a pig"), make_generators(0, [0])
    )
    pink = edit.images[0, 0] - edit.images[0, 1] - (cat[0, 0] - cat[0, 1])
    corners = torch.zeros(64, 64, dtype=torch.bool)
    corners[:8, :8] = corners[:8, -8:] = corners[-8:, :8] = corners[-8:, -8:] = True
    assert pink[24:44, 20:44].mean() > 0.05
    assert (edit.images - cat)[0, :, corners].abs().mean() < 0.05
