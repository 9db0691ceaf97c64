"""Lists of edits: several targets, and files of jobs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editing.errors import UserError
from editing.jobs import Job, find_jobs, read_jobs, split_targets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`pictures/cat.png` and `pictures/dog.png`, 48 x 32, all different."""
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(("cat", "dog")):
        picture = Image.effect_noise((48, 32), 40 + 20 * seed).convert("RGB")
        picture.save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a pig", ["a pig"]),
        ("a pig, pink", ["a pig, pink"]),
        ("[a pig, a cow]", ["a pig", "a cow"]),
        ('[ "a pig, pink",a cow ]', ["a pig, pink", "a cow"]),
        ("[a pig] in brackets", ["[a pig] in brackets"]),
        ("[V] dog wearing a hat [S]", ["[V] dog wearing a hat [S]"]),
        ("[a pig,\n a cow]", ["a pig", "a cow"]),
    ],
)
def test_targets(text: str, expected: list[str]) -> None:
    assert split_targets(text) == expected


@pytest.mark.parametrize("text", ["[]", "[a pig,,a cow]", "[ ]"])
def test_an_empty_target_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names an empty target"):
        split_targets(text)


def test_every_picture_meets_every_target(folder: Path) -> None:
    jobs = find_jobs(str(folder / "pictures"), "[a pig, a cow]", "a cat")
    assert [(job.path.stem, job.target, job.source) for job in jobs] == [
        ("cat", "a pig", "a cat"),
        ("cat", "a cow", "a cat"),
        ("dog", "a pig", "a cat"),
        ("dog", "a cow", "a cat"),
    ]


def test_files_of_both_kinds_say_the_same(folder: Path) -> None:
    rows = [
        {"src": "pictures/cat.png", "target": "a pig, pink", "source": "a cat"},
        {"src": "pictures", "target": "a cow"},
    ]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (folder / "jobs.csv").write_text(
        'src,target,source\npictures/cat.png,"a pig, pink",a cat\npictures,a cow,\n', "utf-8-sig"
    )
    cat, dog = (folder / "pictures" / f"{name}.png" for name in ("cat", "dog"))
    expected = [Job(cat, "a pig, pink", "a cat"), Job(cat, "a cow"), Job(dog, "a cow")]
    assert read_jobs(str(folder / "jobs.jsonl")) == expected
    assert read_jobs(str(folder / "jobs.csv")) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "src,target\npictures/cat.png,\n", "Line 2 of .* has no target"),
        ("a.csv", "src,target\n,a pig\n", "Line 2 of .* has no src"),
        ("a.csv", "src,target,strength\npictures,a pig,3\n", "Line 2 .* 'strength': there are src"),
        ("a.csv", "src,target\n", "lists no jobs"),
        ("a.jsonl", '{"src": "pictures", "target": "a pig"}\n{', "Line 2 of .* is not JSON"),
        ("a.jsonl", "[1]\n", "Line 1 of .* is not an object"),
        ("a.jsonl", '{"src": "none.png", "target": "a pig"}', "Line 1 .* There is no picture"),
        ("a.csv", "src,target\npictures,a pig, pink\n", "Line 2 .* more fields .* double quotes"),
        ("a.csv", "src,target\npictures," + "x" * 140_000, "Line 2 of .* cannot be read: field"),
        ("a.jsonl", '{"src": "pictures", "target": ["a pig"]}', "Line 1 .* give one text"),
        ("a.txt", "", r"give a \.csv or \.jsonl file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_jobs(str(folder / name))


def test_several_targets_in_a_line(folder: Path) -> None:
    (folder / "a.csv").write_text('src,target\npictures/cat.png,"[a pig, a cow]"\n')
    assert [job.target for job in read_jobs(str(folder / "a.csv"))] == ["a pig", "a cow"]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"jobs=none\.csv cannot be read"):
        read_jobs("none.csv")


# --- on the command line --------------------------------------------------------------------------


def test_several_targets_in_one_run(edit: Callable[..., Any], tmp_path: Path) -> None:
    """And each is what it is alone."""
    outcome = edit("target=[a pig, a cow]", "method=dds", "output=both")
    assert outcome.code == 0, outcome.err
    pictures = json.loads((tmp_path / "both" / "result.json").read_text())["pictures"]
    assert [p["target_prompt"] for p in pictures] == ["a pig", "a cow"]
    assert [p["edited"] for p in pictures] == ["edited/cat-a_pig.png", "edited/cat-a_cow.png"]
    assert edit("target=a cow", "method=dds", "output=one").code == 0
    alone, together, pig = (
        np.array(Image.open(tmp_path / name)).astype(int)
        for name in ("one/edited.png", "both/edited/cat-a_cow.png", "both/edited/cat-a_pig.png")
    )
    assert abs(alone - together).max() <= 1 < abs(pig - together).max()


def test_a_file_of_jobs(edit: Callable[..., Any], folder: Path) -> None:
    (folder / "jobs.csv").write_text(
        "src,target,source\npictures/cat.png,a pig,a cat\npictures/dog.png,a cow,a dog\n"
    )
    words = ["jobs=jobs.csv", "method=dds", "output=out"]
    outcome = edit(*words, without=("src", "target", "source"))
    assert outcome.code == 0, outcome.err
    pictures = json.loads((folder / "out" / "result.json").read_text())["pictures"]
    assert [(p["source_prompt"], p["target_prompt"]) for p in pictures] == [
        ("a cat", "a pig"),
        ("a dog", "a cow"),
    ]
    refused = edit(*words, "target=a pig", without=("src", "source"))
    assert refused.code == 2 and "jobs=jobs.csv brings its own target" in refused.err
