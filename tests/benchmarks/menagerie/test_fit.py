import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.menagerie import fit as fit_module
from benchmarks.menagerie.fit import Plan, Progress, average_decay, fit

CPU = torch.device("cpu")
WEIGHT = torch.tensor([[1.0, -2.0, 0.5]])


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every look at the clock takes a second, so every step does."""
    ticks = count()
    monkeypatch.setattr(fit_module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    yield


def plan(steps: int, averages: tuple[float, ...] = (0.2,)) -> Plan:
    return Plan(steps / 60, batch=16, rate=0.05, averages=averages, warmup=3)


def toy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
    x = torch.randn(16, 3, generator=generator)
    noise = 0.1 * torch.randn(16, 1, generator=generator)
    return (model(x) - x @ WEIGHT.T - noise).square().mean()


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_falls(tmp_path: Path) -> None:
    def held_out(model: nn.Module) -> float:
        return loss(model, torch.Generator().manual_seed(99)).item()

    before = held_out(toy())
    model, progress = fit(toy(), loss, plan(120), tmp_path / "toy.pt", CPU)
    assert held_out(model) < 0.02 * before
    assert not model.training
    assert progress == Progress(step=120, samples=120 * 16, seconds=120.0, average=0.2)
    log = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [50, 100]
    assert log[0]["rate"] == 0.05 > log[1]["rate"]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", 9.0)
    straight, progress = fit(toy(), loss, plan(40), tmp_path / "straight.pt", CPU)
    calls = count(1)

    def killed(model: nn.Module, generator: torch.Generator) -> Tensor:
        if next(calls) == 27:
            raise KeyboardInterrupt
        return loss(model, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(toy(), killed, plan(40), tmp_path / "stopped.pt", CPU)
    saved = torch.load(tmp_path / "stopped.pt", weights_only=True)["progress"]
    assert saved == {"step": 20, "samples": 320, "seconds": 20.0, "average": 0.0}
    resumed, again = fit(nn.Linear(3, 1), loss, plan(40), tmp_path / "stopped.pt", CPU)
    assert again == progress
    assert torch.equal(weights(resumed), weights(straight))


def test_a_longer_budget_continues_and_a_spent_one_does_nothing(tmp_path: Path) -> None:
    first, _ = fit(toy(), loss, plan(10), tmp_path / "toy.pt", CPU)
    same, spent = fit(toy(), loss, plan(10), tmp_path / "toy.pt", CPU)
    assert spent.step == 10
    assert torch.equal(weights(first), weights(same))
    longer, progress = fit(toy(), loss, plan(25), tmp_path / "toy.pt", CPU)
    assert progress == Progress(step=25, samples=400, seconds=25.0, average=0.2)
    assert not torch.equal(weights(first), weights(longer))


def test_the_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    made = [
        weights(fit(toy(), loss, plan(5), tmp_path / f"{i}.pt", CPU, seed)[0])
        for i, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("length", [0.02, 0.05, 0.1, 0.25])
def test_an_average_remembers_as_long_as_it_says(length: float) -> None:
    """What is kept of each step until the last has the deviation asked for, in shares of all."""
    steps = 10_000
    weight, shares = 1.0, []
    for step in reversed(range(steps)):
        kept = average_decay(length, step)
        shares.append(weight * (1 - kept))
        weight *= kept
    share = torch.tensor(shares[::-1], dtype=torch.float64)
    assert share.sum() == pytest.approx(1)
    at = (torch.arange(steps) + 1).double() / steps
    mean = (share * at).sum()
    assert (share * (at - mean) ** 2).sum().sqrt() == pytest.approx(length, rel=1e-2)


def test_averaged_weights_lag_behind_the_raw_ones(tmp_path: Path) -> None:
    model, _ = fit(toy(), loss, plan(20), tmp_path / "toy.pt", CPU)
    state = torch.load(tmp_path / "toy.pt", weights_only=True)
    raw, mean = (
        torch.cat([p.flatten() for p in kept.values()])
        for kept in (state["parameters"], state["means"]["0.2"])
    )
    assert torch.equal(weights(model), mean)
    assert (raw - mean).abs().max() > 1e-3
    target = torch.cat([WEIGHT[0], torch.zeros(1)])
    assert (raw - target).norm() < (mean - target).norm()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_several_averages_the_judge_takes_one(tmp_path: Path, sign: float) -> None:
    """The longest remembers the start, so the one judge takes it and the other does not."""
    start = weights(toy())

    def judge(model: nn.Module) -> float:
        assert not model.training
        return sign * float((weights(model) - start).norm())

    averages = (0.05, 0.1, 0.25)
    model, progress = fit(toy(), loss, plan(20, averages), tmp_path / "toy.pt", CPU, judge=judge)
    assert progress.average == (0.25 if sign > 0 else 0.05)
    state = torch.load(tmp_path / "toy.pt", weights_only=True)
    kept = state["means"][str(progress.average)].values()
    assert torch.equal(weights(model), torch.cat([p.flatten() for p in kept]))
    with pytest.raises(ValueError, match="among 3 averages takes a judge"):
        fit(toy(), loss, plan(20, averages), tmp_path / "other.pt", CPU)


def test_an_average_of_a_new_length_begins_with_the_weights(tmp_path: Path) -> None:
    fit(toy(), loss, plan(10), tmp_path / "toy.pt", CPU)
    raw = torch.load(tmp_path / "toy.pt", weights_only=True)["parameters"]
    again, _ = fit(toy(), loss, plan(10, (0.25,)), tmp_path / "toy.pt", CPU)
    assert torch.equal(weights(again), torch.cat([p.flatten() for p in raw.values()]))


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = toy()
    model.get_parameter("bias").requires_grad_(False)
    before = weights(model)
    trained, _ = fit(model, loss, plan(10), tmp_path / "toy.pt", CPU)
    assert weights(trained)[3] == before[3]
    assert not torch.equal(weights(trained)[:3], before[:3])


def test_what_is_frozen_later_stays_as_it_is_given(tmp_path: Path) -> None:
    fit(toy(), loss, plan(10), tmp_path / "toy.pt", CPU)
    kept = torch.load(tmp_path / "toy.pt", weights_only=True)["parameters"]["weight"][0]
    model = toy()
    model.get_parameter("bias").requires_grad_(False).fill_(0.25)
    trained, progress = fit(model, loss, plan(11), tmp_path / "toy.pt", CPU)
    assert progress.step == 11
    assert weights(trained)[3] == 0.25
    raw = torch.load(tmp_path / "toy.pt", weights_only=True)["parameters"]
    assert set(raw) == {"weight"} and (raw["weight"][0] - kept).abs().max() < 0.1


def test_a_checkpoint_made_on_other_parts_is_refused(tmp_path: Path) -> None:
    fit(toy(), loss, plan(5), tmp_path / "toy.pt", CPU, base="old")
    with pytest.raises(ValueError, match=r"toy\.pt was trained on other parts"):
        fit(toy(), loss, plan(9), tmp_path / "toy.pt", CPU, base="new")
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["progress"]["step"] == 5


def test_a_parameter_without_a_gradient_is_no_silent_mistake(tmp_path: Path) -> None:
    model = nn.ModuleDict({"used": toy(), "idle": toy()})
    with pytest.raises(ValueError, match=r"idle\.weight and 1 others get no gradient"):
        fit(model, lambda m, g: loss(m["used"], g), plan(2), tmp_path / "toy.pt", CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_stage(tmp_path: Path, value: float) -> None:
    calls = count(1)

    def breaks(model: nn.Module, generator: torch.Generator) -> Tensor:
        return loss(model, generator) * (value if next(calls) == 4 else 1.0)

    with pytest.raises(FloatingPointError, match=f"loss of unet is {value} at step 4"):
        fit(toy(), breaks, plan(10), tmp_path / "unet.pt", CPU)
    assert not (tmp_path / "unet.pt").exists()
