import subprocess
import sys

import pytest

import targets


def test_importing_targets_loads_nothing_heavy() -> None:
    code = (
        "import sys, targets\n"
        "targets.create('host'); targets.Measurement; targets.JsonLines\n"
        "heavy = {'torch', 'sklearn', 'onnxruntime', 'tvm', 'onnx', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("name", targets.__all__)
def test_every_exported_name_exists(name: str) -> None:
    assert getattr(targets, name) is not None
    assert name in dir(targets)


def test_a_name_that_is_not_exported_does_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = targets.nothing
