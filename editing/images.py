"""Finding, reading, checking and resizing pictures, and turning tensors back into them."""

import re
import warnings
from glob import glob
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from editing.errors import UserError
from editing.paths import expanded

# What Pillow decodes by itself; EPS, for one, would hand the file to Ghostscript.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jfif .mpo .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm "
    ".jp2 .j2k .avif".split()
)
MAX_PIXELS = 100_000_000  # 300 MB decoded
MIN_SIDE = 8  # pixels
MAX_ASPECT = 8.0


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key of `path` that puts `cat2` before `cat10`."""
    words = re.split(r"([0-9]+)", str(path).casefold())
    return [(0, int(w), "") if w.isdecimal() and w.isascii() else (1, 0, w) for w in words]


def find_pictures(src: str) -> list[Path]:
    """The pictures that `src` names, in natural order.

    A file is itself, whatever its name; a folder stands for the pictures directly in it (by suffix,
    hidden files left out); anything else is a glob pattern (`**` crosses folders).
    """
    if not src.strip():
        raise UserError("src is empty: give a picture, a folder or a glob, as in src=cat.png.")
    path = expanded(src)
    try:
        if path.is_dir():
            found = [p for p in path.iterdir() if looks_like_picture(p)]
            if not found:
                raise UserError(f"The folder {src!r} holds no pictures.")
        elif path.exists():
            found = [path]
        else:
            found = [p for p in map(Path, glob(str(path), recursive=True)) if p.is_file()]
    except (OSError, ValueError) as error:  # unreadable folder; a name too long or with a NUL
        raise UserError(f"Cannot look at src={src!r}: {reason(error)}.") from error
    if not found:
        raise UserError(f"There is no picture at {src!r}: check src, a file, a folder or a glob.")
    return sorted(found, key=natural_key)


def looks_like_picture(path: Path) -> bool:
    """Whether a path is a file with the suffix of a picture, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_picture(path: str | Path) -> Image.Image:
    """The picture at `path` as an upright 8-bit sRGB image.

    The EXIF rotation is applied, an embedded colour profile is converted to sRGB (and ignored where
    it is broken), transparency is laid over white, 16-bit, float, palette, grey, 1-bit and CMYK
    pictures are converted, and of an animation the first frame is taken. Raises `UserError` with
    one sentence for anything that cannot be edited.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder, and a picture is needed here.")
    if not path.is_file():
        raise UserError(f"There is no picture at {str(path)!r}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {str(path)!r}: {reason(error)}.") from error
    if not data:
        raise UserError(f"{str(path)!r} is an empty file (0 bytes).")

    with warnings.catch_warnings(action="ignore"):  # of Pillow, about odd but readable files
        image = _open(data, path)
        _check_shape(image, path)
        try:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _over_white(_to_srgb(_to_colour(_to_8_bit(image))))
        except Exception as error:  # a decoder may raise anything on a broken file
            raise UserError(
                f"{str(path)!r} is truncated or broken and cannot be decoded ({reason(error)})."
            ) from error


def _open(data: bytes, path: Path) -> Image.Image:
    Image.init()
    try:
        return Image.open(BytesIO(data), formats=[f for f in FORMATS if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise UserError(f"{str(path)!r} has far more pixels than are safe to decode.") from error
    except Exception as error:  # a header may break a decoder in any way
        raise UserError(
            f"{str(path)!r} is not a picture that can be read (PNG, JPEG, WebP, TIFF, ...)."
        ) from error


def _check_shape(image: Image.Image, path: Path) -> None:
    width, height = image.size
    shape = f"{str(path)!r} is {width}x{height} pixels"
    if width * height > MAX_PIXELS:
        raise UserError(f"{shape}, more than the {MAX_PIXELS // 10**6} million that are decoded.")
    if min(width, height) < MIN_SIDE:
        raise UserError(f"{shape}, too small to edit: each side needs at least {MIN_SIDE} pixels.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UserError(f"{shape}, too long and thin: crop it to at most {MAX_ASPECT:g} to 1.")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """`image` with 16-bit, 32-bit and float greys scaled to 8 bits; other modes are untouched."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":  # floats are taken as [0, 1], or as 8-bit values if any exceeds 1
        values = values * (255 if values.max() <= 1 else 1)
    else:  # a 16-bit picture may be held in 32-bit integers
        values = values / 257
    grey = Image.fromarray(np.nan_to_num(values).clip(0, 255).round().astype(np.uint8))
    grey.info = {k: v for k, v in image.info.items() if k == "icc_profile"}
    return grey


def _to_colour(image: Image.Image) -> Image.Image:
    """`image` in mode RGBA if any of it may be transparent; palettes become colours."""
    if "transparency" in image.info or image.mode.endswith(("A", "a")):
        return image.convert("RGBA")
    return image if image.mode in ("L", "CMYK") else image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """`image` in sRGB by its embedded profile; without one, or with a broken one, as it is."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, srgb, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _over_white(image: Image.Image) -> Image.Image:
    """`image` in mode RGB, its transparent parts white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fitted_size(width: int, height: int, size: int, multiple: int) -> tuple[int, int]:
    """Width and height of the edit: the shorter side `size`, the longer one as near as it fits.

    The longer side keeps the aspect ratio and is rounded down to a multiple of `multiple`.
    """
    if width <= height:
        return size, max(size, int(height * size / width + 0.5) // multiple * multiple)
    return fitted_size(height, width, size, multiple)[::-1]


def fit(image: Image.Image, size: int, multiple: int) -> Image.Image:
    """`image` resized so that its shorter side is `size` pixels and no side is squashed.

    Both sides of the result are multiples of `multiple` (`size` must be one). What the longer side
    has beyond its multiple, less than one of them, is cut off evenly at both ends. Downscaling is
    antialiased (Lanczos).
    """
    width, height = fitted_size(*image.size, size, multiple)
    scale = min(image.width / width, image.height / height)
    box_width, box_height = width * scale, height * scale
    # rounding may make the box larger than the picture by next to nothing
    left, top = (
        max(0.0, x) for x in ((image.width - box_width) / 2, (image.height - box_height) / 2)
    )
    box = (left, top, min(left + box_width, image.width), min(top + box_height, image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def to_tensor(image: Image.Image) -> Float[Tensor, "3 H W"]:
    """An RGB image as float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)


def to_image(tensor: Float[Tensor, "3 H W"]) -> Image.Image:
    """A picture in [0, 1] (values beyond are clipped) as an 8-bit RGB image."""
    values = tensor.detach().cpu().float().clamp(0, 1).mul(255).round()
    return Image.fromarray(values.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def enlarged(image: Image.Image, least: int = 256) -> Image.Image:
    """`image` with every pixel repeated until its shorter side is at least `least` pixels.

    For looking at: the embedded model's pictures are smaller than a thumbnail.
    """
    factor = -(-least // min(image.size))
    size = (image.width * factor, image.height * factor)
    return image if factor == 1 else image.resize(size, Image.Resampling.NEAREST)


def side_by_side(images: list[Image.Image], gap: int = 4) -> Image.Image:
    """Images of one height in a row, `gap` white pixels between them."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + gap
    return row


def reason(error: Exception) -> str:
    """What went wrong, in a few words and on one line."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split()).rstrip(".")
