"""A network's kernels: named by what they compute, compiled once, shared between networks."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.relax.transform import _ffi_api as relax_passes

from targets.atomic_file import write_atomically
from targets.code_version import SCHEDULE_RULES, code_version
from targets.tvm_schedule import NoRuleError, Tile, Tiling, schedule_kernel

_log = logging.getLogger(__name__)

# the virtual machine checks what enters a network; each kernel checking every argument
# again doubles its code and costs more time than a small kernel's work
_CONFIG = {"tirx.disable_assert": True}
_NAME_LENGTH = 60


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel as an object file.

    Args:
        path: Of the object file.
        workspace_bytes: Of the buffers it allocates, such as a padded copy of its input.
        scheduled: Whether a rule fitted; if not it is correct, but slow.
    """

    path: Path
    workspace_bytes: int
    scheduled: bool


class KernelCache:
    """Compiled kernels by name, tile, target and toolchain; a damaged entry counts as missing.

    Args:
        folder: Where they are kept, shared by all targets and processes.
        target: TVM's.
        tiling: Of that target's vector unit.
    """

    def __init__(self, folder: Path, target: Any, tiling: Tiling) -> None:
        self.target = target
        self.tiling = tiling
        self._folder = folder
        self._context = json.dumps([str(target), asdict(tiling), code_version(*SCHEDULE_RULES)])

    def get(self, name: str, function: tirx.PrimFunc, tile: Tile | None = None) -> CompiledKernel:
        """Return a kernel, compiled now unless it was before.

        Args:
            name: From `named_kernels`.
            function: What it computes, unscheduled.
            tile: Instead of the rules' own choice.
        """
        key = json.dumps([self._context, name, asdict(tile) if tile else None])
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.o"
        return _load(path) or _store(path, self.compile(name, function, tile))

    def compile(
        self, name: str, function: tirx.PrimFunc, tile: Tile | None = None
    ) -> tuple[bytes, int, bool]:
        """Compile a kernel; return its object file, workspace and whether a rule fitted."""
        try:
            scheduled, fits = schedule_kernel(function, self.tiling, tile), True
        except (s_tir.ScheduleError, NoRuleError) as error:
            _log.warning("%s is not scheduled: %s", name, str(error).strip()[-300:])
            scheduled, fits = function, False
        content = object_code({name: scheduled}, self.target)
        return content, _workspace_bytes(scheduled), fits


def name_kernels(module: tvm.IRModule) -> tvm.IRModule:
    """Rename each kernel of a fused module to its operators and a hash of what it computes."""
    renamed = {
        variable: function.with_attr("global_symbol", _name(variable.name_hint, function))
        if isinstance(function, tirx.PrimFunc)
        else function
        for variable, function in module.functions_items()
    }
    return relax_passes.NormalizeGlobalVar()(tvm.IRModule(renamed, attrs=module.attrs))


def kernels_of(module: tvm.IRModule) -> Mapping[str, tirx.PrimFunc]:
    """Return the kernels of a module by name."""
    return {
        variable.name_hint: function
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }


def object_code(kernels: Mapping[str, tirx.PrimFunc], target: Any) -> bytes:
    """Compile kernels to one object file."""
    functions = {
        name: function.with_attr("global_symbol", name) for name, function in kernels.items()
    }
    with tvm.transform.PassContext(opt_level=3, config=_CONFIG):
        library = tirx.build(tvm.IRModule(functions), target=target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        library.write_to_file(str(path))
        return path.read_bytes()


def _name(hint: str, function: tirx.PrimFunc) -> str:
    """Return the operators and a hash, the same in every network and process.

    A hash of 64 bits may collide once in a lifetime: the parity check would tell.
    """
    operators = re.sub(r"(?<=[a-z])\d+(?=_|$)", "", hint)[:_NAME_LENGTH]
    digest = tvm_ffi.structural_hash(function.without_attr("global_symbol"))
    return f"{operators}_{digest:016x}"


def _workspace_bytes(function: tirx.PrimFunc) -> int:
    """Buffers a kernel allocates in memory; register tiles have the scope ``local``."""
    return sum(
        math.prod(int(extent) for extent in buffer.shape) * np.dtype(str(buffer.dtype)).itemsize
        for buffer in function.body.block.alloc_buffers
        if buffer.scope() in ("", "global")
    )


def _load(path: Path) -> CompiledKernel | None:
    try:
        fields = json.loads(path.with_suffix(".json").read_bytes())
        if hashlib.sha256(path.read_bytes()).hexdigest() != fields.pop("sha256"):
            raise ValueError("checksum does not match")
        return CompiledKernel(path=path, **fields)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        _log.warning("%s: ignored a damaged cache entry (%s)", path, error)
        return None


def _store(path: Path, compiled: tuple[bytes, int, bool]) -> CompiledKernel:
    content, workspace_bytes, scheduled = compiled
    write_atomically(path, content)
    # the description last: without it there is no entry
    fields = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "workspace_bytes": workspace_bytes,
        "scheduled": scheduled,
    }
    write_atomically(path.with_suffix(".json"), json.dumps(fields).encode())
    return CompiledKernel(path, workspace_bytes, scheduled)
