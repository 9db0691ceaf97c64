"""Rows as a run leaves them, without running anything."""

import random
from typing import Any


def row(method: str, case: int, value: float | None, seed: int = 0, **settings: Any) -> dict:
    edit = {"method": method, "seed": seed, **settings}
    if method in ("source", "exact answer"):
        edit = {"method": method}
    return {
        "key": f"{method}-{case}-{seed}-{settings}",
        "picture": f"{method}-{case}-{seed}-{settings}",
        "suite": "cat_to_others",
        "group": "",
        "case": f"case-{case}",
        "cluster": f"cat-{case // 2}",
        "variant": f"variant-{case}",
        "prompts": ["a cat", "a pig"],
        "edit": edit,
        "status": "done",
        "metrics": {"target_species": 1.0, "exact_psnr": value},
        "evaluations": {"forward": 8.0, "backward": 2.0},
        "seconds": 1.5,
        "memory": 100.0 + case,
        "batch_size": 4,
        "time": 0.0,
    }


SHIFT = (("dds", 0), ("ids", 2))


def some_rows() -> list[dict]:
    rng = random.Random(0)
    hard = [rng.gauss(12, 4) for _ in range(20)]
    made = [row("source", i, 9.0) for i in range(20)]
    made += [row("exact answer", i, 100.0) for i in range(20)]
    for seed in (0, 1):
        made += [row("dds", i, value + rng.gauss(0, 0.1), seed) for i, value in enumerate(hard)]
        made += [row("ids", i, value + 1 + rng.gauss(0, 0.1), seed) for i, value in enumerate(hard)]
    rng.shuffle(made)
    return made
