"""Calibrate into a folder: every result is on disk before the next one is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hwnas.errors import UnreachableError, UserError
from hwnas.predictor_store import (
    CALIBRATION_PHASE,
    PREDICTOR_FILE,
    RECORDS_FILE,
    SpaceDescription,
)
from hwnas.progress import ProgressReporter
from latency_predictors import (
    CalibrationError,
    Campaign,
    MeasuredArchitecture,
    NotMeasuredError,
    TargetPredictors,
)
from latency_predictors.records import MeasurementRecords
from search_spaces import Architecture, SearchSpace
from targets import Failure, Measurement, Target, write_atomically

_REPEATS_FILE = "repeats.jsonl"
_SINCE_FILE = "measured-since.json"
# so many failures in a row: the target is at fault, not the architectures
_PATIENCE = 3
_OF_THE_NETWORK = ("compile", "parity")


@dataclass(frozen=True)
class CalibrationFolder:
    """What a calibration keeps while it goes on, so that the same command continues it.

    Args:
        path: Of the predictors of one target and space.
    """

    path: Path

    @property
    def records(self) -> MeasurementRecords:
        """Every architecture measured."""
        return MeasurementRecords(self.path / RECORDS_FILE)

    @property
    def repeats(self) -> MeasurementRecords:
        """Those measured again."""
        return MeasurementRecords(self.path / _REPEATS_FILE)

    def forget(self) -> None:
        """Let nothing count that was measured before now; the records stay."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_atomically(self.path / _SINCE_FILE, json.dumps({"since": since}).encode())

    def since(self) -> str | None:
        """Return the ISO time before which measurements do not count, if there is one.

        Raises:
            UserError: If the file that says so is damaged.
        """
        path = self.path / _SINCE_FILE
        try:
            since = json.loads(path.read_text(encoding="utf-8"))["since"]
            return datetime.fromisoformat(since).isoformat(timespec="seconds")
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error}). Calibrate with --fresh.") from None

    def known(self, records: MeasurementRecords, space: SearchSpace) -> list[MeasuredArchitecture]:
        """Return what was measured and still counts, oldest first."""
        since = self.since() or ""
        try:
            measured = records.measured(space)
        except ValueError as error:
            raise UserError(f"{error}. Move the file away.") from None
        return [m for m in measured if all(s.measured_at >= since for s in m.measurements)]


class _Recorder:
    """Writes results down, shows progress, and gives a dead target up."""

    def __init__(self, folder: CalibrationFolder, target: str, progress: ProgressReporter) -> None:
        self._records, self._repeats = folder.records, folder.repeats
        self._target, self._progress = target, progress
        self._n_measured = self._n_failed_in_a_row = 0

    def phase(self, title: str, total: int) -> None:
        self._progress.phase(title, total)

    def message(self, text: str) -> None:
        self._progress.message(text)

    def measured(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        self._records.append(CALIBRATION_PHASE, arch, result)
        self._show(arch, result)

    def repeated(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        self._repeats.append(CALIBRATION_PHASE, arch, result)
        self._show(arch, result)

    def _show(self, arch: Architecture, result: tuple[Measurement, ...] | Failure) -> None:
        if not isinstance(result, Failure):
            self._n_measured += 1
            self._n_failed_in_a_row = 0
            self._progress.advance(f"{1e3 * sum(m.latency_median_s for m in result):.3f} ms")
            return
        # a space may hold many networks that a compiler refuses; where all are, it is at fault
        if self._n_measured == 0 or result.stage not in _OF_THE_NETWORK:
            self._n_failed_in_a_row += 1
        if self._n_failed_in_a_row == _PATIENCE:
            raise UnreachableError(
                f"{self._how_many()} failed on {self._target!r}: {result.message}. "
                f"Check: hwnas targets check {self._target}. Then give the same command again: "
                "it goes on with what was measured"
            )
        self._progress.message(f"{arch.arch_id}: {result.stage} failed: {result.message}")
        self._progress.advance("failed")

    def _how_many(self) -> str:
        if self._n_measured == 0:
            return f"the first {_PATIENCE} architectures all"
        return f"{_PATIENCE} architectures in a row"


def calibrate_into(
    folder: Path,
    target: Target,
    description: SpaceDescription,
    how: Callable[[Campaign], TargetPredictors],
    *,
    seed: int,
    progress: ProgressReporter,
    fresh: bool = False,
) -> TargetPredictors:
    """Calibrate and save predictors with the measurements they were fitted to.

    Args:
        folder: Of the predictors; measurements in it are not made again.
        target: Where to measure.
        description: Of the space.
        how: A calibration.
        seed: Chooses architectures and weights.
        progress: Told how far the work is.
        fresh: Let nothing count that was measured before.

    Raises:
        UnreachableError: If the target fails, or too few architectures could be measured.
        UserError: If the folder cannot be written, is damaged, or the target's timings are
            emulated.
    """
    space = description.create()
    description.save(folder)
    store = CalibrationFolder(folder)
    if fresh:
        store.forget()
    campaign = Campaign(
        target,
        space,
        seed=seed,
        known=store.known(store.records, space),
        repeats=store.known(store.repeats, space),
        fresh=store.since() is not None,
        observer=_Recorder(store, target.name, progress),
    )
    try:
        predictors = how(campaign)
    except NotMeasuredError as error:
        raise UserError(str(error)) from None
    except CalibrationError as error:
        raise UnreachableError(f"{error} Check: hwnas targets check {target.name}") from None
    predictors.save(folder / PREDICTOR_FILE)
    return predictors
