"""Results are complete, say what they are, and never replace each other silently."""

import json
import subprocess
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from editing import results
from editing.errors import UserError
from editing.results import (
    claimed_folder,
    edit_text,
    gif,
    git_revision,
    picture_files,
    png,
    run_name,
    slug,
    to_json,
    versions,
    write,
)

RED, BLUE = (Image.new("RGB", (16, 12), colour) for colour in ("red", "blue"))


def test_run_name() -> None:
    assert run_name([Path("pictures/cat.png")], "a pig", "ids") == "cat-a_pig-ids"
    name = run_name([Path("pictures/1.png"), Path("pictures/2.png")], "a pig, pink!", "dds")
    assert name == "pictures_2-a_pig_pink-dds"


@given(st.text())
def test_slug_is_a_harmless_file_name(text: str) -> None:
    name = slug(text)
    assert name and len(name) <= 40
    assert not set(name) & set("/\\ \0\n:*?\"'<>|$")
    assert name[0] not in ".-"


def test_slug_keeps_other_scripts() -> None:
    assert slug("猫 é") == "猫_é"


def test_files_of_one_picture_and_of_several() -> None:
    (single,) = picture_files([Path("cat.jpg")])
    assert single == {
        "edited": "edited.png",
        "side_by_side": "side_by_side.png",
        "trace": "trace.gif",
    }
    several = picture_files([Path("a/cat.png"), Path("b/CAT.png"), Path("cat-2.png")])
    names = [files["edited"] for files in several]
    assert names[0] == "edited/cat.png"
    assert len({name.casefold() for name in names}) == 3


@given(st.lists(st.sampled_from(["cat", "Cat", "cat-2", "cat-2-2", "dog"]), min_size=2))
def test_no_two_pictures_share_a_file(stems: list[str]) -> None:
    files = picture_files([Path(f"{stem}.png") for stem in stems])
    assert len({each["trace"].casefold() for each in files}) == len(stems)


# --- folders -------------------------------------------------------------------------------------


def test_unused_folder_is_removed_with_its_new_parents(tmp_path: Path) -> None:
    with claimed_folder(tmp_path / "results" / "run", named=False) as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_unused_folder_is_removed_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(KeyboardInterrupt), claimed_folder(tmp_path / "results/run", named=True):
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.rglob("*")] == ["results"]


def test_used_folder_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed_folder(tmp_path / "run", named=True) as folder:
        write(folder / "edited.png", b"x")
        raise KeyboardInterrupt
    assert (tmp_path / "run/edited.png").exists()


def test_an_unnamed_run_takes_the_next_free_folder(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        with claimed_folder(tmp_path / "run", named=False) as folder:
            write(folder / "result.json", b"{}")
        names.append(folder.name)
    assert names == ["run", "run-2", "run-3"]


def test_runs_that_start_at_once_get_different_folders(tmp_path: Path) -> None:
    names, start = [], Barrier(8)

    def claim() -> None:
        start.wait()
        with claimed_folder(tmp_path / "results" / "run", named=False) as folder:
            write(folder / "result.json", b"{}")
            names.append(folder.name)

    threads = [Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 8


@pytest.mark.parametrize("name", ["result.json", "edited.png", "config.yaml"])
def test_a_named_folder_with_a_result_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with (
        pytest.raises(UserError, match=r"already holds .* overwrite=true"),
        claimed_folder(tmp_path, named=True),
    ):
        pytest.fail("claimed")
    assert (tmp_path / name).read_bytes() == b"precious"
    with claimed_folder(tmp_path, named=True, overwrite=True) as folder:
        assert folder == tmp_path
    assert (tmp_path / name).exists()


def test_a_named_folder_with_other_files_is_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with claimed_folder(tmp_path, named=True) as folder:
        assert folder == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="output="), claimed_folder(path, named=True):
            pytest.fail("claimed")


@pytest.mark.parametrize("named", [True, False])
def test_an_unwritable_folder_is_refused(named: bool) -> None:
    path = Path("/proc/nowhere/run")  # not writable for anybody, root included
    with pytest.raises(UserError, match="Cannot write"), claimed_folder(path, named=named):
        pytest.fail("claimed")


# --- files ---------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", b"old")

    def fail(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@settings(deadline=None, max_examples=30)
@given(st.text(), st.text())
def test_png_says_that_and_how_it_was_edited(
    tmp_path_factory: pytest.TempPathFactory, source: str, target: str
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    write(path, png(RED, edit_text("ids", source, target)))
    with Image.open(path) as image:
        image.load()
        assert image.tobytes() == RED.tobytes()
        assert image.info["edited"] == "true"
        assert image.info["method"] == "ids"
        assert image.info["source_prompt"] == source
        assert image.info["target_prompt"] == target
        assert image.info["Software"].startswith("ids-editing ")


def test_gif_holds_every_frame_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", gif([RED, BLUE, RED]))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3
        colours = []
        for frame in range(3):
            image.seek(frame)
            colours.append(image.convert("RGB").getpixel((3, 3)))
        assert image.info["duration"] == 1000
    assert [max(range(3), key=colour.__getitem__) for colour in colours] == [0, 2, 0]


def test_gif_of_a_single_frame(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", gif([RED]))
    assert Image.open(tmp_path / "a.gif").size == RED.size


def test_json_is_readable_and_strict() -> None:
    assert "猫" in to_json({"prompt": "猫"}).decode()
    assert json.loads(to_json({"prompt": "\u2028é"})) == {"prompt": "\u2028é"}
    with pytest.raises(ValueError):
        to_json({"loss": float("nan")})


def test_versions_name_what_a_result_depends_on() -> None:
    found = versions()
    assert {"python", "torch", "diffusers", "transformers", "ids-editing"} <= set(found)
    assert found["torch"][0].isdigit()


def test_git_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    module = tmp_path / "results.py"
    module.write_text("")
    monkeypatch.setattr(results, "__file__", str(module))
    assert git_revision() is None
    git("init")
    git("commit", "--allow-empty", "-m", "someone else's")
    assert git_revision() is None  # the checkout of another project
    git("add", "results.py")
    git("commit", "-m", "ours")
    assert git_revision() == git("rev-parse", "HEAD")
    module.write_text("changed")
    assert git_revision() == git("rev-parse", "HEAD") + "-dirty"
