"""Progress with an ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_EVERY_S = 5.0


class ProgressReporter(Protocol):
    """What long work tells of itself."""

    def phase(self, title: str, total: int) -> None:
        """Begin a phase of ``total`` steps."""
        ...

    def advance(self, note: str = "") -> None:
        """One more step is done; ``note`` is the latest result. Steps over the total extend it."""
        ...

    def message(self, text: str) -> None:
        """Say something that should stay on the screen."""
        ...


class SilentProgress:
    """Says nothing."""

    def phase(self, title: str, total: int) -> None:
        """See `ProgressReporter`."""

    def advance(self, note: str = "") -> None:
        """See `ProgressReporter`."""

    def message(self, text: str) -> None:
        """See `ProgressReporter`."""


class ConsoleProgress:
    """Reports on a console: bars with ETA on a terminal, a line every few seconds in a log.

    Args:
        console: Where to; standard error keeps standard output for results.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[note]}"),
                console=console,
            )
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0, 0
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def phase(self, title: str, total: int) -> None:
        """See `ProgressReporter`."""
        self._title, self._total, self._done = title, total, 0
        self._began = self._spoke = time.monotonic()
        if self._bars is not None:
            self._task = self._bars.add_task(title, total=total, note="")
        else:
            self._console.print(f"{title} ({total})", highlight=False, soft_wrap=True)

    def advance(self, note: str = "") -> None:
        """See `ProgressReporter`."""
        self._done += 1
        self._total = max(self._total, self._done)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=1, total=self._total, note=note)
            return
        now = time.monotonic()
        if self._done == self._total or now - self._spoke >= _PLAIN_EVERY_S:
            self._spoke = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._console.print(
                f"  {self._done}/{self._total}, {left:.0f} s left  {note}",
                highlight=False,
                soft_wrap=True,
            )

    def message(self, text: str) -> None:
        """See `ProgressReporter`."""
        self._console.print(text, highlight=False, soft_wrap=True)
