"""Stopping early, image by image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from editing import session
from editing.caption import find_clip
from editing.distillers import DDS
from editing.edit import DistillationEditor
from editing.editor import Step
from editing.errors import UserError
from editing.parameters import Canvas
from editing.plateau import Plateau
from samplers.random import make_generators


class Colours:
    """A picture is its mean colour, and a text the name of one."""

    names = ("red", "green", "blue")

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(images.mean((2, 3)), dim=1)

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(3)[[self.names.index(text) for text in texts]]


class Fade(Canvas):
    """Stands in for a canvas: from red to green in so many steps per image."""

    def __init__(self, steps: list[int]) -> None:
        self.steps, self.now = torch.tensor(steps), 0
        self.tensors: list[torch.Tensor] = []
        self.rates, self.per_image = (), True

    def latents(self, generators: Any) -> Any:
        raise AssertionError("a plateau looks at pictures only")

    def images(self) -> torch.Tensor:
        done = (self.now / self.steps).clamp(max=1)[:, None]
        colour = torch.lerp(torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), done)
        return colour[..., None, None].expand(-1, -1, 2, 2)


def look(plateau: Plateau, canvas: Any, steps: int, count: int) -> list[list[bool]]:
    """What is stopped after each of the steps."""
    stopped, seen = torch.zeros(count, dtype=torch.bool), []
    t = torch.zeros(count, dtype=torch.long)
    for step in range(1, steps + 1):
        canvas.now = step
        z = torch.zeros(count, 1, 1, 1)
        plateau.on_step(Step(step, steps, t, z, torch.float32, canvas, stopped))
        seen.append(stopped.tolist())
    return seen


def test_an_image_stops_when_its_direction_has_stopped_growing() -> None:
    canvas = Fade([4, 12])
    start = Fade([1, 1])
    plateau = Plateau(
        Colours(), start.images(), ["red"] * 2, ["green"] * 2, every=2, patience=2, gain=0.001
    )
    seen = look(plateau, canvas, 16, 2)
    first = [next(i for i, row in enumerate(seen, 1) if row[k]) for k in (0, 1)]
    assert first == [8, 16], "two looks after the picture is green"


def test_a_stopped_image_stays_as_it_is_and_its_batch_goes_on(
    mixture_prior: Any, images: torch.Tensor
) -> None:
    square = images[:, :, ::8, ::8]

    class StopFirst:
        def on_step(self, state: Step) -> None:
            state.stopped[0] = state.step >= 2

    prompts = mixture_prior.pair(source="a cat", target="a pig")
    for optimizer in (torch.optim.SGD, torch.optim.Adam):
        editor = DistillationEditor(DDS(mixture_prior), steps=5, optimizer=optimizer)
        edit = editor(square, prompts, make_generators(0, range(3)), [StopFirst()])
        whole = editor(square, prompts, make_generators(0, range(3)))
        assert torch.equal(edit.latents[1:], whole.latents[1:])
        assert not torch.equal(edit.latents[0], whole.latents[0])
        assert edit.stopped == ("no gain at step 2 of 5", None, None)
        assert len(edit.records) == 5
        assert edit.evaluations.forward == 4 * (2 * 3 + 3 * 2), "what is stopped asks no network"
        assert whole.evaluations.forward == 4 * 5 * 3
    short = DistillationEditor(DDS(mixture_prior), steps=2)
    edit = DistillationEditor(DDS(mixture_prior), steps=5)(
        square, prompts, make_generators(0, range(3)), [StopFirst()]
    )
    expected = short(square, prompts, make_generators(0, range(3))).latents[0]
    torch.testing.assert_close(edit.latents[0], expected)


def test_a_run_ends_when_all_have_stopped(mixture_prior: Any, images: torch.Tensor) -> None:
    class StopAll:
        def on_step(self, state: Step) -> None:
            state.stopped.fill_(state.step == 3)

    prompts = mixture_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(DDS(mixture_prior), steps=50)
    square = images[:, :, ::8, ::8]
    edit = editor(square, prompts, make_generators(0, range(3)), [StopAll()])
    assert len(edit.records) == 3 and edit.stopped == ("no gain at step 3 of 50",) * 3


def test_the_command_line(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        def embed_images(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 4)

        def embed_texts(self, texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 4)

    monkeypatch.setattr(session, "find_clip", lambda prior, name: Blind())
    words = ["early_stop.patience=2", "early_stop.every=1", "steps=20", "method=dds"]
    outcome = edit(*words, "output=out")
    assert outcome.code == 0, outcome.err
    assert '"no gain at step 3 of 20"' in (tmp_path / "out" / "result.json").read_text()
    for word in ("early_stop.patience=-1", "early_stop.every=0", "early_stop.gain=x"):
        refused = edit(word)
        assert refused.code == 2 and word in refused.err


def test_a_clip_that_is_not_there(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="The CLIP 'nobody/nothing' is neither a folder"):
        find_clip(tiny_prior, "nobody/nothing")
