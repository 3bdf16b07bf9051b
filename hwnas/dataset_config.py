"""Where the data of an experiment comes from: one class per kind of source.

A third party adds a kind by subclassing `DatasetSource` and registering the
class under the entry-point group ``hwnas.datasets``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from hwnas.datasets._types import RawData

ENTRY_POINTS = "hwnas.datasets"

_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class DatasetSource(BaseModel):
    """What every source has: how to split it where it brings no split of its own.

    Samples are split by class, or by group where the source names groups (speaker,
    subject, device), so that no group is in two splits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    validation_fraction: _Fraction = 0.2
    test_fraction: _Fraction = 0.2
    split_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    licence: str | None = Field(None, description="of the data; stated in exported bundles")

    def read(self, base_dir: Path) -> RawData:
        """Read the samples.

        Args:
            base_dir: Folder that relative paths start from.

        Raises:
            UserError: If the data is missing or wrong; says where and what to do.
        """
        raise NotImplementedError


class LogMel(BaseModel):
    """Log-mel spectrogram of a waveform; see `hwnas.datasets.log_mel`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["log_mel"] = "log_mel"
    sample_rate_hz: _Count
    n_mels: _Count = 32
    window_s: _Positive = 0.032
    hop_s: _Positive = 0.016
    low_hz: Annotated[float, Field(ge=0)] = 60.0


class DigitsSource(DatasetSource):
    """scikit-learn's handwritten digits: 1,797 images of 8x8, built in."""

    kind: Literal["digits"]
    licence: str | None = "CC BY 4.0, E. Alpaydin and C. Kaynak, doi:10.24432/C50P49"

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.digits import read_digits

        return read_digits()


class NpzSource(DatasetSource):
    """Arrays in a NumPy archive; waveforms ``(N, samples)`` need ``features``."""

    kind: Literal["npz"]
    path: str
    x_key: str = "x"
    y_key: str = "y"
    group_key: str | None = None
    test_groups: list[int | str] | None = Field(None, description="groups that form the test set")
    x_test_key: str | None = None
    y_test_key: str | None = None
    features: LogMel | None = None

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.npz import read_npz

        return read_npz(self, base_dir)


class JpegNpzSource(DatasetSource):
    """Encoded images in a NumPy archive: ``{train,test}_jpeg``, ``_off``, ``_y``, ``classes``."""

    kind: Literal["jpeg_npz"]
    path: str
    max_train: _Count | None = Field(None, description="use only so many training images")
    max_test: _Count | None = None

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.jpeg_npz import read_jpeg_npz

        return read_jpeg_npz(self, base_dir)


class IdxSource(DatasetSource):
    """The format of MNIST, plain or gzipped."""

    kind: Literal["idx"]
    images: str
    labels: str
    test_images: str | None = None
    test_labels: str | None = None

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.idx import read_idx

        return read_idx(self, base_dir)


class ImageFolderSource(DatasetSource):
    """One folder per class, optionally inside ``train`` and ``test`` folders."""

    kind: Literal["image_folder"]
    path: str
    size: tuple[_Count, _Count] = Field(description="height and width that images are resized to")
    grayscale: bool = False

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.image_folder import read_image_folder

        return read_image_folder(self, base_dir)


class WavFolderSource(DatasetSource):
    """One folder of WAV files per class, as log-mel spectrograms."""

    kind: Literal["wav_folder"]
    path: str
    length_s: _Positive = 1.0
    group_pattern: str | None = Field(
        None, description="regular expression whose first group in the file name is the speaker"
    )
    features: LogMel

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.wav_folder import read_wav_folder

        return read_wav_folder(self, base_dir)


class WindowsSource(DatasetSource):
    """Sensor windows: a CSV that is cut into windows, or an NPY of ``(N, C, T)``."""

    kind: Literal["windows"]
    path: str
    channels: list[str] | None = Field(None, description="CSV columns of the sensor channels")
    label: str = Field("label", description="CSV column of the class")
    group: str | None = Field(None, description="CSV column of the subject or recording")
    window: _Count = 128
    step: _Count = 64
    labels_path: str | None = Field(None, description="NPY of labels, for an NPY of windows")
    groups_path: str | None = Field(None, description="NPY of groups, for an NPY of windows")

    def read(self, base_dir: Path) -> RawData:
        """See `DatasetSource`."""
        from hwnas.datasets.windows import read_windows

        return read_windows(self, base_dir)


_BuiltIn: TypeAlias = (
    DigitsSource
    | NpzSource
    | JpegNpzSource
    | IdxSource
    | ImageFolderSource
    | WavFolderSource
    | WindowsSource
)

if TYPE_CHECKING:
    DatasetConfig: TypeAlias = Annotated[_BuiltIn, Field(discriminator="kind")]
else:
    _plugged_in = tuple(entry.load() for entry in entry_points(group=ENTRY_POINTS))
    DatasetConfig = Annotated[Union[(_BuiltIn, *_plugged_in)], Field(discriminator="kind")]
