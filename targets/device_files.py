"""Files of a device, on this computer or behind a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class DeviceFiles(Protocol):
    """Reads and writes a device's ``/proc`` and ``/sys``, by absolute path.

    Folders cannot be listed (a connection to a board may not allow it): readers
    try numbered names until one is missing.
    """

    def read(self, path: str) -> str | None:
        """Return a file's text without surrounding space; ``None`` where unreadable."""
        ...

    def write(self, path: str, text: str) -> None:
        """Replace a file's text.

        Raises:
            OSError: The file is missing, or may not be written.
        """
        ...


class LocalFiles:
    """This computer's files.

    Args:
        root: Of the file system that holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> str | None:
        """Return a file's text without surrounding space; ``None`` where unreadable."""
        try:
            text = self._on_root(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return text.strip("\0 \t\r\n")

    def write(self, path: str, text: str) -> None:
        """Replace an existing file's text.

        Raises:
            OSError: The file is missing, or may not be written.
        """
        with self._on_root(path).open("r+", encoding="utf-8") as file:
            file.truncate()
            file.write(text)

    def _on_root(self, path: str) -> Path:
        return self._root / path.lstrip("/")
