"""`python -m benchmarks.run`: edit the cases of a suite, and print its tables."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf

from editing.command import (
    group_choices,
    groups_help,
    guarded,
    launch,
    options,
    options_help,
    unknown_option,
)
from editing.errors import UserError
from editing.images import reason
from editing.paths import expanded
from editing.prompts import hydra_words
from editing.run import GROUPS as EDITING_GROUPS
from editing.settings import Settings, read_settings, suggestion, whole

CONFIG = "benchmark"
GROUPS = {"suite": "what is edited and measured (default: cat_to_others)"} | EDITING_GROUPS
LAUNCHERS = {
    "local": "basic",
    "joblib": "joblib",
    "submitit": "submitit_slurm",
    "submitit_local": "submitit_local",  # without a cluster, to try it out
    "ray": "ray",
}
PLUGIN = "hydra_plugins.hydra_{}_launcher"  # that brings one, by the word before a "_"
SHARING = ("joblib", "ray")  # launchers whose jobs may run at once on one machine
EXAMPLES = """\
examples:
  python -m benchmarks.run suite=cat_to_others suite.cases=4 method=dds
  python -m benchmarks.run -m suite=cat_to_others method=dds,cds,ids,pds seed=0,1,2
  python -m benchmarks.run suite=cat_to_others method=ids columns=[iou,exact_psnr]
  python -m benchmarks.run -m suite=speed method=dds,cds,ids threads=1
  python -m benchmarks.run -m launcher=ray worker=0,1,2,3 suite=menagerie_edits method=ids
"""


@dataclass(frozen=True)
class Launch:
    """What the jobs of one command have in common, wherever they run.

    Attributes:
        command: what was typed.
        name: another one for every command.
        here: the folder that it was typed in, to which `output` is relative.
    """

    command: str
    name: str
    here: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` without it) and return the exit code.

    0 if all went well, 1 if a case could not be edited, 2 with one sentence on standard error for
    what the user can mend, 130 after Ctrl-C; what was finished by then is kept.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-h"} & set(words):
        print(help_text(), end="")
        return 0

    def action() -> int:
        check_installed()
        started = time.time()
        typed = shlex.join(["python", "-m", "benchmarks.run", *words])
        of_launch = partial(job, launched=Launch(typed, uuid4().hex, Path.cwd()))
        check_columns(words)
        try:
            launch(_with_launcher(words), of_launch, CONFIG, shared_folder(words))
        except KeyboardInterrupt:
            with suppress(Exception):
                finish(words, started)
            kept = (
                "Interrupted; what was finished is kept, and the same command goes on from there."
            )
            raise KeyboardInterrupt(kept) from None
        except Exception:
            with suppress(Exception):  # what is wrong comes first
                finish(words, started)
            raise
        return finish(words, started)

    return guarded(words, action, CONFIG)


def job(cfg: DictConfig, launched: Launch) -> None:
    """Edit the cases of one composed config."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    choices, overrides = hydra.runtime.choices, list(hydra.overrides.task)
    if unknown := sorted(set(cfg) - {*options(CONFIG), *GROUPS}):
        raise UserError(unknown_option(str(unknown[0]), CONFIG))
    given = [word.lstrip("+~").partition("=")[0] for word in overrides]
    settings = read(cfg, choices["method"], cfg.prior.get("path") or choices["prior"], given)
    number = hydra.job.num if choices.get("hydra/launcher") in SHARING else None
    settings = replace(settings, device=own_device(settings.device, number))
    cfg.device = settings.device  # of a suite's judges too
    output = folder(cfg.output, choices["suite"], launched.here)

    import torch

    from benchmarks.harness import Harness, check_sizes
    from benchmarks.identity import editor_identity
    from benchmarks.suites.base import Study
    from editing.build import load_model, make_editor

    if cfg.threads is not None:
        torch.set_num_threads(whole("threads", cfg.threads, least=1))
    suite = make_suite(cfg.suite)
    harness = None
    if not isinstance(suite, Study):
        said = launched.command, launched.name
        harness = Harness(suite, output, settings.batch_size, *said)
    prior = load_model(settings)
    editor = make_editor(settings, prior)  # refuses now what the method does not take
    if harness:
        check_sizes(harness.cases, prior)
    _make(output)
    if harness is None:
        suite.study(settings, prior, output, launched.command)
        return
    tally = harness.run(editor, editor_identity(settings, prior), prior, settings.seed)
    print(tally)


def check_installed() -> None:
    """Refuses to begin what could not be finished.

    Raises:
        UserError: a package of the extra `bench` is missing.
    """
    needed = ("jinja2", "pandas", "psutil", "pyarrow", "scipy")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(
            f"{', '.join(missing)} not installed: benchmarks need pip install 'ids-editing[bench]'."
        )


def own_device(device: str, number: int | None = None) -> str:
    """The GPU of this process, if it shall be chosen: processes on one machine share its GPUs.

    Args:
        device: as it was asked for; only `auto` leaves a choice.
        number: of this job among those that a launcher runs at once; of the processes of
            `accelerate launch` or `torchrun` the environment has it.
    """
    import torch

    rank = os.environ.get("LOCAL_RANK")
    number = int(rank) if rank else number
    if device != "auto" or number is None or not torch.cuda.is_available():
        return device
    return f"cuda:{number % torch.cuda.device_count()}"


def make_suite(cfg: DictConfig) -> Any:
    """The suite that a config describes.

    Raises:
        UserError: if it does not take one of its options.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"suite.{missing[0]} is missing: --help says what the suite needs.")
    try:
        return instantiate(cfg, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(f"The suite cannot be set up: {error.__cause__ or error}.") from error


def read(cfg: DictConfig, method: str, prior: str, given: Sequence[str]) -> Settings:
    """The settings of the editing command, with its defaults for what a benchmark does not take."""
    base = OmegaConf.create((resources.files("conf") / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(base, DictConfig)
    plain = {key: base[key] for key in options("config") if "." not in key}
    whole_config = OmegaConf.merge(plain, {"src": "-", "target": "-"}, cfg, {"output": None})
    assert isinstance(whole_config, DictConfig)
    return read_settings(whole_config, method, prior, given)


def folder(output: Any, suite: str, here: Path | None = None) -> Path:
    """Where the rows of a suite go; relative to `here`, or else to the working directory."""
    return (here or Path.cwd()) / expanded(str(output) if output else f"runs/{suite}")


def finish(words: Sequence[str], started: float) -> int:
    """Write and print the tables of the folders that a command line worked in.

    Returns:
        1 if a case failed since `started`, seconds since the epoch, else 0.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return 0  # one process speaks for all of a launch
    from benchmarks.frames import frame
    from benchmarks.grids import write_grids
    from benchmarks.rows import read_asked, read_rows
    from benchmarks.suites.base import EDITS
    from benchmarks.tables import print_tables, write_tables

    failed = 0
    for output in folders(words):
        rows, of_study = list(read_rows(output)), list(read_rows(output / EDITS))
        for row in [*rows, *of_study]:
            if row["status"] == "failed" and row["time"] >= started:
                failed += 1
                method = row["edit"]["method"]
                print(f"failed: {row['case']} by {method}: {row['reason']}", file=sys.stderr)
        if not rows:  # a study prints its own tables
            continue
        data = frame(rows, read_asked(output, started))
        if data.empty:  # nothing of what was asked for is there yet
            continue
        write_tables(output, data, said(words, "columns"))
        print_tables(output)
        write_grids(output, data)
        made = {str(row.get("revision")) for row in rows if row["key"] in set(data.key)}
        if len(made) > 1:
            print(f"Of several revisions of this software: {', '.join(sorted(made))}.")
    return 1 if failed else 0


def folders(words: Sequence[str]) -> list[Path]:
    """Where the jobs of a command line work."""
    suites = said(words, "suite") or ["cat_to_others"]
    pairs = product(said(words, "output") or [""], suites)
    return list(dict.fromkeys(folder(output, suite) for output, suite in pairs))


def said(words: Sequence[str], key: str) -> list[str]:
    """The values of an option on a command line: one, those of a list, or those swept over."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    plain = [word for word in hydra_words(list(words), group_choices("prior")) if "=" in word]
    values: list[Any] = []
    for each in OverridesParser.create().parse_overrides([w for w in plain if w[0] != "-"]):
        if each.key_or_group == key:
            swept = each.is_sweep_override() and each.is_choice_sweep()
            value = list(each.sweep_iterator()) if swept else each.value()
            values = value if isinstance(value, list) else [value]
    return [str(value) for value in values if value is not None]


def check_columns(words: Sequence[str]) -> None:
    """Refuses `columns=` that no table can have."""
    from benchmarks.tables import check_metrics

    check_metrics(said(words, "columns"))


def shared_folder(words: Sequence[str]) -> Path | None:
    """Where jobs on other machines find what they are to do; None if there are none."""
    if not any(word.startswith("launcher=submitit") for word in words):
        return None
    shared = folders(words)[0]
    _make(shared)
    return shared


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to output={str(output)!r}: {reason(error)}.") from error


def _with_launcher(words: Sequence[str]) -> list[str]:
    """The words with `launcher=ray` as Hydra writes it.

    Raises:
        UserError: for a launcher without `-m`, or one that is not there.
    """
    several = "-m" in words or "--multirun" in words
    if not several and any(word.startswith("launcher=") for word in words):
        raise UserError(
            "launcher= is for several jobs: add -m, as in -m launcher=ray method=ids,dds."
        )
    return [_launcher(word) for word in words]


def _launcher(word: str) -> str:
    """`launcher=ray` as Hydra writes it, any other word as it is.

    Raises:
        UserError: there is no such launcher, or it is not installed.
    """
    key, _, value = word.partition("=")
    if key != "launcher":
        return word
    if value not in LAUNCHERS:
        raise UserError(f"There is no launcher {value!r}: {suggestion(value, LAUNCHERS)}")
    package = value.partition("_")[0]
    if value != "local" and not _installed(PLUGIN.format(package)):
        raise UserError(f"launcher={value} is not installed: pip install hydra-{package}-launcher")
    return f"hydra/launcher={LAUNCHERS[value]}"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        "usage: python -m benchmarks.run suite=SUITE method=METHOD [KEY=VALUE ...]",
        "",
        "Edit the cases of a suite and measure the edits. What is done is not done again.",
        "",
        *options_help(CONFIG),
        *groups_help(GROUPS),
        "",
        "launcher=  with -m, where the jobs run (default: local, one after the other)",
        f"  {', '.join(LAUNCHERS)}",
        "",
        "Every field of a choice is an option: suite.cases=4 method.step_size=0.02",
        "",
    ]
    return "\n".join(lines) + "\n" + EXAMPLES


if __name__ == "__main__":
    sys.exit(main())
