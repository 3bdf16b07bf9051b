"""Optuna's journal in a file that processes of one host share, whichever of them are killed."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

_STEP = 1 << 16
# in Optuna's format: a trial gets its last state and its values
_END_OF_TRIAL = 6


class JournalFile(BaseJournalBackend):
    """Append-only lines of JSON, in the format of Optuna's own file backend.

    The file is its own lock (``flock``): the kernel frees it when its holder dies, so that
    nobody waits for the dead, as with Optuna's lock files. A line that a killed process
    left without its end is cut off before the next one is appended.

    Args:
        path: Journal file, made where there is none; on a disk of this host.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(exist_ok=True)
        # where to go on reading: so many lines are known, which end here
        self._lines = 0
        self._offset = 0

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the complete lines from number ``log_number_from`` on, decoded."""
        if log_number_from != self._lines:
            self._lines = self._offset = 0
        with self._locked(fcntl.LOCK_SH) as file:
            file.seek(self._offset)
            content = file.read()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        logs = [json.loads(line) for line in lines[max(0, log_number_from - self._lines) :]]
        self._lines += len(lines)
        self._offset += sum(map(len, lines))
        return logs

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append one line each.

        They are in the file when this returns, whatever happens to this process, and on the
        disk where one of them ends a trial: a power failure loses no result.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._locked(fcntl.LOCK_EX) as file:
            file.seek(_end_of_lines(file))
            file.truncate()
            file.write(lines.encode())
            file.flush()
            if any(log.get("op_code") == _END_OF_TRIAL for log in logs):
                os.fsync(file.fileno())

    @contextmanager
    def _locked(self, operation: int) -> Iterator[BinaryIO]:
        with self._path.open("rb+") as file:
            fcntl.flock(file, operation)
            yield file


class FileStorage(JournalStorage):
    """A journal read trial by trial; Optuna's own way to new trials passes through all."""

    def changed_trials(
        self, study_id: int, known: Sequence[int], unfinished: Collection[int]
    ) -> list[FrozenTrial]:
        """Return trials, as `hwnas.study_store.IncrementalStorage` says."""
        if not known:
            return self.get_all_trials(study_id, deepcopy=False)
        ids = sorted(unfinished)
        for number in itertools.count(len(known)):
            try:
                ids.append(self.get_trial_id_from_study_id_trial_number(study_id, number))
            except KeyError:
                break
        # each of these calls reads on: what a later trial knows of an earlier one, that one must
        # say, too
        trials = [self.get_trial(trial_id) for trial_id in reversed(ids)]
        trials.reverse()
        return trials


def _end_of_lines(file: BinaryIO) -> int:
    """Return the offset after the last line feed."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _STEP)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
