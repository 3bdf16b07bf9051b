"""Log-mel spectrograms of a data set; `hwnas.preprocessing` makes them here and on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import preprocessing
from hwnas.dataset_config import LogMel
from hwnas.errors import UserError

_EPSILON = 1e-6
# log units below a clip's loudest bin: what is fainter is noise of the recording
_FLOOR = 9.0
_SCALE, _OFFSET = 3.0, 1.5
_BLOCK = 256


def log_mel(waveforms: NDArray[np.float32], config: LogMel) -> NDArray[np.float32]:
    """Return log-mel spectrograms, relative to each clip's loudest bin.

    Values under -9 are raised to -9, and all are divided by 3 with 1.5 added. Loudness and
    the recording's noise floor so drop out. See `hwnas.preprocessing.log_mel`.

    Args:
        waveforms: Shape ``(N, samples)``, in [-1, 1).
        config: Rates and sizes.

    Returns:
        Shape ``(N, 1, frames, mels)``.

    Raises:
        UserError: If a clip is shorter than one window, or a filter has no frequency.
    """
    spec = describe(config)
    window, _ = preprocessing.frame_samples(spec)
    if window < 2:
        raise UserError(
            f"dataset.features.window_s: {config.window_s} s is {window} samples at "
            f"{config.sample_rate_hz} Hz; wanted at least 2"
        )
    if waveforms.shape[1] < window:
        raise UserError(
            f"dataset.features.window_s: {window} samples, longer than a clip "
            f"({waveforms.shape[1]} samples)"
        )
    mel_filters(config, window)
    # in blocks, since the frames of all clips at once can take gigabytes
    starts = range(0, len(waveforms), _BLOCK)
    return np.concatenate(
        [preprocessing.log_mel(waveforms[start : start + _BLOCK], spec) for start in starts]
    )


def describe(config: LogMel) -> dict[str, Any]:
    """Return everything that `log_mel` does, JSON-ready, so that a device can repeat it."""
    return {
        **config.model_dump(),
        "window": "periodic Hann",
        "high_hz": config.sample_rate_hz / 2,
        "mel_scale": "2595 log10(1 + f / 700)",
        "log_epsilon": _EPSILON,
        "relative_to": "largest value of the clip",
        "floor": -_FLOOR,
        "divide_by": _SCALE,
        "add": _OFFSET,
    }


def mel_filters(config: LogMel, window: int) -> NDArray[np.float32]:
    """Return triangular mel filters, shape ``(mels, window // 2 + 1)``.

    Raises:
        UserError: If a filter lies between two bins of the spectrum, or above them all.
    """
    high_hz = config.sample_rate_hz / 2
    if config.low_hz >= high_hz:
        raise UserError(
            f"dataset.features.low_hz: wanted less than half the sample rate, {high_hz:g} Hz. "
            f"Got {config.low_hz:g}."
        )
    filters = preprocessing.mel_filters(describe(config), window)
    if not filters.any(axis=1).all():
        raise UserError(
            f"dataset.features.n_mels: {config.n_mels} filters are too narrow for the "
            f"{filters.shape[1]} bins of a {config.window_s:g} s window. Lower n_mels or "
            "raise window_s."
        )
    return filters
