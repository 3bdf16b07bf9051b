"""Append-only JSON lines that survive a killed process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class JsonLines:
    """A file of one JSON object per line; a killed process loses at most the line in flight.

    A torn last line is dropped when the file is opened; nothing else is touched.

    Args:
        path: The file; made at the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            _drop_torn_line(path)

    def append(self, document: Mapping[str, Any]) -> None:
        """Write one object and flush it to the disk."""
        line = json.dumps(document, allow_nan=False) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield the place (``file:line``) and the value of every line.

        Raises:
            ValueError: If a line is not JSON.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                place = f"{self.path}:{number}"
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{place}: not JSON ({error})") from None
                yield place, value


def _drop_torn_line(path: Path) -> None:
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end != len(content):
        with path.open("rb+") as file:
            file.truncate(end)
