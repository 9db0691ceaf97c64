"""`python -m editing.run`: edit pictures from the command line."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from editing.command import (
    WIDTH,
    groups_help,
    guarded,
    launch,
    options,
    options_help,
    unknown_option,
)
from editing.errors import UserError
from editing.settings import read_settings

CONFIG = "config"
GROUPS = {
    "method": "how the picture is edited (default: ids)",
    "noise": "how the noise is chosen (default: the method's own)",
    "timesteps": "how timesteps are drawn (default: the method's own)",
    "parameters": "what is optimised (default: latents)",
    "optimizer": "how a gradient becomes a step (default: sgd)",
    "schedule": "how the step size changes during the run (default: constant)",
    "prior": "the model that is asked (default: menagerie)",
}
EXAMPLES = """\
examples:
  python -m editing.run src=cat.png target="a pig"
  python -m editing.run src=me.jpg source="photo of a man" target="photo of a clown" prior=sd15
  python -m editing.run -m method=ids,dds seed=0,1,2 src="pictures/*.png" target="a pig, pink"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` without it) and return the exit code.

    0 if all went well, 2 with one sentence on standard error for what the user can mend, 130 after
    Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-h"} & set(words):
        print(help_text(), end="")
        return 0

    def action() -> int:
        launch(words, lambda cfg: run(cfg, words), CONFIG)
        return 0

    return guarded(words, action, CONFIG)


def run(cfg: DictConfig, words: Sequence[str]) -> None:
    """Check one composed config and edit its pictures; `words` are what was typed.

    With `-m` every job has its own folder: below `output`, if that is given.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    choices, overrides = hydra.runtime.choices, list(hydra.overrides.task)
    if unknown := sorted(set(cfg) - {*options(CONFIG), *GROUPS}):
        raise UserError(unknown_option(str(unknown[0]), CONFIG))
    settings = read_settings(
        cfg,
        method=choices["method"],
        prior=cfg.prior.get("path") or choices["prior"],
        given=[word.lstrip("+~").partition("=")[0] for word in overrides],
    )
    if hydra.mode == RunMode.MULTIRUN:
        for option in ("overwrite", "resume"):
            if getattr(settings, option):
                raise UserError(
                    f"{option}=true cannot be used with -m: every job has a new folder."
                )
        settings = replace(settings, parent=settings.output or settings.parent, output=None)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)

    # takes seconds, and mistakes shall show at once
    from editing.invert import invert_pictures
    from editing.runs import edit_pictures
    from editing.scenes import edit_scene, is_scene

    edit = edit_scene if is_scene(settings) else edit_pictures
    if settings.task == "invert":
        edit = invert_pictures
    command = "python -m editing.run " + shlex.join(words)
    edit(settings, {str(key): value for key, value in config.items()}, command)


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        'usage: python -m editing.run src=PICTURE target="WHAT IT SHALL SHOW" [KEY=VALUE ...]',
        "",
        "Edit pictures by text. Results go to a new folder below results/.",
        "",
    ]
    lines += options_help(CONFIG) + groups_help(GROUPS)
    lines += [
        f"  {'FOLDER':<{WIDTH}} a folder in diffusers' layout: Stable Diffusion 1, 2, XL, 3, FLUX",
        f"  {'OWNER/MODEL':<{WIDTH}} any such model of the Hugging Face hub",
        "",
        "Every field of a choice is an option: method.step_size=0.02 noise.iterations=5",
        "-m runs all combinations of values with commas; --cfg job prints the config.",
        "Texts (src, target, source, output) are taken as they are: commas and quotes are theirs.",
        "",
    ]
    return "\n".join(lines) + "\n" + EXAMPLES


if __name__ == "__main__":
    sys.exit(main())
