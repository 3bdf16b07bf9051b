"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import ImageFolderSource
from hwnas.datasets._types import RawData
from hwnas.datasets.class_folders import ClassFile, class_files
from hwnas.datasets.images import decode_image
from hwnas.datasets.paths import resolve_path
from hwnas.preprocessing import sized_image

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read_image_folder(source: ImageFolderSource, base_dir: Path) -> RawData:
    """Read and resize every image; see `ImageFolderSource`."""
    root = resolve_path(source.path, base_dir)
    files = class_files(root, _SUFFIXES)
    spec = {
        "layout": "HWC",
        "resize": {"height": source.size[0], "width": source.size[1], "filter": "bilinear"},
        "grayscale": source.grayscale,
        "scale": {"divide_by": 255.0},
    }
    # not resized by Pillow, whose order of axes is its own: a device must see what training saw
    pixels = np.stack([sized_image(spec, _read(file)) for file in files.files])
    return RawData(
        name=str(root),
        x=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255),
        y=files.y,
        class_names=files.class_names,
        official_test=files.official_test,
        preprocessing=spec,
        raw=lambda index: _read(files.files[index]),
    )


def _read(file: ClassFile) -> NDArray[np.uint8]:
    return np.asarray(decode_image(file.path, str(file.path)), dtype=np.uint8)
