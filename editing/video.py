"""Short films as GIF or MP4 files."""

import importlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from jaxtyping import Float
from torch import Tensor

from editing.errors import UserError
from editing.images import enlarged, to_image
from editing.results import gif

RATE = 12  # frames a second
EXTENSIONS = (".gif", ".mp4")


def check_extension(extension: str) -> None:
    """Refuses what :func:`film` cannot write.

    Raises:
        UserError: if it is neither GIF nor MP4, or MP4 without PyAV.
    """
    if extension not in EXTENSIONS:
        raise UserError(f"A film is written as gif or mp4, not as {extension.lstrip('.')!r}.")
    if extension == ".mp4":
        _av()


def film(frames: Sequence[Float[Tensor, "3 H W"]], extension: str) -> bytes:
    """Pictures in [0, 1] of one size as a film that shows :data:`RATE` of them a second.

    Raises:
        UserError: as :func:`check_extension`.
    """
    check_extension(extension)
    images = [enlarged(to_image(frame)) for frame in frames]
    if extension == ".gif":
        return gif(images, len(images) / RATE)
    av, buffer = _av(), BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        # the codec takes even sides only
        stream.width, stream.height = (side - side % 2 for side in images[0].size)
        stream.pix_fmt = "yuv420p"
        for image in images:
            cut = image.crop((0, 0, stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(cut)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UserError("An MP4 needs PyAV: pip install av, or take a GIF.") from error
