"""Suites of real pictures: lists, InstructPix2Pix's folders, cats, PIE-Bench's layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics.pie import pie_psnr
from benchmarks.suites.base import CaseError, Suite
from benchmarks.suites.ip2p import IP2P, RealCats, unique
from benchmarks.suites.pictures import METRICS
from benchmarks.suites.pie_bench import KINDS, PieBench
from editing.errors import UserError
from tests.benchmarks.metrics.test_dinov2 import small
from tests.benchmarks.metrics.test_structure import dino  # noqa: F401  a fixture

SMALL = {"size": 64, "multiple": 8, "clip": str(EMBEDDED), "segmenter": str(EMBEDDED / "segmenter")}


def picture(path: Path, width: int = 96, height: int = 64, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Two pictures of different shape, one of them edited twice."""
    picture(tmp_path / "wide.png")
    picture(tmp_path / "tall.png", 64, 96, 1)
    lines = [
        {"src": "wide.png", "source": "a man", "target": "a clown"},
        {"src": "tall.png", "source": "a man", "target": "a robot"},
        {"src": "wide.png", "source": "a man", "target": "a clown"},
    ]
    path = tmp_path / "edits.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_list_of_pictures(listed: Path) -> None:
    suite = IP2P(src=str(listed), **SMALL)
    assert isinstance(suite, Suite)
    cases = suite.make_cases()
    assert [case.name for case in cases] == ["wide-a_clown", "tall-a_robot", "wide-a_clown-2"]
    assert [case.size for case in cases] == [(64, 96), (96, 64), (64, 96)]
    assert cases[0].prompts == ("a man", "a clown")
    source = suite.load([cases[0], cases[2]]).source
    assert source.shape == (2, 3, 64, 96)
    seen = np.asarray(Image.open(listed.parent / "wide.png")).transpose(2, 0, 1) / 255
    assert np.allclose(source[0], seen, atol=1e-6)


def test_another_picture_of_the_same_name_is_another_case(listed: Path) -> None:
    before = IP2P(src=str(listed), **SMALL).make_cases()
    picture(listed.parent / "wide.png", seed=9)
    after = IP2P(src=str(listed), **SMALL).make_cases()
    assert before[0].identity != after[0].identity and before[1].identity == after[1].identity


def test_metrics_are_those_that_are_asked_for(listed: Path) -> None:
    names = ("clip_score", "clip_direction", "iou", "psnr", "ssim", "mse", "residual_psnr")
    names += ("residual_psnr_median", "residual_psnr_paper_median")
    suite = IP2P(src=str(listed), metrics=names, **SMALL)
    (case, *_) = suite.make_cases()
    pictures = suite.load([case])
    (same,) = suite.measure([case], pictures, pictures.source)
    assert tuple(same) == names and same["psnr"] == same["residual_psnr"] == 100
    assert same["mse"] == 0 and same["clip_direction"] != same["clip_direction"]
    (noisy,) = suite.measure([case], pictures, 1 - pictures.source)
    assert noisy["psnr"] < 20 and -1 <= noisy["clip_direction"] <= 1
    with pytest.raises(UserError, match="no metric 'lpip': did you mean 'lpips'"):
        IP2P(src=str(listed), metrics=("lpip",))


def test_metrics_belong_to_the_identity(listed: Path) -> None:
    one = IP2P(src=str(listed), metrics=("psnr",), **SMALL)
    assert one.identity() != IP2P(src=str(listed), metrics=("psnr", "ssim"), **SMALL).identity()


def test_a_list_must_say_what_the_pictures_show(listed: Path) -> None:
    listed.write_text('{"src": "wide.png", "target": "a clown"}')
    with pytest.raises(UserError, match=r"has no source for wide\.png"):
        IP2P(src=str(listed)).make_cases()


def test_folders_of_instructpix2pix(tmp_path: Path) -> None:
    for name in ("0002", "0001"):
        picture(tmp_path / name / "123_0.jpg")
        picture(tmp_path / name / "123_1.jpg")
        said = {"input": f"in {name}", "edit": "do it", "output": f"out {name}"}
        (tmp_path / name / "prompt.json").write_text(json.dumps(said))
    cases = IP2P(src=str(tmp_path), **SMALL).make_cases()
    assert [case.prompts for case in cases] == [("in 0001", "out 0001"), ("in 0002", "out 0002")]
    assert {case.about.name for case in cases} == {"123_0.jpg"}


def test_a_folder_without_a_picture_fails_alone(tmp_path: Path) -> None:
    for name in ("0001", "0002 [new]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prompt.json").write_text('{"input": "a man", "output": "a clown"}')
        (tmp_path / name / "123_0.txt").touch()
    picture(tmp_path / "0002 [new]" / "123_0.jpg")
    suite = IP2P(src=str(tmp_path), **SMALL)
    first, second = suite.make_cases()
    with pytest.raises(CaseError, match=r"0001/.*_0\.jpg"):
        suite.load([first])
    assert suite.load([second]).source.shape[0] == 1


def test_the_data_sets_own_edits_are_references(tmp_path: Path) -> None:
    for seed, name in enumerate(("0001/1_0.jpg", "0001/1_1.jpg", "0002/2_0.jpg")):
        picture(tmp_path / name, seed=seed)
        said = {"input": "a man", "output": "a clown"}
        (tmp_path / name).with_name("prompt.json").write_text(json.dumps(said))
    small().save_pretrained(tmp_path / "dinov2")
    names = {"metrics": ("dinov2_direction",), "dinov2": str(tmp_path / "dinov2")}
    suite = IP2P(src=str(tmp_path), **names, **SMALL)
    cases = suite.make_cases()
    pictures = suite.load(cases)
    other = suite.read(tmp_path / "0001" / "1_1.jpg").expand(2, -1, -1, -1)
    first, second = suite.measure(cases, pictures, other)
    assert first["dinov2_direction"] == pytest.approx(1)
    assert second["dinov2_direction"] != second["dinov2_direction"], "it has no reference"
    picture(tmp_path / "0001" / "1_1.jpg", seed=7)
    again = IP2P(src=str(tmp_path), **names, **SMALL).make_cases()
    assert again[0].identity != cases[0].identity and again[1].identity == cases[1].identity


@pytest.mark.parametrize(
    ("contents", "said"),
    [(None, "no folders with a prompt.json"), ("{}", "prompts input and output"), ("[", "prompts")],
)
def test_a_folder_without_prompts_is_named(tmp_path: Path, contents: str | None, said: str) -> None:
    if contents is not None:
        (tmp_path / "0001").mkdir()
        (tmp_path / "0001" / "prompt.json").write_text(contents)
    with pytest.raises(UserError, match=said):
        IP2P(src=str(tmp_path)).make_cases()


def test_every_cat_becomes_every_target(tmp_path: Path) -> None:
    for i in (10, 9):
        picture(tmp_path / f"cat{i}.png", seed=i)
    cases = RealCats(src=str(tmp_path), targets=("a dog", "a pig"), **SMALL).make_cases()
    assert [case.name for case in cases] == [
        "cat10-a_dog",
        "cat10-a_pig",
        "cat9-a_dog",
        "cat9-a_pig",
    ]
    assert {case.prompts[0] for case in cases} == {"a cat"}


def test_names_are_numbered_where_they_come_again() -> None:
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


@pytest.fixture
def pie(tmp_path: Path) -> Path:
    """Two entries in the published layout."""
    picture(tmp_path / "annotation_images/0_random_140/000.jpg", 512, 512)
    picture(tmp_path / "annotation_images/9_change_style_80/001.jpg", 512, 512, 1)
    entries = {
        "001": {
            "image_path": "9_change_style_80/001.jpg",
            "original_prompt": "a [photo] of a cat",
            "editing_prompt": "a [drawing] of a cat",
            "editing_type_id": "9",
            "mask": [0, 512 * 512],
        },
        "000": {
            "image_path": "0_random_140/000.jpg",
            "original_prompt": "a cat",
            "editing_prompt": "a [red] cat",
            "editing_type_id": "0",
            "mask": [512 * 100, 512 * 50],
        },
    }
    (tmp_path / "mapping_file.json").write_text(json.dumps(entries))
    return tmp_path


def test_pie_bench_is_read_as_it_is_published(pie: Path, dino: torch.nn.Module) -> None:  # noqa: F811
    dino.save_pretrained(pie / "dino")
    metrics = tuple(name for name in METRICS if name.startswith("pie_") and name != "pie_lpips")
    options = {"clip": str(EMBEDDED), "dino": str(pie / "dino"), "metrics": metrics}
    suite = PieBench(src=str(pie), **options)
    first, second = cases = suite.make_cases()
    assert (first.name, first.group, second.group) == ("000", "random", "change style")
    assert second.prompts == ("a photo of a cat", "a drawing of a cat")
    pictures = suite.load(cases)
    edited = (pictures.source + 0.1).clamp(0, 1)
    one, two = suite.measure(cases, pictures, edited)
    assert two["pie_psnr"] != two["pie_psnr"], "a full mask leaves nothing"
    kept = pictures.masks["kept"][:1] > 0.5
    assert kept.sum() == 510 * 510 - 50 * 510
    expected = pie_psnr(edited[:1], pictures.source[:1], kept)
    assert one["pie_psnr"] == pytest.approx(float(expected))
    assert all(one[name] == one[name] for name in metrics)
    assert [case.name for case in PieBench(src=str(pie), kinds=(9,), **options).make_cases()] == [
        "001"
    ]
    assert len(KINDS) == 10


def test_pictures_of_other_kinds_are_left_alone(pie: Path) -> None:
    (pie / "annotation_images/9_change_style_80/001.jpg").write_bytes(b"no picture")
    (case,) = PieBench(src=str(pie), kinds=(0,)).make_cases()
    assert case.name == "000"


@pytest.mark.parametrize("kinds", [[0, 77], ["0"], [-1], [True]])
def test_kinds_are_numbers_that_there_are(pie: Path, kinds: list) -> None:
    with pytest.raises(UserError, match=r"suite\.kinds=.* a whole number from 0 to 9"):
        PieBench(src=str(pie), kinds=kinds)


@pytest.mark.parametrize("contents", [b"", b"no picture", None])
def test_a_picture_that_cannot_be_read_is_a_case_that_cannot_be_loaded(
    listed: Path, contents: bytes | None
) -> None:
    path = listed.parent / "wide.png"
    whole_ = path.read_bytes()
    suite = IP2P(src=str(listed), **SMALL)
    path.write_bytes(b"" if contents is None else contents)
    cases = suite.make_cases()
    if contents is None:
        path.unlink()
    with pytest.raises(CaseError, match=r"wide\.png"):
        suite.load(cases[:1])
    assert suite.load(cases[1:2]).source.shape == (1, 3, 96, 64)
    path.write_bytes(whole_)
    assert suite.make_cases()[0].identity != cases[0].identity


def test_metrics_that_have_no_value_for_a_suite_are_refused(listed: Path) -> None:
    for metric, instead in (("pie_psnr", "psnr"), ("pie_clip_edited", "clip_score")):
        with pytest.raises(UserError, match=f"{metric} needs masks.* take {instead}"):
            IP2P(src=str(listed), metrics=(metric,), **SMALL)
    for metric, what in (("dinov2_direction", "somebody else's edit"), ("imagenet", "an animal")):
        suite = IP2P(src=str(listed), metrics=("psnr", metric), **SMALL)
        with pytest.raises(UserError, match=f"the metric {metric} needs, .*{what}"):
            suite.make_cases()


def test_the_source_is_compared_with_its_own_prompt(pie: Path) -> None:
    options = {"clip": str(EMBEDDED), "metrics": ("pie_clip_source", "pie_clip_whole")}
    suite = PieBench(src=str(pie), **options)
    assert "pie_clip_source" in PieBench.metrics and len(PieBench.metrics) == 8
    cases = suite.make_cases()
    pictures = suite.load(cases)
    clip = suite.judges.clip
    a, b = clip.embed_images(pictures.source), clip.embed_texts([c.prompts[0] for c in cases])
    expected = 100 * torch.nn.functional.cosine_similarity(a, b).clamp(min=0)
    found = suite.measure(cases, pictures, 1 - pictures.source)
    assert [row["pie_clip_source"] for row in found] == pytest.approx(expected.tolist())
    assert found[0]["pie_clip_whole"] != found[0]["pie_clip_source"]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"mask": [5]}, "000 cannot be read: A run-length"), ({"editing_type_id": "x"}, "000 cannot")],
)
def test_a_broken_entry_is_named(pie: Path, change: dict, said: str) -> None:
    path = pie / "mapping_file.json"
    entries = json.loads(path.read_text())
    entries["000"] |= change
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=said):
        PieBench(src=str(pie)).make_cases()


def test_a_folder_that_is_not_pie_bench_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mapping_file\.json cannot be read: give PIE-Bench"):
        PieBench(src=str(tmp_path)).make_cases()
