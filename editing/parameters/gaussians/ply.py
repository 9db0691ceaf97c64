"""PLY files of Gaussians, in the layout of the reference implementation of Kerbl et al. 2023."""

import importlib
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from editing.errors import UserError
from editing.images import reason
from editing.parameters.gaussians.harmonics import DEGREES
from editing.parameters.gaussians.scene import Gaussians

PLAIN = {
    "means": ("x", "y", "z"),
    "log_scales": ("scale_0", "scale_1", "scale_2"),
    "quaternions": ("rot_0", "rot_1", "rot_2", "rot_3"),
    "opacity_logits": ("opacity",),
    "constant": ("f_dc_0", "f_dc_1", "f_dc_2"),
}
HEADER = 2**16  # bytes; longer ones are none
_COUNT = re.compile(rb"(?m)^(element[ \t]+\S+)[ \t]+(\d+)")


def read_ply(path: Path) -> Gaussians:
    """The Gaussians of a PLY file.

    Raises:
        UserError: if it is no PLY, lacks a property, holds no vertices or a number that is not
            finite.
    """
    plyfile, where = _plyfile(), repr(str(path))
    if not path.is_file():
        raise UserError(f"{where} does not exist: give a PLY file of Gaussians.")
    try:
        vertices = _vertices(path.read_bytes(), plyfile, where)
    except UserError:
        raise
    except Exception as error:  # a broken header may break the parser in any way
        raise UserError(f"{where} cannot be read as a PLY file: {reason(error)}.") from error
    if vertices is None or not len(vertices):
        raise UserError(f"{where} holds no vertices.")
    names = set(vertices.dtype.names)
    needed = [name for group in PLAIN.values() for name in group]
    if missing := [name for name in needed if name not in names]:
        raise UserError(
            f"{where} is not of Gaussians: its vertices have no {', '.join(missing[:4])}."
        )
    rest = len([name for name in names if name.startswith("f_rest_")])
    if rest % 3 or 1 + rest // 3 not in DEGREES:
        raise UserError(f"{where} has {rest} f_rest_ properties: there are 0, 9, 24 or 45.")
    try:
        columns = {
            key: np.stack([vertices[name].astype(np.float32) for name in group], -1)
            for key, group in PLAIN.items()
        }
        more = [vertices[f"f_rest_{i}"].astype(np.float32) for i in range(rest)]
    except (ValueError, TypeError) as error:  # lists, or a number left out
        raise UserError(f"{where} has properties that are no numbers: {reason(error)}.") from error
    if any(not np.isfinite(column).all() for column in [*columns.values(), *more]):
        raise UserError(f"{where} holds a number that is not finite.")
    values = {key: torch.from_numpy(column) for key, column in columns.items()}
    harmonics = values.pop("constant")[:, None]
    if more:  # channel by channel in the file
        higher = torch.from_numpy(np.stack(more, -1)).unflatten(1, (3, -1)).mT
        harmonics = torch.cat([harmonics, higher], 1)
    logits = values.pop("opacity_logits")[:, 0]
    return Gaussians(**values, opacity_logits=logits, harmonics=harmonics.contiguous())


def _vertices(contents: bytes, plyfile: Any, where: str) -> Any:
    """The table of vertices; None if there is none.

    plyfile parses the header, with all counts set to 0: it would allocate what they say before it
    reads, and then read number by number, a million Gaussians in minutes.
    """
    end = re.search(rb"end_header[ \t]*(\r\n|\n|\r)", contents[:HEADER])
    header = contents[: end.end()] if end else contents[:HEADER]
    counts = [int(match[2]) for match in _COUNT.finditer(header)]
    data = plyfile.PlyData.read(BytesIO(_COUNT.sub(rb"\1 0", header)), mmap=False)
    for element, count in zip(data.elements, counts, strict=True):
        types = [
            "u1" if data.text or isinstance(each, plyfile.PlyListProperty) else each.dtype()
            for each in element.properties
        ]
        if count * sum(np.dtype(each).itemsize for each in types) > len(contents):
            raise UserError(
                f"{where} says that it holds {count} times '{element.name}', more than fit into "
                f"its {len(contents)} bytes: it is damaged, or not all of it is there."
            )
    if data.text or not counts or data.elements[0].name != "vertex":
        whole = plyfile.PlyData.read(BytesIO(contents), mmap=False)
        return whole["vertex"].data if "vertex" in whole else None
    layout = data.elements[0].dtype(data.byte_order)
    return np.frombuffer(contents, layout, counts[0], len(header))  # refuses lists


def write_ply(gaussians: Gaussians) -> bytes:
    """A binary PLY file of the Gaussians, with the normals of zero that readers expect."""
    plyfile = _plyfile()
    constant, higher = gaussians.harmonics[:, 0], gaussians.harmonics[:, 1:]
    parts = {
        ("x", "y", "z"): gaussians.means,
        ("nx", "ny", "nz"): torch.zeros_like(gaussians.means),
        PLAIN["constant"]: constant,
        tuple(f"f_rest_{i}" for i in range(3 * higher.shape[1])): higher.mT.flatten(1),
        PLAIN["opacity_logits"]: gaussians.opacity_logits[:, None],
        PLAIN["log_scales"]: gaussians.log_scales,
        PLAIN["quaternions"]: gaussians.quaternions,
    }
    names = [name for group in parts for name in group]
    table = np.empty(len(gaussians), dtype=[(name, "<f4") for name in names])
    for group, values in parts.items():
        for name, column in zip(group, values.detach().cpu().float().unbind(1), strict=True):
            table[name] = column.numpy()
    buffer = BytesIO()
    element = plyfile.PlyElement.describe(table, "vertex")
    plyfile.PlyData([element], byte_order="<").write(buffer)
    return buffer.getvalue()


def _plyfile() -> Any:
    try:
        return importlib.import_module("plyfile")
    except ImportError as error:
        raise UserError("PLY files of Gaussians need plyfile: pip install plyfile.") from error
