"""Rows of every case, whatever happens on the way."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from benchmarks import harness as harness_module
from benchmarks.claims import claim
from benchmarks.harness import Harness, batches
from benchmarks.rows import digest, picture_path, read_asked, read_rows, row_path
from benchmarks.suites.base import Case, CaseError, Measures, Pictures
from editing.editor import Edit
from editing.errors import NonFiniteError, UserError
from editing.images import read_picture
from tests.benchmarks.example_suite import (
    WHAT,
    Brightness,
    Editor,
    FakePrior,
    measured,
    rows_of,
    run,
)


def test_every_case_has_a_row_and_a_picture(tmp_path: Path) -> None:
    tally = run(tmp_path, Editor())
    assert (tally.made, tally.kept, tally.failed) == (30, 0, {})
    for method in ("source", "exact answer", "fake"):
        assert len(rows_of(tmp_path, method)) == 10
    row = rows_of(tmp_path)["level-4"]
    assert row["evaluations"] == {"forward": 3.0, "backward": 0.0} and row["seconds"] == 0.5
    assert (row["status"], row["batch_size"], row["prompts"]) == ("done", 3, ["gray", "white"])
    assert 0.45 <= row["metrics"]["exact_psnr"] <= 0.55
    picture = read_picture(picture_path(tmp_path, row["picture"]))
    assert picture.size == (8, 8)
    assert picture.getpixel((0, 0))[0] / 255 == pytest.approx(row["metrics"]["exact_psnr"])
    assert row["memory"] > 1, "MiB at the peak"
    assert rows_of(tmp_path, "exact answer")["level-4"]["metrics"]["exact_psnr"] == 1.0


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    run(tmp_path, Editor(), Brightness(4))
    editor = Editor()
    tally = run(tmp_path, editor)
    assert (tally.made, tally.kept) == (18, 12)
    assert sum(editor.batches) == 6
    assert run(tmp_path, editor).made == 0


@pytest.mark.parametrize("change", ["seed", "setting"])
def test_a_changed_setting_reuses_nothing(tmp_path: Path, change: str) -> None:
    run(tmp_path, Editor())
    editor, harness = Editor(), Harness(Brightness(), tmp_path, 3)
    what = {**WHAT, "steps": 2} if change == "setting" else WHAT
    harness.run(editor, what, FakePrior(), int(change == "seed"))
    assert sum(editor.batches) == 10


def test_another_judge_measures_what_is_there(tmp_path: Path) -> None:
    run(tmp_path, Editor())
    before = rows_of(tmp_path)
    editor = Editor()
    tally = run(tmp_path, editor, Brightness(version=2), size=5)
    assert (tally.made, tally.kept, editor.batches) == (30, 0, [])
    asked = read_asked(tmp_path)
    assert asked is not None
    after = [row for row in read_rows(tmp_path) if row["variant"] in asked[0].cases]
    assert len(after) == 30
    for row in after:
        if row["edit"]["method"] == "fake":
            same = ("metrics", "picture", "seconds", "evaluations", "batch_size")
            assert {k: row[k] for k in same} == {k: before[row["case"]][k] for k in same}


def test_an_edit_survives_a_judge_that_fails(tmp_path: Path) -> None:
    class Blind(Brightness):
        def measure(self, cases: Any, pictures: Any, edited: Any) -> list[Measures]:
            raise RuntimeError("no eyes")

    assert len(run(tmp_path, Editor(), Blind()).failed) == 10
    editor = Editor()
    assert run(tmp_path, editor).failed == {} and editor.batches == []


def test_a_result_depends_on_its_case_and_seed_alone(tmp_path: Path) -> None:
    for name, size, seed in (("a", 3, 0), ("b", 5, 0), ("c", 3, 1)):
        run(tmp_path / name, Editor(), size=size, seed=seed)
    assert measured(tmp_path / "a") == measured(tmp_path / "b") != measured(tmp_path / "c")


def test_a_case_that_fails_is_recorded_and_tried_again(tmp_path: Path) -> None:
    class Fragile(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if (sources == 0.2).any():
                raise RuntimeError("cannot\nbe 0.2")
            return super().__call__(sources, *rest, **named)

    tally = run(tmp_path, Fragile())
    assert tally.failed == {"level-4": "RuntimeError: cannot be 0.2"}
    row = rows_of(tmp_path)["level-4"]
    assert (row["status"], row["reason"]) == ("failed", "RuntimeError: cannot be 0.2")
    assert sum(r["status"] == "done" for r in rows_of(tmp_path).values()) == 9
    editor = Editor()
    assert run(tmp_path, editor).failed == {}
    assert editor.batches == [1] and rows_of(tmp_path)["level-4"]["status"] == "done"


class Broken(Brightness):
    """The picture of level 4 cannot be read."""

    def load(self, cases: Sequence[Case]) -> Pictures:
        if any(case.name == "level-4" for case in cases):
            raise CaseError("level-4.png is an empty file.")
        return super().load(cases)


def test_a_picture_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    editor = Editor()
    tally = run(tmp_path, editor, Broken(), size=5)
    assert tally.failed == {"level-4": "level-4.png is an empty file."}
    assert editor.batches == [4, 5], "the others stay together"
    row = rows_of(tmp_path)["level-4"]
    assert (row["status"], row["reason"]) == ("failed", "level-4.png is an empty file.")
    assert sum(row["status"] == "done" for row in rows_of(tmp_path, "exact answer").values()) == 9


def test_the_first_picture_may_be_the_broken_one(tmp_path: Path) -> None:
    class First(Broken):
        def make_cases(self) -> list[Case]:
            return super().make_cases()[4:]

    assert set(run(tmp_path, Editor(), First(), size=5).failed) == {"level-4"}
    assert len(rows_of(tmp_path, "exact answer")) == 6


@pytest.mark.parametrize("contents", [b"", b'{"key"', None])
@pytest.mark.parametrize("what", ["row", "cost", "picture"])
def test_what_a_power_cut_left_in_pieces_is_made_again(
    tmp_path: Path, what: str, contents: bytes | None
) -> None:
    run(tmp_path, Editor())
    before = rows_of(tmp_path)
    row = before["level-4"]
    picture = picture_path(tmp_path, row["picture"])
    row_file = row_path(tmp_path, row["key"])
    lost = {"row": row_file, "cost": picture.with_suffix(".json"), "picture": picture}[what]
    if what == "cost":  # read again only if the row is gone
        row_file.unlink()
    if contents is None:
        lost.unlink()
    else:
        lost.write_bytes(contents)
    editor = Editor()
    tally = run(tmp_path, editor)
    assert (tally.made, tally.failed) == (1, {})
    assert editor.batches == ([] if what == "row" else [1])
    after = rows_of(tmp_path)
    assert read_picture(picture).size == (8, 8)
    untimed = {"time": 0, "batch_size": 0, "memory": 0}
    assert {n: r | untimed for n, r in after.items()} == {n: r | untimed for n, r in before.items()}
    assert run(tmp_path, editor).made == 0


def test_a_failure_never_replaces_what_another_worker_has_made(tmp_path: Path) -> None:
    class Late(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            run(tmp_path, Editor(), size=2)  # another worker, with other batches
            raise RuntimeError("too late")

    tally = run(tmp_path, Late(), size=1)
    assert tally.failed == {}
    assert {row["status"] for row in rows_of(tmp_path).values()} == {"done"}


def test_what_the_user_can_mend_ends_the_run_before_any_edit(tmp_path: Path) -> None:
    class Blind(Brightness):
        def measure(self, cases: Any, pictures: Any, edited: Any) -> list[Measures]:
            raise UserError("The judge is not there: put it there.")

    editor = Editor()
    with pytest.raises(UserError, match="put it there"):
        run(tmp_path, editor, Blind())
    assert editor.batches == [] and list(read_rows(tmp_path)) == []
    with pytest.raises(UserError, match="has no cases"):
        run(tmp_path, editor, Brightness(0))


def test_one_picture_with_nan_fails_alone(tmp_path: Path) -> None:
    class Diverges(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if (sources == 0.2).any():
                raise NonFiniteError("The gradient is not finite at step 3.")
            return super().__call__(sources, *rest, **named)

    assert set(run(tmp_path, Diverges()).failed) == {"level-4"}


def test_what_the_others_of_a_batch_became_is_kept(tmp_path: Path) -> None:
    class Diverges(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            edit = super().__call__(sources, *rest, **named)
            bad = sources.flatten(1)[:, 0] == 0.2
            if bad.any():
                error = NonFiniteError("The gradient is not finite at step 3.")
                ended = tuple(str(error) if b else None for b in bad)
                error.last_good = dataclasses.replace(edit, stopped=ended)
                raise error
            return edit

    editor = Diverges()
    assert set(run(tmp_path, editor, size=5).failed) == {"level-4"}
    assert editor.batches == [5, 1, 5], "the others are not edited again"
    whole = run(tmp_path / "whole", Editor())
    assert whole.failed == {}
    expected = measured(tmp_path / "whole")
    done = {n: r for n, r in rows_of(tmp_path).items() if r["status"] == "done"}
    assert len(done) == 9
    for name, made in done.items():
        assert made["metrics"]["exact_psnr"] == expected[name]


def test_another_name_is_another_noise(tmp_path: Path) -> None:
    class Renamed(Brightness):
        def make_cases(self) -> list[Case]:
            return [dataclasses.replace(c, name=f"new-{c.name}") for c in super().make_cases()]

    run(tmp_path, Editor())
    editor = Editor()
    run(tmp_path, editor, Renamed())
    assert sum(editor.batches) == 10


def test_nan_is_nothing_measured(tmp_path: Path) -> None:
    class Blind(Brightness):
        def measure(self, cases: Any, pictures: Any, edited: Any) -> list[Measures]:
            return [{"exact_psnr": float("nan")} for _ in cases]

    run(tmp_path, Editor(), Blind())
    assert rows_of(tmp_path)["level-1"]["metrics"] == {"exact_psnr": None}


def test_a_suite_without_answers_has_no_rows_for_them(tmp_path: Path) -> None:
    class Open(Brightness):
        def load(self, cases: Sequence[Case]) -> Pictures:
            return dataclasses.replace(super().load(cases), answer=None)

    assert run(tmp_path, Editor(), Open()).made == 20
    assert rows_of(tmp_path, "exact answer") == {}


def test_what_another_worker_is_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other holds one batch when we come; we do the rest, and that too once it has let go."""
    suite, editor = Brightness(6), Editor()
    harness = Harness(suite, tmp_path, 3)
    edit = {**WHAT, "seed": 0}
    first = next(batches(suite.make_cases(), 3))
    held = digest({"batch": [harness._key(case, edit) for case in first]})
    other = claim(tmp_path, held)
    assert other.__enter__()

    def waits(seconds: float) -> None:
        assert len(rows_of(tmp_path)) == 3
        other.__exit__(None, None, None)

    monkeypatch.setattr(harness_module.time, "sleep", waits)
    harness.run(editor, WHAT, FakePrior(), 0)
    assert len(rows_of(tmp_path)) == 6


def test_batches_are_of_one_size_and_always_the_same() -> None:
    made = list(batches(Brightness(7).make_cases(), 3))
    assert [[case.name[-1] for case in batch] for batch in made] == [
        ["0", "2", "4"],
        ["6"],
        ["1", "3", "5"],
    ]
