"""Sampler methods on pictures: masks, callbacks, failures, and the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from editing import session
from editing.callbacks import Trace
from editing.caption import Caption
from editing.errors import NonFiniteError
from editing.parameters.latents import LatentCanvas
from editing.trajectory import TrajectoryEditor
from samplers.ddib import DDIB
from samplers.flowedit import FlowEdit
from samplers.random import make_generators
from samplers.sdedit import SDEdit
from samplers.trajectory import Inversion, Visit
from tests.editing.conftest import noise_picture, result_of

METHODS = sorted(
    "autoencoder cyclediffusion ddib ddpm_inversion direct_inversion edict flowedit latent_top "
    "negative_prompt null_text p2p pnp rf_inversion sdedit".split()
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_an_edit_is_what_the_method_makes(tiny_prior: Any, images: torch.Tensor) -> None:
    method = SDEdit(tiny_prior, steps=5)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    trace = Trace(1)
    edit = TrajectoryEditor(method)(images, prompts, make_generators(0, range(2)), [trace])
    z = method(tiny_prior.encode(images), prompts.expand(2), make_generators(0, range(2)))
    torch.testing.assert_close(edit.latents, z)
    torch.testing.assert_close(edit.images, tiny_prior.decode(z))
    assert edit.evaluations.forward == 2 * 3 * 2  # 0.6 of the steps, guided
    assert [record["step"] for record in edit.records] == [1, 2, 3] == trace.steps
    assert edit.records[-1]["t"] == [0, 0] and edit.stopped == (None, None)


def test_outside_the_mask_latents_are_the_source_s(tiny_prior: Any, images: torch.Tensor) -> None:
    mask = torch.zeros(2, 1, 32, 48)
    mask[..., :24] = 1
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    editor = TrajectoryEditor(SDEdit(tiny_prior, steps=5))
    edit = editor(images, prompts, make_generators(0, range(2)), mask=mask)
    z = tiny_prior.encode(images)
    assert torch.equal(edit.latents[..., 6:], z[..., 6:])
    assert not torch.allclose(edit.latents[..., :6], z[..., :6])
    # what is kept is noisy on the way, and not only put back at the end
    free = editor(images, prompts, make_generators(0, range(2)))
    assert not torch.allclose(edit.latents[..., :6], free.latents[..., :6])


@pytest.mark.parametrize("last", [0, 2])
def test_flowedit_is_kept_clean_outside_the_mask(
    tiny_prior: Any, images: torch.Tensor, last: int
) -> None:
    mask = torch.zeros(2, 1, 32, 48)
    mask[..., :24] = 1
    z, seen = tiny_prior.encode(images), []
    method = FlowEdit(tiny_prior, steps=5, last=last)
    flowed = method.sample

    def watched(*args: Any) -> torch.Tensor:
        *others, watch = args

        def see(visit: Visit) -> torch.Tensor:
            seen.append((visit, watch(visit)))
            return seen[-1][1]

        return flowed(*others, see)

    method.sample = watched  # type: ignore[method-assign]
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    TrajectoryEditor(method)(images, prompts, make_generators(0, range(2)), mask=mask)
    assert [visit.noisy for visit, _ in seen] == [False] * (3 - last) + [True, False][-last:][:last]
    for visit, kept in seen:
        assert torch.equal(kept[..., 6:], z[..., 6:]) == (not visit.noisy)


def test_a_known_inversion_is_taken(tiny_prior: Any, images: torch.Tensor) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    noise = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    method = DDIB(tiny_prior, steps=3)
    editor = TrajectoryEditor(method, inversion=Inversion({"noise": noise}))
    edit = editor(images, prompts, make_generators(0, range(2)))
    assert edit.evaluations.forward == 2 * 3 * 2  # nothing is inverted
    other = editor(1 - images, prompts, make_generators(0, range(2)))
    assert torch.equal(edit.latents, other.latents)


def test_what_is_not_finite_is_said(tiny_prior: Any, images: torch.Tensor) -> None:
    class Spoilt(DDIB):
        def sample(self, *args: Any, **options: Any) -> torch.Tensor:
            z = super().sample(*args, **options)
            z[1] = torch.nan
            return z

    prompts = tiny_prior.pair(source="a cat", target="a pig")
    with pytest.raises(NonFiniteError, match=r"not finite \(network in float32\)") as caught:
        TrajectoryEditor(Spoilt(tiny_prior, steps=2))(images, prompts, make_generators(0, range(2)))
    last = caught.value.last_good
    assert last.stopped[0] is None and "not finite" in last.stopped[1]
    assert last.images[0].isfinite().all()


def test_a_picture_that_is_not_finite_is_not_written(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        noise_picture(32, 32, seed).save(tmp_path / f"in/{seed}.png")
    sample = DDIB.sample

    def spoilt(self: DDIB, *args: Any) -> torch.Tensor:
        z = sample(self, *args)
        z[1] = torch.nan
        return z

    monkeypatch.setattr(DDIB, "sample", spoilt)
    outcome = edit("method=ddib", "src=in", "output=out")
    assert outcome.code == 2 and "not finite" in outcome.err
    assert [path.name for path in (tmp_path / "out/edited").iterdir()] == ["1.png"]
    record = result_of(tmp_path / "out")
    assert [picture["edited"] for picture in record["pictures"]] == ["edited/1.png"]


def test_where_nothing_is_finite_an_older_result_stays(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edit("method=ddib", "output=out").code == 0
    before = (tmp_path / "out/edited.png").read_bytes()
    decode = LatentCanvas.images
    monkeypatch.setattr(LatentCanvas, "images", lambda self: decode(self) * torch.nan)
    outcome = edit("method=ddib", "output=out", "overwrite=true", "trace=false")
    assert outcome.code == 2 and "not finite" in outcome.err
    assert (tmp_path / "out/edited.png").read_bytes() == before


def test_all_prompts_are_looked_at_before_the_first_edit(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    Path("jobs.csv").write_text("src,target,source\ncat.png,a pig,a cat\ncat.png,a cow,a cat\n")
    words = ("method=p2p", "method.reweight={pig: 2}", "jobs=jobs.csv", "batch_size=1")
    outcome = edit(*words, "output=out", without=("src", "target", "source"))
    assert outcome.code == 2 and "no 'pig' in the prompt 'a cow'" in outcome.err
    assert "0%" not in outcome.err and not (tmp_path / "out").exists()


def test_a_long_inversion_has_no_more_frames_than_the_sampling(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("method=pnp", "steps=30", "method.substeps=5")
    assert edit(*words, "output=out").code == 0
    assert Image.open(tmp_path / "out/trace.gif").n_frames <= 1 + 2 * 30


@pytest.mark.parametrize(
    ("words", "captioned"),
    [
        (("method=sdedit",), False),
        (("method=rf_inversion",), False),
        (("method=pnp",), False),
        (("method=pnp", "method.source_prompt=source"), True),
        (("method=ddib",), True),
    ],
)
def test_a_caption_is_made_for_those_that_read_it(
    edit: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    captioned: bool,
) -> None:
    asked = []

    def describe(images: torch.Tensor, *_: Any) -> list[Caption]:
        asked.append(len(images))
        return [Caption("a cat")] * len(images)

    monkeypatch.setattr(session, "describe", describe)
    outcome = edit(*words, "output=out", without=("source",))
    assert outcome.code == 0, outcome.err
    assert bool(asked) == captioned


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_the_command_line(
    edit: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    outcome = edit(f"method={method}", "steps=3", "output=out", "source=a cat")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "out/result.json").read_text())
    assert (record["method"], record["steps"]) == (method, 3)
    assert (record["network_evaluations"]["forward"] > 0) == (method != "autoencoder")
    made = Image.open(tmp_path / "out/edited.png")
    assert made.size == tuple(record["pictures"][0]["edited_size"])
    assert (tmp_path / "out/trace.gif").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method.blend=dog",), "there is no 'dog' in the prompt"),
        (("method.edit=replace", "target=a gray pig"), "the same number of words"),
    ],
)
def test_prompts_that_do_not_fit_are_said(
    edit: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = edit("method=p2p", "method.inverter=null_text", "output=out", *words)
    assert "0%" not in outcome.err, "nothing was inverted before"
    assert outcome.code == 2 and said in outcome.err and outcome.err.count("Error") == 1
    assert not (tmp_path / "out").exists()
