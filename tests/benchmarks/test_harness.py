"""Rows of every case, whatever happens on the way."""

import dataclasses
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor

from benchmarks import harness as harness_module
from benchmarks import identity as identity_module
from benchmarks.claims import claim
from benchmarks.harness import Harness, batches
from benchmarks.identity import editor_identity, suite_identity
from benchmarks.rows import digest, picture_path, read_asked, read_rows, row_path
from benchmarks.suites.base import Case, CaseError, Measures, Pictures
from benchmarks.suites.cat_to_others import CatToOthers
from editing.editor import Edit
from editing.errors import NonFiniteError, UserError
from editing.images import read_picture
from editing.settings import Settings, read_settings
from samplers.prior import Evaluations

ROOT = Path(__file__).parents[2]
WHAT = {"method": "fake", "steps": 1}


class Brightness:
    """Cases are grey levels; measured is how bright the edit is, the answer being white."""

    name = "brightness"
    metrics = ("exact_psnr",)

    def __init__(self, count: int = 10, version: int = 1) -> None:
        self.count, self.version = count, version

    def make_cases(self) -> list[Case]:
        return [
            Case(f"level-{i}", ("gray", "white"), {"level": i}, size=(8, 8 + 2 * (i % 2)))
            for i in range(self.count)
        ]

    def load(self, cases: Sequence[Case]) -> Pictures:
        levels = torch.tensor([case.identity["level"] / 20 for case in cases])
        source = levels[:, None, None, None].expand(-1, 3, *cases[0].size)
        return Pictures(source, torch.ones_like(source))

    def measure(self, cases: Sequence[Case], pictures: Pictures, edited: Tensor) -> list[Measures]:
        return [{"exact_psnr": float(picture.mean())} for picture in edited]

    def identity(self) -> Mapping[str, Any]:
        return {"version": self.version}


class FakePrior:
    def pair(self, source: list[str], target: list[str]) -> None:
        assert set(source) == {"gray"} and set(target) == {"white"}


class Editor:
    """Adds 0.25 and a little that is drawn; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, sources: Tensor, prompts: Any, generators: Any, **_: Any) -> Edit:
        self.batches.append(len(sources))
        drawn = torch.stack([torch.rand((), generator=g) for g in generators])
        images = sources + 0.25 + 0.1 * drawn[:, None, None, None]
        return Edit(images, (), [], Evaluations(3 * len(sources), 0), 0.5 * len(sources))


def run(output: Path, editor: Any, suite: Any = None, seed: int = 0, size: int = 3) -> Any:
    harness = Harness(suite or Brightness(), output, size)
    return harness.run(editor, WHAT, FakePrior(), seed)


def rows_of(output: Path, method: str = "fake") -> dict[str, dict[str, Any]]:
    return {r["case"]: r for r in read_rows(output) if r["edit"]["method"] == method}


def measured(output: Path) -> dict[str, float]:
    return {name: row["metrics"]["exact_psnr"] for name, row in rows_of(output).items()}


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


def test_when_memory_runs_out_batches_are_halved(tmp_path: Path) -> None:
    refused: list[int] = []

    class Hungry(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if len(sources) > 2:
                refused.append(len(sources))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(sources, *rest, **named)

    editor = Hungry()
    tally = run(tmp_path, editor, size=5)
    assert tally.failed == {} and sorted(editor.batches) == [1, 1, 2, 2, 2, 2]
    assert refused == [5], "once is enough"
    assert {r["batch_size"] for r in rows_of(tmp_path).values()} == {1, 2}
    assert {r["batch_size_asked"] for r in rows_of(tmp_path).values()} == {5}
    assert str(tally).endswith("; memory ran out: batches of 2 instead of 5")
    assert "memory ran out" not in str(run(tmp_path, Editor(), size=5))


def test_what_memory_held_is_given_back_before_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large:
        pass

    held: list[weakref.ref[Large]] = []
    emptied = []

    class Hungry(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            assert all(ref() is None for ref in held), "the error still holds it"
            if len(sources) > 2:
                large = Large()
                large.itself = large  # type: ignore[attr-defined]  # only a collection frees it
                held.append(weakref.ref(large))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(sources, *rest, **named)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    assert run(tmp_path, Hungry(), size=5).failed == {} and emptied == [1]


def test_claims_are_of_the_size_that_was_asked_for(tmp_path: Path) -> None:
    """Another worker whose memory ran out edits in halves, and still holds the whole batch."""

    class Hungry(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if len(sources) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            claimed.append({path.name for path in (tmp_path / "claims").glob("[!.]*")})
            return super().__call__(sources, *rest, **named)

    claimed: list[set[str]] = []
    run(tmp_path, Hungry(), size=5)
    edit = {**WHAT, "seed": 0}
    harness = Harness(Brightness(), tmp_path, 5)
    expected = [
        f"{digest({'batch': [harness._key(case, edit) for case in batch]})}.json"
        for batch in batches(harness.cases, 5)
    ]
    assert [name for (name,) in claimed] == [expected[0]] * 3 + [expected[1]] * 3


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


def test_the_code_belongs_to_the_identity(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an edit that of the two packages below; of a measurement that of its suite."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", ["src=-", "target=-"])
    settings = read_settings(config, "ids", "menagerie", [])
    asked: list[list[str]] = []

    def digested(*places: Path) -> str:
        asked.append([place.name for place in places])
        return f"of {len(asked)}"

    monkeypatch.setattr(identity_module, "source_digest", digested)
    first, second = (editor_identity(settings, tiny_prior) for _ in range(2))
    assert first["sources"] != second["sources"] and asked[0] == ["editing", "samplers"]
    judged = suite_identity(CatToOthers(cases=1))
    assert {"cat_to_others.py", "world.py", "metrics"} == set(asked[-1])
    assert set(judged["versions"]) == {"torch", "transformers"}


def test_memory_runs_out_on_a_cpu_too(tmp_path: Path) -> None:
    class Hungry(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if len(sources) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
            return super().__call__(sources, *rest, **named)

    editor = Hungry()
    assert run(tmp_path, editor, size=5).failed == {} and max(editor.batches) == 2


def test_a_failure_never_replaces_what_another_worker_has_made(tmp_path: Path) -> None:
    class Late(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            run(tmp_path, Editor(), size=2)  # another worker, with other batches
            raise RuntimeError("too late")

    tally = run(tmp_path, Late(), size=1)
    assert tally.failed == {}
    assert {row["status"] for row in rows_of(tmp_path).values()} == {"done"}


def test_memory_that_is_too_small_for_one_is_said(tmp_path: Path) -> None:
    def hungry(*args: Any, **named: Any) -> Edit:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert set(run(tmp_path, hungry).failed.values()) == {"out of memory"}


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


SETTINGS = {
    "method": "dds",
    "steps": 7,
    "step_size": 0.07,
    "distiller": {"guidance": 9.0},
    "parameters": {"_target_": "editing.parameters.Pixels"},
    "optimizer": {"_target_": "torch.optim.Adam"},
    "schedule": {"_target_": "editing.schedules.Linear"},
    "lora_scale": 0.3,
    "distilled_guidance": 1.0,
}
# What an edit of a case does not depend on, or what the model's hash and files say.
OTHERWISE = (
    "src target source jobs output reverse trace overwrite resume guidance prior model seed size "
    "batch_size device dtype early_stop lora embedding tuning mask captioner parent trajectory"
).split()


def test_every_setting_of_an_edit_is_in_its_identity(tiny_prior: Any) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", ["src=-", "target=-", "lora=style.safetensors"])
    base = read_settings(config, "ids", "menagerie", [])
    before = editor_identity(base, tiny_prior)
    names = {field.name for field in dataclasses.fields(Settings)}
    assert {*SETTINGS, *OTHERWISE} == names, "a new setting must be in one of the two"
    for name, value in SETTINGS.items():
        changed = editor_identity(dataclasses.replace(base, **{name: value}), tiny_prior)
        assert digest(changed) != digest(before), name


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


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from benchmarks.harness import Harness
from tests.benchmarks.test_harness import WHAT, Brightness, Editor, FakePrior

torch.set_num_threads(1)
output, rng, killed = Path(sys.argv[1]), random.Random(0), 0

def start(folder):
    child = os.fork()
    if not child:
        Harness(Brightness(24), folder, 3).run(Editor(), WHAT, FakePrior(), 0)
        os._exit(0)
    return child

began = time.perf_counter()
assert os.waitpid(start(output.with_name("timed")), 0)[1] == 0
life = (time.perf_counter() - began) / 20  # so the work takes many lives on any machine
while True:
    child = start(output)
    time.sleep(rng.uniform(0.0, life * (1 + 0.1 * killed)))  # in the end a run comes through
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status), "it ended by itself, badly"
    killed += 1
print(killed)
"""


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "killed too seldom to mean anything"
    run(tmp_path / "whole", Editor(), Brightness(24))
    assert measured(tmp_path / "killed") == measured(tmp_path / "whole")
    rows = list(read_rows(tmp_path / "killed"))
    kept = {row["key"] for row in rows}
    assert len(kept) == 72 and kept == {row["key"] for row in read_rows(tmp_path / "whole")}
    pictures = (tmp_path / "killed" / "pictures").glob("*/[!.]*.png")
    assert {path.stem for path in pictures} == {row["picture"] for row in rows}
