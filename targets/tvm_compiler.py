"""From an ONNX model to a library for one target, by the rules or by what tuning found."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.kernel_calls import OpenSession
from targets.tvm_build import (
    Library,
    build_gpu_library,
    build_library,
    fuse,
    tiling_for,
    tvm_target,
)
from targets.tvm_kernels import KernelCache, kernels_of
from targets.tvm_schedule import Tile
from targets.tvm_tuning import Observer, Tuner, tunable_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from targets.spec import TargetSpec
    from targets.tuning_database import TunedKernel, TuningDatabase


class TvmCompiler:
    """Compiles for one target; kernels it has compiled before are only linked.

    Args:
        spec: Description of the target.
        cache_dir: Root of the cache, which all targets share.
        database: What tuning found for it.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path, database: TuningDatabase) -> None:
        self._spec = spec
        self._folder = cache_dir
        self._database = database

    @cached_property
    def target(self) -> Any:
        """TVM's description of the target."""
        return tvm_target(self._spec.tvm_target, self._spec.threads)

    @cached_property
    def kernels(self) -> KernelCache:
        """Its compiled kernels."""
        return KernelCache(self._folder / "kernels", self.target, tiling_for(self.target))

    def build(self, model: onnx.ModelProto, path: Path) -> Library:
        """Compile a model into a shared library.

        Raises:
            RuntimeError: If TVM or the linker cannot compile it; all their errors are such.
        """
        module = fuse(model)
        if not self._is_cpu:
            return build_gpu_library(module, self.target, path, linker=self._spec.linker)
        tuned = self._database.tiles(kernels_of(module))
        tiles = {name: Tile(**fields) for name, fields in tuned.items()}
        return build_library(module, self.kernels, path, tiles=tiles, linker=self._spec.linker)

    def tune(
        self,
        models: Sequence[onnx.ModelProto],
        open_session: OpenSession,
        seconds: float,
        observer: Observer | None,
    ) -> list[TunedKernel]:
        """Tune the kernels of models that the database lacks; see `targets.tvm_tuning.Tuner`.

        Raises:
            RuntimeError: If TVM or the linker cannot compile them.
        """
        if not self._is_cpu:
            return []
        kernels = tunable_kernels([fuse(model) for model in models], self.kernels)
        tuner = Tuner(self.kernels, open_session, self._spec.linker)
        return tuner.tune(kernels, self._database, seconds, observer)

    @property
    def _is_cpu(self) -> bool:
        return str(self.target.kind.name) == "llvm"
