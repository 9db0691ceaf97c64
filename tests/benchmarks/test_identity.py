"""What a row is named by."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from benchmarks import identity as identity_module
from benchmarks.identity import editor_identity, suite_identity
from benchmarks.rows import digest
from benchmarks.suites.cat_to_others import CatToOthers
from editing.settings import Settings, read_settings


def test_the_code_belongs_to_the_identity(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an edit that of the two packages below; of a measurement that of its suite."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", ["src=-", "target=-"])
    settings = read_settings(config, "ids", "menagerie", [])
    asked: list[list[str]] = []

    def digested(*places: Path) -> str:
        asked.append([place.name for place in places])
        return f"of {len(asked)}"

    monkeypatch.setattr(identity_module, "source_digest", digested)
    first, second = (editor_identity(settings, tiny_prior) for _ in range(2))
    assert first["sources"] != second["sources"] and asked[0] == ["editing", "samplers"]
    judged = suite_identity(CatToOthers(cases=1))
    assert {"cat_to_others.py", "world.py", "metrics"} == set(asked[-1])
    assert set(judged["versions"]) == {"torch", "transformers"}


SETTINGS = {
    "method": "dds",
    "steps": 7,
    "step_size": 0.07,
    "distiller": {"guidance": 9.0},
    "parameters": {"_target_": "editing.parameters.Pixels"},
    "optimizer": {"_target_": "torch.optim.Adam"},
    "schedule": {"_target_": "editing.schedules.Linear"},
    "lora_scale": 0.3,
    "distilled_guidance": 1.0,
}


# What an edit of a case does not depend on, or what the model's hash and files say.
OTHERWISE = (
    "src target source jobs task inversion output reverse trace overwrite resume guidance prior "
    "model seed size batch_size device dtype early_stop lora embedding tuning mask captioner "
    "parent trajectory"
).split()


def test_every_setting_of_an_edit_is_in_its_identity(tiny_prior: Any) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", ["src=-", "target=-", "lora=style.safetensors"])
    base = read_settings(config, "ids", "menagerie", [])
    before = editor_identity(base, tiny_prior)
    names = {field.name for field in dataclasses.fields(Settings)}
    assert {*SETTINGS, *OTHERWISE} == names, "a new setting must be in one of the two"
    for name, value in SETTINGS.items():
        changed = editor_identity(dataclasses.replace(base, **{name: value}), tiny_prior)
        assert digest(changed) != digest(before), name
