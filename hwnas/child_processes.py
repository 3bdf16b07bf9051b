"""Processes started here: they end with their parent, and leave Ctrl-C to it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker


@contextlib.contextmanager
def blocked_interrupt() -> Iterator[None]:
    """Hold back Ctrl-C, which reaches the whole process group, from processes started here.

    They inherit the block; this process gets the signal at the end.
    """
    # it starts with the first process otherwise, and lifts the block when it does
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int) -> None:
    """Watch the parent from a thread, and end this process when it is gone.

    Args:
        parent: Process id it had when this process was started.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
