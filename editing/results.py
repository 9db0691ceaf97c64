"""What a run leaves behind: its folder, its pictures and the record of what made them."""

import json
import os
import platform
import re
import subprocess
import tempfile
import unicodedata
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from editing.errors import UserError
from editing.images import reason

PACKAGE = "ids-editing"
RESULT = "result.json"  # written last: a folder that holds it holds a complete result
CONFIG = "config.yaml"
# What is written per picture; several pictures go to folders of these names.
PICTURES = {"edited": ".png", "side_by_side": ".png", "trace": ".gif"}
REVERSED = {"reconstructed": ".png"}  # in addition, if the edit is reversed
INVERTED = {"inversion": ".safetensors", "reconstructed": ".png", "side_by_side": ".png"}


def slug(text: str, length: int = 40) -> str:
    """`text` as a part of a file name: letters and digits of any script, the rest underscores."""
    words = re.sub(r"[^\w.]+", "_", unicodedata.normalize("NFKC", text)).strip("_.")
    return words[:length].rstrip("_.") or "edit"


def run_name(sources: Sequence[Path], target: str, method: str) -> str:
    """Name of a run's folder, as in `cat-a_pig-ids`."""
    first = sources[0]
    source = first.stem if len(sources) == 1 else f"{first.resolve().parent.name}_{len(sources)}"
    return f"{slug(source)}-{slug(target)}-{slug(method)}"


def edit_files(reverse: bool = False, trace: bool = True) -> dict[str, str]:
    """What an edit writes per picture, with the ends of the names."""
    kinds = PICTURES | REVERSED if reverse else PICTURES
    return {kind: suffix for kind, suffix in kinds.items() if trace or kind != "trace"}


def picture_files(
    sources: Sequence[Path], kinds: Mapping[str, str] = PICTURES
) -> list[dict[str, str]]:
    """For each source, where what is made of it goes inside the run's folder.

    One source has `edited.png`, `side_by_side.png` and so on; several have `edited/NAME.png` and so
    on, numbered where two sources share a name.
    """
    if len(sources) == 1:
        return [{kind: kind + suffix for kind, suffix in kinds.items()}]
    files, taken = [], set[str]()
    for source in sources:
        name, count = source.stem, 1
        while name.casefold() in taken:
            count += 1
            name = f"{source.stem}-{count}"
        taken.add(name.casefold())
        files.append({kind: f"{kind}/{name}{suffix}" for kind, suffix in kinds.items()})
    return files


@contextmanager
def claimed_folder(path: Path, *, named: bool, overwrite: bool = False) -> Iterator[Path]:
    """A folder for one run, made now and removed again at the end if nothing was written to it.

    Args:
        path: the folder. Where the user did not name it, the next free of `path`, `path-2`, ... is
            taken, also when several runs start at once.
        named: whether the user asked for this very folder. If it holds a result already, that is an
            error unless `overwrite`.
        overwrite: the folder may hold an older result; see `clear`.
    """
    made: list[Path] = []
    try:
        try:
            folder = _make_named(path, overwrite, made) if named else _make_free(path, made)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"Cannot write to output={str(path)!r}: {reason(error)}; choose another folder."
            ) from error
        yield folder
    finally:
        for parent in reversed(made):
            try:
                parent.rmdir()
            except OSError:  # it holds something, and so do those above it
                break


def _make_named(path: Path, overwrite: bool, made: list[Path]) -> Path:
    if path.exists() and not path.is_dir():
        raise UserError(f"output={str(path)!r} is a file: name a folder.")
    if not overwrite and any(p.name in _result_names() for p in _entries(path)):
        raise UserError(
            f"output={str(path)!r} already holds a result: "
            "name another folder, or add overwrite=true."
        )
    _make(path, made, exist_ok=True)
    return path


def _make_free(path: Path, made: list[Path]) -> Path:
    _make(path.parent, made, exist_ok=True)
    count, folder = 1, path
    while True:
        try:
            _make(folder, made, exist_ok=False)
            return folder
        except FileExistsError:
            count += 1
            folder = path.with_name(f"{path.name}-{count}")


def _make(path: Path, made: list[Path], *, exist_ok: bool) -> None:
    """Make a folder and those above it, noting in `made` each that was not there."""
    if not path.parent.exists():
        _make(path.parent, made, exist_ok=True)
    there = path.is_dir()
    path.mkdir(exist_ok=exist_ok)
    if not there:
        made.append(path)


def _entries(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _result_names() -> set[str]:
    kinds = PICTURES | INVERTED
    return {RESULT, CONFIG, *kinds, *(kind + suffix for kind, suffix in kinds.items())}


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove the result that a folder holds: `result.json`, then what it lists, but for `keep`."""
    path = folder / RESULT
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kinds = PICTURES | REVERSED | INVERTED
        listed = [str(p[kind]) for p in record["pictures"] for kind in kinds if kind in p]
        listed += [str(name) for p in record["pictures"] for name in p.get("files", ())]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is not ours
        listed = []
    path.unlink(missing_ok=True)
    inside = folder.resolve()
    for file in (folder / name for name in listed if name not in keep):
        if inside in file.resolve().parents:
            file.unlink(missing_ok=True)
            with suppress(OSError):  # another picture's is still there, or it is the result's own
                if file.parent != folder:
                    file.parent.rmdir()


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `result.json` says; None if there is none, or it is not ours."""
    try:
        record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, making its folder if need be.

    That holds when the power fails too: the contents are on the disk before the name is.
    """
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, on systems that know how."""
    with suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def png(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """A PNG file with one UTF-8 text chunk for each entry of `text`."""
    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def gif(frames: Sequence[Image.Image], seconds: float = 4.0) -> bytes:
    """An endless animation that takes `seconds`, then rests for one on its last frame."""
    step = max(20, round(1000 * seconds / len(frames)))  # browsers slow down anything below 20 ms
    buffer = BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[step] * (len(frames) - 1) + [1000],
        loop=0,
    )
    return buffer.getvalue()


def edit_text(method: str, source_prompt: str, target_prompt: str) -> dict[str, str]:
    """The text chunks that mark a picture as edited, and how."""
    return {
        "Software": software(),
        "Description": f"Edited with {method}: from {source_prompt!r} to {target_prompt!r}.",
        "edited": "true",
        "method": method,
        "source_prompt": source_prompt,
        "target_prompt": target_prompt,
    }


def to_json(record: Mapping[str, Any]) -> bytes:
    """`record` as indented JSON; text stays readable in any script."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace")  # for file names that are not valid UTF-8


def software() -> str:
    """Name and version of this package."""
    return f"{PACKAGE} {_version(PACKAGE)}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    packages = (PACKAGE, "diffusers", "transformers", "numpy", "pillow")
    # torch's own version says which CUDA it was built for
    found = {"python": platform.python_version(), "torch": torch.__version__}
    return found | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_revision() -> str | None:
    """Commit of the checkout this package runs from (`-dirty` if changed), None outside of one."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # A package installed somewhere inside another project's checkout is not tracked there.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], **_QUIET)
        describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run([*git, *describe], **_QUIET).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


_QUIET: dict[str, Any] = {"check": True, "capture_output": True, "text": True, "timeout": 10}
