"""`python -m editing.run`: edit pictures from the command line."""

import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from tempfile import TemporaryDirectory
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from editing.errors import UserError
from editing.prompts import hydra_words
from editing.settings import read_settings, suggestion

GROUPS = {
    "method": "how the picture is edited (default: ids)",
    "noise": "how the noise is chosen (default: the method's own)",
    "timesteps": "how timesteps are drawn (default: uniform)",
    "parameters": "what is optimised (default: latents)",
    "optimizer": "how a gradient becomes a step (default: sgd)",
    "schedule": "how the step size changes during the run (default: constant)",
    "prior": "the model that is asked (default: menagerie)",
}
WIDTH = 15  # of the left column of --help

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and prompts in any script, on any terminal
            stream.reconfigure(errors="backslashreplace")
    if {"--help", "-h"} & set(words):
        print(help_text(), end="")
        return 0
    try:
        check_words(words)
        launch(words)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if "debug=true" in words or os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted; nothing was written.", file=sys.stderr)
        return 130
    return 0


def launch(words: list[str]) -> None:
    """Have Hydra compose the config, or with `-m` several, and run the edit of each."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    errors: list[UserError] = []

    def job(cfg: DictConfig) -> None:
        try:
            run(cfg, words)
        except UserError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra names the job, runs the others and raises the first error in the end
            errors.append(error)

    # Hydra's sweeper keeps a folder of its own, which holds nothing that result.json does not.
    with TemporaryDirectory() as sweep:
        typed = hydra_words([f"hydra.sweep.dir={sweep}", *words], group_choices("prior"))
        with _command_line(flags_last(typed)):
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")(job)()
    if errors:
        raise errors[0]


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """Hand `words` to `hydra.main`, which reads `sys.argv`, and let its exceptions through."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [argv[0], *words], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def run(cfg: DictConfig, words: Sequence[str]) -> None:
    """Check one composed config and edit its pictures; `words` are what was typed.

    With `-m` every job has its own folder: below `output`, if that is given.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    choices, overrides = hydra.runtime.choices, list(hydra.overrides.task)
    if unknown := sorted(set(cfg) - {*options(), *GROUPS}):
        raise UserError(_unknown_option(str(unknown[0])))
    settings = read_settings(
        cfg,
        method=choices["method"],
        prior=cfg.prior.get("path") or choices["prior"],
        given=[word.lstrip("+~").partition("=")[0] for word in overrides],
    )
    if hydra.mode == RunMode.MULTIRUN:
        if settings.overwrite:
            raise UserError("overwrite=true cannot be used with -m: every job has a new folder.")
        settings = replace(settings, parent=settings.output or settings.parent, output=None)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)

    from editing.session import edit_pictures  # takes seconds, and mistakes shall show at once

    command = "python -m editing.run " + shlex.join(words)
    edit_pictures(settings, {str(key): value for key, value in config.items()}, command)


# --- what is wrong with a command line -----------------------------------------------------------

FLAGS = (
    "--hydra-help --version --cfg -c --resolve --package -p --run -r --multirun -m "
    "--shell-completion -sc --config-path -cp --config-name -cn --config-dir -cd --info -i"
).split()
FLAGS_WITH_VALUE = (
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd".split()
)


def check_words(words: Sequence[str]) -> None:
    """Refuse words that are neither Hydra's flags nor `key=value`."""
    value_follows = False
    for word in words:
        if value_follows or word.startswith("~"):
            value_follows = False
        elif word.startswith("-"):
            name = word.partition("=")[0]
            if name not in FLAGS:
                example = f"{name.lstrip('-')}=..."
                raise UserError(f"There is no flag {name}: options are written {example}")
            value_follows = word in FLAGS_WITH_VALUE
        elif "=" not in word:
            raise UserError(
                f"{word!r} is not an option: options are written key=value, as in src=cat.png."
            )


def flags_last(words: Sequence[str]) -> list[str]:
    """The words with flags behind the overrides, between which Hydra does not take them."""
    flags: list[str] = []
    overrides: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_flag = word.startswith("-") or before in FLAGS_WITH_VALUE
        (flags if is_flag else overrides).append(word)
    return overrides + flags


def explain(error: Exception) -> str:
    """`error` in one sentence that names what is wrong and what to do."""
    message = str(error)
    if isinstance(error, UserError):
        return " ".join(message.split())
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).partition("/")
        return f"There is no {group} {name!r}: {suggestion(name, error.options)}"
    if match := re.match(r"Could not override '(.+?)'", message):
        return _unknown_option(match[1])
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be parsed: put its value in quotes, key='value'."
    return " ".join(message.split())


def _unknown_option(key: str) -> str:
    """A sentence that names the known option nearest to `key`."""
    known = list(option_keys(base_config()))
    name = key.split("@")[0]
    return f"There is no option {name!r}: {suggestion(name, known)}"


def base_config() -> dict[str, Any]:
    """The config without any override."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()  # of the run that failed
    with initialize_config_module("conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config"))
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def option_keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a nested config, groups included."""
    for key, value in config.items():
        if key.startswith("_"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from option_keys(value, f"{prefix}{key}.")


# --- help ----------------------------------------------------------------------------------------


def group_choices(group: str) -> dict[str, str]:
    """The choices of a config group, each with the sentence of its file's first line."""
    files = [f for f in (resources.files("conf") / group).iterdir() if f.name.endswith(".yaml")]
    return {
        file.name.removesuffix(".yaml"): _first_comment(file.read_text(encoding="utf-8"))
        for file in sorted(files, key=lambda file: file.name)
    }


def _first_comment(yaml: str) -> str:
    first = yaml.partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def options() -> dict[str, tuple[str, str]]:
    """The plain options of `conf/config.yaml`: default and comment by name."""
    yaml = (resources.files("conf") / "config.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^(\w+): *(.*?) *# (.*)$", yaml, re.MULTILINE)
    return {key: ("" if value == "null" else value, comment) for key, value, comment in lines}


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        'usage: python -m editing.run src=PICTURE target="WHAT IT SHALL SHOW" [KEY=VALUE ...]',
        "",
        "Edit pictures by text. Results go to a new folder below results/.",
        "",
    ]
    for key, (default, comment) in options().items():
        start = f"{key}={default}"
        if len(start) > WIDTH:
            start, comment = f"{key}=", f"{comment} (default: {default})"
        lines.append(f"  {start:<{WIDTH}} {comment}")
    for group, about in GROUPS.items():
        lines += ["", f"{group}=  {about}"]
        lines += [f"  {name:<{WIDTH}} {about}" for name, about in group_choices(group).items()]
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
