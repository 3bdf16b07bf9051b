"""A log of answers and changes of the operating point, one JSON object per line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hwnas.runtime.answer import Answer
from hwnas.runtime.governor import ModeChange


class DecisionLog:
    """Appends to a file; an `Observer` of the runtime.

    Args:
        path: File, appended to; each line is written at once.
        answers: Log every answer, not only changes of the operating point.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, path: Path, *, answers: bool = True) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._answers = answers

    def mode_changed(self, change: ModeChange) -> None:
        """Log a change with what asked for it and the signals that are known."""
        signals = {k: v for k, v in change.signals._asdict().items() if v is not None}
        self._write({"event": "mode_changed", **asdict(change), "signals": signals})

    def answered(self, time_s: float, answer: Answer) -> None:
        """Log an answer."""
        if self._answers:
            self._write({"event": "answered", "time_s": time_s, **asdict(answer)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
