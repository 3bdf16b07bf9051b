"""Worker processes of one search on this computer, watched and replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Self

from hwnas.child_processes import blocked_interrupt, end_with_parent
from hwnas.errors import UserError, is_disk_full

# of each worker, while no evaluation ends: an architecture that kills its workers is itself
# recorded as a failure after a few
_MOST_DEATHS = 10

# how long a worker that starts while the storage restarts waits for it
_PATIENCE_S = 300.0


class Deaths:
    """Counts the workers that died since an evaluation last ended.

    Args:
        workers: How many are at work at once.
    """

    def __init__(self, workers: int) -> None:
        self._most = _MOST_DEATHS * workers
        self._ended = 0
        self.count = 0

    def are_too_many(self, ended: int) -> bool:
        """Count one more; return whether another worker would only die, too.

        Args:
            ended: How many evaluations of the study have ended.
        """
        if ended != self._ended:
            self._ended, self.count = ended, 0
        self.count += 1
        return self.count > self._most


class LocalWorkers:
    """So many processes that evaluate candidates until nothing is left to do.

    A worker that dies is replaced: what it was evaluating is taken up again. An error
    that a worker raises is raised here.

    Args:
        location: Storage of the study.
        study_name: Of the study in the storage.
        count: Number of processes.
    """

    def __init__(self, location: str, study_name: str, count: int) -> None:
        self._arguments = (location, study_name)
        self._running: list[tuple[SpawnProcess, Connection]] = []
        self._deaths = Deaths(count)
        with blocked_interrupt():
            for _ in range(count):
                self._start()

    def check(self, ended: int) -> bool:
        """Replace workers that died; return whether any is at work.

        Args:
            ended: How many evaluations of the study have ended.

        Raises:
            UserError, UnreachableError: As a worker raised it, or if workers die again and
                again, and no evaluation ends.
            OSError: If a worker's disk is full.
            RuntimeError: With a worker's traceback.
        """
        for worker in list(self._running):
            process, errors = worker
            # one with more to say than a pipe holds lives until it is heard
            if process.is_alive() and not errors.poll():
                continue
            error = _received(errors)
            self._running.remove(worker)
            process.join()
            if error is not None:
                raise error
            if process.exitcode != 0:
                self._replace(process, ended)
        return bool(self._running)

    def stop(self) -> None:
        """Kill them all; what they were evaluating is as good as never begun."""
        for process, _ in self._running:
            process.kill()
        for process, _ in self._running:
            process.join()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _replace(self, dead: SpawnProcess, ended: int) -> None:
        if self._deaths.are_too_many(ended):
            raise UserError(
                f"{self._deaths.count} worker processes died in a row, the last with exit code "
                f"{dead.exitcode}, and no evaluation ended. Where memory is short, go on with "
                "fewer: --resume --workers N."
            )
        with blocked_interrupt():
            self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(*self._arguments, os.getpid(), theirs))
        process.start()
        theirs.close()
        self._running.append((process, ours))


def work(url: str, study_name: str) -> Exception | None:
    """Be a worker; return the error that ended it, for the process of the search to raise.

    Args:
        url: Storage of the study.
        study_name: Of the study in the storage.

    Returns:
        What the command line makes one line of, or a `RuntimeError` with a bug's traceback.
    """
    from hwnas.worker import worker

    try:
        worker(url, study_name=study_name, patience_s=_PATIENCE_S)
    except UserError as error:
        return error
    except Exception as error:
        if isinstance(error, OSError) and is_disk_full(error):
            return error
        return RuntimeError(traceback.format_exc())
    return None


def _received(errors: Connection) -> Exception | None:
    """Return what a worker sent; ``None`` where it ended, maybe killed halfway, without."""
    with contextlib.suppress(EOFError, OSError):
        if errors.poll():
            return errors.recv()  # type: ignore[no-any-return]
    return None


def _work(url: str, study_name: str, parent: int, errors: Connection) -> None:
    end_with_parent(parent)
    if (error := work(url, study_name)) is not None:
        errors.send(error)
