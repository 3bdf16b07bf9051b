"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwnas.dataset_config import ImageFolderSource
from hwnas.datasets._types import RawData
from hwnas.datasets.class_folders import ClassFile, class_files
from hwnas.datasets.images import decode_image
from hwnas.datasets.paths import resolve_path

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read_image_folder(source: ImageFolderSource, base_dir: Path) -> RawData:
    """Read and resize every image; see `ImageFolderSource`."""
    root = resolve_path(source.path, base_dir)
    files = class_files(root, _SUFFIXES)
    pixels = np.stack([_read(file, source) for file in files.files])
    axes = pixels[:, None] if source.grayscale else pixels.transpose(0, 3, 1, 2)
    return RawData(
        name=str(root),
        x=np.ascontiguousarray(axes, dtype=np.float32) / np.float32(255),
        y=files.y,
        class_names=files.class_names,
        official_test=files.official_test,
        preprocessing={
            "resize": {"height": source.size[0], "width": source.size[1], "filter": "bilinear"},
            "grayscale": source.grayscale,
            "scale": {"divide_by": 255.0},
        },
    )


def _read(file: ClassFile, source: ImageFolderSource) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from PIL.Image import Resampling

    height, width = source.size
    image = decode_image(file.path, "L" if source.grayscale else "RGB", str(file.path))
    return np.asarray(image.resize((width, height), Resampling.BILINEAR), dtype=np.uint8)
