"""WAV files in one folder per class, as log-mel spectrograms."""

from __future__ import annotations

import re
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.dataset_config import WavFolderSource
from hwnas.datasets._types import RawData
from hwnas.datasets.class_folders import class_files
from hwnas.datasets.log_mel import describe, log_mel
from hwnas.datasets.paths import resolve_path
from hwnas.errors import UserError
from hwnas.preprocessing import fit


def read_wav_folder(source: WavFolderSource, base_dir: Path) -> RawData:
    """Read every clip at one length, as log-mel; see `WavFolderSource`."""
    root = resolve_path(source.path, base_dir)
    files = class_files(root, {".wav"})
    rate = source.features.sample_rate_hz
    length = round(source.length_s * rate)
    clips = np.stack([fit(read_wav(file.path, rate), length) for file in files.files])
    groups = None
    if source.group_pattern is not None:
        groups = np.array([_group(f.path, source.group_pattern) for f in files.files])
    return RawData(
        name=str(root),
        x=log_mel(clips, source.features),
        y=files.y,
        class_names=files.class_names,
        groups=groups,
        official_test=files.official_test,
        preprocessing={
            "length_s": source.length_s,
            "log_mel": describe(source.features),
        },
        raw=lambda index: read_wav(files.files[index].path, rate),
    )


def read_wav(path: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    """Return a PCM file's samples in [-1, 1), channels averaged.

    Raises:
        UserError: If it is no PCM WAV file or of another sample rate.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            n = file.getnframes()
            raw = file.readframes(n)
    except (wave.Error, EOFError, OSError) as error:
        raise UserError(f"{path}: not a PCM WAV file ({error})") from None
    if rate != sample_rate_hz:
        raise UserError(
            f"{path}: {rate} Hz, but dataset.features.sample_rate_hz is {sample_rate_hz}. "
            "Resample the files, or set the rate they have."
        )
    if width not in (1, 2, 3, 4):
        raise UserError(f"{path}: wanted samples of 8, 16, 24 or 32 bits. Got {8 * width}.")
    if n == 0 or len(raw) != n * width * channels:
        raise UserError(
            f"{path}: holds {len(raw)} bytes of sound, but its header says {n * width * channels}. "
            "Copy it again or remove it."
        )
    if width == 1:  # the only unsigned width
        samples = np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(128)
    elif width == 3:
        padded = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        samples = padded.view("<i4")[:, 0].astype(np.float32) / np.float32(256)
    else:
        samples = np.frombuffer(raw, f"<i{width}").astype(np.float32)
    mono: NDArray[np.float32] = samples.reshape(-1, channels).mean(axis=1)
    return mono / np.float32(2 ** (8 * width - 1))


def _group(path: Path, pattern: str) -> str:
    try:
        found = re.search(pattern, path.name)
        if found is None or found.group(1) is None:
            raise UserError(f"{path}: dataset.group_pattern {pattern!r} does not match its name")
        return found.group(1)
    except (re.error, IndexError) as error:
        raise UserError(
            f"dataset.group_pattern: wanted a regular expression with one group such as "
            f"'^([a-z0-9]+)_'. Got {pattern!r} ({error})."
        ) from None
