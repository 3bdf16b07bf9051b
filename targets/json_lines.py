"""Append-only JSON lines that several processes may write and a killed one cannot damage."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_TAIL_BYTES = 1 << 16


class Line(NamedTuple):
    """One line of a file.

    Args:
        number: Counted from 1.
        offset: Of its first byte in the file.
        content: Without its line feed.
    """

    number: int
    offset: int
    content: bytes


class JsonLines:
    """A file of one JSON object per line; a killed process loses at most the line in flight.

    Whoever appends holds a lock (``flock``) on the file for that long. An unterminated last
    line that an append then finds is a dead process's: it is completed if it is whole but
    for its line feed, else dropped. Nothing else is ever touched.

    Args:
        path: The file; made, with its folder, at the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, document: Mapping[str, Any]) -> None:
        """Write one object and flush it to the disk.

        Raises:
            ValueError: If it holds what JSON does not have, such as not-a-number.
            OSError: If it cannot be written; the file is as it was.
        """
        self.append_line(json.dumps(document, allow_nan=False).encode())

    def append_line(self, content: bytes) -> None:
        """Write an object that is JSON already, on one line, and flush it to the disk.

        Raises:
            OSError: As `append`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # each append opens the file anew, so that the lock also holds between threads
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = _repair(handle)
            try:
                _write_all(handle, content + b"\n")
                os.fsync(handle)
            except OSError as error:
                os.ftruncate(handle, end)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        finally:
            os.close(handle)

    def lines(self, start: int = 0, number: int = 1) -> Iterator[Line]:
        """Yield lines without parsing them; an unterminated one counts if it is whole.

        Args:
            start: Offset to read from, where a line begins.
            number: Of that line.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(start)
            offset = start
            for content in file:
                if content.endswith(b"\n") or _is_object(content):
                    yield Line(number, offset, content.removesuffix(b"\n"))
                number += 1
                offset += len(content)

    def line_at(self, offset: int) -> bytes:
        """Return the line that begins at an offset, without its line feed."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.readline().removesuffix(b"\n")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield the place (``file:line``) and the value of every line.

        Raises:
            ValueError: If a line is not JSON.
        """
        for line in self.lines():
            place = f"{self.path}:{line.number}"
            try:
                value = json.loads(line.content)
            except ValueError as error:
                raise ValueError(f"{place}: not JSON ({error})") from None
            yield place, value


def _repair(handle: int) -> int:
    """Complete or drop an unterminated last line; return where the next one begins."""
    end = os.fstat(handle).st_size
    tail = b""
    while end > len(tail) and b"\n" not in tail:
        start = max(0, end - len(tail) - _TAIL_BYTES)
        tail = os.pread(handle, end - len(tail) - start, start) + tail
        if tail.endswith(b"\n"):
            return end
    torn = tail[tail.rfind(b"\n") + 1 :]
    if _is_object(torn):
        _write_all(handle, b"\n")
        return end + 1
    os.ftruncate(handle, end - len(torn))
    return end - len(torn)


def _is_object(content: bytes) -> bool:
    # no part of an object is an object, so what parses as one is whole
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _write_all(handle: int, content: bytes) -> None:
    # a disk that becomes full cuts the first write short and fails the second
    while content:
        content = content[os.write(handle, content) :]
