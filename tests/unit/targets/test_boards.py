"""Every packaged board's description: TVM compiles for it, and its guide exists."""

import platform
import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import targets
from targets import Artifact, Failure, TargetSpec
from targets.parity import TOLERANCE, random_inputs
from targets.spec import BOARDS
from targets.testing import run_onnxruntime, small_model
from targets.tuning_database import TuningDatabase
from targets.tvm_compiler import TvmCompiler
from targets.tvm_target import TvmTarget

GUIDES = Path(__file__).parents[3] / "docs" / "boards"
NAMES = sorted(set(targets.names()) - {"host", "host-onnxruntime"})


@dataclass(frozen=True)
class Processor:
    """What code for a board must look like.

    Args:
        bits: Of its addresses.
        machine: ``e_machine`` in the ELF header.
        multiply: Multiplies a whole vector, or one value where there are none; assembly
            language.
        binutils: Prefix of the tools that read its code.
    """

    bits: int
    machine: int
    multiply: str
    binutils: str


AARCH64 = Processor(64, 183, r"fmla\s+v\d+\.4s", "aarch64-linux-gnu-")
ARMV7 = Processor(32, 40, r"vmul\.f32\s+q", "arm-linux-gnueabihf-")
X86 = Processor(64, 62, r"vfmadd\d+ps\s.*ymm", "x86_64-linux-gnu-")
RISCV = Processor(64, 243, r"fmadd\.s", "riscv64-linux-gnu-")
PROCESSORS = {"armv7": ARMV7, "x86-64": X86, "riscv64": RISCV}
# Debian has no Android NDK; its linker shows as well that the object code is whole
LINKERS = {"snapdragon-android": "aarch64-linux-gnu-g++"}


def linkable(name: str) -> TargetSpec:
    spec = targets.load_spec(name)
    return spec.model_copy(update={"linker": LINKERS.get(name, spec.linker)})


@pytest.mark.parametrize("name", NAMES)
def test_a_board_is_reached_through_a_tracker_on_this_computer(name: str) -> None:
    spec = targets.load_spec(name)
    assert spec.rpc is not None
    assert spec.rpc.tracker == "127.0.0.1:9190"
    assert spec.rpc.accept_risk is None
    assert spec.rpc.key in name


@pytest.mark.parametrize("name", NAMES)
def test_tvm_compiles_code_for_a_board(
    name: str, tmp_path: Path, require_tool: Callable[[str], None]
) -> None:
    spec = linkable(name)
    assert spec.linker is not None
    require_tool(spec.linker)
    path = tmp_path / "model.so"
    library = TvmCompiler(spec, tmp_path, TuningDatabase(tmp_path, spec)).build(small_model(), path)

    processor = PROCESSORS.get(name, AARCH64)
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[4] * 32 == processor.bits
    assert struct.unpack_from("<H", header, 18) == (processor.machine,)
    n_weights = sum(np.prod(c.dims, dtype=int) for c in small_model().graph.initializer)
    assert library.flash_bytes > 4 * n_weights
    assert library.unscheduled == ()
    if spec.tvm_target["kind"] == "llvm":
        assert re.search(processor.multiply, disassembled(path, processor))


def disassembled(path: Path, processor: Processor) -> str:
    command = [f"{processor.binutils}objdump", "-d", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_kernels_for_a_gpu_travel_as_cuda_source(
    tmp_path: Path, require_tool: Callable[[str], None]
) -> None:
    spec = targets.load_spec("jetson-orin-nano-cuda")
    require_tool("aarch64-linux-gnu-g++")
    path = tmp_path / "model.so"
    TvmCompiler(spec, tmp_path, TuningDatabase(tmp_path, spec)).build(small_model(), path)
    # what the guide of this board relies on: it is compiled there, nothing of CUDA is needed here
    kernels = re.findall(rb"__global__ void [^;{]*?(\w+_kernel)\(", path.read_bytes())
    assert any(b"conv2d" in kernel for kernel in kernels)
    assert any(b"matmul" in kernel for kernel in kernels)


def test_code_for_another_x86_computer_runs_and_equals_onnxruntime(tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this computer's CPU is no x86-64-v3")
    # without a tracker the device is this computer, behind a server on loopback
    spec = targets.load_spec("x86-64").model_copy(update={"rpc": None, "clock_khz": None})
    model = small_model()
    with TvmTarget(spec, tmp_path) as target:
        artifact = target.compile(model)
        assert isinstance(artifact, Artifact), artifact
        inputs = random_inputs(model, seed=7)
        outputs = target.run(artifact, inputs)
    assert not isinstance(outputs, Failure), outputs
    for got, wanted in zip(outputs, run_onnxruntime(model, inputs), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_boards_description_names_its_guide_and_what_was_tried(name: str) -> None:
    text = (BOARDS / f"{name}.yaml").read_text()
    (guide,) = set(re.findall(r"Setup: docs/boards/([a-z0-9-]+\.md)", text))
    content = (GUIDES / guide).read_text()
    assert f"hwnas targets check {name}" in content
    assert f"`{name}`" in (GUIDES / "README.md").read_text()
    for words in (text, content):
        assert re.search(r"[Nn]ot\s+yet\s+tried\s+on\s+a", words)


@pytest.mark.parametrize("name", NAMES)
def test_the_modelled_energy_of_a_multiply_is_what_the_guide_derives(name: str) -> None:
    """4.6 pJ of arithmetic, and 70 pJ of an instruction spread over its lanes."""
    lanes = {"jetson-orin-nano-cuda": 32, "riscv64": 1, "x86-64": 8}.get(name, 4)
    energy_model = targets.load_spec(name).energy_model
    assert energy_model.energy_per_mac_j == pytest.approx((4.6 + 70 / lanes) * 1e-12, rel=0.05)
    assert energy_model.relative_uncertainty >= 0.5


def test_the_guides_link_only_to_what_exists() -> None:
    for guide in (*GUIDES.glob("*.md"), GUIDES.parent / "measuring.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text()):
            assert (guide.parent / link).exists(), f"{guide.name}: {link}"
