"""Decode one image, or say why it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hwnas.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# by content, whatever the suffix says; none of them starts another program, as EPS does
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def decode_image(file: Path | BinaryIO, where: str) -> Image:
    """Return a color image of 8 bits per channel.

    Args:
        file: Path or stream.
        where: What error messages call it.

    Raises:
        UserError: If it is no image, damaged, or of more than 8 bits.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as image:
            stored_mode, converted = image.mode, image.convert("RGB")
    # all that Pillow raises for damaged files
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: not a readable image ({error})") from None
    if stored_mode.startswith(("I", "F")):
        raise UserError(
            f"{where}: more than 8 bits per channel (mode {stored_mode}), which would be cut off. "
            "Convert it to 8 bits."
        )
    return converted
