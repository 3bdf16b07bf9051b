"""Kernels compiled for the boards run on an emulated processor, and compute the right numbers.

A small C++ program stands for TVM's runtime, which has no wheel for some of these
processors: it calls each kernel of a network with random inputs.
"""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import tirx

import targets
from targets.testing import small_model
from targets.tvm_build import fuse, link, tiling_for, tvm_target
from targets.tvm_kernels import KernelCache, kernels_of, object_code

EMULATORS = {"armv7": "qemu-arm-static", "riscv64": "qemu-riscv64-static"}
# the oldest processor that a target promises to run on: an instruction it lacks ends the program
CORES = {
    "aarch64": "cortex-a53",
    "armv7": "cortex-a9",
    "jetson-orin-nano-cpu": "max",  # the emulator knows no Cortex-A78AE
    "raspberry-pi-4": "cortex-a72",
    "raspberry-pi-5": "cortex-a76",
    "riscv64": "rv64,v=false",
    "snapdragon-android": "cortex-a76",
}
COMPILERS = {"snapdragon-android": "aarch64-linux-gnu-g++"}
NAMES = [
    name
    for name in targets.names()
    if targets.load_spec(name).tvm_target.get("mtriple", "x86_64-linux-gnu") != "x86_64-linux-gnu"
]
# sums of up to a few hundred terms in another order; NEON of 32 bits flushes denormals
TOLERANCE = 2e-5

# Reads all inputs from standard input, kernel after kernel, and writes the last argument of each.
PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include <tvm/ffi/c_api.h>

extern "C" {
extern void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) __attribute__((weak));
extern int (*__TVMBackendFreeWorkspace)(int, int, void*) __attribute__((weak));
%(declarations)s
}

static void* aligned(uint64_t size) { return aligned_alloc(64, (size + 63) / 64 * 64); }
static void* allocate(int, int, uint64_t size, int, int) { return aligned(size); }
static int release(int, int, void* pointer) { free(pointer); return 0; }

typedef int (*Kernel)(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);

static void call(Kernel kernel, int n, const int* ndim, int64_t (*shapes)[8]) {
  DLTensor tensors[16] = {};
  TVMFFIAny arguments[16] = {}, result = {};
  size_t size = 0;
  for (int i = 0; i < n; ++i) {
    size = 4;
    for (int d = 0; d < ndim[i]; ++d) size *= shapes[i][d];
    void* data = aligned(size);
    if (i < n - 1 && fread(data, 1, size, stdin) != size) exit(2);
    tensors[i].data = data;
    tensors[i].device = {kDLCPU, 0};
    tensors[i].ndim = ndim[i];
    tensors[i].dtype = {kDLFloat, 32, 1};
    tensors[i].shape = shapes[i];
    arguments[i].type_index = kTVMFFIDLTensorPtr;
    arguments[i].v_ptr = &tensors[i];
  }
  if (kernel(nullptr, arguments, n, &result) != 0) exit(3);
  fwrite(tensors[n - 1].data, 1, size, stdout);
}

int main() {
  if (&__TVMBackendAllocWorkspace) __TVMBackendAllocWorkspace = allocate;
  if (&__TVMBackendFreeWorkspace) __TVMBackendFreeWorkspace = release;
%(calls)s
}
"""


@pytest.fixture(scope="module")
def kernels() -> Mapping[str, tirx.PrimFunc]:
    return kernels_of(fuse(small_model()))


def shapes_of(function: tirx.PrimFunc) -> list[tuple[int, ...]]:
    return [tuple(int(extent) for extent in parameter.shape) for parameter in function.params]


def inputs_of(function: tirx.PrimFunc) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes_of(function)[:-1]]


@pytest.fixture(scope="module")
def expected(
    kernels: Mapping[str, tirx.PrimFunc], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """Outputs of unscheduled code for this computer: neither schedule nor processor is shared."""
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "reference.o"
    path.write_bytes(object_code(kernels, tvm_target({"mcpu": "native"}, 1)))
    link(folder / "reference.so", [path], None)
    library = tvm.runtime.load_module(str(folder / "reference.so"))
    outputs = {}
    for name, function in kernels.items():
        arrays = [*inputs_of(function), np.zeros(shapes_of(function)[-1], np.float32)]
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        library[name](*tensors)
        outputs[name] = tensors[-1].numpy()
    return outputs


def program(kernels: Mapping[str, tirx.PrimFunc]) -> str:
    declarations, calls = [], []
    for name, function in kernels.items():
        shapes = shapes_of(function)
        symbol = f"__tvm_ffi_{name}"
        declarations.append(f"int {symbol}(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);")
        rows = ", ".join("{" + ", ".join(map(str, shape)) + "}" for shape in shapes)
        ndim = ", ".join(str(len(shape)) for shape in shapes)
        calls.append(
            f"  {{ int64_t shapes[][8] = {{{rows}}}; const int ndim[] = {{{ndim}}};"
            f" call({symbol}, {len(shapes)}, ndim, shapes); }}"
        )
    return PROGRAM % {"declarations": "\n".join(declarations), "calls": "\n".join(calls)}


@pytest.mark.parametrize("name", NAMES)
def test_kernels_for_a_board_are_right_on_its_processor(
    name: str,
    kernels: Mapping[str, tirx.PrimFunc],
    expected: Mapping[str, np.ndarray],
    tmp_path: Path,
    require_tool: Callable[[str], None],
) -> None:
    spec = targets.load_spec(name)
    compiler = COMPILERS.get(name, spec.linker)
    emulator = EMULATORS.get(name, "qemu-aarch64-static")
    assert compiler is not None
    require_tool(compiler)
    require_tool(emulator)
    target: Any = tvm_target(spec.tvm_target, spec.threads)
    cache = KernelCache(tmp_path / "kernels", target, tiling_for(target))
    objects = [cache.get(kernel, function).path for kernel, function in kernels.items()]
    source, executable = tmp_path / "main.cc", tmp_path / "main"
    source.write_text(program(kernels))
    headers = (tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path())
    include = [f"-I{folder}" for folder in headers]
    subprocess.run([compiler, "-static", "-o", executable, source, *include, *objects], check=True)

    given = b"".join(x.tobytes() for function in kernels.values() for x in inputs_of(function))
    command = [emulator, "-cpu", CORES[name], executable]
    content = subprocess.run(command, input=given, check=True, capture_output=True).stdout
    for kernel, wanted in expected.items():
        got = np.frombuffer(content[: wanted.nbytes], np.float32).reshape(wanted.shape)
        content = content[wanted.nbytes :]
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE * scale, err_msg=kernel)
    assert content == b""
