"""Rows on disk."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.rows import (
    Asked,
    digest,
    has_picture,
    picture_path,
    read_asked,
    read_cost,
    read_row,
    read_rows,
    row_path,
    source_digest,
    write_asked,
    write_edit,
    write_row,
)
from editing.results import write


def test_the_name_is_that_of_the_contents() -> None:
    what = {"method": "ids", "noise": {"iterations": 3, "step_size": 1.0}}
    assert digest(what) == digest({"noise": {"step_size": 1.0, "iterations": 3}, "method": "ids"})
    others = [
        {**what, "method": "dds"},
        {**what, "noise": {"iterations": 4, "step_size": 1.0}},
        {**what, "seed": 0},
    ]
    assert len({digest(other) for other in [what, *others]}) == 4
    assert len(digest(what)) == 32


def test_a_number_that_json_does_not_know_has_no_name() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"guidance": float("nan")})


def test_rows_come_back_in_the_order_of_their_keys(tmp_path: Path) -> None:
    for key in ("ff01", "00aa", "0001"):
        write_row(tmp_path, key, {"status": "done", "case": f"of {key}"})
    assert [row["key"] for row in read_rows(tmp_path)] == ["0001", "00aa", "ff01"]
    assert read_row(tmp_path, "00aa") == {"key": "00aa", "status": "done", "case": "of 00aa"}
    assert read_row(tmp_path, "00ab") is None
    assert picture_path(tmp_path, "00aa").parent.name == "00"


def test_a_file_begun_by_a_killed_worker_is_no_row(tmp_path: Path) -> None:
    write_row(tmp_path, "00aa", {"status": "done"})
    path = row_path(tmp_path, "00aa")
    path.with_name(f".{path.name}.123.tmp").write_text('{"key": "00a')
    assert len(list(read_rows(tmp_path))) == 1
    assert list(read_rows(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("contents", ["", "[]", "{}", '{"key": "00aa"}', '{"status"'])
def test_a_file_that_is_no_row_counts_as_absent(tmp_path: Path, contents: str) -> None:
    for key in ("00aa", "00ab"):
        write_row(tmp_path, key, {"status": "done"})
    row_path(tmp_path, "00aa").write_text(contents)
    assert [row["key"] for row in read_rows(tmp_path)] == ["00ab"]
    assert read_row(tmp_path, "00aa") is None


def test_a_picture_is_there_to_its_end_or_not(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    assert not has_picture(tmp_path, "00aa") and read_cost(tmp_path, "00aa") is None
    write_edit(tmp_path, "00aa", buffer.getvalue(), {"seconds": 1.0})
    assert has_picture(tmp_path, "00aa") and read_cost(tmp_path, "00aa") == {"seconds": 1.0}
    path = picture_path(tmp_path, "00aa")
    for length in (0, 5, len(buffer.getvalue()) - 1):
        path.write_bytes(buffer.getvalue()[:length])
        assert not has_picture(tmp_path, "00aa")
    path.with_suffix(".json").write_text("")
    assert read_cost(tmp_path, "00aa") is None


def test_what_was_asked_for_may_be_cut_off(tmp_path: Path) -> None:
    write_asked(tmp_path, Asked("pie", {}, ["a"]))
    write_asked(tmp_path, Asked("pie", {}, ["b"], time=1.0))
    (asked,) = read_asked(tmp_path) or ()
    for path in (tmp_path / "asked").iterdir():
        if '"b"' in path.read_text():
            path.write_text("")
    assert asked.cases == ["b"]
    assert [each.cases for each in read_asked(tmp_path) or ()] == [["a"]]


def test_a_changed_source_is_another_digest(tmp_path: Path) -> None:
    package, module = tmp_path / "package", tmp_path / "module.py"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "a.py").write_text("x = 1")
    module.write_text("y = 1")
    found = set()
    for path, text in (
        (package / "note.txt", "not read"),
        (package / "inner" / "a.py", "x = 2"),
        (package / "b.py", ""),
        (module, "y = 2"),
    ):
        found.add(source_digest.__wrapped__(package, module))
        path.write_text(text)
    found.add(source_digest.__wrapped__(package, module))
    assert len(found) == 4


def test_a_file_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").resolve()
        done.append("folder" if name.is_dir() else f"{name.stat().st_size} bytes")

    def renamed(path: Path, target: Path) -> Path:
        done.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    write(tmp_path / "a.json", b"12345")
    assert done == ["5 bytes", "name", "folder"]
