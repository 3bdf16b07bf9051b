"""Encoded images in a NumPy archive, as one byte array with offsets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import JpegNpzSource
from hwnas.datasets._types import RawData
from hwnas.datasets.images import decode_image
from hwnas.datasets.npz import open_npz, read_array
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError


def read_jpeg_npz(source: JpegNpzSource, base_dir: Path) -> RawData:
    """Decode ``{train,test}_jpeg`` at ``_off`` with labels ``_y``; see `JpegNpzSource`."""
    path = resolve_path(source.path, base_dir)
    with open_npz(path) as archive:
        names = tuple(str(name) for name in read_array(archive, "classes", path))
        parts = {}
        for part, limit in (("train", source.max_train), ("test", source.max_test)):
            blob, offsets, y = (
                read_array(archive, f"{part}_{suffix}", path) for suffix in ("jpeg", "off", "y")
            )
            if len(y) == 0 or len(offsets) not in (len(y), len(y) + 1):
                raise UserError(
                    f"{path}: {part}_off has {len(offsets)} entries for {len(y)} labels"
                )
            if not all(np.issubdtype(array.dtype, np.integer) for array in (blob, offsets, y)):
                raise UserError(f"{path}: wanted integers in {part}_jpeg, {part}_off, {part}_y")
            chosen = _spread(len(y), limit)
            parts[part] = (_decode(blob, offsets, chosen, path), y[chosen].astype(np.int64))
    x = np.concatenate([parts["train"][0], parts["test"][0]])
    y = np.concatenate([parts["train"][1], parts["test"][1]])
    if y.min() < 0 or y.max() >= len(names):
        raise UserError(f"{path}: labels {y.min()} to {y.max()} for {len(names)} classes")
    return RawData(
        name=str(path),
        x=x,
        y=y,
        class_names=names,
        official_test=np.arange(len(y)) >= len(parts["train"][1]),
        preprocessing={"layout": "HWC", "scale": {"divide_by": 255.0}},
        # 8 bits survive a division by 255: nothing is kept twice
        raw=lambda index: np.rint(255 * x[index]).astype(np.uint8).transpose(1, 2, 0),
    )


def _spread(n: int, limit: int | None) -> NDArray[np.int64]:
    """Return ``limit`` indices spread evenly over ``n``, all without a limit."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.linspace(0, n - 1, limit).astype(np.int64)


def _decode(
    blob: NDArray[Any], offsets: NDArray[Any], chosen: NDArray[np.int64], path: Path
) -> NDArray[np.float32]:
    ends = np.append(offsets, len(blob))
    images = []
    for index in chosen:
        encoded = io.BytesIO(blob[ends[index] : ends[index + 1]].tobytes())
        image = decode_image(encoded, f"{path}: image {index}")
        images.append(np.asarray(image, dtype=np.uint8))
    if len({image.shape for image in images}) != 1:
        raise UserError(f"{path}: images differ in size")
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
