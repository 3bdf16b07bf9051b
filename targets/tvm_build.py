"""ONNX model -> shared library for the Relax virtual machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax
from tvm.target import codegen

from targets.elf import loadable_bytes
from targets.tvm_import import import_onnx
from targets.tvm_memory import peak_ram_bytes
from targets.tvm_schedule import Tiling, schedule_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

_FUSE = [
    relax.transform.LegalizeOps(),
    relax.transform.AnnotateTIROpPattern(),
    relax.transform.FoldConstant(),
    relax.transform.FuseOps(),
    relax.transform.FuseTIR(),
    # before scheduling, which hides that a kernel only reshapes: a view costs nothing
    relax.transform.RewriteDataflowReshape(),
]
# the first half of relax.pipeline.default_build_pipeline: up to planned memory
_PLAN_MEMORY = [
    relax.transform.ToNonDataflow(),
    relax.transform.RemovePurityChecking(),
    relax.transform.CallTIRRewrite(),
    relax.transform.StaticPlanBlockMemory(),
]
_LOWER = [
    relax.transform.LowerAllocTensor(),
    relax.transform.KillAfterLastUse(),
    relax.transform.LowerRuntimeBuiltin(),
    relax.transform.ComputePrimValue(),
    relax.transform.VMShapeLower(),
    relax.transform.AttachGlobalSymbol(),
]


@dataclass(frozen=True)
class Library:
    """A compiled model.

    Args:
        path: The shared library.
        flash_bytes: Its loadable segments: code and constants.
        peak_ram_bytes: Planned activations, kernel workspaces, inputs and outputs.
        unscheduled: Kernels no schedule rule fits: correct, but slow.
    """

    path: Path
    flash_bytes: int
    peak_ram_bytes: int
    unscheduled: tuple[str, ...]


def build_library(model: onnx.ModelProto, target: Any, path: Path) -> Library:
    """Compile a model.

    Args:
        model: With static shapes.
        target: From `llvm_target`.
        path: Where to write the library, ending in ``.so``.

    Raises:
        RuntimeError: If TVM or the linker cannot compile it; all their errors are such.
    """
    with target, tvm.transform.PassContext(opt_level=3):
        scheduled = schedule_module(fuse(model), tiling_for(target))
        planned = tvm.transform.Sequential(_PLAN_MEMORY)(scheduled.module)
    lower = tvm.transform.Sequential(_LOWER)
    executable = tvm.compile(planned, target=target, relax_pipeline=lower)
    executable.export_library(str(path))
    return Library(path, loadable_bytes(path), peak_ram_bytes(planned), scheduled.unscheduled)


def fuse(model: onnx.ModelProto) -> tvm.IRModule:
    """Import a model and fuse its operators into kernels, unscheduled."""
    return tvm.transform.Sequential(_FUSE)(import_onnx(model))


def llvm_target(options: Mapping[str, str | int | list[str]], threads: int) -> Any:
    """Return the TVM target; ``mcpu: native`` becomes this CPU as LLVM names it.

    Args:
        options: ``tvm_target`` of a `TargetSpec`.
        threads: Cores the code may use.

    Raises:
        ValueError: If TVM refuses the options.
    """
    resolved: dict[str, Any] = {"kind": "llvm", "num-cores": threads, **options}
    if resolved.get("mcpu") == "native":
        resolved["mcpu"] = codegen.llvm_get_system_cpu()
    try:
        return tvm.target.Target(resolved)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"tvm_target: {str(error).strip().splitlines()[-1]}") from None


def tiling_for(target: Any) -> Tiling:
    """Return the register tile that suits a CPU's vector unit."""
    if codegen.target_has_features("avx512f", target):
        return Tiling(vector_lanes=16, accumulators=16)
    if codegen.target_has_features("avx2", target):
        return Tiling(vector_lanes=8, accumulators=8)
    if codegen.target_has_features("neon", target):
        return Tiling(vector_lanes=4, accumulators=16)
    return Tiling(vector_lanes=4, accumulators=8)


def compiler_is_missing() -> str | None:
    """Return what to do when there is no C compiler to link libraries with, else ``None``."""
    from tvm.support import cc

    if cc.get_cc() is None and "CXX" not in os.environ:
        return "no C compiler found to link with: install gcc or clang"
    return None
