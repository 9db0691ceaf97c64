"""Results on disk: one small file a row, named by the hash of everything that determines it.

A row is there whole or not at all, and is written once: the same edit has the same name on every
machine, so any number of workers can share a folder. Pictures have names of their own, in which
nothing of the measurement counts: another judge measures what is there, and edits nothing anew.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import UserError
from editing.results import to_json, write

ROWS, PICTURES, ASKED = "rows", "pictures", "asked"


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


def read_cost(output: Path, key: str) -> dict[str, Any] | None:
    """What the edit of a key cost, None if it is not there."""
    path = picture_path(output, key).with_suffix(".json")
    return json.loads(path.read_bytes()) if path.exists() else None


def write_row(output: Path, key: str, row: Mapping[str, Any]) -> None:
    """Writes a row; its picture must be there before."""
    path = row_path(output, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, to_json({**row, "key": key}))


def read_row(output: Path, key: str) -> dict[str, Any] | None:
    """The row of a key, None if there is none.

    Raises:
        UserError: what is there is no row.
    """
    path = row_path(output, key)
    return _read(path) if path.exists() else None


def read_rows(output: Path) -> Iterator[dict[str, Any]]:
    """All rows of a folder, in the order of their keys.

    Raises:
        UserError: naming a file that is no row: it has been changed from outside.
    """
    for path in sorted((output / ROWS).glob("*/*.json")):
        if path.name.startswith("."):  # begun by a worker that was killed
            continue
        yield _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_bytes())
        row["key"], row["status"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a row: delete it, and run again.") from error
    return row


@dataclass(frozen=True)
class Asked:
    """What a run asked for: of the rows in a folder, those that its tables are of.

    Attributes:
        suite: its name.
        options: of the suite, as text.
        cases: the variants of its cases, see `Harness`.
        command: what was typed.
        time: seconds since the epoch.
    """

    suite: str
    options: Mapping[str, str]
    cases: Sequence[str]
    command: str = ""
    time: float = 0.0


def write_asked(output: Path, asked: Asked) -> None:
    """Notes what is asked for; a file for each suite with its options."""
    path = output / ASKED / f"{digest({'suite': asked.suite, 'cases': list(asked.cases)})}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, to_json(vars(asked)))


def read_asked(output: Path, since: float = 0.0) -> list[Asked] | None:
    """What was asked for since a time, or else, of each suite, what was asked for last.

    None if the folder does not say.
    """
    paths = sorted((output / ASKED).glob("[!.]*.json"))
    found = sorted((Asked(**json.loads(path.read_bytes())) for path in paths), key=lambda a: a.time)
    if since and (recent := [asked for asked in found if asked.time >= since]):
        return recent
    return list({asked.suite: asked for asked in found}.values()) or None


def file_digest(folder: Path, pattern: str) -> str:
    """Of the files of a folder, for the identity of what judges by them."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
