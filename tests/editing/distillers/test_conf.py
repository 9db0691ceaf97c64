"""The YAML files of methods, noise, timesteps and the loop against the classes they name."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from editing.distillers import DDS, DRFS, IDS, ISM, NFSD, PDS, SDS, SSD
from editing.edit import STEP_SIZE
from samplers.noise import FixedPointNoise, RandomNoise

CONF = Path(str(resources.files("conf")))
FILES = sorted(
    path
    for group in ("method", "noise", "timesteps", "parameters", "optimizer", "schedule")
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
        (["method=pds"], PDS, RandomNoise()),
        (["method=pds", "noise=fpr"], PDS, FixedPointNoise()),
        (["method=nfsd"], NFSD, RandomNoise()),
        (["method=ism"], ISM, RandomNoise()),
        (["method=ssd"], SSD, RandomNoise()),
        (["method=drfs"], DRFS, RandomNoise()),
        (
            ["method=dds", "noise=fpr", "noise.gradient=picard", "noise.anderson=2"],
            DDS,
            FixedPointNoise(gradient="picard", anderson=2),
        ),
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
    if method is not PDS:
        assert distiller.guidance == method(gaussian_prior).guidance
    assert config.method.step_size == (0.02 if method is DRFS else STEP_SIZE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fields_are_commented_and_repeat_the_defaults(path: Path) -> None:
    config = OmegaConf.load(path)
    bases = inspect.getmro(get_class(config._target_))[:-1]
    parameters = {
        name: parameter
        for base in reversed(bases)
        for name, parameter in inspect.signature(base).parameters.items()
    }
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "_", "defaults", " ")):
            assert "  # " in line or " # " in line, f"{path}: {line}"
    for key, value in config.items():
        # steps and step_size belong to the loop, not to the method; wide is a range with a name,
        # and damped an eps
        if not str(key).startswith("_") and key not in ("defaults", "steps", "step_size"):
            if OmegaConf.is_config(value) and "_target_" in value:  # an object of its own
                assert instantiate(value) == get_class(value._target_)()
                continue
            default = parameters[str(key)].default
            if path.stem == "pds" and key == "guidance":
                assert (value, default) == (100.0, 7.5), "the paper's is for NeRF"
            elif path.stem not in ("wide", "damped"):
                assert (list(default) if isinstance(default, tuple) else default) == value
