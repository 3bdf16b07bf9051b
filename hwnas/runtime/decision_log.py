"""A log of answers and changes of the operating point, one JSON object per line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hwnas.runtime.answer import Answer
from hwnas.runtime.governor import ModeChange

_LOG = logging.getLogger(__name__)


class DecisionLog:
    """Appends to a file; an `Observer` of the runtime.

    Args:
        path: File, appended to; each line is written at once. Where one cannot be, as on a
            full disk, that is logged once and the runtime goes on.
        answers: Log every answer, not only changes of the operating point.

    Raises:
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: Path, *, answers: bool = True) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._answers = answers
        self._has_failed = False

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
        self._try(self._file.close)

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
        line = json.dumps(record, default=_plain) + "\n"
        self._try(lambda: self._file.write(line))

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            if not self._has_failed:
                _LOG.warning("%s: cannot be written (%s)", self._file.name, error.strerror)
            self._has_failed = True


def _plain(value: object) -> object:
    """Return what JSON can say of a scalar of NumPy, which signals may be."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"not plain data: {value!r}")
