"""Rows on disk."""

from pathlib import Path

import pytest

from benchmarks.rows import digest, picture_path, read_row, read_rows, row_path, write_row
from editing.errors import UserError


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
def test_a_file_that_is_no_row_is_named(tmp_path: Path, contents: str) -> None:
    write_row(tmp_path, "00aa", {"status": "done"})
    row_path(tmp_path, "00aa").write_text(contents)
    with pytest.raises(UserError, match=r"00aa\.json is not a row: delete it"):
        list(read_rows(tmp_path))
    with pytest.raises(UserError, match="is not a row"):
        read_row(tmp_path, "00aa")
