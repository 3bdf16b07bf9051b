"""Repeat a data set's preprocessing on one raw sample, bit for bit. NumPy alone.

This file imports nothing of hwnas: bundles carry a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# of the weights of a resized image, as Pillow has it for images of 8 bits
_RESIZE_BITS = 22
# ITU-R 601-2 luma of red, green and blue in 1/65536, as Pillow has it
_LUMA = np.array([19595, 38470, 7471], dtype=np.int64)


def preprocess(spec: Mapping[str, Any], raw: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a network reads, shape ``(1, C, H, W)``, of one raw sample.

    Args:
        spec: What was done with the training data, in any of these keys: ``layout``
            (``HWC``: colors last; ``CT``: channels of a sensor by time), ``grayscale``,
            ``resize``, ``scale``, ``waveform``, ``length_s``, ``log_mel``, ``normalization``.
        raw: An image of ``(C, H, W)``, ``(H, W)`` or as ``layout`` says; sensor channels
            ``(C, T)``; or a sound of ``(samples,)`` or ``(samples, channels)``, of integers
            as in a WAV file or of floats in [-1, 1).

    Raises:
        ValueError: If the specification has an unknown key, or the sample does not fit it.
    """
    unknown = sorted(spec.keys() - _KEYS)
    if unknown:
        raise ValueError(f"unknown preprocessing {unknown[0]!r}")
    x = _sound(spec, raw) if "log_mel" in spec else _image(spec, raw)
    if "normalization" in spec:
        mean, std = (
            np.asarray(spec["normalization"][name], dtype=np.float32)[:, None, None]
            for name in ("mean", "std")
        )
        x = (x - mean) / std
    return np.ascontiguousarray(x[None], dtype=np.float32)


_KEYS = {
    *("layout", "grayscale", "resize", "scale"),
    *("waveform", "length_s", "log_mel", "normalization"),
}


def _image(spec: Mapping[str, Any], raw: NDArray[Any]) -> NDArray[np.float32]:
    layout = spec.get("layout", "CHW")
    if layout == "CT":
        if raw.ndim != 2:
            raise ValueError(f"wanted a sample (C, T). Got shape {raw.shape}.")
        return raw.astype(np.float32)[:, None]
    if layout == "HWC":
        raw = sized_image(spec, raw).transpose(2, 0, 1)
    x = raw.astype(np.float32)
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3:
        raise ValueError(f"wanted an image ({', '.join(layout)}). Got shape {raw.shape}.")
    if "scale" in spec:
        x /= np.float32(spec["scale"]["divide_by"])
    return x


def sized_image(spec: Mapping[str, Any], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image ``(H, W, C)`` of the colors and the size that the specification wants.

    Args:
        spec: Keys ``grayscale`` and ``resize``.
        image: Shape ``(H, W)`` or ``(H, W, 3)``, 8 bits.
    """
    channels = _channels(image, bool(spec.get("grayscale", False)))
    if "resize" not in spec:
        return channels
    return resize(channels, spec["resize"]["height"], spec["resize"]["width"])


def _channels(image: NDArray[np.uint8], grayscale: bool) -> NDArray[np.uint8]:
    """Return an image ``(H, W)`` or ``(H, W, 3)`` as ``(H, W, 1)`` or ``(H, W, 3)``."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"wanted an image (H, W) or (H, W, 3) of 8 bits. Got {image.dtype} {image.shape}."
        )
    if grayscale and image.shape[2] == 3:
        luma = (image @ _LUMA + (1 << 15)) >> 16
        return luma.astype(np.uint8)[:, :, None]
    return image if grayscale else np.broadcast_to(image, (*image.shape[:2], 3))


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image ``(H, W, C)`` in another size, as Pillow's bilinear filter does it.

    A triangle as wide as two pixels of the smaller image, first along rows, then along
    columns, each rounded to 8 bits. Pillow 13.0 takes columns first for some sizes, which
    changes a gray level by one.
    """
    rows = _weighted(_resize_weights(image.shape[1], width), image.transpose(1, 0, 2))
    return _weighted(_resize_weights(image.shape[0], height), rows.transpose(1, 0, 2))


def _weighted(weights: NDArray[np.float64], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return weighted sums along the first axis, rounded; whole numbers, so float64 is exact."""
    sums = np.tensordot(weights, image.astype(np.float64), axes=1)
    return np.floor((sums + (1 << (_RESIZE_BITS - 1))) / (1 << _RESIZE_BITS)).astype(np.uint8)


def _resize_weights(size: int, new_size: int) -> NDArray[np.float64]:
    """Return what each pixel adds to each new one, shape ``(new_size, size)``, fixed-point."""
    scale = size / new_size
    support = max(scale, 1.0)
    weights = np.zeros((new_size, size))
    for i in range(new_size):
        center = (i + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), size)
        distance = np.abs((np.arange(first, last) - center + 0.5) * (1 / support))
        triangle = np.maximum(1 - distance, 0)
        total = 0.0
        for weight in triangle.tolist():  # one after the other: NumPy's sum rounds otherwise
            total += weight
        shares = triangle * (1 / total) if total else triangle
        weights[i, first:last] = np.floor(0.5 + shares * (1 << _RESIZE_BITS))
    return weights


def _sound(spec: Mapping[str, Any], raw: NDArray[Any]) -> NDArray[np.float32]:
    wave = _waveform(spec, raw)
    if "length_s" in spec:
        wave = fit(wave, round(spec["length_s"] * spec["log_mel"]["sample_rate_hz"]))
    spectrogram: NDArray[np.float32] = log_mel(wave[None], spec["log_mel"])[0]
    return spectrogram


def _waveform(spec: Mapping[str, Any], raw: NDArray[Any]) -> NDArray[np.float32]:
    if raw.ndim not in (1, 2):
        raise ValueError(f"wanted a sound (samples,) or (samples, channels). Got {raw.shape}.")
    zero, full = full_scale(raw.dtype)
    if "waveform" in spec:
        zero, full = spec["waveform"]["subtract"], spec["waveform"]["divide_by"]
    samples = raw.astype(np.float32) - np.float32(zero)
    mono: NDArray[np.float32] = samples.reshape(len(samples), -1).mean(axis=1)
    return mono / np.float32(full)


def full_scale(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return what silence and the largest amplitude are in a waveform's data type."""
    if not np.issubdtype(dtype, np.integer):
        return 0.0, 1.0
    half = 2.0 ** (8 * dtype.itemsize - 1)
    return (half if np.issubdtype(dtype, np.unsignedinteger) else 0.0), half


def fit(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Crop a waveform or pad it with silence, on both sides alike."""
    if len(samples) >= length:
        start = (len(samples) - length) // 2
        return samples[start : start + length]
    before = (length - len(samples)) // 2
    return np.pad(samples, (before, length - len(samples) - before))


def log_mel(waveforms: NDArray[np.float32], spec: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return log-mel spectrograms, relative to each clip's loudest bin.

    Hann windows, power spectrum, triangular filters evenly spaced on the mel scale
    ``2595 log10(1 + f / 700)``, natural logarithm; then the clip's maximum is subtracted,
    values under ``floor`` are raised to it, and all are divided and shifted.

    Args:
        waveforms: Shape ``(N, samples)``, in [-1, 1).
        spec: Rates and sizes, see `hwnas.datasets.log_mel.describe`.

    Returns:
        Shape ``(N, 1, frames, mels)``.

    References:
        Davis & Mermelstein (1980), Comparison of parametric representations,
        Sec. II. doi:10.1109/TASSP.1980.1163420
    """
    window, hop = frame_samples(spec)
    if waveforms.shape[1] < window:
        raise ValueError(f"wanted at least {window} samples. Got {waveforms.shape[1]}.")
    taper = np.hanning(window + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveforms, window, axis=1)[:, ::hop]
    power = np.abs(np.fft.rfft(frames * taper, axis=-1)).astype(np.float32) ** 2
    spectrogram = np.log(power @ mel_filters(spec, window).T + spec["log_epsilon"])
    spectrogram -= spectrogram.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = (
        np.maximum(spectrogram, spec["floor"]) / spec["divide_by"] + spec["add"]
    )
    return scaled[:, None].astype(np.float32, copy=False)


def frame_samples(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Return the length of a window and the way to the next one, in samples."""
    rate = spec["sample_rate_hz"]
    return round(spec["window_s"] * rate), max(1, round(spec["hop_s"] * rate))


def mel_filters(spec: Mapping[str, Any], window: int) -> NDArray[np.float32]:
    """Return triangular mel filters, shape ``(mels, window // 2 + 1)``."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (spec["low_hz"], spec["high_hz"]))
    edges = 700 * (10 ** (np.linspace(low, high, spec["n_mels"] + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / spec["sample_rate_hz"])
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
