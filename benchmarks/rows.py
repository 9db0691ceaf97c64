"""Results on disk: one small file a row, named by the hash of everything that determines it.

A row is there whole or not at all, and is written once: the same edit has the same name on every
machine, so any number of workers can share a folder. Pictures have names of their own, in which
nothing of the measurement counts: another judge measures what is there, and edits nothing anew.
What a power cut or a full disk has left in pieces counts as not there, and is made again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from editing.results import to_json, write

ROWS, PICTURES, ASKED = "rows", "pictures", "asked"
PNG_END = b"IEND\xaeB`\x82"


def digest(what: Mapping[str, Any]) -> str:
    """Name of a row or picture: 32 hex digits, from all that determines it."""
    text = json.dumps(what, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


def _spread(folder: Path, key: str, suffix: str) -> Path:
    """A folder with ten thousand files is slow to list on a network's disk."""
    return folder / key[:2] / f"{key}{suffix}"


def row_path(output: Path, key: str) -> Path:
    """Where the row of a key is."""
    return _spread(output / ROWS, key, ".json")


def picture_path(output: Path, key: str) -> Path:
    """Where the picture of a key is."""
    return _spread(output / PICTURES, key, ".png")


def write_edit(output: Path, key: str, picture: bytes, cost: Mapping[str, Any]) -> None:
    """Writes the picture of an edit, and beside it what it cost."""
    path = picture_path(output, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, picture)
    write(path.with_suffix(".json"), to_json(cost))


def has_picture(output: Path, key: str) -> bool:
    """Whether the picture of a key is there to its end."""
    try:
        with picture_path(output, key).open("rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except OSError:  # there is none, or it is shorter than that
        return False


def read_cost(output: Path, key: str) -> dict[str, Any] | None:
    """What the edit of a key cost, None if it is not there or cannot be parsed."""
    cost = _read(picture_path(output, key).with_suffix(".json"))
    return cost if isinstance(cost, dict) else None


def write_row(output: Path, key: str, row: Mapping[str, Any]) -> None:
    """Writes a row; its picture must be there before."""
    path = row_path(output, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, to_json({**row, "key": key}))


def read_row(output: Path, key: str) -> dict[str, Any] | None:
    """The row of a key, None if there is none or what is there is no row."""
    return _row(row_path(output, key))


def read_rows(output: Path) -> Iterator[dict[str, Any]]:
    """All rows of a folder, in the order of their keys; files that are no rows are passed over."""
    for path in sorted((output / ROWS).glob("*/*.json")):
        if path.name.startswith("."):  # begun by a worker that was killed
            continue
        if (row := _row(path)) is not None:
            yield row


def _row(path: Path) -> dict[str, Any] | None:
    row = _read(path)
    return row if isinstance(row, dict) and {"key", "status"} <= set(row) else None


def _read(path: Path) -> Any:
    """What a JSON file holds; None if it is not there or cannot be parsed."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    return None


@dataclass(frozen=True)
class Asked:
    """What a run asked for: of the rows in a folder, those that its tables are of.

    Attributes:
        suite: its name.
        options: of the suite, as text.
        cases: the variants of its cases, see `Harness`.
        command: what was typed.
        time: seconds since the epoch.
        launch: what the jobs of one command have in common, empty if it has but one.
    """

    suite: str
    options: Mapping[str, str]
    cases: Sequence[str]
    command: str = ""
    time: float = 0.0
    launch: str = ""


def write_asked(output: Path, asked: Asked) -> None:
    """Notes what is asked for; a file for each suite with its options."""
    path = output / ASKED / f"{digest({'suite': asked.suite, 'cases': list(asked.cases)})}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, to_json(vars(asked)))


def read_asked(output: Path, since: float = 0.0) -> list[Asked] | None:
    """What was asked for since a time, or else, of each suite, what was asked for last.

    That is all that the jobs of one command asked for. None if the folder does not say.
    """
    paths = sorted((output / ASKED).glob("[!.]*.json"))
    found = sorted((Asked(**said) for path in paths if (said := _read(path))), key=lambda a: a.time)
    if since and (recent := [asked for asked in found if asked.time >= since]):
        return recent
    last = {asked.suite: asked for asked in found}

    def counts(asked: Asked) -> bool:
        newest = last[asked.suite]
        return asked is newest or (asked.launch == newest.launch != "")

    return [asked for asked in found if counts(asked)] or None


def file_digest(folder: Path, pattern: str) -> str:
    """Of the files of a folder, for the identity of what judges by them."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def source_digest(*places: Path) -> str:
    """Of Python files, and all those in and below folders: of code that may change a result."""
    digest = hashlib.sha256()
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for path in files:
            digest.update(path.relative_to(place.parent).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
