"""From a source to a data set: paths, checks, normalization, the built-in digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hwnas.dataset_config import DatasetSource, DigitsSource, NpzSource
from hwnas.datasets import RawData, load_dataset
from hwnas.datasets.labels import encode_labels
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError

HERE = Path()


class MemorySource(DatasetSource):
    """Samples that are already in memory."""

    kind: str = "memory"
    raw: Any

    def read(self, base_dir: Path) -> RawData:
        raw: RawData = self.raw
        return raw


def raw_data(n: int = 60, seed: int = 0, channels: int = 2) -> RawData:
    rng = np.random.default_rng(seed)
    x = rng.normal(3.0, 2.0, size=(n, channels, 3, 4)).astype(np.float32)
    return RawData("memory", x, np.arange(n) % 3, ("a", "b", "c"))


def load(raw: RawData, **settings: Any) -> Any:
    return load_dataset(MemorySource(raw=raw, **settings), HERE)


def complaint(raw: RawData) -> str:
    with pytest.raises(UserError) as caught:
        load(raw)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_digits_are_those_of_scikit_learn_and_every_one_is_used_once() -> None:
    dataset = load_dataset(DigitsSource(kind="digits"), HERE)
    images, labels = load_digits(return_X_y=True)
    assert dataset.input_shape == (1, 8, 8)
    splits = (dataset.train, dataset.validation, dataset.test)
    y = np.concatenate([s.y for s in splits])
    assert np.bincount(y).tolist() == np.bincount(labels).tolist()
    normalization = dataset.preprocessing["normalization"]
    scaled = np.concatenate([s.x for s in splits])[:, 0].reshape(-1, 64)
    pixels = (scaled * normalization["std"][0] + normalization["mean"][0]) * 16
    # undoing the scaling in float32 leaves less than a hundredth of one gray level
    rows = np.column_stack([y, np.round(pixels)])
    wanted = np.column_stack([labels, images])
    assert np.abs(pixels - np.round(pixels)).max() < 0.01
    assert np.array_equal(rows[np.lexsort(rows.T)], wanted[np.lexsort(wanted.T)])


def test_every_channel_of_the_training_split_has_mean_zero_and_deviation_one() -> None:
    raw = raw_data()
    raw.x[:, 1] *= 50
    train = load(raw).train.x.astype(np.float64)
    # float32 rounding of values of order 1
    np.testing.assert_allclose(train.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_what_validation_and_test_hold_does_not_change_the_normalization() -> None:
    raw = raw_data()
    before = load(raw)
    test_and_validation = np.ones(len(raw.y), dtype=np.bool_)
    train_rows = {row.tobytes() for row in before.train.x}
    known = before.preprocessing["normalization"]
    mean, std = (np.array(known[key], dtype=np.float32) for key in ("mean", "std"))
    normalized = (raw.x - mean[:, None, None]) / std[:, None, None]
    for index, row in enumerate(normalized):
        test_and_validation[index] = row.tobytes() not in train_rows
    assert test_and_validation.sum() == len(before.test.y) + len(before.validation.y)
    x = np.where(test_and_validation[:, None, None, None], raw.x * 100, raw.x)
    after = load(dataclasses.replace(raw, x=x))
    assert after.preprocessing["normalization"] == before.preprocessing["normalization"]
    assert np.array_equal(after.train.x, before.train.x)
    assert not np.allclose(after.test.x, before.test.x)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_the_unit_that_a_channel_is_given_in_does_not_matter(unit: float) -> None:
    raw = raw_data()
    scaled = dataclasses.replace(raw, x=(raw.x * unit).astype(np.float32))
    # two float32 roundings
    np.testing.assert_allclose(load(scaled).test.x, load(raw).test.x, rtol=1e-4, atol=1e-5)


def test_a_channel_that_is_constant_in_training_is_not_blown_up_elsewhere() -> None:
    raw = raw_data()
    raw.x[:, 0] = 7.1
    assert np.abs(load(raw).train.x[:, 0]).max() < 1e-5
    official = np.arange(len(raw.y)) % 4 == 0
    raw.x[official, 0] = 8.1
    test = load(dataclasses.replace(raw, official_test=official)).test.x
    np.testing.assert_allclose(test[:, 0], 1.0, rtol=1e-5)


def test_equal_data_has_an_equal_fingerprint_and_one_changed_value_another() -> None:
    raw = raw_data()
    first = load(raw).fingerprint
    assert load(raw).fingerprint == first
    raw.x[0, 0, 0, 0] += 1
    assert load(raw).fingerprint != first


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named(value: float) -> None:
    raw = raw_data()
    raw.x[17, 1, 2, 3] = value
    assert "sample 17" in complaint(raw)


def test_one_class_only_is_refused_by_name() -> None:
    raw = raw_data()
    assert "Got only 'b'" in complaint(dataclasses.replace(raw, y=np.full(60, 1)))


def test_labels_and_groups_must_be_as_many_as_the_samples() -> None:
    raw = raw_data()
    assert "60 samples, but 59 labels" in complaint(dataclasses.replace(raw, y=raw.y[:-1]))
    for groups in (np.arange(59), np.arange(60)[:, None]):
        assert "one group for each of 60" in complaint(dataclasses.replace(raw, groups=groups))


def test_samples_without_a_row_are_refused() -> None:
    raw = raw_data()
    empty = dataclasses.replace(raw, x=raw.x[:0], y=raw.y[:0])
    assert "wanted samples (N, C, H, W)" in complaint(empty)


def test_labels_of_any_kind_become_indices_in_sorted_order() -> None:
    y, names = encode_labels(np.array(["no", "yes", "go"]), "here")
    assert (y.tolist(), names) == ([1, 2, 0], ("go", "no", "yes"))
    y, names = encode_labels(np.array([[7.0], [-1.0], [7.0]]), "here")
    assert (y.tolist(), names) == ([1, 0, 1], ("-1", "7"))


@pytest.mark.parametrize(
    "labels", [np.array([0.5, 1]), np.array([np.nan, 1]), np.array([np.inf, 1]), np.eye(3)]
)
def test_labels_that_are_no_classes_are_refused(labels: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UserError, match=r"^here: "):
        encode_labels(labels, "here")


def test_a_path_may_name_an_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path))
    assert resolve_path("${SOME_FOLDER}/file", HERE) == tmp_path / "file"
    assert resolve_path("$SOME_FOLDER/file", HERE) == tmp_path / "file"
    assert resolve_path("file", tmp_path) == tmp_path / "file"


@pytest.mark.parametrize("text", ["${HWNAS_UNSET}/x.npz", "$HWNAS_UNSET/x.npz"])
def test_an_unset_environment_variable_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWNAS_UNSET", raising=False)
    with pytest.raises(UserError, match="environment variable HWNAS_UNSET, which is not set"):
        load_dataset(NpzSource(kind="npz", path=text), HERE)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.npz: does not exist"):
        load_dataset(NpzSource(kind="npz", path="nothing.npz"), tmp_path)
