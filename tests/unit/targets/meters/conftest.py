import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are for one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="hwnas-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def forbidden() -> Callable[[Path], AbstractContextManager[None]]:
    """Take away the right to read a file, for as long as a block runs; from root, too."""

    @contextmanager
    def forbid(path: Path) -> Iterator[None]:
        path.chmod(0o000)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody
        try:
            yield
        finally:
            os.seteuid(user)
            path.chmod(0o644)

    return forbid
