"""What is to be edited: pictures and targets of the command line, or the lines of a file."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import UserError
from editing.images import find_pictures, reason
from editing.paths import expanded

FIELDS = ("src", "target", "source")


@dataclass(frozen=True)
class Job:
    """One edit.

    Attributes:
        path: the picture.
        target: what it shall show.
        source: what it shows, or None if that is to be found out.
    """

    path: Path
    target: str
    source: str | None = None


def split_targets(text: str) -> list[str]:
    """The targets of `target=`: one, or those of a list in brackets, `[a pig, "a cow, black"]`.

    Raises:
        UserError: for a list with nothing in it, or an empty target in it.
    """
    inside = re.fullmatch(r"\s*\[([^][]*)\]\s*", text, re.DOTALL)
    if inside is None:
        return [text]
    (row,) = csv.reader([" ".join(inside[1].split())], skipinitialspace=True)
    targets = [target.strip() for target in row]
    if not all(targets) or not targets:
        raise UserError(f"target={text} names an empty target: write target='[a pig, a cow]'.")
    return targets


def find_jobs(src: str, target: str, source: str | None) -> list[Job]:
    """Every picture that `src` names with every target, picture by picture."""
    targets = split_targets(target)
    return [Job(path, each, source) for path in find_pictures(src) for each in targets]


def read_jobs(name: str) -> list[Job]:
    """The jobs of a CSV or JSONL file, a line each: `src`, `target` and perhaps `source`.

    A relative `src` is looked for beside the file; it may be a folder or a glob too. `target` may
    be several in brackets, as on the command line.

    Raises:
        UserError: naming the line, for what is missing, unknown or no picture.
    """
    path = expanded(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"jobs={name} cannot be read: {reason(error)}.") from error
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"jobs={name} is no list of jobs: give a .csv or .jsonl file.")
    rows = _csv(text, name) if path.suffix.lower() == ".csv" else _jsonl(text, name)
    jobs = []
    for line, row in rows:
        where = f"Line {line} of {name}"
        if unknown := sorted(set(row) - set(FIELDS)):
            raise UserError(f"{where} has {unknown[0]!r}: there are {', '.join(FIELDS)}.")
        values = {}
        for key, value in row.items():
            if value is None:
                continue
            if not isinstance(value, str):
                raise UserError(f"{where} has {key}={value!r}: give one text, in quotes.")
            values[key] = value.strip()
        for key in ("src", "target"):
            if not values.get(key):
                raise UserError(f"{where} has no {key}.")
        try:
            found = find_pictures(str(path.parent / expanded(values["src"])))
            targets = split_targets(values["target"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        source = values.get("source") or None
        jobs += [Job(each, target, source) for each in found for target in targets]
    if not jobs:
        raise UserError(f"jobs={name} lists no jobs.")
    return jobs


def _csv(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    try:
        for row in reader:
            if None in row:
                raise UserError(
                    f"Line {reader.line_num} of {name} has more fields than the first line: put "
                    "texts with commas in double quotes."
                )
            yield reader.line_num, row
    except csv.Error as error:
        line = reader.line_num + 1  # the one after the last that was read
        raise UserError(f"Line {line} of {name} cannot be read: {error}.") from error


def _jsonl(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"Line {number} of {name} is not JSON.") from error
        if not isinstance(row, dict):
            raise UserError(f"Line {number} of {name} is not an object with src and target.")
        yield number, row
