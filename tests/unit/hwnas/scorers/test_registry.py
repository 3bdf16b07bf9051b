import subprocess
import sys
from pathlib import Path

import pytest

import hwnas.scorers
from hwnas.errors import UserError
from hwnas.scorers.testing import small_context

HEAVY = {"torch", "tvm", "onnxruntime", "sklearn", "optuna"}


def test_an_unknown_scorer_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'halvin'.* Did you mean 'halving'\?"):
        hwnas.scorers.create("halvin", small_context(tmp_path))


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import hwnas.scorers, sys; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
