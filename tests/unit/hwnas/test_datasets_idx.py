"""The IDX format, plain and gzipped."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.dataset_config import IdxSource
from hwnas.datasets import load_dataset
from hwnas.datasets.idx import read_idx_file
from hwnas.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, size=(30, 3, 4), dtype=np.uint8)
LABELS = (np.arange(30) % 3).astype(np.uint8)


def encoded(array: NDArray[Any], code: int = 0x08) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def source(**settings: Any) -> IdxSource:
    return IdxSource(kind="idx", images="images", labels="labels", **settings)


def write(folder: Path, images: bytes, labels: bytes, prefix: str = "") -> None:
    (folder / f"{prefix}images").write_bytes(images)
    (folder / f"{prefix}labels").write_bytes(labels)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_images_and_labels_are_read_plain_or_gzipped(pack: Any, tmp_path: Path) -> None:
    write(tmp_path, pack(encoded(PIXELS)), pack(encoded(LABELS)))
    raw = source().read(tmp_path)
    np.testing.assert_allclose(raw.x[:, 0] * 255, PIXELS, rtol=1e-6)
    assert raw.y.tolist() == LABELS.tolist()
    assert raw.class_names == ("0", "1", "2")
    assert load_dataset(source(), tmp_path).input_shape == (1, 3, 4)


@pytest.mark.parametrize(
    ("code", "dtype"), [(9, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
def test_every_number_type_is_read_in_this_machines_byte_order(
    code: int, dtype: str, tmp_path: Path
) -> None:
    wanted = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    (tmp_path / "file").write_bytes(encoded(wanted, code))
    got = read_idx_file(tmp_path / "file")
    assert got.dtype == wanted.dtype
    assert np.array_equal(got, wanted)


def test_a_test_set_that_is_named_is_kept(tmp_path: Path) -> None:
    write(tmp_path, encoded(PIXELS), encoded(LABELS))
    write(tmp_path, encoded(PIXELS[:6]), encoded(LABELS[:6]), "test_")
    raw = source(test_images="test_images", test_labels="test_labels").read(tmp_path)
    assert raw.official_test is not None
    assert raw.official_test.tolist() == [False] * 30 + [True] * 6
    assert np.array_equal(raw.x[30:], raw.x[:6])


def test_labels_cannot_move_from_the_training_to_the_test_set(tmp_path: Path) -> None:
    write(tmp_path, encoded(PIXELS), encoded(LABELS[:-1]))
    write(tmp_path, encoded(PIXELS[:6]), encoded(LABELS[:7]), "test_")
    with pytest.raises(UserError, match="training set: wanted one label per sample"):
        source(test_images="test_images", test_labels="test_labels").read(tmp_path)


def test_a_different_number_of_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path, encoded(PIXELS), encoded(LABELS[:-1]))
    with pytest.raises(UserError, match="30 samples, but 29 labels"):
        load_dataset(source(), tmp_path)


def test_test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write(tmp_path, encoded(PIXELS), encoded(LABELS))
    write(tmp_path, encoded(PIXELS[:6, :2]), encoded(LABELS[:6]), "test_")
    with pytest.raises(UserError, match=r"\(3, 4\), test samples \(2, 4\)"):
        source(test_images="test_images", test_labels="test_labels").read(tmp_path)


def test_test_images_without_test_labels_are_refused(tmp_path: Path) -> None:
    write(tmp_path, encoded(PIXELS), encoded(LABELS))
    with pytest.raises(UserError, match="test_images and test_labels belong together"):
        source(test_images="images").read(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_cut_off_anywhere_is_refused_in_one_line(pack: Any, tmp_path: Path) -> None:
    whole, path = pack(encoded(PIXELS)), tmp_path / "file"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError) as caught:
            read_idx_file(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"\x89PNG", "not an IDX file"),
        (b"\0\0\x07\x01" + bytes(8), "not an IDX file"),
        (encoded(LABELS) + b"\0", "39 bytes, but its header says 38"),
        # sizes whose product overflows 64 bits to 0
        (struct.pack(">HBB4I", 0, 8, 4, *[2**16] * 4), "header says 18446744073709551636"),
        (gzip.compress(encoded(LABELS), mtime=0)[:-1] + b"\xff", "damaged gzip file"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    content: bytes, wanted: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=wanted):
        read_idx_file(tmp_path / "file")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_idx_file(tmp_path)
