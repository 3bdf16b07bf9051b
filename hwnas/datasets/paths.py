"""Find the files that an experiment names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hwnas.errors import UserError


def resolve_path(text: str, base_dir: Path) -> Path:
    """Expand ``~`` and ``${VARIABLE}``; a relative path starts at ``base_dir``.

    Raises:
        UserError: If a variable is not set, or nothing is there.
    """
    expanded = os.path.expandvars(os.path.expanduser(text))
    unset = re.search(r"\$\{?(\w+)", expanded)
    if unset is not None:
        name = unset.group(1)
        raise UserError(
            f"dataset: the path {text!r} needs the environment variable {name}, which is not "
            f"set. Set it: export {name}=FOLDER"
        )
    path = base_dir / expanded
    if not path.exists():
        raise UserError(f"dataset: {path}: does not exist")
    return path
