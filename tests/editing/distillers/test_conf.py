"""The YAML files of methods, noise, timesteps and parameters against the classes they name."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from editing.distillers import DDS, IDS, SDS
from editing.edit import STEP_SIZE
from samplers.noise import FixedPointNoise, RandomNoise

CONF = Path(str(resources.files("conf")))
FILES = sorted(
    path
    for group in ("method", "noise", "timesteps", "parameters")
    for path in (CONF / group).glob("*.yaml")
)


@pytest.mark.parametrize(
    ("overrides", "method", "noise"),
    [
        ([], IDS, FixedPointNoise()),
        (["method=ids", "noise.iterations=5"], IDS, FixedPointNoise(iterations=5)),
        (["method=ids", "noise=random"], IDS, RandomNoise()),
        (["method=dds"], DDS, RandomNoise()),
        (["method=dds", "noise=fpr"], DDS, FixedPointNoise()),
        (["method=sds"], SDS, RandomNoise()),
        (["noise=fpr", "method=sds"], SDS, FixedPointNoise()),
    ],
)
def test_a_method_brings_its_noise_and_the_command_line_wins(
    gaussian_prior: Any, overrides: list[str], method: type, noise: Any
) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", overrides)
    # Nested, not as arguments: Hydra would turn the dataclasses it is handed back into configs.
    node = {**config.method, "noise": config.noise, "timesteps": config.timesteps}
    del node["steps"], node["step_size"]
    distiller = instantiate(node)(gaussian_prior)
    assert type(distiller) is method
    assert distiller.noise == noise
    assert distiller.timesteps == method(gaussian_prior).timesteps
    assert distiller.guidance == method(gaussian_prior).guidance
    assert config.method.step_size == STEP_SIZE


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fields_are_commented_and_repeat_the_defaults(path: Path) -> None:
    config = OmegaConf.load(path)
    parameters = inspect.signature(get_class(config._target_)).parameters
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "_", "defaults", " ")):
            assert "  # " in line or " # " in line, f"{path}: {line}"
    for key, value in config.items():
        # steps and step_size belong to the loop, not to the method
        if not str(key).startswith("_") and key not in ("defaults", "steps", "step_size"):
            if "options" in parameters and key not in parameters:
                assert key == "guidance"  # SDS hands it on to its base
            else:
                assert parameters[str(key)].default == value
