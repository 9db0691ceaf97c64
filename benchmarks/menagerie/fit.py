"""One resumable training loop for every stage.

AdamW, averages of the weights over several lengths, a budget in minutes, checkpoints.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from editing.results import write

CHECKPOINT_SECONDS = 90.0


@dataclass(frozen=True)
class Plan:
    """How one stage is trained.

    Attributes:
        minutes: budget over all sessions of the stage.
        batch: pictures a step.
        rate: peak learning rate of AdamW.
        weight_decay: of AdamW.
        averages: lengths of the weights' moving averages, each the deviation of its memory as a
            share of all steps so far (Karras et al. 2024, section 3.1); the best is kept.
        warmup: steps over which the rate rises.
        decay: last share of the budget, over which the rate falls to zero.
    """

    minutes: float | int
    batch: int
    rate: float
    weight_decay: float = 0.01
    averages: tuple[float, ...] = (0.05,)
    warmup: int = 100
    decay: float = 0.4


@dataclass
class Progress:
    """Where a stage stands.

    Attributes:
        step: optimiser steps taken.
        samples: pictures seen.
        seconds: spent.
        average: length of the average whose weights were kept, 0 before any was.
    """

    step: int = 0
    samples: int = 0
    seconds: float | int = 0.0
    average: float = 0.0


def average_decay(length: float, step: int) -> float:
    """How much of a power-function average outlives a step (Karras et al. 2024, Eq. 1, 125).

    Args:
        length: relative deviation of the average's memory, in (0, 0.28).
        step: steps before this one.
    """
    # sigma = sqrt((g + 1) / ((g + 2)^2 (g + 3))), solved for the power g.
    s = length**-2
    power = np.roots([1, 7, 16 - s, 12 - s]).real.max()
    return float((1 - 1 / (step + 1)) ** (power + 1))


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, torch.Generator], Float[Tensor, ""]],
    plan: Plan,
    checkpoint: Path,
    device: torch.device,
    seed: int = 0,
    base: str = "",
    judge: Callable[[nn.Module], float] | None = None,
) -> tuple[nn.Module, Progress]:
    """Trains `model` in place until the plan's minutes are spent; returns it with averaged weights.

    Of several averages those are kept that `judge` gives the least.

    A checkpoint is written every 90 seconds and at the end. An existing one is resumed, optimiser
    included, so a longer budget continues a finished stage. What is drawn after a resume depends
    only on `seed` and the step.

    Args:
        model: parameters that need no gradient stay as they are.
        loss: called with the model and a CPU generator seeded from (seed, step); draws its own
            batch.
        plan: budget and rates.
        checkpoint: file of the stage; its stem names the stage, and its log is beside it.
        device: where the model is.
        seed: of all that is drawn.
        base: digest of the frozen parts that the stage stands on.
        judge: error of the model on data it is not trained on; needed to choose among averages.

    Raises:
        ValueError: there are several averages and no `judge`, the checkpoint was made on another
            `base`, or a parameter gets no gradient.
        FloatingPointError: the loss is not finite; the last checkpoint is kept.
    """
    if len(plan.averages) > 1 and judge is None:
        raise ValueError(f"To choose among {len(plan.averages)} averages takes a judge.")
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(named.values())
    optimizer = torch.optim.AdamW(
        parameters, plan.rate, (0.9, 0.99), weight_decay=plan.weight_decay
    )
    progress, kept_means = Progress(), dict[str, dict[str, Tensor]]()
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["base"] != base:
            raise ValueError(f"{checkpoint} was trained on other parts of the model: delete it.")
        with torch.no_grad():
            for name, p in named.items():
                p.copy_(state["parameters"][name])
        kept_means = state["means"]
        optimizer.state.update({p: state["optimizer"][name] for name, p in named.items()})
        progress = Progress(**state["progress"])
    begun = {name: p.detach() for name, p in named.items()}
    means = {}
    for length in map(str, plan.averages):
        before = kept_means.get(length, begun)
        means[length] = {name: before[name].clone() for name in named}

    def save() -> None:
        state = {
            "parameters": {name: p.detach() for name, p in named.items()},
            "means": means,
            "optimizer": {name: optimizer.state[p] for name, p in named.items()},
            "progress": vars(progress),
            "base": base,
        }
        buffer = BytesIO()
        torch.save(state, buffer)
        write(checkpoint, buffer.getvalue())

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    model.train()
    started, spent = time.monotonic(), progress.seconds
    saved_at, running = started, float("nan")
    log = checkpoint.with_suffix(".jsonl")
    while progress.seconds < 60 * plan.minutes:
        share = progress.seconds / (60 * plan.minutes)
        rate = min(1.0, (progress.step + 1) / plan.warmup) * min(1.0, (1 - share) / plan.decay)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * rate
        generator = torch.Generator().manual_seed(seed * 1_000_003 + progress.step)
        value = loss(model, generator)
        value.backward()
        if idle := [name for name, p in named.items() if p.grad is None]:
            raise ValueError(f"{idle[0]} and {len(idle) - 1} others get no gradient: freeze them.")
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for length, mean in means.items():
            kept = average_decay(float(length), progress.step)
            torch._foreach_lerp_(list(mean.values()), [p.detach() for p in parameters], 1 - kept)
        progress.step += 1
        progress.samples += plan.batch
        now = time.monotonic()
        progress.seconds = spent + now - started
        item = value.item()
        if not math.isfinite(item):
            raise FloatingPointError(
                f"The loss of {checkpoint.stem} is {item} at step {progress.step}."
            )
        running = item if math.isnan(running) else 0.98 * running + 0.02 * item
        if progress.step % 50 == 0:
            line = {**vars(progress), "loss": round(running, 5), "rate": round(plan.rate * rate, 7)}
            print(f"{checkpoint.stem}: {json.dumps(line)}", flush=True)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if now - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = now
    save()

    @torch.no_grad()
    def take(length: float) -> nn.Module:
        for name, p in named.items():
            p.copy_(means[str(length)][name])
        return model.eval()

    best = plan.averages[0]
    if judge is not None:
        errors = {length: judge(take(length)) for length in plan.averages}
        print(f"{checkpoint.stem}: error by average {json.dumps(errors)}", flush=True)
        best = min(errors, key=errors.__getitem__)
    progress.average = best
    return take(best), progress
