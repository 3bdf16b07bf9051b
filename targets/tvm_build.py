"""ONNX model -> shared library for the Relax virtual machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax
from tvm.relax import _ffi_api as vm_passes
from tvm.relax import vm_build
from tvm.runtime import _ffi_api as runtime_ffi
from tvm.s_tir import dlight
from tvm.target import codegen

from targets.elf import loadable_bytes
from targets.quantized import is_quantized
from targets.tvm_import import import_onnx
from targets.tvm_kernels import KernelCache, kernels_of, name_kernels
from targets.tvm_memory import peak_ram_bytes
from targets.tvm_schedule import Registers, Tile, Tiling

if TYPE_CHECKING:
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


def build_library(
    module: tvm.IRModule,
    cache: KernelCache,
    path: Path,
    *,
    tiles: Mapping[str, Tile] = MappingProxyType({}),
    linker: str | None = None,
) -> Library:
    """Compile a model for a CPU: its kernels, where they are new, and what calls them.

    Args:
        module: From `fuse`.
        cache: Of compiled kernels, for the target.
        path: Where to write the library.
        tiles: For kernels, by name, that are not tiled by the rules.
        linker: C++ compiler that links for the target; this computer's by default.

    Raises:
        RuntimeError: If TVM or the linker cannot compile it; all their errors are such.
    """
    compiled = {
        name: cache.get(name, function, tiles.get(name))
        for name, function in kernels_of(module).items()
    }
    with cache.target, tvm.transform.PassContext(opt_level=3):
        planned = tvm.transform.Sequential(_PLAN_MEMORY)(module)
        lowered = tvm.transform.Sequential(_LOWER)(planned)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.o"
        objects = [kernel.path for kernel in compiled.values()]
        _virtual_machine_program(lowered, cache.target, objects).write_to_file(str(program))
        link(path, [program, *objects], linker)
    workspace_bytes = max((kernel.workspace_bytes for kernel in compiled.values()), default=0)
    return Library(
        path,
        loadable_bytes(path),
        peak_ram_bytes(planned, workspace_bytes),
        tuple(name for name, kernel in compiled.items() if not kernel.scheduled),
    )


def build_gpu_library(
    module: tvm.IRModule, target: Any, path: Path, *, linker: str | None = None
) -> Library:
    """Compile a model for a GPU with TVM's own schedules for one.

    Args:
        module: From `fuse`.
        target: From `tvm_target`.
        path: Where to write the library.
        linker: As for `build_library`.

    Raises:
        RuntimeError: As `build_library`.
    """
    rules = [dlight.gpu.Matmul, dlight.gpu.GEMV, dlight.gpu.Reduction]
    rules += [dlight.gpu.GeneralReduction, dlight.gpu.Fallback]
    with target, tvm.transform.PassContext(opt_level=3):
        scheduled = dlight.ApplyDefaultSchedule(*(rule() for rule in rules))(module)
        planned = tvm.transform.Sequential(_PLAN_MEMORY)(scheduled)
    lower = tvm.transform.Sequential(_LOWER)
    executable = tvm.compile(planned, target=target, relax_pipeline=lower)
    executable.export_library(
        str(path), fcompile=lambda output, objects, **_: link(Path(output), objects, linker)
    )
    return Library(path, loadable_bytes(path), peak_ram_bytes(planned, 0), ())


def link(path: Path, objects: Sequence[Path | str], linker: str | None) -> None:
    """Link object files to a shared library without symbols.

    Raises:
        RuntimeError: If the linker is missing or refuses them; its last words are in the message.
    """
    command = linker or default_linker()
    if command is None or shutil.which(command) is None:
        raise RuntimeError(
            f"linker {command!r} not found: install it, or name another in the target's file"
            if linker
            else "no C compiler found to link with: install gcc or clang"
        )
    result = subprocess.run(
        [command, "-shared", "-s", "-o", path, *objects], capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(f"{command}: {result.stderr.strip()[-300:]}")


def default_linker() -> str | None:
    """Return this computer's C++ compiler: ``$CXX``, or what is installed."""
    named = os.environ.get("CXX")
    return named or next(filter(shutil.which, ("g++", "clang++", "c++", "cc", "gcc")), None)


def _virtual_machine_program(lowered: tvm.IRModule, target: Any, objects: Sequence[Path]) -> Any:
    """Return bytecode and constants as a module that can be written to an object file.

    Any of the kernels' objects stands for all: it says that the kernels are found in
    the library itself.
    """
    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, lowered, "bytecode")
    constants = dict((lowered.attrs or {}).get("const_name_to_constant", {}))
    kernels = tvm.runtime.load_static_library(str(objects[0]), []) if objects else None
    executable = vm_passes.VMLink(builder, target, kernels, [], constants)
    return runtime_ffi.ModulePackImportsToLLVM(executable, False, str(target), "")


def fuse(model: onnx.ModelProto) -> tvm.IRModule:
    """Import a model and fuse its operators into kernels, unscheduled and named by content.

    Args:
        model: With static shapes.

    Raises:
        RuntimeError: If TVM cannot import it, or only in another arithmetic.
    """
    if is_quantized(model):
        raise RuntimeError(
            "the model is quantized, and TVM would compute it in float32 with float32 weights: "
            "its latency, energy and flash would say nothing of an int8 deployment. Measure it "
            "on a target of ONNX Runtime, such as host-onnxruntime"
        )
    with tvm.transform.PassContext(opt_level=3):
        return name_kernels(tvm.transform.Sequential(_FUSE)(import_onnx(model)))


def tvm_target(options: Mapping[str, object], threads: int) -> Any:
    """Return the TVM target; ``mcpu: native`` becomes this CPU as LLVM names it.

    Args:
        options: ``tvm_target`` of a `TargetSpec`.
        threads: Cores the code may use.

    Raises:
        ValueError: If TVM refuses the options.
    """
    resolved: dict[str, Any] = {"kind": "llvm", **options}
    if resolved["kind"] == "llvm":
        resolved.setdefault("num-cores", threads)
    if resolved.get("mcpu") == "native":
        resolved["mcpu"] = codegen.llvm_get_system_cpu()
    try:
        return tvm.target.Target(resolved)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"tvm_target: {str(error).strip().splitlines()[-1]}") from None


def tiling_for(target: Any) -> Tiling:
    """Return what the schedule rules need to know of a CPU, from its vector unit and cores.

    The best of a search over all tiles of some 200 kernels of both search spaces on
    AVX-512 and AVX2; NEON and narrower units follow the number of their registers.
    """
    cores = int(target.attrs.get("num-cores", 1))
    if codegen.target_has_features("avx512f", target):
        return Tiling(16, Registers(16, tall=True), Registers(8, tall=True), cores)
    if codegen.target_has_features("avx2", target):
        return Tiling(8, Registers(12, tall=False), Registers(8, tall=False), cores)
    if codegen.target_has_features("neon", target):
        return Tiling(4, Registers(16, tall=False), Registers(16, tall=False), cores)
    return Tiling(4, Registers(8, tall=False), Registers(8, tall=False), cores)
