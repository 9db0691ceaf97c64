"""Settings of the harness without its command line."""

from omegaconf import OmegaConf

from benchmarks.run import CONFIG, read
from editing.command import base_config
from editing.settings import Settings


def settings_of(*words: str) -> Settings:
    """What `python -m benchmarks.run WORDS` works with: choices of groups, and plain options."""
    said = dict(word.split("=", 1) for word in words)
    config = OmegaConf.create(base_config(CONFIG, words))
    for key, value in said.items():
        if key != "method":
            OmegaConf.update(config, key, OmegaConf.create(f"x: {value}").x)
    return read(config, said.get("method", "ids"), "menagerie", list(said))
