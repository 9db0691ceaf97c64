import time
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch

from editing.errors import UserError
from editing.parameters.gaussians import Gaussians, read_ply, write_ply


def some(count: int = 7, terms: int = 4) -> Gaussians:
    draw = torch.Generator().manual_seed(0)
    shapes = ((count, 3), (count, 3), (count, 4), (count,), (count, terms, 3))
    return Gaussians(*(torch.randn(shape, generator=draw) for shape in shapes))


@pytest.mark.parametrize("terms", [1, 4, 9, 16])
def test_what_is_written_is_read_exactly(terms: int, tmp_path: Path) -> None:
    made = some(terms=terms)
    (tmp_path / "a.ply").write_bytes(write_ply(made))
    again = read_ply(tmp_path / "a.ply")
    for before, after in zip(made.tensors(), again.tensors(), strict=True):
        assert torch.equal(before, after)
    assert write_ply(again) == (tmp_path / "a.ply").read_bytes()


def test_the_layout_is_that_of_the_reference(tmp_path: Path) -> None:
    """Binary, little endian, its order of properties, higher harmonics channel by channel."""
    made = some(2, 4)
    (tmp_path / "a.ply").write_bytes(write_ply(made))
    data = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    assert data.byte_order == "<" and not data.text
    names = [each.name for each in data["vertex"].properties]
    rest = [f"f_rest_{i}" for i in range(9)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *rest,
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    red = [float(data["vertex"][f"f_rest_{i}"][1]) for i in range(3)]
    assert red == made.harmonics[1, 1:, 0].tolist()


@pytest.mark.parametrize("options", [{"text": True}, {"byte_order": ">"}])
def test_other_kinds_of_ply_are_read_too(options: dict[str, Any], tmp_path: Path) -> None:
    """Numbers as text, or the other byte order; and with faces behind the vertices."""
    made = some()
    (tmp_path / "a.ply").write_bytes(write_ply(made))
    vertices = plyfile.PlyData.read(str(tmp_path / "a.ply"), mmap=False)["vertex"].data
    faces = np.array([([0, 1, 2],)], dtype=[("vertex_indices", "i4", (3,))])
    elements = [plyfile.PlyElement.describe(vertices, "vertex")]
    elements.append(plyfile.PlyElement.describe(faces, "face"))
    plyfile.PlyData(elements, **options).write(str(tmp_path / "b.ply"))
    again = read_ply(tmp_path / "b.ply")
    for before, after in zip(made.tensors(), again.tensors(), strict=True):
        torch.testing.assert_close(before, after)


def test_a_file_of_many_is_read_at_once(tmp_path: Path) -> None:
    """plyfile itself reads number by number: two minutes for a million Gaussians."""
    (tmp_path / "a.ply").write_bytes(write_ply(some(20_000, 16)))
    start = time.process_time()
    assert len(read_ply(tmp_path / "a.ply")) == 20_000
    assert time.process_time() - start < 1


def spoilt(tmp_path: Path, name: str, value: float) -> bytes:
    (tmp_path / "b.ply").write_bytes(write_ply(some()))
    data = plyfile.PlyData.read(str(tmp_path / "b.ply"), mmap=False)
    data["vertex"].data[name][0] = value
    data.write(str(tmp_path / "b.ply"))
    return (tmp_path / "b.ply").read_bytes()


def of_points() -> bytes:
    table = np.zeros(3, dtype=[("x", "f4"), ("y", "f4"), ("z", "f4")])
    from io import BytesIO

    buffer = BytesIO()
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(buffer)
    return buffer.getvalue()


def test_bad_files_get_one_sentence(tmp_path: Path) -> None:
    whole = write_ply(some())
    cases = {
        "does not exist": None,
        "cannot be read as a PLY file": b"",
        "cannot be read as a PLY": b"ply\nformat binary_little_endian 1.0\nend",
        "read as a PLY file": whole[:-5],
        "holds 9999999 times 'vertex', more": whole.replace(b"vertex 7", b"vertex 9999999"),
        "holds no vertices": write_ply(some(0)),
        "its vertices have no scale_0, scale_1": of_points(),
        "holds a number that is not finite": spoilt(tmp_path, "opacity", float("nan")),
        "has 8 f_rest_ properties": whole.replace(b"float f_rest_8", b"float g_rest_8"),
    }
    for said, contents in cases.items():
        path = tmp_path / "a.ply"
        path.unlink(missing_ok=True)
        if contents is not None:
            path.write_bytes(contents)
        with pytest.raises(UserError) as caught:
            read_ply(path)
        assert said in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
