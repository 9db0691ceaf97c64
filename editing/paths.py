"""Paths as people type them."""

from pathlib import Path


def expanded(name: str | Path) -> Path:
    """The path with `~` as the home folder; as it stands if there is nobody of that name."""
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_file(name: str | Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return expanded(name).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False
