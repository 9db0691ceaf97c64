import builtins
import importlib
from io import BytesIO
from typing import Any

import pytest
import torch
from PIL import Image

from editing.errors import UserError
from editing.video import RATE, check_extension, film


def frames(count: int = 5) -> list[torch.Tensor]:
    return [torch.full((3, 9, 11), i / count) for i in range(count)]


def test_a_gif_shows_every_frame() -> None:
    with Image.open(BytesIO(film(frames(), ".gif"))) as made:
        assert made.n_frames == 5 and made.size == (319, 261)  # enlarged, to be seen
        assert made.info["duration"] == pytest.approx(1000 / RATE, abs=10)


def test_an_mp4_has_even_sides() -> None:
    av = pytest.importorskip("av")
    with av.open(BytesIO(film(frames(), ".mp4"))) as made:
        shown = list(made.decode(video=0))
    assert len(shown) == 5 and (shown[0].width, shown[0].height) == (318, 260)
    assert abs(int(shown[4].to_ndarray(format="rgb24").mean()) - 204) < 4


def test_what_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="gif or mp4, not as 'avi'"):
        check_extension(".avi")

    def absent(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return builtins.__import__(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match="pip install av"):
        check_extension(".mp4")
    check_extension(".gif")
