"""Arithmetic of shapes that modules and workloads share."""

from __future__ import annotations

from search_spaces._types import Shape

_CHANNEL_MULTIPLE = 4


def round_channels(channels: float) -> int:
    """Round to the nearest multiple of 4, at least 4, as vector units like them."""
    multiple = _CHANNEL_MULTIPLE
    return max(multiple, int(channels + multiple / 2) // multiple * multiple)


def axis_sizes(shape: Shape, size: int) -> tuple[int, int]:
    """Return a kernel or stride per axis: 1 on an axis of length 1, ``size`` elsewhere.

    A sensor window ``(C, 1, T)`` thus gets one-dimensional convolutions.

    Args:
        shape: ``(C, H, W)`` of the input.
        size: Kernel or stride asked for.
    """
    _, height, width = shape
    return (size if height > 1 else 1, size if width > 1 else 1)


def conv_output_shape(shape: Shape, channels: int, stride: int) -> Shape:
    """Return ``(C, H, W)`` after a convolution with odd kernel and padding ``k // 2``."""
    _, height, width = shape
    return (channels, -(-height // stride), -(-width // stride))
