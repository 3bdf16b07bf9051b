"""WAV folders and log-mel spectrograms."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from hwnas.dataset_config import LogMel, WavFolderSource
from hwnas.datasets import load_dataset
from hwnas.datasets.log_mel import log_mel, mel_filters
from hwnas.datasets.wav_folder import read_wav
from hwnas.errors import UserError

RATE_HZ = 8000
FEATURES = LogMel(sample_rate_hz=RATE_HZ, n_mels=16)


def mel_edges_hz(config: LogMel) -> NDArray[np.float64]:
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (config.low_hz, config.sample_rate_hz / 2))
    return np.asarray(700 * (10 ** (np.linspace(low, high, config.n_mels + 2) / 2595) - 1))


def scipy_log_mel(waveform: NDArray[np.float32], config: LogMel) -> NDArray[np.float64]:
    """Return ``(frames, mels)`` by scipy's transform and linear interpolation."""
    window = round(config.window_s * config.sample_rate_hz)
    hop = round(config.hop_s * config.sample_rate_hz)
    hz, _, spectrum = signal.stft(
        waveform.astype(np.float64),
        config.sample_rate_hz,
        signal.get_window("hann", window),
        nperseg=window,
        noverlap=window - hop,
        boundary=None,
        padded=False,
    )
    # stft divides by the sum of the window, which is half its length
    power = np.abs(spectrum * window / 2) ** 2
    edges = mel_edges_hz(config)
    filters = np.array([np.interp(hz, edges[i : i + 3], [0, 1, 0]) for i in range(config.n_mels)])
    energy = np.log((filters @ power).T + 1e-6)
    return np.asarray(np.maximum(energy - energy.max(), -9) / 3 + 1.5)


def sine(hz: float, n: int = 4000, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)).astype(np.float32)


@given(
    # 11,025 Hz has windows of odd length
    rate=st.sampled_from([8000, 11025, 16000]),
    n_mels=st.integers(4, 24),
    low=st.floats(0, 300),
    hop=st.sampled_from([0.01, 0.016, 0.02]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_log_mel_equals_the_one_made_with_scipy(
    rate: int, n_mels: int, low: float, hop: float, seed: int
) -> None:
    config = LogMel(sample_rate_hz=rate, n_mels=n_mels, low_hz=low, hop_s=hop)
    waves = np.random.default_rng(seed).normal(0, 0.1, (3, rate // 5)).astype(np.float32)
    got = log_mel(waves, config)
    wanted = np.stack([scipy_log_mel(w, config) for w in waves])
    assert got.shape == (3, 1, *wanted.shape[1:])
    # float32 sums of some hundred bins, on a scale from -1.5 to 1.5
    np.testing.assert_allclose(got[:, 0], wanted, atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 11025])
@pytest.mark.parametrize("band", [2, 7, 15])
def test_a_pure_tone_is_loudest_in_the_band_that_holds_it(rate: int, band: int) -> None:
    config = LogMel(sample_rate_hz=rate, n_mels=16)
    center_hz = mel_edges_hz(config)[1:-1][band]
    spectrogram = log_mel(sine(center_hz, rate_hz=rate)[None], config)[0, 0]
    assert (spectrogram.argmax(axis=1) == band).all()


def test_a_spectrogram_spans_the_frames_that_fit_and_values_up_to_three_halves() -> None:
    got = log_mel(sine(440, n=1000)[None], FEATURES)
    assert got.shape == (1, 1, 1 + (1000 - 256) // 128, 16)
    assert got.dtype == np.float32
    assert got.max() == pytest.approx(1.5)
    assert got.min() >= -1.5


def test_loudness_drops_out() -> None:
    waves = np.random.default_rng(0).normal(0, 0.1, (2, 2000)).astype(np.float32)
    softer = waves * np.float32(0.25)
    # the constant under the logarithm is a millionth of these energies
    np.testing.assert_allclose(log_mel(softer, FEATURES), log_mel(waves, FEATURES), atol=1e-3)


def test_more_clips_than_a_block_come_out_as_one_by_one() -> None:
    waves = np.random.default_rng(0).normal(0, 0.1, (300, 300)).astype(np.float32)
    together = log_mel(waves, FEATURES)
    for index in (0, 255, 256, 299):
        np.testing.assert_allclose(
            together[index : index + 1], log_mel(waves[index : index + 1], FEATURES), atol=1e-5
        )


def test_filters_between_the_outer_centers_add_up_to_one() -> None:
    filters = mel_filters(FEATURES, 256)
    hz = np.fft.rfftfreq(256, 1 / RATE_HZ)
    edges = mel_edges_hz(FEATURES)
    inside = (hz >= edges[1]) & (hz <= edges[-2])
    np.testing.assert_allclose(filters.sum(axis=0)[inside], 1, atol=1e-5)  # float32


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"low_hz": 4000}, "low_hz: wanted less than half the sample rate, 4000 Hz"),
        ({"low_hz": 9000}, "low_hz: wanted less than half the sample rate"),
        ({"n_mels": 200}, "n_mels: 200 filters are too narrow"),
        ({"window_s": 1e-4}, "window_s: 0.0001 s is 1 samples"),
        ({"window_s": 2.0}, "window_s: 16000 samples, longer than a clip"),
    ],
)
def test_features_that_cannot_be_computed_are_refused(
    settings: dict[str, Any], wanted: str
) -> None:
    config = LogMel(sample_rate_hz=RATE_HZ, **settings)
    with pytest.raises(UserError, match=wanted):
        log_mel(sine(440)[None], config)


def write_wav(
    path: Path, samples: NDArray[np.integer[Any]], width: int = 2, rate_hz: int = RATE_HZ
) -> None:
    """Write integer samples ``(n,)`` or ``(n, channels)`` of ``8 * width`` bits."""
    if width == 1:
        content = (samples + 128).astype(np.uint8).tobytes()
    elif width == 3:
        quads = samples.astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)
        content = quads[:, :3].tobytes()
    else:
        content = samples.astype(f"<i{width}").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(content)


def source(**settings: Any) -> WavFolderSource:
    settings = {"length_s": 0.1, "features": FEATURES, **settings}
    return WavFolderSource(kind="wav_folder", path=".", **settings)


def write_folder(root: Path, speakers: tuple[str, ...] = ("ann", "bob", "cid", "dan")) -> None:
    rng = np.random.default_rng(0)
    for word in ("no", "yes"):
        for speaker in speakers:
            for take in range(2):
                samples = rng.integers(-9000, 9000, 800)
                write_wav(root / word / f"{speaker}_{take}.wav", samples)


def complaint(root: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(source(**settings), root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_of_every_width_are_scaled_to_one_and_channels_averaged(
    width: int, channels: int, tmp_path: Path
) -> None:
    full = 2 ** (8 * width - 1)
    samples = np.random.default_rng(0).integers(-full, full, size=(50, channels))
    samples[0] = -full
    samples[1] = full - 1
    write_wav(tmp_path / "a.wav", samples, width)
    got = read_wav(tmp_path / "a.wav", RATE_HZ)
    np.testing.assert_allclose(got, samples.mean(axis=1) / full, atol=1e-6)  # float32


def test_clips_are_cut_or_padded_in_the_middle_and_named_by_their_folder(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).integers(-9000, 9000, 1200)
    write_wav(tmp_path / "no" / "long.wav", clip)
    write_wav(tmp_path / "yes" / "short.wav", clip[:500])
    raw = source().read(tmp_path)
    scaled = (clip / 32768).astype(np.float32)
    wanted = np.stack([scaled[200:1000], np.pad(scaled[:500], 150)])
    np.testing.assert_allclose(raw.x, log_mel(wanted, FEATURES), atol=1e-5)
    assert raw.class_names == ("no", "yes")
    assert raw.y.tolist() == [0, 1]
    assert raw.preprocessing["log_mel"]["sample_rate_hz"] == RATE_HZ


def test_speakers_in_file_names_keep_the_splits_apart(tmp_path: Path) -> None:
    write_folder(tmp_path)
    dataset = load_dataset(source(group_pattern="^([a-z]+)_"), tmp_path)
    groups = [s.groups for s in (dataset.train, dataset.validation, dataset.test)]
    names = [set(g.tolist()) for g in groups if g is not None]
    assert sorted(name for part in names for name in part) == ["ann", "bob", "cid", "dan"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("^[a-z]+_", "wanted a regular expression with one group"),
        ("([a-z", "wanted a regular expression with one group"),
        ("^([0-9]+)_", "does not match its name"),
        ("^(?:([0-9]+)|[a-z]+)_", "does not match its name"),
    ],
)
def test_a_speaker_pattern_that_finds_no_speaker_is_refused(
    pattern: str, wanted: str, tmp_path: Path
) -> None:
    write_folder(tmp_path)
    assert wanted in complaint(tmp_path, group_pattern=pattern)


def test_two_speakers_cannot_fill_three_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, ("ann", "bob"))
    assert "2 groups for the test, validation, training" in complaint(
        tmp_path, group_pattern="^([a-z]+)_"
    )


def test_another_sample_rate_is_named_with_the_wanted_one(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_wav(tmp_path / "yes" / "fast.wav", np.arange(800), rate_hz=44100)
    message = complaint(tmp_path)
    assert "fast.wav: 44100 Hz, but dataset.features.sample_rate_hz is 8000" in message


def test_a_wav_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for width in (1, 2, 3):
        write_wav(path, np.arange(20), width)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match=r"a\.wav: "):
                read_wav(path, RATE_HZ)


def test_files_that_are_no_sound_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = tmp_path / "yes" / "fake.wav"
    path.write_bytes(b"hello")
    assert "fake.wav: not a PCM WAV file" in complaint(tmp_path)
    write_wav(path, np.arange(0))
    assert "fake.wav: holds 0 bytes of sound" in complaint(tmp_path)
    path.unlink()
    (tmp_path / "yes" / "notes.txt").write_text("about")
    assert "notes.txt: wanted one of .wav" in complaint(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no class folders" in complaint(tmp_path)
    (tmp_path / "yes").mkdir()
    assert "yes: no files in this class folder" in complaint(tmp_path)
