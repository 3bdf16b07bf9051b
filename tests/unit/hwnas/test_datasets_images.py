"""Image folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hwnas.dataset_config import ImageFolderSource
from hwnas.datasets import load_dataset
from hwnas.datasets.images import decode_image
from hwnas.errors import UserError


def source(**settings: Any) -> ImageFolderSource:
    settings = {"size": (6, 8), **settings}
    return ImageFolderSource(kind="image_folder", path=".", **settings)


def pixels(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def write(folder: Path, seeds: range, suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        Image.fromarray(pixels(seed)).save(folder / f"{seed:03d}.{suffix}")


def complaint(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(source(), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_of_the_wanted_size_keep_their_pixels(tmp_path: Path) -> None:
    write(tmp_path / "dog", range(5, 10))
    write(tmp_path / "cat", range(5))
    raw = source().read(tmp_path)
    assert raw.class_names == ("cat", "dog")
    assert raw.y.tolist() == [0] * 5 + [1] * 5
    wanted = np.stack([pixels(seed).transpose(2, 0, 1) for seed in range(10)])
    np.testing.assert_allclose(raw.x * 255, wanted, rtol=1e-6)
    assert raw.official_test is None
    assert load_dataset(source(), tmp_path).input_shape == (3, 6, 8)


def test_gray_is_the_luma_of_bt_601(tmp_path: Path) -> None:
    write(tmp_path / "cat", range(5))
    write(tmp_path / "dog", range(5, 10))
    raw = source(grayscale=True).read(tmp_path)
    wanted = np.stack([pixels(seed) @ [0.299, 0.587, 0.114] for seed in range(10)])
    # Pillow rounds to whole gray levels in fixed point
    np.testing.assert_allclose(raw.x[:, 0] * 255, wanted, atol=1)


def test_a_resized_image_of_one_color_stays_of_that_color(tmp_path: Path) -> None:
    for name, color in (("cat", (10, 20, 30)), ("dog", (40, 50, 60))):
        (tmp_path / name).mkdir()
        for k in range(5):
            Image.new("RGB", (5 + k, 9), color).save(tmp_path / name / f"{k}.bmp")
    raw = source(size=(4, 3)).read(tmp_path)
    assert raw.x.shape == (10, 3, 4, 3)
    np.testing.assert_allclose(raw.x[0, :, 0, 0] * 255, [10, 20, 30], rtol=1e-6)
    assert (raw.x == raw.x[:, :, :1, :1]).all()


def test_folders_named_train_and_test_are_an_official_split(tmp_path: Path) -> None:
    for part, start in (("train", 0), ("test", 20)):
        write(tmp_path / part / "cat", range(start, start + 6))
        write(tmp_path / part / "dog", range(start + 10, start + 16))
    raw = source().read(tmp_path)
    assert raw.official_test is not None
    assert raw.official_test.tolist() == [False] * 12 + [True] * 12
    assert raw.class_names == ("cat", "dog")
    assert len(load_dataset(source(), tmp_path).test.y) == 12


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "cat", range(5))
    write(tmp_path / "dog", range(5))
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("about")
    assert source().read(tmp_path).class_names == ("cat", "dog")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no class folders" in complaint(tmp_path)
    write(tmp_path / "cat", range(5))
    write(tmp_path / "dog", range(5))
    (tmp_path / "owl").mkdir()
    assert "owl: no files in this class folder" in complaint(tmp_path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cat", range(5))
    assert "Got only 'cat'" in complaint(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="wanted a folder with one folder per class"):
        source().model_copy(update={"path": "file"}).read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("notes.txt", b"hello", "notes.txt: wanted one of .bmp"),
        ("fake.png", b"hello", "fake.png: not a readable image"),
        # a PostScript file would start another program
        ("fake.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
    ],
)
def test_a_file_that_is_no_image_is_named(
    name: str, content: bytes, wanted: str, tmp_path: Path
) -> None:
    write(tmp_path / "cat", range(5))
    write(tmp_path / "dog", range(5))
    (tmp_path / "dog" / name).write_bytes(content)
    assert wanted in complaint(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_half_an_image_is_refused(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "cat", range(5), suffix)
    write(tmp_path / "dog", range(5))
    path = tmp_path / "cat" / f"003.{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"003.{suffix}: not a readable image" in complaint(tmp_path)


def test_sixteen_bits_are_refused_and_not_cut_to_white(tmp_path: Path) -> None:
    write(tmp_path / "cat", range(5))
    write(tmp_path / "dog", range(5))
    Image.fromarray(np.full((6, 8), 1000, np.uint16)).save(tmp_path / "dog" / "deep.png")
    assert "deep.png: more than 8 bits per channel" in complaint(tmp_path)


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.filterwarnings("ignore")  # Pillow also warns of what it then refuses
def test_a_damaged_image_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(0)).save(
        buffer, data.draw(st.sampled_from(["PNG", "GIF", "BMP", "JPEG", "TIFF"]))
    )
    damaged = bytearray(buffer.getvalue())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        image = decode_image(io.BytesIO(damaged), "here")
    except UserError:
        return
    assert image.mode == "RGB"
