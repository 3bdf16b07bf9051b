import subprocess
import sys

import pytest

HEAVY = ("torch", "tvm", "onnx", "onnxruntime", "sklearn", "optuna")

IMPORT = "import search_spaces\n"
DESCRIBE = """
import numpy as np, search_spaces
for name in search_spaces.names():
    space = search_spaces.create(name, input_shape=(1, 8, 8), n_classes=3)
    search_spaces.total_macs(space.workloads(space.sample(np.random.default_rng(0))))
"""
REPORT = f"""
import sys
sys.exit(",".join(name for name in {HEAVY!r} if name in sys.modules) or 0)
"""


@pytest.mark.parametrize("code", [IMPORT, DESCRIBE], ids=["import", "describe"])
def test_heavy_packages_stay_unloaded(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    import search_spaces

    for name in search_spaces.__all__:
        assert getattr(search_spaces, name) is not None
