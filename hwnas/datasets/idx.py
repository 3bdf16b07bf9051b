"""The IDX format of MNIST, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import IdxSource
from hwnas.datasets._types import RawData
from hwnas.datasets.labels import encode_labels
from hwnas.datasets.npz import join_test_set, with_channel
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(source: IdxSource, base_dir: Path) -> RawData:
    """Read images and labels, and a test set where it is named; see `IdxSource`."""
    images_path = resolve_path(source.images, base_dir)
    x, labels = read_idx_file(images_path), read_idx_file(resolve_path(source.labels, base_dir))
    official = None
    if (source.test_images is None) != (source.test_labels is None):
        raise UserError(f"{images_path}: test_images and test_labels belong together")
    if source.test_images is not None and source.test_labels is not None:
        x_test = read_idx_file(resolve_path(source.test_images, base_dir))
        y_test = read_idx_file(resolve_path(source.test_labels, base_dir))
        x, labels, official = join_test_set(x, labels, x_test, y_test, str(images_path))
    y, names = encode_labels(labels, str(images_path))
    scale = 255.0 if x.dtype == np.uint8 else 1.0
    return RawData(
        str(images_path),
        with_channel(x, str(images_path)) / np.float32(scale),
        y,
        names,
        official_test=official,
        preprocessing={"scale": {"divide_by": scale}},
        raw=lambda index: np.asarray(x[index]),
    )


def read_idx_file(path: Path) -> NDArray[Any]:
    """Read one IDX file.

    Raises:
        UserError: If it is no IDX file, or shorter than its header says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged gzip file ({error})") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise UserError(f"{path}: not an IDX file; its first bytes are {content[:4].hex(' ')}")
    dtype, n_axes = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise UserError(f"{path}: {len(content)} bytes, but its header alone takes {start}")
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise UserError(f"{path}: {len(content)} bytes, but its header says {wanted}")
    array = np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
