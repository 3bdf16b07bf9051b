"""A hash of the code and toolchain that shape what a target compiles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from targets.device_state import toolchain_versions

SCHEDULE_RULES = ("tvm_schedule.py", "tvm_kernels.py")
GRAPH_RULES = (*SCHEDULE_RULES, "tvm_import.py", "tvm_build.py", "tvm_compiler.py")


def code_version(*sources: str) -> str:
    """Return a hash of some of this package's files and of the toolchain's versions.

    It changes whenever the rules that make code do, so that nothing stale is found.
    """
    contents = (Path(__file__).with_name(name).read_bytes() for name in sources)
    versions = json.dumps(toolchain_versions(), sort_keys=True).encode()
    return hashlib.sha256(b"".join((versions, *contents))).hexdigest()
