"""Memory that runs out: smaller batches, and the same rows."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.harness import Harness, batches
from benchmarks.rows import digest
from editing.editor import Edit
from tests.benchmarks.example_suite import WHAT, Brightness, Editor, rows_of, run


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


def test_memory_runs_out_on_a_cpu_too(tmp_path: Path) -> None:
    class Hungry(Editor):
        def __call__(self, sources: Tensor, *rest: Any, **named: Any) -> Edit:
            if len(sources) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
            return super().__call__(sources, *rest, **named)

    editor = Hungry()
    assert run(tmp_path, editor, size=5).failed == {} and max(editor.batches) == 2


def test_memory_that_is_too_small_for_one_is_said(tmp_path: Path) -> None:
    def hungry(*args: Any, **named: Any) -> Edit:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert set(run(tmp_path, hungry).failed.values()) == {"out of memory"}


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
