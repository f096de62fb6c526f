"""Encoded images (JPEG, PNG, ...) opened by Pillow, with errors that say which one is at fault."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from trainables import limits

MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
"""What becomes 8-bit gray or RGB without loss of depth; alpha is dropped."""

DAMAGE = (UnidentifiedImageError, OSError, SyntaxError, ValueError)
"""What Pillow raises of a damaged image, some of it only when the image is decoded."""

Image.MAX_IMAGE_PIXELS = None  # counted here, by a limit that can be set


def opened(where: str, content: bytes) -> Image.Image:
    """The image, not yet decoded.

    Args:
        where: where it stands, for errors.
        content: its encoded bytes.

    Raises:
        ValueError: it is damaged, has more than 8 bits per channel, or more pixels than allowed.
    """
    try:
        image = Image.open(io.BytesIO(content))
    except DAMAGE as error:
        raise ValueError(f"{where}: the image is damaged: {error}") from error
    if message := limits.beyond("IMAGE_PIXELS", image.width * image.height):
        raise ValueError(f"{where}: {message}")
    if image.mode not in MODES:
        raise ValueError(f"{where}: the image has mode {image.mode}; use 8-bit gray or RGB")
    return image
