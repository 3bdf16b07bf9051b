"""Files that are either whole or absent."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file through a temporary one beside it, and rename.

    Args:
        path: Where to; its folder is made if missing.
        content: Of the file.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    # with the permissions of an ordinary new file, which tempfile would not give
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"cannot write ({error.strerror}); free space or choose another folder",
            str(path),
        ) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
