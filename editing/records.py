"""What a run leaves behind besides pictures: its config, and the record of what it did."""

from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from editing import results
from editing.prompts import escape_interpolation
from editing.settings import Settings

BREAKS = set("\x85\u2028\u2029")


def effective(settings: Settings, config: dict[str, Any], size: int) -> dict[str, Any]:
    """The entries of the config whose defaults depend on method and prior, as they were used."""
    used = {"steps": settings.steps, "guidance": settings.guidance}
    method = config["method"] | used | {"step_size": settings.step_size}
    return used | {"size": size, "method": method}


def config_yaml(config: dict[str, Any]) -> bytes:
    """The contents of `config.yaml`."""
    container = OmegaConf.to_container(OmegaConf.create(_escaped(config)))
    text = yaml.dump(
        container, Dumper=Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    return text.encode(errors="backslashreplace")


class Dumper(get_omega_conf_dumper()):  # type: ignore[misc]
    """OmegaConf's, which quotes what looks like a number; and line breaks of other scripts too."""


def _text(dumper: Any, text: str) -> Any:
    if set(text) & BREAKS:  # other quotes would fold them into a space
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    return get_omega_conf_dumper().str_representer(dumper, text)


Dumper.add_representer(str, _text)


def _escaped(value: Any) -> Any:
    """A config whose texts OmegaConf reads back as they are."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return escape_interpolation(value) if isinstance(value, str) else value


def run_record(settings: Settings, prior: Any, done: dict[str, Any]) -> dict[str, Any]:
    """The contents of `result.json`: `done`, what the run did, among what it was done with."""
    return {
        "software": results.software(),
        "status": done["status"],
        "command": done["command"],
        "method": settings.method,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "seed": settings.seed,
        "model": {
            "name": prior.name,
            "folder": str(prior.folder),
            "adapters": [str(path) for path in prior.adapters],
            "sha256": prior.model_hash(),
        },
        "device": str(prior.device),
        "dtype": str(prior.dtype).removeprefix("torch."),
        "pictures": done["pictures"],
        "network_evaluations": done["network_evaluations"],
        "seconds": {what: round(value, 3) for what, value in done["seconds"].items()},
        "warnings": done["warnings"],
        "versions": results.versions(),
        "git_revision": results.git_revision(),
    }
