"""The journal file of a study: a step that a killed process left unfinished never happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from hwnas.errors import UserError
from targets import write_atomically


class StudyJournal:
    """Optuna's append-only journal, cut back on opening to what was completely written.

    Opening drops a torn last line, and whatever an interrupted `whole` step
    wrote. The caller must be the only process that uses the journal.

    Args:
        path: Journal file, made where there is none.

    Raises:
        UserError: If it is damaged elsewhere than at its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = path.with_suffix(".unfinished")
        lock = path.with_name(f"{path.name}.lock")
        # left by a killed process; Optuna would wait half a minute for it
        lock.unlink(missing_ok=True)
        self._roll_back()
        # not the default lock: it waits for ever on a stale link to a relative path
        backend = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
        try:
            self.storage = JournalStorage(backend)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path}: damaged ({type(error).__name__}: {error}). "
                "Search again under another name."
            ) from None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Do a step of which, should the process die, nothing remains."""
        write_atomically(self._mark, str(self._path.stat().st_size).encode())
        yield
        self._mark.unlink()

    def _roll_back(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        end = int(self._mark.read_bytes()) if self._mark.exists() else len(content)
        with self._path.open("rb+") as file:
            file.truncate(content.rfind(b"\n", 0, end) + 1)
        self._mark.unlink(missing_ok=True)
