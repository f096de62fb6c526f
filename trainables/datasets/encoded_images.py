"""Encoded images (JPEG, PNG, ...) opened by Pillow, with errors that say which one is at fault."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from trainables import limits

MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
"""What becomes 8-bit gray or RGB without loss of depth; alpha is dropped."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Those whose header says how large they are; of others one starts a program, one holds another."""

Image.MAX_IMAGE_PIXELS = None  # counted here, by a limit that can be set


@contextmanager
def damage(where: str) -> Iterator[None]:
    """Says of whatever Pillow raises, some of it only when an image is decoded, where that is.

    Raises:
        ValueError: in its place; there are a dozen kinds, by format.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{where}: the image is damaged: {error}") from error


def opened(where: str, content: bytes) -> Image.Image:
    """The image, not yet decoded.

    Args:
        where: where it stands, for errors.
        content: its encoded bytes.

    Raises:
        ValueError: it is damaged, has more than 8 bits per channel, or more pixels than allowed.
    """
    with damage(where):
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    if message := limits.beyond("IMAGE_PIXELS", image.width * image.height):
        raise ValueError(f"{where}: {message}")
    if image.mode not in MODES:
        raise ValueError(f"{where}: the image has mode {image.mode}; use 8-bit gray or RGB")
    return image
