"""The way back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from editing.distillers import DDS, IDS, SDS
from editing.edit import DistillationEditor
from editing.errors import NonFiniteError, UserError
from editing.parameters import Pixels
from editing.reverse import psnr, there_and_back
from editing.schedules import Linear
from samplers.noise import FixedPointNoise
from samplers.random import make_generators
from samplers.timesteps import UniformTimesteps


@pytest.fixture
def square(images: torch.Tensor) -> torch.Tensor:
    """Pictures of the size of the exact priors' latents, (3, 3, 4, 6)."""
    return images[:, :, ::8, ::8]


def test_exact_gradients_lead_back(gaussian_prior: Any, square: torch.Tensor) -> None:
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(DDS(gaussian_prior, guidance=1.0), steps=400, step_size=0.2)
    edit, back = there_and_back(editor, square, prompts, make_generators(0, range(3)))
    torch.testing.assert_close(back.latents, gaussian_prior.encode(square), atol=1e-5, rtol=0)
    assert (edit.latents - back.latents).abs().max() > 0.5


@pytest.mark.parametrize("method", [DDS, IDS])
def test_the_first_step_back_uses_the_last_noise(
    mixture_prior: Any, square: torch.Tensor, method: Any
) -> None:
    """By hand: the last step's t and noise, source and target swapped, from the edit's latents."""
    prompts = mixture_prior.pair(source="a cat", target="a pig").expand(3)
    editor = DistillationEditor(method(mixture_prior, guidance=2.0), steps=1)
    edit, back = there_and_back(editor, square, prompts, make_generators(0, range(3)))
    plain = editor(square, prompts, make_generators(0, range(3)))
    assert torch.equal(edit.latents, plain.latents)
    generators = make_generators(0, range(3))
    t = editor.distiller.timesteps(1000, generators, 0.0)
    z = mixture_prior.encode(square)
    noise = editor.distiller.noise(
        mixture_prior, z, t, prompts.source, guidance=2.0, generators=generators
    )
    alpha, sigma = mixture_prior.alpha_sigma(t)
    z_t = alpha * edit.latents + sigma * noise
    gradient = mixture_prior.predict_noise(z_t, t, prompts.source, 2.0)
    gradient = gradient - mixture_prior.predict_noise(z_t, t, prompts.target, 2.0)
    torch.testing.assert_close(back.latents, edit.latents - editor.step_size * gradient)


def test_only_latents_are_reversed(mixture_prior: Any, square: torch.Tensor) -> None:
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    with pytest.raises(UserError, match="parameters=latents only"):
        there_and_back(
            DistillationEditor(SDS(mixture_prior), Pixels(), 1),
            square,
            prompts,
            make_generators(0, [0]),
        )


def test_psnr_by_hand() -> None:
    x = torch.zeros(2, 3, 4, 4)
    assert psnr(x, x + torch.tensor([0.1, 0.0])[:, None, None, None]).tolist() == [
        pytest.approx(20),
        100,
    ]


def test_the_command_line(edit: Callable[..., Any], tmp_path: Path) -> None:
    outcome = edit("reverse=true", "output=out", "method=dds")
    assert outcome.code == 0, outcome.err
    assert "PSNR of the way back: " in outcome.out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    (picture,) = result["pictures"]
    assert picture["reconstruction_psnr"] > 0
    assert Image.open(tmp_path / "out" / picture["reconstructed"]).size == (48, 32)
    assert result["network_evaluations"]["forward"] == 2 * 2 * 4
    assert edit("output=out", "overwrite=true", "method=dds").code == 0
    assert not (tmp_path / "out" / "reconstructed.png").exists(), "of the older result"
    refused = edit("reverse=true", "parameters=pixels", "output=pixels")
    assert refused.code == 2 and "parameters=latents only" in refused.err
    assert not (tmp_path / "pixels").exists()
    refused = edit("reverse=true", "early_stop.patience=1")
    assert refused.code == 2 and "early_stop.patience at 0" in refused.err


def test_a_way_back_that_diverges_keeps_the_edit(mixture_prior: Any, square: torch.Tensor) -> None:
    class Breaks(DDS):
        calls = 0

        def gradient(self, target: torch.Tensor, *args: Any) -> torch.Tensor:
            Breaks.calls += 1
            found = super().gradient(target, *args)
            return found * float("nan") if Breaks.calls == 5 else found

    prompts = mixture_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(Breaks(mixture_prior), steps=3)
    with pytest.raises(NonFiniteError) as stopped:
        there_and_back(editor, square, prompts, make_generators(0, range(3)))
    plain = DistillationEditor(DDS(mixture_prior), steps=3)
    expected = plain(square, prompts, make_generators(0, range(3))).latents
    assert torch.equal(stopped.value.last_good.latents, expected)


def test_the_schedule_is_run_backwards(mixture_prior: Any, square: torch.Tensor) -> None:
    """The way there ends with a step of size 0, so the way back begins with one."""
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(DDS(mixture_prior), steps=2, schedule=Linear())
    _, back = there_and_back(editor, square, prompts, make_generators(0, range(3)))
    once = DistillationEditor(DDS(mixture_prior), steps=1)
    _, alone = there_and_back(once, square, prompts, make_generators(0, range(3)))
    assert torch.equal(back.latents, alone.latents)


def test_a_fixed_point_of_the_source_is_not_taken_for_one_of_the_edit(
    gaussian_prior: Any, square: torch.Tensor
) -> None:
    """Where both scores agree on the way there, they must on the way back."""
    prompts = gaussian_prior.pair(source="a cat", target="a pig").expand(3)
    converged = FixedPointNoise(iterations=200, gradient="picard")
    found = [
        there_and_back(
            DistillationEditor(
                DDS(
                    gaussian_prior,
                    noise=converged,
                    timesteps=UniformTimesteps(0.05, 0.3),
                    guidance=1.0,
                    source_score=score,
                ),
                steps=5,
            ),
            square,
            prompts,
            make_generators(0, range(3)),
        )
        for score in ("network", "fixed_point")
    ]
    (there, back), (cheap, returned) = found
    torch.testing.assert_close(cheap.latents, there.latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(returned.latents, back.latents, atol=1e-5, rtol=1e-5)
