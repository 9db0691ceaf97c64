from pathlib import Path
from typing import Any

import pytest
import torch

from editing.checkpoint import Checkpoint, memories, remind
from editing.errors import UserError


class Remembers:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Forgets:
    pass


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "key", every=3)
    assert checkpoint.load() is None
    checkpoint.save({"step": 3, "tensor": torch.arange(4), "pair": (1, None)})
    checkpoint.save({"step": 6, "tensor": torch.arange(5), "pair": (2, "text")})
    loaded = checkpoint.load()
    assert loaded is not None and loaded["step"] == 6 and loaded["pair"] == (2, "text")
    assert torch.equal(loaded["tensor"], torch.arange(5))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert [step for step in range(1, 8) if checkpoint.due(step)] == [3, 6]


def test_an_edit_with_another_key_cannot_go_on(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "checkpoint.pt", "one").save({"step": 1})
    with pytest.raises(UserError, match="is of an edit with other settings"):
        Checkpoint(tmp_path / "checkpoint.pt", "other").load()


@pytest.mark.parametrize("contents", [b"", b"broken", b"PK\x03\x04"])
def test_what_is_none_is_refused(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(contents)
    with pytest.raises(UserError, match="is broken or no checkpoint"):
        Checkpoint(tmp_path / "checkpoint.pt", "key").load()


def test_only_callbacks_that_remember_are_reminded() -> None:
    before = [Remembers(), Forgets(), Remembers()]
    before[0].seen, before[2].seen = [1], [2, 3]  # type: ignore[union-attr]
    after = [Forgets(), Remembers(), Remembers()]
    remind(after, memories(before))
    assert [each.seen for each in after[1:]] == [[1], [2, 3]]  # type: ignore[union-attr]
