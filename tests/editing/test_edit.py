"""The optimisation loop: exact answers, batches, callbacks, and what happens to NaNs."""

import dataclasses
import io
import subprocess
import sys
from typing import Any

import pytest
import torch

import editing
from editing.callbacks import Progress, Trace
from editing.distillers import DDS, IDS, SDS, ScoreDistiller
from editing.edit import DistillationEditor
from editing.editor import Step
from editing.errors import NonFiniteError, UserError
from editing.faults import Faults, not_finite
from editing.parameters import Latents, Pixels
from editing.schedules import Linear
from samplers.random import make_generators


@pytest.fixture
def square(images: torch.Tensor) -> torch.Tensor:
    """Pictures of the size of the exact priors' latents, (3, 3, 4, 6)."""
    return images[:, :, ::8, ::8]


def test_dds_arrives_at_the_exact_edit(gaussian_prior: Any, square: torch.Tensor) -> None:
    """Gradient descent on Gaussians ends at z + mu' - mu."""
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    edit = DistillationEditor(DDS(gaussian_prior, guidance=1.0), steps=400, step_size=0.2)(
        square, prompts, make_generators(0, range(3))
    )
    means = gaussian_prior.means[:, 0]
    expected = gaussian_prior.encode(square) + means[1] - means[0]
    torch.testing.assert_close(edit.latents, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(edit.images, gaussian_prior.decode(expected).float())


def test_one_step_is_the_papers(gaussian_prior: Any, square: torch.Tensor) -> None:
    """z' - 0.0488 times the gradient, per element."""
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    edit = DistillationEditor(DDS(gaussian_prior), steps=1)(
        square, prompts, make_generators(0, range(3))
    )
    z = gaussian_prior.encode(square)
    drawn = DDS(gaussian_prior).distill(z, z, prompts, make_generators(0, range(3)))
    torch.testing.assert_close(edit.latents, z - 0.048828125 * drawn.gradient)
    norms = [float(gradient.norm()) for gradient in drawn.gradient]
    assert edit.records == [
        {"step": 1, "t": drawn.t.tolist(), "gradient_norm": pytest.approx(norms)}
    ]


@pytest.mark.parametrize("method", [SDS, DDS, IDS])
@pytest.mark.parametrize("parameters", [Latents(), Pixels()])
@pytest.mark.parametrize("model", ["tiny_prior", "tiny_prior_v", "mixture_prior"])
def test_an_edit_does_not_depend_on_its_batch(
    request: pytest.FixtureRequest, images: torch.Tensor, model: str, parameters: Any, method: Any
) -> None:
    prior = request.getfixturevalue(model)
    images = images[:, :, ::8, ::8] if model == "mixture_prior" else images
    editor = DistillationEditor(method(prior), parameters, steps=3)
    prompts = prior.pair(source="a cat", target=["a pig", "", "a cat"])
    together = editor(images, prompts, make_generators(0, range(3)))
    for row in range(3):
        part = slice(row, row + 1)
        alone = editor(images[part], prompts[part], make_generators(0, [row]))
        torch.testing.assert_close(alone.images, together.images[part], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.latents, together.latents[part], atol=1e-4, rtol=0)
    assert (together.latents.flatten(1).std(0) > 0).any()


@pytest.mark.parametrize(("method", "forward", "backward"), [(DDS, 4, 0), (IDS, 10, 6)])
def test_evaluations_are_reported(
    tiny_prior: Any, images: torch.Tensor, method: Any, forward: int, backward: int
) -> None:
    editor = DistillationEditor(method(tiny_prior), steps=2)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    edit = editor(images, prompts, make_generators(0, range(3)))
    counted = edit.evaluations
    assert (counted.forward, counted.backward) == (2 * 3 * forward, 2 * 3 * backward)
    assert edit.seconds > 0 and set(edit.stopped) == {None}
    assert edit.images.dtype == torch.float32 and edit.images.shape == images.shape


class Spoilt(DDS):
    """Returns a NaN for the second image at the third call."""

    calls = 0

    def gradient(self, *arguments: Any) -> Any:
        gradient = super().gradient(*arguments)
        self.calls += 1
        if self.calls == 3:
            gradient[1, 0, 0, 0] = torch.nan
        return gradient


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_nan_ends_one_image_and_the_others_go_on(
    tiny_prior: Any, images: torch.Tensor, optimizer: Any
) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    trace, options = Trace(4), {"optimizer": optimizer, "step_size": 0.01}
    with pytest.raises(NonFiniteError) as caught:
        DistillationEditor(Spoilt(tiny_prior), steps=9, **options)(
            images, prompts, make_generators(0, range(3)), [trace]
        )
    whole, short = (
        DistillationEditor(DDS(tiny_prior), steps=steps, **options)(
            images, prompts, make_generators(0, range(3))
        )
        for steps in (9, 2)
    )
    last, said = caught.value.last_good, str(caught.value)
    expected = whole.latents.clone()
    expected[1] = short.latents[1]
    torch.testing.assert_close(last.latents, expected)
    assert len(last.records) == 9 and trace.steps == [4, 8, 9]
    assert last.stopped == (None, said, None)
    assert isinstance(caught.value, UserError)
    assert "gradient is not finite at step 3 of 9, image 1 of the batch (t = " in said
    assert "network in float32" in said


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_views_of_one_thing_count_as_their_mean(
    gaussian_prior: Any, square: torch.Tensor, optimizer: Any
) -> None:
    class Seen(Latents):
        def start(self, prior: Any, sources: Any) -> Any:
            canvas = super().start(prior, sources)
            (tensor,), source = canvas.tensors, canvas.source
            canvas.per_image = False
            canvas.latents = lambda generators: (
                tensor.expand(len(generators), -1, -1, -1),
                source.expand(len(generators), -1, -1, -1),
            )
            return canvas

    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    once, thrice = (
        DistillationEditor(DDS(gaussian_prior), Seen(), 5, 0.01, optimizer)(
            square[:1], prompts, make_generators(0, [0] * views)
        )
        for views in (1, 3)
    )
    assert not torch.equal(once.latents, gaussian_prior.encode(square[:1]))
    torch.testing.assert_close(once.latents, thrice.latents)


def test_what_images_share_ends_them_all(gaussian_prior: Any, square: torch.Tensor) -> None:
    """As the weights of a NeRF do, of which the images are views."""

    class Shared(Latents):
        def start(self, prior: Any, sources: Any) -> Any:
            canvas = super().start(prior, sources)
            weight = torch.zeros(1, *canvas.source.shape[1:], dtype=canvas.source.dtype)
            canvas.tensors, canvas.per_image = [weight.requires_grad_()], False
            canvas.latents = lambda generators: (canvas.source + weight, canvas.source)
            canvas.images = lambda: prior.decode(canvas.source + weight.detach()).float()
            return canvas

    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    with pytest.raises(NonFiniteError) as caught:
        DistillationEditor(Spoilt(gaussian_prior), Shared(), steps=9)(
            square, prompts, make_generators(0, range(3))
        )
    short = DistillationEditor(DDS(gaussian_prior), Shared(), steps=2)(
        square, prompts, make_generators(0, range(3))
    )
    last = caught.value.last_good
    torch.testing.assert_close(last.latents, short.latents)
    assert len(last.records) == 3 and last.stopped[0] == str(caught.value)
    assert all("not finite at step 3 of 9" in (reason or "") for reason in last.stopped)


def test_only_the_bad_image_is_not_finite(tiny_prior: Any, images: torch.Tensor) -> None:
    z = tiny_prior.encode(images)
    canvas = Latents().start(tiny_prior, images)
    with torch.no_grad():
        canvas.tensors[0][2] = torch.inf
    times, still = torch.tensor([11, 22, 33]), torch.zeros(3, dtype=torch.bool)
    state = Step(4, 5, times, torch.zeros_like(z), torch.float16, canvas, still)
    assert not_finite(state).tolist() == [False, False, True]


@pytest.mark.parametrize("every", [1, 4, 10])
def test_a_look_now_and_then_finds_the_same(
    tiny_prior: Any, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """As on a GPU, which is not made to wait at every step: the image ends where it did."""
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    begin = Faults.begin

    def rarely(still: torch.Tensor, canvas: Any) -> Faults:
        return dataclasses.replace(begin(still, canvas), every=every)

    monkeypatch.setattr(Faults, "begin", staticmethod(rarely))
    with pytest.raises(NonFiniteError) as caught:
        DistillationEditor(Spoilt(tiny_prior), steps=9)(
            images, prompts, make_generators(0, range(3))
        )
    t = caught.value.last_good.records[2]["t"][1]
    said = f"gradient is not finite at step 3 of 9, image 1 of the batch (t = {t}, network in"
    assert said in str(caught.value)
    short = DistillationEditor(DDS(tiny_prior), steps=2)(
        images, prompts, make_generators(0, range(3))
    )
    torch.testing.assert_close(caught.value.last_good.latents[1], short.latents[1])


def test_half_precision_that_overflows_is_caught(tiny_sd: Any, images: torch.Tensor) -> None:
    """A network made to overflow in fp16 must not end in a black picture."""
    prior = editing.load_prior(tiny_sd, device="cpu", dtype="fp16")
    prior.unet.conv_out.weight.data.fill_(60000.0)
    prompts = prior.pair(source="a cat", target="a pig")
    with pytest.raises(NonFiniteError, match=r"step 1 of 2.*network in float16") as caught:
        DistillationEditor(DDS(prior), steps=2)(images, prompts, make_generators(0, range(3)))
    last = caught.value.last_good
    torch.testing.assert_close(last.images, prior.decode(prior.encode(images)))


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.05), ("bf16", 0.3)])
def test_an_edit_in_half_precision_is_close(
    tiny_prior: Any, tiny_sd: Any, images: torch.Tensor, dtype: str, tolerance: float
) -> None:
    half = editing.load_prior(tiny_sd, device="cpu", dtype=dtype)
    pictures = images.repeat(4, 1, 1, 1)  # with noises of their own: a random network is erratic
    results = []
    for prior in (tiny_prior, half):
        prompts = prior.pair(source="a cat", target="a pig")
        editor = DistillationEditor(IDS(prior), steps=3)
        results.append(editor(pictures, prompts, make_generators(0, range(12))))
    exact, rough = results
    assert rough.latents.dtype == torch.float32
    moved = (exact.latents - tiny_prior.encode(pictures)).norm()
    assert (rough.latents - exact.latents).norm() < tolerance * moved
    assert (rough.images - exact.images).abs().mean() < 0.04


def test_callbacks_see_every_step(mixture_prior: Any, square: torch.Tensor) -> None:
    trace, bar = Trace(every=3), io.StringIO()
    seen: list[Step] = []

    class Watch:
        def on_step(self, state: Step) -> None:
            seen.append(state)
            assert state.gradient.shape == state.latents.shape == (3, 3, 4, 6)
            assert not state.latents.requires_grad

    editor = DistillationEditor(DDS(mixture_prior), steps=7, callbacks=[trace])
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    edit = editor(square, prompts, make_generators(0, range(3)), [Watch(), Progress("ids", bar)])
    assert [state.step for state in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [state.t.tolist() for state in seen] == [record["t"] for record in edit.records]
    assert trace.steps == [3, 6, 7]
    assert torch.equal(trace.frames[-1], edit.images)
    assert not torch.equal(trace.frames[0], trace.frames[1])
    assert "ids" in bar.getvalue() and "7/7" in bar.getvalue()


def test_progress_runs_from_0_to_1(mixture_prior: Any, square: torch.Tensor) -> None:
    seen = []

    def timesteps(length: int, generators: Any, progress: float) -> torch.Tensor:
        seen.append(progress)
        return torch.full((len(generators),), 500)

    editor = DistillationEditor(DDS(mixture_prior, timesteps=timesteps), steps=5)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    editor(square, prompts, make_generators(0, range(3)))
    assert seen == [0, 0.25, 0.5, 0.75, 1]


def test_settings_that_make_no_sense(mixture_prior: Any) -> None:
    with pytest.raises(UserError, match="at least one step, got steps=0"):
        DistillationEditor(DDS(mixture_prior), steps=0)
    for step_size in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="step size must be positive"):
            DistillationEditor(DDS(mixture_prior), step_size=step_size)
    with pytest.raises(ValueError, match="every"):
        Trace(0)


def test_public_names() -> None:
    for name in editing.__all__:
        assert getattr(editing, name).__name__ == name
    assert editing.ScoreDistiller is ScoreDistiller
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        editing.nothing  # noqa: B018


def test_importing_editing_is_cheap() -> None:
    """Less than 3 seconds of its own beyond torch and diffusers; and those only when used."""
    program = (
        "import sys, time; import editing; "
        "assert 'torch' not in sys.modules; import torch, diffusers; start = time.process_time(); "
        "[getattr(editing, name) for name in editing.__all__]; "
        "print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3


def test_a_schedule_scales_every_step(gaussian_prior: Any, square: torch.Tensor) -> None:
    """Two steps of a falling line: the first whole, the second none."""
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    falling = DistillationEditor(DDS(gaussian_prior), steps=2, schedule=Linear())
    one = DistillationEditor(DDS(gaussian_prior), steps=1)
    found = [e(square, prompts, make_generators(0, range(3))).latents for e in (falling, one)]
    assert torch.equal(found[0], found[1])


def test_adam_moves_every_element_alike(gaussian_prior: Any, square: torch.Tensor) -> None:
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    editor = DistillationEditor(
        DDS(gaussian_prior), steps=1, step_size=0.01, optimizer=torch.optim.Adam
    )
    edit = editor(square, prompts, make_generators(0, range(3)))
    moved = (edit.latents - gaussian_prior.encode(square)).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)
