import os
import shutil
from collections.abc import Callable

import pytest


@pytest.fixture
def require_tool() -> Callable[[str], None]:
    """Skip a test whose system tool is missing; fail it where all are required."""

    def require(tool: str) -> None:
        if shutil.which(tool):
            return
        if os.environ.get("HWNAS_REQUIRE_ALL") == "1":
            pytest.fail(f"{tool} is not installed")
        pytest.skip(f"{tool} is not installed")

    return require
