"""NumPy archives: arrays, waveforms, encoded images, and every way they can be damaged."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hwnas.dataset_config import JpegNpzSource, LogMel, NpzSource
from hwnas.datasets import load_dataset
from hwnas.datasets.log_mel import log_mel
from hwnas.errors import UserError


def source(**settings: Any) -> NpzSource:
    return NpzSource(kind="npz", path="data.npz", **settings)


def write(folder: Path, **arrays: Any) -> bytes:
    np.savez_compressed(folder / "data.npz", **arrays)
    return (folder / "data.npz").read_bytes()


def images(n: int = 40, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(n, 2, 4, 5)).astype(np.float32),
        "y": np.array(["cat", "dog"])[np.arange(n) % 2],
    }


def complaint(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_samples_and_labels_come_as_they_were_written(tmp_path: Path) -> None:
    arrays = images()
    write(tmp_path, pixels=arrays["x"], kinds=arrays["y"])
    raw = source(x_key="pixels", y_key="kinds").read(tmp_path)
    assert np.array_equal(raw.x, arrays["x"])
    assert [raw.class_names[i] for i in raw.y] == arrays["y"].tolist()
    assert raw.preprocessing == {}


def test_bytes_are_scaled_to_one_and_three_axes_gain_a_channel(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, size=(20, 4, 5), dtype=np.uint8)
    write(tmp_path, x=x, y=np.arange(20) % 2)
    raw = source().read(tmp_path)
    assert raw.x.shape == (20, 1, 4, 5)
    np.testing.assert_allclose(raw.x[:, 0] * 255, x, rtol=1e-6)
    assert raw.preprocessing == {"scale": {"divide_by": 255.0}}


def test_groups_that_are_named_form_the_test_set(tmp_path: Path) -> None:
    groups = np.array(["ann", "bob", "cid", "dan"])[np.arange(40) // 10]
    write(tmp_path, **images(), who=groups)
    dataset = load_dataset(source(group_key="who", test_groups=["bob"]), tmp_path)
    assert dataset.test.groups is not None
    assert set(dataset.test.groups.tolist()) == {"bob"}
    assert len(dataset.test.y) == 10
    assert dataset.train.groups is not None
    assert dataset.validation.groups is not None
    assert not set(dataset.train.groups.tolist()) & set(dataset.validation.groups.tolist())


def test_a_test_set_of_its_own_is_kept(tmp_path: Path) -> None:
    train, test = images(40), images(12, seed=1)
    write(tmp_path, **train, x_test=test["x"], y_test=test["y"])
    raw = source(x_test_key="x_test", y_test_key="y_test").read(tmp_path)
    assert raw.official_test is not None
    assert np.array_equal(raw.x[raw.official_test], test["x"])
    assert [raw.class_names[i] for i in raw.y[raw.official_test]] == test["y"].tolist()
    assert len(raw.x) == 52


def test_labels_cannot_move_from_the_training_to_the_test_set(tmp_path: Path) -> None:
    train, test = images(40), images(12, seed=1)
    write(
        tmp_path,
        x=train["x"],
        y=train["y"][:-1],
        x_test=test["x"],
        y_test=np.append(test["y"], "cat"),
    )
    message = complaint(lambda: source(x_test_key="x_test", y_test_key="y_test").read(tmp_path))
    assert "training set: wanted one label per sample. Got samples (40" in message


def test_waveforms_become_log_mel_spectrograms(tmp_path: Path) -> None:
    features = LogMel(sample_rate_hz=8000, n_mels=8)
    waves = np.random.default_rng(0).integers(-9000, 9000, size=(6, 800)).astype(np.int16)
    write(tmp_path, x=waves, y=np.arange(6) % 2)
    raw = source(features=features).read(tmp_path)
    wanted = log_mel((waves / 32768).astype(np.float32), features)
    np.testing.assert_allclose(raw.x, wanted, atol=1e-5)  # float32
    assert raw.preprocessing["log_mel"]["n_mels"] == 8


def test_unsigned_waveforms_are_centered_like_signed_ones(tmp_path: Path) -> None:
    features = LogMel(sample_rate_hz=8000, n_mels=8, low_hz=0)
    signed = np.random.default_rng(0).integers(-100, 100, size=(6, 800)).astype(np.int16)
    y = np.arange(6) % 2
    write(tmp_path, x=(signed * 256).astype(np.int16), y=y)
    wanted = source(features=features).read(tmp_path).x
    write(tmp_path, x=(signed + 128).astype(np.uint8), y=y)
    np.testing.assert_allclose(source(features=features).read(tmp_path).x, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "settings", "wanted"),
    [
        ({"x": np.zeros((4, 1, 2, 2))}, {}, "no array 'y'. It holds: x."),
        ({"x": np.array([[1], "a"], object), "y": np.zeros(2)}, {}, "'x' holds Python objects"),
        ({"x": np.float32(1), "y": np.zeros(2)}, {}, "'x' is a single value"),
        ({"x": np.array(["a", "b"]), "y": np.arange(2)}, {}, "wanted numbers as samples"),
        ({"x": np.zeros((4, 9)), "y": np.arange(4)}, {}, "Waveforms need features"),
        ({"x": np.zeros((4, 1, 2, 2)), "y": np.zeros((4, 3))}, {}, "wanted one label per sample"),
        ({"x": np.zeros((4, 2, 2)), "y": np.arange(4)}, {"test_groups": [1]}, "needs group_key"),
        ({"x": np.zeros((4, 2, 2)), "y": np.arange(4)}, {"x_test_key": "x"}, "belong together"),
        (
            {"x": np.zeros((4, 2, 2)), "y": np.arange(4)},
            {"features": LogMel(sample_rate_hz=8000)},
            "log_mel wanted waveforms",
        ),
        (
            {"x": np.zeros((4, 2, 2)), "y": np.arange(4), "g": np.arange(4)},
            {"group_key": "g", "test_groups": [9]},
            "no group 9. It holds: [0, 1, 2, 3]",
        ),
        (
            {"x": np.zeros((4, 2, 2)), "y": np.arange(4), "z": np.zeros((4, 3, 3))},
            {"x_test_key": "z", "y_test_key": "y"},
            "training samples are (2, 2), test samples (3, 3)",
        ),
    ],
)
def test_an_archive_of_other_arrays_than_wanted_is_refused(
    arrays: dict[str, Any], settings: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    write(tmp_path, **arrays)
    assert wanted in complaint(lambda: source(**settings).read(tmp_path))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    for content in (b"", b"x,y\n1,2\n", b"\x89PNG\r\n\x1a\n" + bytes(50)):
        path.write_bytes(content)
        assert "data.npz: " in complaint(lambda: source().read(tmp_path))
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    path.write_bytes(buffer.getvalue())
    assert "Got a single array" in complaint(lambda: source().read(tmp_path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
    assert "'x' is no array" in complaint(lambda: source().read(tmp_path))
    path.unlink()
    path.mkdir()
    assert "Is a directory" in complaint(lambda: source().read(tmp_path))


def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path, **images())
    for length in range(0, len(whole), 11):
        (tmp_path / "data.npz").write_bytes(whole[:length])
        assert "data.npz: " in complaint(lambda: load_dataset(source(), tmp_path))


def test_a_shape_or_flag_changed_in_place_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images()["x"], y=images()["y"])
    whole = (tmp_path / "data.npz").read_bytes()
    # fewer samples, so that numpy never reads up to the checksum
    shorter = whole.replace(b"(40, 2, 4, 5)", b"(20, 2, 4, 5)").replace(b"(40,)", b"(20,)")
    # the flag of encryption in the archive's directory
    flagged = bytearray(whole)
    flagged[whole.index(b"PK\x01\x02") + 8] |= 1
    for content in (shorter, bytes(flagged)):
        assert content != whole
        (tmp_path / "data.npz").write_bytes(content)
        assert "data.npz: " in complaint(lambda: source().read(tmp_path))


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_byte_is_noticed_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(write(tmp_path, **images()))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "data.npz").write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile and numpy also warn of what they then refuse
        try:
            raw = source().read(tmp_path)
        except UserError:
            return
    assert np.array_equal(raw.x, images()["x"])


def encoded(kinds: NDArray[np.int64], seed: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the arrays of one part, and the pixels its images decode to."""
    rng = np.random.default_rng(seed)
    files, pixels = [], []
    for _ in kinds:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
        files.append(buffer.getvalue())
        pixels.append(np.asarray(Image.open(io.BytesIO(files[-1]))))
    offsets = np.cumsum([0, *map(len, files)])
    blob = np.frombuffer(b"".join(files), np.uint8)
    return {"jpeg": blob, "off": offsets, "y": kinds}, np.stack(pixels)


def jpeg_arrays(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {"classes": np.array(["cat", "dog"])}
    for part, n in (("train", 20), ("test", 6)):
        for name, array in encoded(np.arange(n) % 2, n)[0].items():
            arrays[f"{part}_{name}"] = array
    return {**arrays, **changes}


def jpeg_source(**settings: Any) -> JpegNpzSource:
    return JpegNpzSource(kind="jpeg_npz", path="data.npz", **settings)


@pytest.mark.parametrize("with_end", [True, False])
def test_encoded_images_are_decoded_and_their_test_set_is_kept(
    with_end: bool, tmp_path: Path
) -> None:
    arrays = jpeg_arrays()
    if not with_end:
        arrays = {k: v[:-1] if k.endswith("_off") else v for k, v in arrays.items()}
    write(tmp_path, **arrays)
    raw = jpeg_source().read(tmp_path)
    assert raw.official_test is not None
    for n, chosen in ((20, ~raw.official_test), (6, raw.official_test)):
        kinds, pixels = np.arange(n) % 2, encoded(np.arange(n) % 2, n)[1]
        np.testing.assert_allclose(
            raw.x[chosen] * 255, pixels.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-5
        )
        assert raw.y[chosen].tolist() == kinds.tolist()
    assert raw.class_names == ("cat", "dog")


def test_a_limit_takes_images_from_all_over_the_set(tmp_path: Path) -> None:
    write(tmp_path, **jpeg_arrays(train_y=np.repeat([0, 1], 10)))
    raw = jpeg_source(max_train=4, max_test=2).read(tmp_path)
    assert raw.official_test is not None
    assert raw.y[~raw.official_test].tolist() == [0, 0, 1, 1]
    assert raw.official_test.sum() == 2


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"train_off": np.arange(5)}, "train_off has 5 entries for 20 labels"),
        ({"train_off": np.arange(0), "train_y": np.arange(0)}, "train_off has 0 entries"),
        ({"test_y": np.array([0, 1, 2, 0, 1, 0])}, "labels 0 to 2 for 2 classes"),
        ({"test_y": np.array([0, 1, -1, 0, 1, 0])}, "labels -1 to 1 for 2 classes"),
        ({"test_y": np.linspace(0, 1, 6)}, "wanted integers in test_jpeg"),
        ({"train_jpeg": np.zeros(9000, np.uint8)}, "image 0: not a readable image"),
        # the last image would begin where the bytes end
        ({"test_off": jpeg_arrays()["test_off"][1:]}, "image 5: not a readable image"),
    ],
)
def test_encoded_images_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    write(tmp_path, **jpeg_arrays(**changes))
    assert wanted in complaint(lambda: jpeg_source().read(tmp_path))


def test_encoded_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 5)).save(buffer, "JPEG")
    small = np.frombuffer(buffer.getvalue(), np.uint8)
    arrays = jpeg_arrays()
    blob = np.concatenate([arrays["test_jpeg"], small])
    offsets = np.append(arrays["test_off"], len(blob))
    write(
        tmp_path, **{**arrays, "test_jpeg": blob, "test_off": offsets, "test_y": np.arange(7) % 2}
    )
    assert "images differ in size" in complaint(lambda: jpeg_source().read(tmp_path))
