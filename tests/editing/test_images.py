"""Pictures of every kind are read as they look, or refused in one sentence."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from editing.errors import UserError
from editing.images import (
    MAX_ASPECT,
    enlarged,
    find_pictures,
    fit,
    fitted_size,
    read_picture,
    side_by_side,
    to_image,
    to_tensor,
)


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """A colourful picture in which every corner differs."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).round().astype(np.uint8))


def close(image: Image.Image, expected: Image.Image, tolerance: float) -> bool:
    difference = np.asarray(image, dtype=float) - np.asarray(expected, dtype=float)
    return image.size == expected.size and np.abs(difference).max() <= tolerance


# --- what is converted ---------------------------------------------------------------------------


def test_rgb_png_is_read_exactly(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    image = read_picture(tmp_path / "a.png")
    assert image.mode == "RGB"
    assert close(image, gradient(), 0)


@pytest.mark.parametrize("bits", [1, 8, 16, 32])
def test_greys_of_any_depth(tmp_path: Path, bits: int) -> None:
    grey = np.tile(np.linspace(0, 1, 32), (16, 1))
    path = tmp_path / ("a.tif" if bits == 32 else "a.png")
    if bits == 1:
        grey = grey.round()
        Image.fromarray(grey > 0.5).save(path)
    elif bits == 8:
        Image.fromarray((grey * 255).round().astype(np.uint8)).save(path)
    elif bits == 16:
        Image.fromarray((grey * 65535).round().astype(np.uint16)).save(path)
    else:
        Image.fromarray(grey.astype(np.float32)).save(path)
    expected = Image.fromarray((grey * 255).round().astype(np.uint8)).convert("RGB")
    assert close(read_picture(path), expected, 1)


def test_palette(tmp_path: Path) -> None:
    palette = gradient().quantize(16)
    palette.save(tmp_path / "a.png")
    assert close(read_picture(tmp_path / "a.png"), palette.convert("RGB"), 0)


def test_cmyk(tmp_path: Path) -> None:
    cmyk = gradient().convert("CMYK")
    cmyk.save(tmp_path / "a.tif")
    image = read_picture(tmp_path / "a.tif")
    assert image.mode == "RGB"
    assert close(image, cmyk.convert("RGB"), 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    if mode == "P":  # colour 0 of the palette, black, is the transparent one
        image = Image.new("P", (16, 16), 1)
        image.putpalette([0, 0, 0, 0, 0, 255])
        image.paste(0, (0, 0, 8, 16))
        image.save(path, transparency=0)
    else:
        image = Image.new("RGBA", (16, 16), (0, 0, 255, 255))
        image.paste((0, 0, 0, 0), (0, 0, 8, 16))
        image.convert(mode).save(path)
    pixels = np.asarray(read_picture(path))
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] < 255).any(axis=-1).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    undo = {  # what turns the upright picture into the one that is stored
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = gradient().transpose(undo[orientation]) if orientation in undo else gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert close(read_picture(tmp_path / "a.png"), gradient(), 0)


def test_broken_colour_profile_is_ignored(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png", icc_profile=b"not a profile")
    assert close(read_picture(tmp_path / "a.png"), gradient(), 0)


def test_colour_profile_is_converted(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient().save(tmp_path / "srgb.png", icc_profile=srgb)
    assert close(read_picture(tmp_path / "srgb.png"), gradient(), 2)
    # A profile whose red and blue primaries are exchanged must exchange the two channels.
    red, blue = srgb.index(b"rXYZ"), srgb.index(b"bXYZ")
    swapped = bytearray(srgb)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    gradient().save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    exchanged = Image.merge("RGB", gradient().split()[::-1])
    assert close(read_picture(tmp_path / "swapped.png"), exchanged, 3)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


# --- what is refused -----------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A tiny PNG file that claims to be `width` by `height` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def encoded(format: str, image: Image.Image | None = None) -> bytes:
    buffer = BytesIO()
    (image or gradient(400, 300)).save(buffer, format)
    return buffer.getvalue()


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty file"),
    "text": (lambda: b"I am not a picture." * 10, "not a picture"),
    "pickle": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os.", "not a picture"),
    "eps": (lambda: encoded("EPS"), "not a picture"),
    "truncated png": (lambda: encoded("PNG")[:600], "truncated"),
    "truncated jpeg": (lambda: encoded("JPEG")[:2000], "truncated"),
    "truncated webp": (lambda: encoded("WEBP")[:500], "can"),
    "header only": (lambda: encoded("PNG")[:16], "not a picture"),
    "1x1": (lambda: encoded("PNG", Image.new("RGB", (1, 1))), "too small"),
    "1x4000": (lambda: encoded("PNG", Image.new("RGB", (1, 4000))), "too small"),
    "10x4000": (lambda: encoded("PNG", Image.new("RGB", (10, 4000))), "too long and thin"),
    "bomb beyond the limit": (lambda: png_of(12_000, 12_000), "million"),
    "bomb beyond Pillow's": (lambda: png_of(2**30, 2**30), "more pixels"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_refused(tmp_path: Path, name: str) -> None:
    make, expected = BROKEN[name]
    path = tmp_path / "a.png"
    path.write_bytes(make())
    with pytest.raises(UserError, match=expected) as error:
        read_picture(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_missing_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no picture at"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match="is a folder"):
        read_picture(tmp_path)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_no_bytes_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, format: str
) -> None:
    data = bytearray(encoded(format, gradient(16, 16)))
    for i, byte in enumerate(noise):
        data[(i * 7919 + byte) % len(data)] ^= byte
    path = tmp_path_factory.mktemp("noise") / "a.png"
    path.write_bytes(data)
    try:
        assert read_picture(path).mode == "RGB"
    except UserError as error:
        assert "\n" not in str(error)


# --- finding -------------------------------------------------------------------------------------


def test_folder_and_glob_are_in_natural_order(tmp_path: Path) -> None:
    for name in ["cat10.png", "cat2.PNG", "Cat1.jpg", "notes.txt", ".hidden.png"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cat3.png").write_bytes(b"x")
    assert [p.name for p in find_pictures(str(tmp_path))] == ["Cat1.jpg", "cat2.PNG", "cat10.png"]
    assert [p.name for p in find_pictures(f"{tmp_path}/cat*")] == ["cat2.PNG", "cat10.png"]
    deep = find_pictures(f"{tmp_path}/**/cat*.png")
    assert [p.name for p in deep] == ["cat10.png", "cat3.png"]


@pytest.mark.parametrize("name", ["a [1].png", "a=b, c.png", "*.png", "猫.png"])
def test_a_file_that_exists_is_never_taken_as_a_glob(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "other.png").write_bytes(b"x")
    assert find_pictures(str(tmp_path / name)) == [tmp_path / name]


@pytest.mark.parametrize("src", ["", "  ", "nowhere.png", "*.nothing", "a\0b", "x" * 5000])
def test_nothing_found_is_one_sentence(src: str) -> None:
    with pytest.raises(UserError) as error:
        find_pictures(src)
    assert "\n" not in str(error.value)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        find_pictures(str(tmp_path))


# --- resizing ------------------------------------------------------------------------------------

SIDES = st.integers(8, 3000)


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 12), st.sampled_from([1, 8, 16, 64]))
def test_fitted_size(width: int, height: int, factor: int, multiple: int) -> None:
    size = factor * multiple
    new = fitted_size(width, height, size, multiple)
    assert min(new) == size
    assert all(side % multiple == 0 for side in new)
    assert (new[0] >= new[1]) == (width >= height) or new[0] == new[1]
    exact = size * max(width, height) / min(width, height)
    assert exact - multiple < max(new) + 0.5  # less than one multiple is lost
    assert max(new) <= exact + 0.5


@settings(deadline=None, max_examples=30)
@example(0.734375, 64)  # its box was larger than the picture by rounding
@given(st.floats(1 / MAX_ASPECT, MAX_ASPECT), st.sampled_from([16, 64]))
def test_fit_never_squashes(aspect: float, size: int) -> None:
    """A gradient along each axis keeps its slope: equal along both, whatever the aspect."""
    height = 100
    width = max(8, round(height * aspect))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = Image.fromarray(np.stack([x % 256, y, x * 0], axis=-1).astype(np.uint8))
    fitted = np.asarray(fit(image, size, 8)).astype(float)
    down = np.diff(fitted[2:-2, :, 1].mean(axis=1))
    across = np.diff(fitted[:, 2:-2, 0].mean(axis=0))
    across = across[np.abs(across) < 60]  # where x % 256 does not wrap around
    assert np.median(across) == pytest.approx(np.median(down), rel=0.15, abs=0.6)


def test_fit_crops_evenly() -> None:
    """A symmetric picture stays symmetric."""
    half = np.asarray(gradient(50, 40))
    image = Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))
    fitted = np.asarray(fit(image, 32, 16)).astype(int)
    assert fitted.shape == (32, 80, 3)
    assert np.abs(fitted - fitted[:, ::-1]).max() <= 1


def test_fit_is_antialiased() -> None:
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    image = Image.fromarray(checks.astype(np.uint8)).convert("RGB")
    assert np.abs(np.asarray(fit(image, 32, 8)).astype(int) - 127).max() <= 2


def test_fit_leaves_a_fitting_picture_alone() -> None:
    assert close(fit(gradient(32, 48), 32, 16), gradient(32, 48), 0)


# --- tensors -------------------------------------------------------------------------------------


def test_tensor_round_trip_is_exact() -> None:
    tensor = to_tensor(gradient())
    assert tensor.shape == (3, 24, 40)
    assert tensor.dtype == torch.float32
    assert 0 <= tensor.min() and tensor.max() <= 1
    assert close(to_image(tensor), gradient(), 0)


def test_values_beyond_the_range_are_clipped() -> None:
    image = to_image(torch.tensor([-3.0, 0.5, 7.0]).reshape(3, 1, 1))
    assert image.getpixel((0, 0)) == (0, 128, 255)


def test_enlarged_repeats_pixels() -> None:
    image = gradient(8, 6)
    large = enlarged(image, least=13)
    assert large.size == (24, 18)
    assert np.array_equal(np.asarray(large)[::3, 2::3], np.asarray(image))
    assert enlarged(large, least=18).size == large.size


def test_side_by_side() -> None:
    row = side_by_side([Image.new("RGB", (8, 6), "red"), Image.new("RGB", (5, 6), "blue")], gap=2)
    assert row.size == (15, 6)
    assert [row.getpixel((x, 0)) for x in (7, 8, 10)] == [(255, 0, 0), (255,) * 3, (0, 0, 255)]
