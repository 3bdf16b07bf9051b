"""The Python files of a bundle: copies of this package's own, which alone verification runs."""

from __future__ import annotations

from importlib.machinery import all_suffixes
from importlib.resources import files
from pathlib import Path

from hwnas import exit_policy, preprocessing
from hwnas.errors import UserError

EXAMPLE = "run_example.py"


def device_code() -> dict[str, bytes]:
    """Return the content of every Python file of a bundle, by its name."""
    return {
        "exit_policy.py": Path(exit_policy.__file__).read_bytes(),
        "preprocess.py": Path(preprocessing.__file__).read_bytes(),
        EXAMPLE: files("hwnas").joinpath("data", EXAMPLE).read_bytes(),
    }


def check_code(path: Path) -> None:
    """Check that nothing but this version's own code runs with a bundle's example.

    A manifest is no signature: whoever changes a file can change its checksum, too.

    Args:
        path: Folder of the bundle.

    Raises:
        UserError: If a file differs from this version's, or another one could be imported.
    """
    own = device_code()
    for name, content in own.items():
        file = path / name
        if not file.is_file() or file.read_bytes() != content:
            raise UserError(
                f"{file}: not as this version of hwnas writes it, so it is not run; all else "
                "agrees. Verify with the version that exported the bundle."
            )
    for file in sorted(path.iterdir()):
        # the example finds modules and packages beside itself before any others
        modules = [file, *file.glob("__init__.*")] if file.is_dir() else [file]
        if file.name not in own and any(m.name.endswith(tuple(all_suffixes())) for m in modules):
            raise UserError(f"{file}: {EXAMPLE} would import it: not run. Remove it.")
