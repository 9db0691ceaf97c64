"""Inversions on disk: what a method found out about a picture, for any number of edits.

A safetensors file holds the tensors of one picture, and as JSON in its header what they are of.
This module reads headers alone, and needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from editing.errors import UserError
from editing.images import reason
from editing.jobs import Job, split_targets
from editing.paths import expanded

GENERATOR = "generator"  # the tensor that holds the state of the picture's random numbers
HEADER = "inversion"  # the entry of a file's metadata that holds its `Header`
SUFFIX = ".safetensors"
FOLDER = "inversion"  # of the run's folder, if it is of several pictures


@dataclass(frozen=True)
class Header:
    """What a file is the inversion of, and what made it.

    Attributes:
        method: its name.
        options: those of its settings on which the inversion depends.
        model: hash of the model's weights.
        seed: of the random numbers.
        source: path of the picture.
        sha256: of its file.
        size: width and height that it was inverted at.
        prompt: what it shows.
        dtype: of the model's numbers, `float32` or so.
    """

    method: str
    options: dict[str, Any]
    model: str
    seed: int
    source: str
    sha256: str
    size: tuple[int, int]
    prompt: str
    dtype: str

    def metadata(self) -> dict[str, str]:
        """As the metadata of a safetensors file."""
        return {HEADER: json.dumps(asdict(self), sort_keys=True)}


@dataclass(frozen=True)
class Known:
    """An inversion and the picture that it is of.

    Attributes:
        path: of the file.
        header: what stands in it.
    """

    path: Path
    header: Header

    @property
    def picture(self) -> Path:
        """Where the picture is."""
        return Path(self.header.source)


def read_header(path: Path) -> Header:
    """What a file is the inversion of.

    Raises:
        UserError: if it is no inversion, or cannot be read.
    """
    try:
        with safe_open(path, "np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            names = set(file.keys())
        said = json.loads(metadata[HEADER])
        width, height = said.pop("size")
        header = Header(size=(int(width), int(height)), **said)
        if GENERATOR not in names or not _well_formed(header):
            raise ValueError(path)
        return header
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read: {reason(error)}.") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(path)!r} is no inversion: give a file that task=invert has made."
        ) from error


def _well_formed(header: Header) -> bool:
    """Whether a header says what it should: its options will be those of a method.

    An option that names something to be called, as Hydra's `_target_` does, is none of these.
    """
    texts = (header.method, header.model, header.source, header.sha256, header.prompt, header.dtype)
    plain = all(
        isinstance(key, str) and key.isidentifier() and not key.startswith("_") and _is_plain(value)
        for key, value in header.options.items()
    )
    return (
        plain
        and all(isinstance(text, str) for text in texts)
        and type(header.seed) is int
        and min(header.size) > 0
    )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def find_inversions(name: str) -> list[Known]:
    """The inversions that `inversion=` names: a file, or those of a run's folder.

    Raises:
        UserError: if there are none.
    """
    path = expanded(name)
    paths = [path]
    if path.is_dir():
        paths = _listed(path)
        if not paths:
            raise UserError(f"inversion={name} holds none: task=invert makes them.")
    elif not path.exists():
        raise UserError(f"inversion={name} does not exist: task=invert makes inversions.")
    return [Known(each, read_header(each)) for each in paths]


def _listed(folder: Path) -> list[Path]:
    """The inversions that a run's `result.json` lists; all that are there, if there is none."""
    try:
        pictures = json.loads((folder / "result.json").read_text(encoding="utf-8"))["pictures"]
        listed = [folder / picture["inversion"] for picture in pictures if "inversion" in picture]
        return [path for path in listed if path.is_file()]
    except (OSError, ValueError, KeyError, TypeError):
        return sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"{FOLDER}/*{SUFFIX}")])


def common_options(known: list[Known], method: str) -> dict[str, Any]:
    """The settings that all the inversions were made with.

    Raises:
        UserError: if they were not made by the method, or with different settings.
    """
    for each in known:
        if each.header.method != method:
            raise UserError(
                f"{str(each.path)!r} was made with method={each.header.method}: "
                "edit with the same method."
            )
        if each.header.options != known[0].header.options:
            raise UserError(
                f"{str(known[0].path)!r} and {str(each.path)!r} were made with different settings: "
                "edit with one of them at a time."
            )
    return known[0].header.options


def jobs_of(known: list[Known], target: str) -> list[tuple[Job, Known]]:
    """Every inverted picture with every target.

    Raises:
        UserError: if a picture is not where it was, or is another now.
    """
    for each in known:
        if not each.picture.is_file():
            raise UserError(
                f"The picture of {str(each.path)!r} is no longer at {each.header.source!r}: "
                "put it back."
            )
        if file_digest(each.picture) != each.header.sha256:
            raise UserError(
                f"{each.header.source!r} is not the picture that {str(each.path)!r} is the "
                "inversion of: it has changed since."
            )
    targets = split_targets(target)
    return [
        (Job(each.picture, text, each.header.prompt), each) for each in known for text in targets
    ]


def file_digest(path: Path) -> str:
    """Of a picture's file."""
    return sha256(path.read_bytes()).hexdigest()
