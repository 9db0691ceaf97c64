import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from benchmarks.menagerie import evaluate, models, train
from benchmarks.menagerie.dataset import load_shards
from benchmarks.menagerie.evaluate import SpeciesClassifier


@pytest.fixture
def out(tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model after one step of every stage."""
    learn = models.train_tokenizer
    monkeypatch.setattr(models, "train_tokenizer", lambda texts: learn(islice(texts, 300)))
    folder = tmp_path / "model"
    words = ["scenes=4", "minutes=1e-6", "workers=1", f"out={folder}", f"work={tmp_path / 'work'}"]
    train.main(words)
    return folder


def test_every_stage_writes_its_part(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((out / "training.json").read_text())
    assert set(record) == set(train.SHARES)
    assert all(part["step"] == 1 and part["scenes"] == 4 for part in record.values())
    for path in out.rglob("*.safetensors"):
        assert path.stat().st_size <= 12 * 2**20
    assert sum(p.stat().st_size for p in out.rglob("*.safetensors")) <= 32 * 2**20
    assert json.loads((out / "grammar.json").read_text())["slots"]["species"][0] == "cat"

    pipeline = StableDiffusionPipeline.from_pretrained(out, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config.sample_size == 16
    renders = load_shards(out.parent / "work" / "renders", 64)["image"].float() / 255
    with torch.no_grad():
        latents = pipeline.vae.encode(2 * renders - 1).latent_dist.mean
    scaled = latents * pipeline.vae.config.scaling_factor
    assert scaled.std().item() == pytest.approx(1, abs=0.1)
    picture = pipeline(
        "a cat",
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    assert picture.shape == (1, 3, 64, 64)

    classify = SpeciesClassifier(out)
    assert classify.size == 64
    assert classify(torch.rand(3, 3, 64, 64)).shape == (3,)
    evaluate.main([f"model={out}", "scenes=2", "samples=0"])
    printed = capsys.readouterr().out
    assert "2 (seeds 850000 to 850001)" in printed
    for figure in ("VAE reconstruction PSNR", "CLIP species accuracy", "segmenter IoU"):
        assert figure in printed


def test_shares_are_the_whole_budget() -> None:
    assert sum(train.SHARES.values()) == pytest.approx(1)
    assert set(train.STAGES) == {"tokenizer", *train.SHARES}


@pytest.mark.parametrize("word", ["stge=vae", "stage", "stage=gan", "scenes=many"])
def test_a_wrong_word_is_refused_in_one_sentence(tmp_path: Path, word: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main([f"out={tmp_path / 'model'}", word])
    sentence = stopped.value.code
    assert isinstance(sentence, str), "Python exits with 1 after printing a string"
    assert "\n" not in sentence
    assert (word.partition("=")[2] or word) in sentence
    assert not (tmp_path / "model").exists()
