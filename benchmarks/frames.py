"""Rows as a data frame: what counts of a folder, and what each edit is called."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from benchmarks.rows import Asked, digest

COST = ("forward", "backward")
KEYS = ("suite", "group", "case", "method", "label", "seed", "status")
# The noise that a method has by default says nothing, and FPR's has a short name.
NOISE, RANDOM, FPR = "distiller.noise._target_", "RandomNoise", "FixedPointNoise"


def frame(rows: Sequence[Mapping[str, Any]], asked: Sequence[Asked] | None = None) -> pd.DataFrame:
    """A line per row: `KEYS`, the metrics, the cost, and what else is known of it.

    Only those count that are `asked` for, if that is said: a folder may hold those of other cases
    and judges. A suite that is asked for with several options is several, each named by them.
    """
    if asked is not None:
        rows = of_asked(rows, asked)
    rows = _latest(rows)
    named = labels([row["edit"] for row in rows])
    lines = []
    for row, label in zip(rows, named, strict=True):
        known = row.get("evaluations", {})
        metrics = {name: _number(value) for name, value in row.get("metrics", {}).items()}
        lines.append(
            {
                "suite": row["suite"],
                "group": row["group"],
                "case": row["case"],
                "cluster": row["cluster"],
                "method": row["edit"]["method"],
                "label": label,
                "seed": row["edit"].get("seed", -1),
                "status": row["status"],
                **metrics,
                **{name: float(known.get(name, 0)) for name in COST},
                "seconds": float(row.get("seconds", 0)),
                "memory": _number(row.get("memory")),
                "batch_size": row.get("batch_size", 0),
                "source_prompt": row["prompts"][0],
                "target_prompt": row["prompts"][1],
                "reason": row.get("reason", ""),
                "edit": digest({**row["edit"], "seed": 0}),
                "key": row["key"],
                "picture": row.get("picture", row["key"]),  # older rows: one name for both
            }
        )
    made = pd.DataFrame(lines, columns=None if lines else [*KEYS, "cluster", "key", *COST])
    return made.sort_values(["suite", "group", "label", "case", "seed", "key"], ignore_index=True)


def of_asked(rows: Sequence[Mapping[str, Any]], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """The rows that are asked for, each with the name of its suite among those asked for."""
    return [
        {**row, "suite": title}
        for title, each in zip(titles(asked), asked, strict=True)
        for variants in [set(each.cases)]
        for row in rows
        if row["variant"] in variants
    ]


def titles(asked: Sequence[Asked]) -> list[str]:
    """The name of each suite, with those of its options that make it another."""
    named = []
    for each in asked:
        same = [other.options for other in asked if other.suite == each.suite]
        differ = [n for n in each.options if len({options.get(n) for options in same}) > 1]
        named.append(" ".join([each.suite, *(f"{n}={each.options[n]}" for n in differ)]))
    return named


def _latest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each case and edit the latest row."""
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["time"], row["key"])):
        edit = json.dumps(row["edit"], sort_keys=True)
        found[row["suite"], row["case"], edit] = row
    return list(found.values())


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def labels(edits: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each edit: its method, and of its settings those in which methods differ.

    A setting that only some of them have is implied by what brings it, unless it differs there.
    """
    texts = [json.dumps({**edit, "seed": 0}, sort_keys=True) for edit in edits]
    flat = {text: _flat(edit) for text, edit in zip(texts, edits, strict=True)}
    by_method: dict[str, list[dict[str, str]]] = {}
    for edit in flat.values():
        by_method.setdefault(edit["method"], []).append(edit)
    differ = {method: _differ(edits_of) for method, edits_of in by_method.items()}
    names = {}
    for text, edit in flat.items():
        words = [_word(name, edit[name]) for name in differ[edit["method"]] if name in edit]
        names[text] = " ".join([with_noise(edit), *words])
    return [names[text] for text in texts]


@cache
def fpr_by_default() -> frozenset[str]:
    """The methods whose configs choose FPR's noise."""
    files = (resources.files("conf") / "method").iterdir()
    return frozenset(
        file.name.removesuffix(".yaml")
        for file in files
        if file.name.endswith(".yaml") and ".noise: fpr" in file.read_text(encoding="utf-8")
    )


def with_noise(edit: Mapping[str, str]) -> str:
    """The name of a method, with its noise where that is not its default: `cds+fpr`."""
    method, noise = edit["method"], edit.get(NOISE, "").rpartition(".")[2]
    usual = FPR if method in fpr_by_default() else RANDOM
    if noise == usual or noise not in (RANDOM, FPR):
        return method
    return f"{method}+fpr" if noise == FPR else f"{method} noise={noise}"


def _differ(edits: Sequence[Mapping[str, str]]) -> list[str]:
    """The settings that tell edits of one method apart, beside what `with_noise` says."""
    values: dict[str, set[str]] = {}
    for edit in edits:
        for name, value in edit.items():
            values.setdefault(name, set()).add(value)
    said = [name for name, found in values.items() if len(found) > 1]
    told = {tuple(edit.get(name) for name in said) for edit in edits}
    if len(told) < len({tuple(sorted(edit.items())) for edit in edits}):
        said = [n for n in values if len({edit.get(n) for edit in edits}) > 1]
    noises = {each.rpartition(".")[2] for each in values.get(NOISE, ())}
    return [name for name in said if name != NOISE or not noises <= {RANDOM, FPR}]


def _word(name: str, value: str) -> str:
    """`distiller.noise._target_`, `samplers.noise.RandomNoise`: `noise=RandomNoise`."""
    name = name.removeprefix("distiller.")
    if name.endswith("._target_"):
        name, value = name.removesuffix("._target_"), value.rpartition(".")[2]
    return f"{name}={value[:8]}" if name in ("model", "files") else f"{name}={value}"


def _flat(edit: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names of the settings, without the seed."""
    found: dict[str, str] = {}
    for name, value in edit.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "seed":
            found[f"{prefix}{name}"] = str(value)
    return found
