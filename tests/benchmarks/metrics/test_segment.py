"""Segmenters: the Menagerie's, GroundingDINO with SAM or SAM 2, and lang-SAM's interface."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import Scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics import segment
from benchmarks.metrics.segment import GroundedSam, LangSam, Segmenter, load_segmenter
from editing.errors import UserError
from tests.tiny_segmenters import save_grounding_dino, save_sam, save_sam2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("segmenters")
    return {
        "detector": save_grounding_dino(folder / "detector"),
        "sam": save_sam(folder / "sam"),
        "sam2": save_sam2(folder / "sam2"),
    }


def test_the_menageries_segmenter_finds_the_animal() -> None:
    drawn = render([Scene(species="cat"), Scene(species="pig")], 64)
    find = load_segmenter(str(EMBEDDED / "segmenter"))
    assert isinstance(find, Segmenter)
    masks = find(drawn.image, ["a cat", "a pig"])
    both = (masks & (drawn.animal > 0.5)).sum((1, 2, 3))
    either = (masks | (drawn.animal > 0.5)).sum((1, 2, 3))
    assert (both / either > 0.6).all()


@pytest.mark.parametrize("sam", ["sam", "sam2"])
def test_grounded_sam_masks_what_is_in_the_boxes(
    models: dict[str, Path], sam: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = load_segmenter(f"{models['detector']}+{models[sam]}")
    assert isinstance(find, GroundedSam) and isinstance(find, Segmenter)
    find.box_threshold = find.text_threshold = 0.0  # weights are random: take every box
    images = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    masks = find(images, ["a cat", "dog"])
    assert masks.shape == (2, 1, 40, 56) and masks.dtype == torch.bool and masks.any()
    asked: list[Any] = []
    inside = find._inside

    def remember(picture: Any, boxes: Tensor) -> Tensor:
        asked.append(boxes)
        return inside(picture, boxes)

    monkeypatch.setattr(find, "_inside", remember)
    assert torch.equal(find(images, ["a cat", "dog"]), masks)
    first = torch.stack([inside(segment.to_image(images[0]), box[None]) for box in asked[0]])
    assert torch.equal(first.any(0), masks[0]), "all boxes count"


def test_what_is_not_found_has_an_empty_mask(models: dict[str, Path]) -> None:
    find = GroundedSam(str(models["detector"]), str(models["sam"]), box_threshold=1.0)
    assert not find(torch.rand(1, 3, 40, 56), ["a cat"]).any()


def test_a_model_that_is_not_there_is_named(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"part '/nowhere' is neither a folder nor"):
        load_segmenter(f"{models['detector']}+/nowhere")


def test_lang_sam_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="lang_sam is not installed: install it"):
        load_segmenter("lang_sam")


def test_lang_sam_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interface: lists of pictures and texts in, a dict with `masks` (n, H, W) for each."""

    class Fake:
        def predict(self, pictures: list, texts: list[str]) -> list[dict[str, Any]]:
            masks = torch.zeros(2, 8, 10).numpy()
            masks[0, :2], masks[1, :, 3] = 1, 1
            assert [picture.size for picture in pictures] == [(10, 8)] * 2
            return [{"masks": masks if text == "a cat" else []} for text in texts]

    module = ModuleType("lang_sam")
    module.LangSAM = Fake  # type: ignore[attr-defined]
    module.__spec__ = ModuleSpec("lang_sam", None)
    monkeypatch.setitem(sys.modules, "lang_sam", module)
    find = load_segmenter("lang_sam")
    assert isinstance(find, LangSam)
    masks = find(torch.rand(2, 3, 8, 10), ["a cat", "a dog"])
    assert masks[0].sum() == 2 * 10 + 8 - 2 and not masks[1].any()
