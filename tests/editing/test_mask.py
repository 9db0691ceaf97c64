"""Masks: where they come from, and that nothing changes outside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from editing import mask as mask_module
from editing.distillers import DDS, SDS
from editing.edit import DistillationEditor
from editing.errors import UserError
from editing.mask import Mask, grown, is_picture, pasted, softened
from editing.parameters import Latents, Pixels
from samplers.random import make_generators


@pytest.fixture
def square() -> torch.Tensor:
    """A mask (1, 1, 32, 48) whose left third is white."""
    area = torch.zeros(1, 1, 32, 48)
    area[..., :16] = 1
    return area


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_latents_outside_do_not_move(
    tiny_prior: Any, images: torch.Tensor, square: torch.Tensor, optimizer: Any
) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(SDS(tiny_prior), Latents(), 3, optimizer=optimizer)
    edit = editor(images, prompts, make_generators(0, range(3)), mask=square.expand(3, -1, -1, -1))
    moved = (edit.latents - tiny_prior.encode(images)).abs().amax((0, 1))
    assert moved[:, 4:].max() == 0
    assert moved[:, :4].min() > 0


def test_pixels_outside_do_not_move(
    tiny_prior: Any, images: torch.Tensor, square: torch.Tensor
) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(SDS(tiny_prior), Pixels(), 3)
    edit = editor(images[:1], prompts, make_generators(0, [0]), mask=square)
    moved = (edit.images - images[:1]).abs().amax((0, 1))
    assert moved[:, 16:].max() < 1e-6 and moved[:, :16].max() > 1e-3


def test_half_a_latent_moves_half_as_far(gaussian_prior: Any) -> None:
    """The factor of a gradient is the share of the latent that lies inside."""
    pictures = torch.full((1, 3, 4, 6), 0.5)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    editor, z = DistillationEditor(DDS(gaussian_prior), steps=1), gaussian_prior.encode(pictures)
    mask = torch.ones(1, 1, 8, 12)
    mask[..., :6, :1] = 0  # half of the first column's latents, but for the lowest
    whole, part = (
        editor(pictures, prompts, make_generators(0, [0]), mask=m).latents - z for m in (None, mask)
    )
    expected = whole.clone()
    expected[:, :, :3, 0] *= 0.5
    torch.testing.assert_close(part, expected)


def test_a_faint_mask_slows_adam_down_too(gaussian_prior: Any) -> None:
    pictures = torch.full((1, 3, 4, 6), 0.5)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(
        DDS(gaussian_prior), steps=1, step_size=0.01, optimizer=torch.optim.Adam
    )
    edit = editor(pictures, prompts, make_generators(0, [0]), mask=torch.full((1, 1, 4, 6), 0.25))
    moved = (edit.latents - gaussian_prior.encode(pictures)).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.0025), rtol=1e-3, atol=0)


def test_growing_narrowing_and_softening() -> None:
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    wide = grown(dot, 2)
    assert wide.sum() == 25 and torch.equal(grown(wide, -2), dot)
    assert torch.equal(grown(dot, 0), dot) and torch.equal(softened(dot, 0), dot)
    soft = softened(wide, 1.0)
    assert 0 < soft[0, 0, 4, 1] < soft[0, 0, 4, 2] < soft[0, 0, 4, 4] <= 1


def test_pasting_keeps_the_sources_bits() -> None:
    source, edited = torch.rand(1, 3, 6, 6), torch.rand(1, 3, 6, 6)
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., :2, :] = 1
    mask[..., 2, :] = 0.25
    made = pasted(edited, source, mask)
    assert torch.equal(made[..., 3:, :], source[..., 3:, :])
    torch.testing.assert_close(made[..., :2, :], edited[..., :2, :])
    torch.testing.assert_close(made[..., 2, :], (0.75 * source + 0.25 * edited)[..., 2, :])


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ("the cat", False),
        ("cat", False),
        ("mask.png", True),
        ("my masks/m.PNG", True),
        ("a cat in St. Ives", False),
    ],
)
def test_words_and_files_are_told_apart(area: str, expected: bool) -> None:
    assert is_picture(area) == expected


# --- on the command line --------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """`mask.png` for `cat.png` (48 x 32): its left third is white."""
    values = np.zeros((32, 48), np.uint8)
    values[:, :16] = 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_outside_a_pasted_mask_every_pixel_is_the_sources(
    edit: Callable[..., Any], tmp_path: Path, left: Path
) -> None:
    outcome = edit("mask=mask.png", "mask.paste=true", "output=out", "method=sds")
    assert outcome.code == 0, outcome.err
    source, made = (np.array(Image.open(tmp_path / p)) for p in ("cat.png", "out/edited.png"))
    assert (source[:, 16:] == made[:, 16:]).all()
    assert (source[:, :16] != made[:, :16]).any()
    width = Image.open(tmp_path / "out" / "side_by_side.png").width
    assert edit("output=plain").code == 0
    assert width > Image.open(tmp_path / "plain" / "side_by_side.png").width, "the mask is shown"


def test_a_word_is_looked_for(
    edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, square: torch.Tensor
) -> None:
    asked = []

    def segment(images: torch.Tensor, text: str, prior: Any, model: str) -> torch.Tensor:
        asked.append((tuple(images.shape), text))
        return square

    monkeypatch.setattr(mask_module, "segment", segment)
    assert edit("mask=the cat, on the left", "mask.grow=1", "mask.feather=2").code == 0
    assert asked == [((1, 3, 32, 48), "the cat, on the left")]


def test_what_is_wrong_with_a_mask_is_said(
    edit: Callable[..., Any], tmp_path: Path, left: Path
) -> None:
    Image.new("L", (48, 32)).save(tmp_path / "black.png")
    Image.new("L", (40, 32), 255).save(tmp_path / "small.png")
    for words, said in (
        (["mask=none.png"], "There is no picture"),
        (["mask=small.png"], "40 x 32 pixels and cat.png 48 x 32"),
        (["mask=black.png"], "is black: nothing could change"),
        (["mask=mask.png", "mask.grow=-20"], "after mask.grow=-20: nothing could change"),
        (["mask=mask.png", "mask.feather=-1"], "mask.feather=-1"),
        (["mask=mask.png", "mask.grow=1.5"], "mask.grow=1.5"),
        (["mask=mask.png", "mask.paste=3"], "mask.paste=3"),
        (["mask=the cat", "mask.model=/no/such"], "The segmenter '/no/such'"),
    ):
        outcome = edit(*words)
        assert outcome.code == 2 and said in " ".join(outcome.err.split()), outcome.err
        assert "Traceback" not in outcome.err
    assert not (tmp_path / "results").exists()


def test_every_picture_is_looked_at_before_the_first_is_edited(
    edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, left: Path
) -> None:
    def loads(settings: Any) -> Any:
        raise AssertionError("nothing is loaded for a run that cannot end well")

    monkeypatch.setattr("editing.runs.load_model", loads)
    Image.new("RGB", (48, 32), "gray").save("a.png")
    Image.new("RGB", (32, 32), "gray").save("z.png")
    outcome = edit("src=[a-z].png", "mask=mask.png", "batch_size=1")
    assert outcome.code == 2 and "z.png 32 x 32" in outcome.err


def test_the_embedded_segmenter_finds_the_animal() -> None:
    """On a held-out render, against its exact mask."""
    from benchmarks.menagerie import render, sample_scene
    from benchmarks.menagerie.stages import EMBEDDED

    class Embedded:
        folder = EMBEDDED

    scene = sample_scene(850_003, style="photo", place="meadow", species="pig", coat="natural")
    made = render([scene], 64)
    found = Mask("the pig")([Path("pig.png")], made.image, Embedded())
    true = made.animal > 0.5
    overlap = ((found > 0.5) & true).sum() / ((found > 0.5) | true).sum()
    assert overlap > 0.6


def test_a_word_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        folder = None

    monkeypatch.setattr(mask_module, "segment", lambda images, *rest: 0 * images[:, :1])
    with pytest.raises(UserError, match="'the penguin' is not to be seen in"):
        Mask("the penguin")([Path("pig.png")], torch.rand(1, 3, 8, 8), Nowhere())
