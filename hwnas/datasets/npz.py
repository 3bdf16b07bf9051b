"""Arrays in a NumPy archive."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from hwnas.dataset_config import NpzSource
from hwnas.datasets._types import RawData
from hwnas.datasets.labels import encode_labels
from hwnas.datasets.log_mel import describe, log_mel
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError
from hwnas.preprocessing import full_scale

# zipfile raises RuntimeError for an unknown compression or encryption, numpy's header TokenError
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    tokenize.TokenError,
)


def read_npz(source: NpzSource, base_dir: Path) -> RawData:
    """Read samples, labels and, where named, groups and a test set; see `NpzSource`."""
    path = resolve_path(source.path, base_dir)
    with open_npz(path) as archive:
        x, labels = read_array(archive, source.x_key, path), read_array(archive, source.y_key, path)
        groups = read_array(archive, source.group_key, path) if source.group_key else None
        official = _official_test(source, groups, path)
        if source.x_test_key or source.y_test_key:
            if not (source.x_test_key and source.y_test_key):
                raise UserError(f"{path}: x_test_key and y_test_key belong together")
            x_test = read_array(archive, source.x_test_key, path)
            y_test = read_array(archive, source.y_test_key, path)
            if groups is not None:
                raise UserError(f"{path}: x_test_key and group_key exclude each other")
            x, labels, official = join_test_set(x, labels, x_test, y_test, str(path))
    y, class_names = encode_labels(labels, str(path))
    samples = x
    preprocessing: dict[str, Any] = {}
    if source.features is not None:
        if x.ndim != 2:
            raise UserError(f"{path}: log_mel wanted waveforms (N, samples). Got {x.shape}.")
        zero, full = full_scale(x.dtype)
        waveforms = (x.astype(np.float32) - np.float32(zero)) / np.float32(full)
        x = log_mel(waveforms, source.features)
        preprocessing["waveform"] = {"subtract": zero, "divide_by": full}
        preprocessing["log_mel"] = describe(source.features)
    elif x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
        preprocessing["scale"] = {"divide_by": 255.0}
    return RawData(
        str(path),
        with_channel(x, str(path)),
        y,
        class_names,
        groups,
        official,
        preprocessing,
        raw=lambda index: np.asarray(samples[index]),
    )


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open an archive without unpickling anything.

    Raises:
        UserError: If it is damaged, now or while it is read.
    """
    try:
        # opened here, since np.load leaves a file that it refuses open
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, NpzFile):
                raise UserError(f"{path}: wanted an .npz archive. Got a single array.")
            # numpy checks a sum only after the last byte, which a damaged shape never reaches
            damaged = archive.zip.testzip() if archive.zip else None
            if damaged is not None:
                raise UserError(f"{path}: {damaged} is damaged. Copy or download it again.")
            with archive:
                yield archive
    except _DAMAGE as error:
        raise UserError(f"{path}: damaged archive ({error}). Copy or download it again.") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def read_array(archive: NpzFile, key: str, path: Path) -> NDArray[Any]:
    """Return one array of an archive.

    Raises:
        UserError: If it is not there, or holds Python objects.
    """
    if key not in archive.files:
        raise UserError(f"{path}: no array {key!r}. It holds: {', '.join(archive.files)}.")
    try:
        array: NDArray[Any] = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{path}: array {key!r} holds Python objects, which could run code when read. "
            "Save it with a plain type."
        ) from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {key!r} is no array")
    if array.ndim == 0:
        raise UserError(f"{path}: array {key!r} is a single value")
    return array


def with_channel(x: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return samples as ``(N, C, H, W)``: ``(N, H, W)`` and ``(N, C, T)`` gain an axis.

    Three axes are images with one channel where the last two are both longer
    than 1; sensor windows come through the ``windows`` source.

    Raises:
        UserError: For another number of axes or a type that holds no numbers.
    """
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_):
        raise UserError(f"{where}: wanted numbers as samples. Got type {x.dtype}.")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4:
        raise UserError(
            f"{where}: wanted samples (N, C, H, W) or (N, H, W). Got shape {x.shape}. "
            "Waveforms need features: {kind: log_mel, sample_rate_hz: ...}."
        )
    return np.ascontiguousarray(x, dtype=np.float32)


def join_test_set(
    x: NDArray[Any], labels: NDArray[Any], x_test: NDArray[Any], y_test: NDArray[Any], where: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Append a test set: samples, labels, and which of them are test samples.

    Raises:
        UserError: If the two parts do not fit together.
    """
    # each part by itself: one label too few here and one too many there would shift them all
    for name, samples, classes in (("training", x, labels), ("test", x_test, y_test)):
        if samples.ndim == 0 or classes.ndim == 0 or len(samples) != len(classes):
            raise UserError(
                f"{where}: {name} set: wanted one label per sample. "
                f"Got samples {samples.shape}, labels {classes.shape}."
            )
    if x.shape[1:] != x_test.shape[1:] or labels.shape[1:] != y_test.shape[1:]:
        raise UserError(
            f"{where}: training samples are {x.shape[1:]}, test samples {x_test.shape[1:]}; "
            f"labels {labels.shape[1:]} and {y_test.shape[1:]}"
        )
    official = np.arange(len(x) + len(x_test)) >= len(x)
    return np.concatenate([x, x_test]), np.concatenate([labels, y_test]), official


def _official_test(
    source: NpzSource, groups: NDArray[Any] | None, path: Path
) -> NDArray[np.bool_] | None:
    if source.test_groups is None:
        return None
    if groups is None:
        raise UserError(f"{path}: test_groups needs group_key")
    known = np.unique(groups).tolist()
    _check_known(source.test_groups, known, path)
    return np.isin(groups, source.test_groups)


def _check_known(wanted: Sequence[int | str], known: list[Any], path: Path) -> None:
    for group in wanted:
        if group not in known:
            raise UserError(f"{path}: test_groups: no group {group!r}. It holds: {known}.")
