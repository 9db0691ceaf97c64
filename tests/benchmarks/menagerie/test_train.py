import json
from itertools import count, islice
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save
from transformers import CLIPTokenizer

from benchmarks.menagerie import evaluate, fit, judges, models, stages, train
from benchmarks.menagerie.dataset import load_shards
from benchmarks.menagerie.evaluate import SpeciesClassifier
from benchmarks.menagerie.scene import VALIDATION_SEEDS, sample_scene


@pytest.fixture
def words(tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line that trains every stage for one step."""
    learn = models.train_tokenizer
    monkeypatch.setattr(models, "train_tokenizer", lambda texts: learn(islice(texts, 300)))
    for module in (stages, judges):
        monkeypatch.setattr(module, "VALIDATION_SEEDS", VALIDATION_SEEDS[:4])
    folders = [f"out={tmp_path / 'model'}", f"work={tmp_path / 'work'}"]
    return ["scenes=4", "minutes=1e-6", "workers=1", *folders]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model is kept that the first test has trained."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def out(tmp_path: Path, words: list[str], kept: Path) -> Path:
    """The model after one step of every stage, each test's own copy."""
    folders = ("model", "work")
    if not (kept / folders[-1]).exists():
        train.main(words)
        for name in folders:
            copytree(tmp_path / name, kept / name)
    else:
        for name in folders:
            copytree(kept / name, tmp_path / name)
    return tmp_path / "model"


def test_every_stage_writes_its_part(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((out / "training.json").read_text())
    assert set(record) == set(train.SHARES)
    assert all(part["step"] == 1 and part["scenes"] == 4 for part in record.values())
    for path in out.rglob("*.safetensors"):
        assert path.stat().st_size <= 12 * 2**20
    assert sum(p.stat().st_size for p in out.rglob("*.safetensors")) <= 32 * 2**20
    assert json.loads((out / "grammar.json").read_text())["slots"]["species"][0] == "cat"

    pipeline = StableDiffusionPipeline.from_pretrained(out)
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
    evaluate.main([f"model={out}", "scenes=2", "samples=2", "pairs=2"])
    printed = capsys.readouterr().out
    assert "2 (seeds 850000 to 850001)" in printed
    for figure in (
        "VAE reconstruction PSNR",
        "VAE reconstruction SSIM",
        "VAE reconstruction SSIM, animal",
        "at t          50: ",
        "CLIP species accuracy on samples",
        "classifier accuracy on samples",
        "segmenter IoU",
        "CLIP retrieval among 2 pairs",
    ):
        assert figure in printed


def test_what_the_unet_stands_on_stays(
    out: Path,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More minutes move CLIP's vision tower and the UNet, not the text tower and the VAE."""
    parts = ("text_encoder", "vae", "tokenizer", "unet", "clip")
    files = [path for part in parts for path in (out / part).glob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    ticks = count()
    monkeypatch.setattr(fit, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    train.main([*words, "minutes=0.06"])  # three seconds, or steps
    assert "vae: stays as it is" in capsys.readouterr().out
    changed = {p.parent.name for p, data in before.items() if p.read_bytes() != data}
    assert changed == {"unet", "clip"}
    record = json.loads((out / "training.json").read_text())
    assert record["unet"]["step"] > 1 and record["vae"]["step"] == 1
    text = load_file(next((out / "text_encoder").glob("*.safetensors")))
    clip = load_file(next((out / "clip").glob("*.safetensors")))
    for name, value in text.items():
        assert torch.equal(clip["text_model." + name.removeprefix("text_model.")], value)

    weights = next((out / "vae").glob("*.safetensors"))
    weights.write_bytes(save({k: 2 * v for k, v in load_file(weights).items()}))
    with pytest.raises(SystemExit, match=r"unet\.pt was trained on other parts"):
        train.main([*words, "stage=unet"])


def test_training_can_start_from_another_model(
    out: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time to move, every part is what it was; a new token has the mean of its pieces."""
    monkeypatch.setattr(fit.torch.optim.AdamW, "step", lambda self: None)
    fresh = ["scenes=4", "minutes=1e-6", "workers=1", f"out={tmp_path / 'b'}", f"start={out}"]
    train.main([*fresh, f"work={tmp_path / 'fresh'}"])
    # The vocabulary is learned anew, and merges that are equally frequent may change places.
    old, new = (
        CLIPTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
        for folder in (out, tmp_path / "b")
    )
    shared = sorted(set(old) & set(new))
    assert len(shared) > 0.95 * len(old)
    for part in ("clip", "unet"):
        for path in (out / part).glob("*.safetensors"):
            before, after = load_file(path), load_file(tmp_path / "b" / part / path.name)
            for name, value in before.items():
                if name.endswith("token_embedding.weight"):
                    value = value[[old[token] for token in shared]]
                    after[name] = after[name][[new[token] for token in shared]]
                assert torch.equal(after[name], value), name
    with pytest.raises(SystemExit, match="nowhere has no clip to start from"):
        train.main([*words, "stage=clip", f"work={tmp_path / 'c'}", "start=nowhere"])


def test_new_tokens_have_the_mean_of_their_pieces() -> None:
    old = models.train_tokenizer(["a cat", "a dog"] * 9)
    new = models.train_tokenizer(["a cat", "a catdog"] * 9)
    weight = torch.randn(len(old), 3)
    moved = models.moved_embeddings(weight, old, new)
    assert moved.shape == (len(new), 3)
    for token in ("cat</w>", "<|startoftext|>", "a</w>"):
        ids = new.convert_tokens_to_ids(token), old.convert_tokens_to_ids(token)
        assert torch.equal(moved[ids[0]], weight[ids[1]])
    pieces = old("catdog").input_ids[1:-1]
    assert len(pieces) > 1
    assert torch.equal(moved[new.convert_tokens_to_ids("catdog</w>")], weight[pieces].mean(0))


def test_masks_that_are_too_small_are_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of 1 inside and -1 outside, all 1.5 too low, are moved up by 0.5 to 2.5."""
    scenes = VALIDATION_SEEDS[:2]
    monkeypatch.setattr(judges, "VALIDATION_SEEDS", scenes)
    true = judges.draw([sample_scene(seed) for seed in scenes], 32)["animal"][:, 0] > 127
    low = 2.0 * true.float() - 2.5
    monkeypatch.setattr(models, "segmenter_logits", lambda model, ids, pictures: low)
    model = torch.nn.Module()
    model.decoder = torch.nn.Module()
    model.decoder.transposed_convolution = torch.nn.ConvTranspose2d(1, 1, 1)
    bias = model.decoder.transposed_convolution.bias
    before = bias.item()
    tokenizer = CLIPTokenizer.from_pretrained(stages.EMBEDDED / "tokenizer")
    judges._calibrate(model, tokenizer, stages.Options(size=32))
    assert 0.5 < bias.item() - before < 2.5


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
