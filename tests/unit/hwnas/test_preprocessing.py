"""What a device computes from a raw sample is what the network was trained on, bit for bit."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hwnas import preprocessing
from hwnas.dataset_config import (
    DatasetSource,
    DigitsSource,
    IdxSource,
    ImageFolderSource,
    JpegNpzSource,
    LogMel,
    NpzSource,
    WavFolderSource,
    WindowsSource,
)
from hwnas.datasets.loading import load_with_raw
from hwnas.preprocessing import preprocess, resize

FEATURES = LogMel(sample_rate_hz=8000, n_mels=12)
N = 24


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def labels() -> NDArray[np.int64]:
    return np.arange(N) % 2


def digits(folder: Path) -> DatasetSource:
    return DigitsSource(kind="digits")


def npz(x: NDArray[Any], folder: Path, features: LogMel | None = None) -> DatasetSource:
    np.savez(folder / "data.npz", x=x, y=labels())
    return NpzSource(kind="npz", path="data.npz", features=features)


def npz_gray_bytes(folder: Path) -> DatasetSource:
    return npz(rng().integers(0, 256, (N, 6, 7), dtype=np.uint8), folder)


def npz_color_floats(folder: Path) -> DatasetSource:
    return npz(rng().normal(size=(N, 3, 6, 7)), folder)


def npz_waves_of_integers(folder: Path) -> DatasetSource:
    return npz(rng().integers(-9000, 9000, (N, 1600), dtype=np.int16), folder, FEATURES)


def npz_waves_of_bytes(folder: Path) -> DatasetSource:
    return npz(rng().integers(0, 256, (N, 1600), dtype=np.uint8), folder, FEATURES)


def npz_waves_of_floats(folder: Path) -> DatasetSource:
    return npz(rng().normal(0, 0.1, (N, 1600)).astype(np.float32), folder, FEATURES)


def idx(folder: Path) -> DatasetSource:
    for name, array in {
        "images": rng().integers(0, 256, (N, 5, 6), dtype=np.uint8),
        "labels": labels().astype(np.uint8),
    }.items():
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(header + array.tobytes())
    return IdxSource(kind="idx", images="images", labels="labels")


def random_image(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))


def image_folder(folder: Path, grayscale: bool) -> DatasetSource:
    generator = rng()
    for index in range(N):
        path = folder / "images" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        random_image(generator, (9 + index, 20)).save(path)
    return ImageFolderSource(kind="image_folder", path="images", size=(11, 13), grayscale=grayscale)


def color_images(folder: Path) -> DatasetSource:
    return image_folder(folder, grayscale=False)


def gray_images(folder: Path) -> DatasetSource:
    return image_folder(folder, grayscale=True)


def jpeg_npz(folder: Path) -> DatasetSource:
    generator, arrays = rng(), {}
    for part in ("train", "test"):
        encoded = []
        for _ in range(N):
            file = io.BytesIO()
            random_image(generator, (8, 8)).save(file, "JPEG")
            encoded.append(file.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"{part}_off"] = np.cumsum([0, *map(len, encoded)])
        arrays[f"{part}_y"] = labels()
    np.savez(folder / "data.npz", classes=np.array(["a", "b"]), **arrays)
    return JpegNpzSource(kind="jpeg_npz", path="data.npz")


def wav_folder(folder: Path) -> DatasetSource:
    generator = rng()
    for index in range(N):
        path = folder / "sounds" / f"class{index % 2}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        # shorter and longer than what they are fitted to; mono and stereo
        channels = 1 + index % 3 // 2
        samples = generator.integers(-9000, 9000, (1000 + 60 * index, channels), dtype=np.int16)
        with wave.open(str(path), "wb") as file:
            file.setparams((channels, 2, 8000, len(samples), "NONE", ""))
            file.writeframes(samples.tobytes())
    return WavFolderSource(kind="wav_folder", path="sounds", length_s=0.2, features=FEATURES)


def csv_windows(folder: Path) -> DatasetSource:
    rows = [
        f"{a:.3f},{b:.3f},{(row // 16) % 2}"
        for row, (a, b) in enumerate(rng().normal(size=(16 * N, 2)))
    ]
    (folder / "data.csv").write_text("\n".join(["ax,ay,label", *rows]))
    return WindowsSource(kind="windows", path="data.csv", window=16, step=16)


KINDS: list[Callable[[Path], DatasetSource]] = [
    *(digits, idx, color_images, gray_images, jpeg_npz, wav_folder, csv_windows),
    *(npz_gray_bytes, npz_color_floats),
    *(npz_waves_of_integers, npz_waves_of_bytes, npz_waves_of_floats),
]


@pytest.mark.parametrize("make", KINDS, ids=[make.__name__ for make in KINDS])
def test_the_training_features_are_reproduced_bit_for_bit(
    make: Callable[[Path], DatasetSource], tmp_path: Path
) -> None:
    dataset, raw = load_with_raw(make(tmp_path), tmp_path)
    assert raw is not None
    # as a device gets it
    spec = json.loads(json.dumps(dataset.preprocessing))
    for index, wanted in enumerate(dataset.validation.x):
        got = preprocess(spec, raw(index))
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got[0], wanted)


def test_integers_of_a_wav_file_and_their_floats_give_the_same_features(tmp_path: Path) -> None:
    dataset, _ = load_with_raw(wav_folder(tmp_path), tmp_path)
    integers = rng().integers(-9000, 9000, (1600, 2), dtype=np.int16)
    floats = (integers / 2.0**15).astype(np.float32)
    # sums of two integers of 16 bits and halves of them are exact in float32
    np.testing.assert_array_equal(
        preprocess(dataset.preprocessing, integers), preprocess(dataset.preprocessing, floats)
    )


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    new=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_an_image_is_resized_as_pillow_does_one_axis_after_the_other(
    size: tuple[int, int], new: tuple[int, int], seed: int
) -> None:
    image = random_image(np.random.default_rng(seed), size)
    rows = image.resize((new[1], size[0]), Image.Resampling.BILINEAR)
    wanted = rows.resize((new[1], new[0]), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize(np.asarray(image), *new), np.asarray(wanted))


def test_gray_of_all_colors_is_pillows() -> None:
    # each channel in steps of 5, so 140,608 colors
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
    got = preprocess({"layout": "HWC", "grayscale": True}, colors)
    np.testing.assert_array_equal(got[0, 0], np.asarray(Image.fromarray(colors).convert("L")))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ({"whitening": {}}, (4, 4), "unknown preprocessing 'whitening'"),
        ({}, (4,), r"wanted an image"),
        ({"layout": "CT"}, (4,), r"wanted a sample \(C, T\)"),
        ({"layout": "HWC"}, (4, 4, 2), r"wanted an image \(H, W\) or \(H, W, 3\)"),
    ],
    ids=["unknown key", "one axis", "no channels", "two colors"],
)
def test_what_does_not_fit_is_refused(
    spec: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        preprocess(spec, np.zeros(shape, np.uint8))


def test_the_file_alone_is_enough_on_a_device(tmp_path: Path) -> None:
    copy = tmp_path / "preprocess.py"
    copy.write_bytes(Path(preprocessing.__file__).read_bytes())
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import preprocess; "
    code += "print([m for m in sys.modules if m.startswith(('hwnas', 'torch', 'PIL'))])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
