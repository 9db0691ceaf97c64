"""Command-line options of the benchmarks' scripts: a dataclass, filled from `key=value` words."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")


def read(kind: type[T], help_text: str | None, argv: Sequence[str] | None = None) -> T:
    """An instance of the dataclass `kind` with the values of `argv` (`sys.argv` if left out).

    Raises:
        SystemExit: after printing `help_text` and the defaults for --help (code 0), or with one
            sentence for an unknown key or a value of the wrong type.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    known = OmegaConf.structured(kind)
    if {"-h", "--help"} & set(words):
        print(f"{help_text}\noptions:\n{OmegaConf.to_yaml(known)}", end="")
        raise SystemExit(0)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for word in words:
        if word.partition("=")[0] not in names or "=" not in word:
            raise SystemExit(
                f"{word!r} is not an option: give {', '.join(f'{n}=' for n in names)}."
            )
    try:
        return cast(T, OmegaConf.to_object(OmegaConf.merge(known, OmegaConf.from_cli(words))))
    except OmegaConfBaseException as error:
        raise SystemExit(str(error).splitlines()[0]) from None
