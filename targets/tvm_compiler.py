"""From an ONNX model to a library for one target, by the rules or by what tuning found."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.tvm_build import (
    Library,
    build_gpu_library,
    build_library,
    fuse,
    tiling_for,
    tvm_target,
)
from targets.tvm_kernels import KernelCache

if TYPE_CHECKING:
    import onnx

    from targets.spec import TargetSpec


class TvmCompiler:
    """Compiles for one target; kernels it has compiled before are only linked.

    Args:
        spec: Description of the target.
        cache_dir: Root of the cache, which all targets share.
    """

    def __init__(self, spec: TargetSpec, cache_dir: Path) -> None:
        self._spec = spec
        self._folder = cache_dir

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
        if self.target.kind.name != "llvm":
            return build_gpu_library(module, self.target, path, linker=self._spec.linker)
        return build_library(module, self.kernels, path, linker=self._spec.linker)
