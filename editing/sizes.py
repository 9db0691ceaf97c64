"""Which sizes of pictures a prior can edit."""

from collections.abc import Iterable
from typing import Any

from editing.errors import UserError


def fitting_size(size: int | None, prior: Any) -> int:
    """The shorter side of the edit in pixels: `size`, or what the prior was trained on.

    Raises:
        UserError: if the prior cannot take that size, naming the nearest one that it can.
    """
    multiple = prior.size_multiple
    if size is None:
        return max(multiple, prior.image_size // multiple * multiple)
    if size % multiple:
        nearest = max(1, round(size / multiple)) * multiple
        raise UserError(
            f"size={size} does not fit prior={prior.name}: "
            f"take a multiple of {multiple}, such as size={nearest}."
        )
    return size


def check_largest(sizes: Iterable[tuple[int, int]], prior: Any) -> None:
    """Refuses edits that are larger than a prior can take.

    Raises:
        UserError: if a width or height of `sizes` is.
    """
    longest = max(max(size) for size in sizes)
    if prior.largest and longest > prior.largest:
        raise UserError(
            f"An edit would be {longest} pixels long, and prior={prior.name} takes "
            f"{prior.largest} at most: give a smaller size=."
        )
