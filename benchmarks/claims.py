"""Who does what, among workers that share a folder and nothing else.

A worker claims a batch by creating a file, which only one can. While it works it keeps touching the
file; a file that nobody touches any more was left by a worker that died, and is taken over. Should
two workers ever do the same batch, they write the same rows.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from editing.results import to_json

CLAIMS = "claims"
BEAT = 10.0  # seconds between two touches
STALE = 120.0  # seconds after which a claim that is not touched is void


@contextmanager
def claim(output: Path, key: str) -> Iterator[bool]:
    """Whether the batch `key` is ours for the time of the context; released at its end."""
    path = output / CLAIMS / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    if not (_create(path, name) or (_void(path) and _create(path, name))):
        yield False
        return
    done = threading.Event()

    def ours() -> bool:  # a worker that was suspended for long may have lost it
        with suppress(OSError, ValueError):
            return json.loads(path.read_bytes())["claim"] == name
        return False

    def beat() -> None:
        while not done.wait(BEAT):
            if ours():
                with suppress(OSError):
                    os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        done.set()
        thread.join()
        if ours():
            path.unlink(missing_ok=True)


def _create(path: Path, name: str) -> bool:
    """Makes the file of a claim, whole from the start; False if there is one."""
    draft = path.with_name(f".{path.name}.{name}")
    owner = {"claim": name, "host": socket.gethostname(), "process": os.getpid()}
    draft.write_bytes(to_json(owner))
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _void(path: Path) -> bool:
    """Removes the file of a claim whose worker is gone; False if it is alive.

    The file is first moved to a name of its own, which only one of several workers can do; should
    it be a new worker's claim by then, it is put back.
    """
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        if not _abandoned(path):
            return False
        path.rename(grave)
        alive = not _abandoned(grave)
        if alive:
            with suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()
    except FileNotFoundError:  # released, or voided by another
        return True
    return not alive


def _abandoned(path: Path) -> bool:
    """Whether nobody touches a claim any more, or its process on this machine is gone."""
    if time.time() - path.stat().st_mtime > STALE:
        return True
    try:
        owner = json.loads(path.read_bytes())
    except ValueError:  # cut off when the power failed: nobody will touch it
        return False
    return owner["host"] == socket.gethostname() and not psutil.pid_exists(owner["process"])
