from pathlib import Path

import targets
from targets import Target
from targets.testing import TargetTestCase


class TestTvmTarget(TargetTestCase):
    @classmethod
    def make_target(cls, cache_dir: Path) -> Target:
        return targets.create("host", cache_dir=cache_dir)


class TestOnnxRuntimeTarget(TargetTestCase):
    @classmethod
    def make_target(cls, cache_dir: Path) -> Target:
        return targets.create("host-onnxruntime", cache_dir=cache_dir)
