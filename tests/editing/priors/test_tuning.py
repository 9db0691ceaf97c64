"""Options that must not change what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
import torch

from editing.distillers import CDS, IDS
from editing.errors import UserError
from editing.priors import load_prior
from editing.priors.latent import LatentPrior
from editing.priors.tuning import Tuning, modules, offload, tune
from samplers.ddib import DDIB
from samplers.p2p import P2P
from samplers.pnp import PlugAndPlay
from samplers.random import make_generators
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_sd3

OPTIONS = [
    Tuning(channels_last=True),
    Tuning(gradient_checkpointing=True),
    Tuning(attention="sliced"),
    Tuning(cpu_offload=True),
    Tuning(channels_last=True, gradient_checkpointing=True, cpu_offload=True),
]


@pytest.mark.parametrize("tuning", OPTIONS, ids=repr)
@pytest.mark.parametrize("method", [IDS, CDS])
def test_gradients_stay_the_same(tiny_sd: Path, tuning: Tuning, method: Any) -> None:
    z = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))

    def gradient(prior: Any) -> torch.Tensor:
        prompts = prior.pair(source="a cat", target="a pig")
        return method(prior).distill(z, 0.9 * z, prompts, make_generators(0, range(2))).gradient

    plain, tuned = (load_prior(tiny_sd, device="cpu", tuning=t) for t in (None, tuning))
    expected, found = gradient(plain), gradient(tuned)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    pictures = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(tuned.encode(pictures), plain.encode(pictures))


@pytest.mark.parametrize("method", [IDS, CDS])
def test_checkpointing_works_in_half_precision_too(tiny_sd: Path, method: Any) -> None:
    """What is computed again must be what was computed first."""
    z = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    found = []
    for checkpointing in (False, True):
        tuning = Tuning(gradient_checkpointing=checkpointing)
        prior = load_prior(tiny_sd, device="cpu", dtype="bf16", tuning=tuning)
        prompts = prior.pair(source="a cat", target="a pig")
        generators = make_generators(0, range(2))
        found.append(method(prior).distill(z, 0.9 * z, prompts, generators).gradient.flatten())
    assert torch.cosine_similarity(*found, dim=0) > 0.8  # a random network is erratic


def test_the_options_reach_the_network(tiny_sd: Path) -> None:
    prior = load_prior(tiny_sd, device="cpu", tuning=OPTIONS[-1])
    assert prior.network.is_gradient_checkpointing
    assert prior.network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(hasattr(module, "_hf_hook") for module in modules(prior))


class Part(torch.nn.Module):
    """A module that remembers where it is."""

    at = "cpu"

    def to(self, device: Any) -> Any:
        self.at = str(device)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_only_the_module_that_was_called_last_is_on_the_device() -> None:
    text, vae, network = Part(), Part(), Part()
    prior = Mock(spec=LatentPrior, text_encoder=text, vae=vae, network=network)
    offload(prior, torch.device("meta"))
    for called in (text, vae, text, network, network, vae):
        with torch.no_grad():
            assert called(torch.zeros(1)).device.type == "meta"
        assert {part.at for part in (text, vae, network) if part is not called} == {"cpu"}
        assert called.at == "meta"


def test_what_a_gradient_goes_through_stays_on_the_device() -> None:
    """Pixels: the VAE's graph must outlive the network's call."""
    text, vae, network = Part(), Part(), Part()
    prior = Mock(spec=LatentPrior, text_encoder=text, vae=vae, network=network)
    offload(prior, torch.device("meta"))
    with torch.no_grad():
        text(torch.zeros(1))
    vae(torch.zeros(1))
    with torch.no_grad():
        network(torch.zeros(1))
        assert (text.at, vae.at, network.at) == ("cpu", "meta", "meta")
        text(torch.zeros(1))
    assert (text.at, vae.at, network.at) == ("meta", "meta", "cpu")


def test_a_compiled_network_is_refused_where_it_is_looked_into(tiny_sd: Path) -> None:
    prior = load_prior(tiny_sd, device="cpu")
    prior.network.compile(backend="eager")
    for method in (CDS, PlugAndPlay):
        with pytest.raises(ValueError, match=r"leave tuning\.compile=false"):
            method(prior)
    z = torch.zeros(1, 4, 8, 8)
    prompts = prior.pair(source="a cat", target="a pig")
    plain = load_prior(tiny_sd, device="cpu")
    found, expected = (
        IDS(p).distill(z + 0.1, z, prompts, make_generators(0, [0])).gradient
        for p in (prior, plain)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_attention_is_edited_in_a_compiled_network_too(tiny_sd: Path) -> None:
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for compiled in (True, False):
        prior = load_prior(tiny_sd, device="cpu")
        if compiled:
            prior.network.compile(backend="eager")
        prompts = prior.pair(source="a cat", target="a pig")
        method = P2P(prior, steps=4, blend=["cat", "pig"], blend_start=0.5)
        found.append(method(z, prompts, make_generators(0, [0])))
    plain = DDIB(prior, steps=4)(z, prompts, make_generators(0, [0]))
    assert not torch.allclose(found[1], plain, atol=1e-2)
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        (True, {"mode": "default", "dynamic": None}),
        ("reduce-overhead", {"mode": "reduce-overhead", "dynamic": False}),
        ("max-autotune", {"mode": "max-autotune", "dynamic": False}),
        (False, None),
    ],
)
def test_how_a_network_is_compiled(asked: Any, called: dict[str, Any] | None) -> None:
    network = Mock()
    tune(Mock(spec=LatentPrior, network=network), Tuning(compile=asked), torch.device("cpu"))
    assert network.compile.call_args == (None if called is None else call(**called))


def test_what_a_graph_writes_to_one_place_is_kept(tiny_sd: Path) -> None:
    prior = load_prior(tiny_sd, device="cpu")
    place = torch.zeros(1, 4, 8, 8)
    prior.run_network = lambda z_t, t, tensors: place.copy_(z_t)
    z, t, null = torch.ones(1, 4, 8, 8), torch.tensor([5]), prior.null(1)
    tune(prior, Tuning(), prior.device)
    first, _ = prior.predict(z, t, null), prior.predict(2 * z, t, null)
    assert torch.equal(first, 2 * z), "plain networks' outputs are not copied"
    prior.network = Mock()
    tune(prior, Tuning(compile="reduce-overhead"), prior.device)
    first, _ = prior.predict(z, t, null), prior.predict(2 * z, t, null)
    assert torch.equal(first, z)


def test_a_transformer_has_no_sliced_attention(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        folder = save_sd3(tmp_path / "tiny", tiny_tokenizer(16))
    assert len(modules(load_prior(folder, device="cpu"))) == 5
    with pytest.raises(UserError, match="SD3Transformer2DModel has no sliced attention"):
        load_prior(folder, device="cpu", tuning=Tuning(attention="sliced"))


def test_the_command_line(edit: Callable[..., Any], tmp_path: Path) -> None:
    words = ["tuning.cpu_offload=true", "tuning.channels_last=true"]
    assert edit(*words, "output=out").code == 0
    for word, said in (
        ("tuning.attention=flash", "is not one of sdpa, sliced"),
        ("tuning.compile=3", "tuning.compile=3 cannot be used"),
        ("tuning.compile=fast", "true, false, default, reduce-overhead, max-autotune"),
    ):
        outcome = edit(word)
        assert outcome.code == 2 and said in outcome.err
