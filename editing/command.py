"""What the command lines share: Hydra composes their config, mistakes get one sentence."""

import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from editing.errors import UserError
from editing.prompts import hydra_words
from editing.settings import suggestion

FLAGS = (
    "--hydra-help --version --cfg -c --resolve --package -p --run -r --multirun -m "
    "--shell-completion -sc --config-path -cp --config-name -cn --config-dir -cd --info -i"
).split()
FLAGS_WITH_VALUE = (
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd".split()
)
WIDTH = 15  # of the left column of --help


def guarded(words: Sequence[str], action: Callable[[], int], config_name: str) -> int:
    """Do `action` and return its exit code.

    2 with one sentence on standard error for what the user can mend, 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and prompts in any script, on any terminal
            stream.reconfigure(errors="backslashreplace")
    try:
        check_words(words)
        return action()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if "debug=true" in words or os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"Error: {explain(error, config_name, words)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted; nothing was written.", file=sys.stderr)
        return 130


def launch(
    words: Sequence[str],
    job: Callable[[DictConfig], None],
    config_name: str,
    shared: Path | None = None,
) -> None:
    """Have Hydra compose the config, or with `-m` several, and call `job` with each.

    Args:
        words: the command line.
        job: called with every composed config, perhaps on another machine.
        config_name: of `conf`.
        shared: folder for files of Hydra's own while the jobs run; for jobs on other machines one
            that they see too.

    Raises:
        UserError: what a job raised; with `-m` after the others have run.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    errors: list[UserError] = []

    def guarded_job(cfg: DictConfig) -> None:
        try:
            job(cfg)
        except UserError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra names the job, runs the others and raises the first error in the end
            errors.append(error)

    # Hydra's sweeper keeps a folder of its own, which holds nothing that a result does not.
    with TemporaryDirectory(dir=shared) as sweep:
        typed = hydra_words([f"hydra.sweep.dir={sweep}", *words], group_choices("prior"))
        with _command_line(flags_last(fields_of_swept_groups(typed))):
            main = hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)
            main(guarded_job)()
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


# --- what is wrong with a command line -----------------------------------------------------------


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


def fields_of_swept_groups(words: Sequence[str]) -> list[str]:
    """With `-m`, the words with fields of a group of several choices made sweeps of one value.

    Otherwise Hydra sets `method.eta=0` of `method=sdedit,ddpm_inversion` in the default method
    first, which has no such field.
    """
    if not {"-m", "--multirun"} & {*words}:
        return list(words)
    pairs = [word.partition("=") for word in words]
    swept = {
        key
        for key, _, value in pairs
        if "," in value and key.isidentifier() and (resources.files("conf") / key).is_dir()
    }
    found = []
    for word, (key, _, value) in zip(words, pairs, strict=True):
        field = key.partition(".")[0] in swept and key not in swept
        found.append(f"{key}=choice({value})" if field and _is_one_value(value) else word)
    return found


def _is_one_value(value: str) -> bool:
    """Whether Hydra would not read a value as several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return (
            bool(value)
            and not OverridesParser.create().parse_override(f"x={value}").is_sweep_override()
        )
    except OverrideParseException:
        return False  # which Hydra says itself


def explain(error: Exception, config_name: str, words: Sequence[str] = ()) -> str:
    """`error`, provoked by `words`, in one sentence that names what is wrong and what to do."""
    message = str(error)
    if isinstance(error, UserError):
        return " ".join(message.split())
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).partition("/")
        return f"There is no {group} {name!r}: {suggestion(name, error.options)}"
    if match := re.match(r"Could not override '(.+?)'", message):
        return unknown_option(match[1], config_name, words)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be parsed: put its value in quotes, key='value'."
    return " ".join(message.split())


def unknown_option(key: str, config_name: str, words: Sequence[str] = ()) -> str:
    """A sentence that names the known option nearest to `key`, with the choices of `words`."""
    known = list(option_keys(base_config(config_name, words)))
    name = key.split("@")[0]
    return f"There is no option {name!r}: {suggestion(name, known)}"


def base_config(config_name: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """The config with no override but those of `words` that choose from its groups."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()  # of the run that failed
    chosen = []
    for word in words:
        group, _, choice = word.partition("=")
        if (resources.files("conf") / group / f"{choice}.yaml").is_file():
            chosen.append(word)
    with initialize_config_module("conf", version_base="1.3"):
        config = OmegaConf.to_container(compose(config_name, chosen))
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


def options(config_name: str) -> dict[str, tuple[str, str]]:
    """The plain options of a config: default and comment by dotted name, groups of them too."""
    yaml = (resources.files("conf") / f"{config_name}.yaml").read_text(encoding="utf-8")
    found, group = {}, ""
    for indent, key, value, comment in re.findall(
        r"^( *)(\w+): *(.*?) *# (.*)$", yaml, re.MULTILINE
    ):
        group = group if indent else key
        name = f"{group}.{key}" if indent else key
        found[name] = ("" if value == "null" else value, comment)
    return found


def options_help(config_name: str) -> list[str]:
    """A line of help for every plain option; `.grow` below `mask` is written `mask.grow=`."""
    lines = []
    for name, (default, comment) in options(config_name).items():
        group, _, key = name.rpartition(".")
        shown = f"  .{key}" if group else key
        start = f"{shown}={default}"
        if len(start) > WIDTH:
            start, comment = f"{shown}=", f"{comment} (default: {default})"
        lines.append(f"  {start:<{WIDTH}} {comment}")
    return lines


def groups_help(groups: dict[str, str]) -> list[str]:
    """Lines of help for config groups, whose meanings `groups` says, and their choices."""
    lines = []
    for group, about in groups.items():
        lines += ["", f"{group}=  {about}"]
        lines += [f"  {name:<{WIDTH}} {about}" for name, about in group_choices(group).items()]
    return lines
