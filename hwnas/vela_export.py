"""Compile int8 LiteRT networks for Arm's Ethos-U with Vela, and keep what it estimates.

Vela's figures are its own and called experimental by Arm: those of the NPU alone, without the
processor beside it and without what else uses the memories.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from hwnas.export_formats import Accelerator, Conversion, NetworkToConvert, StageConversion
from hwnas.litert_export import float_stages, quantize

_CONFIG = "Arm/vela.ini"
# system and memories of each family, of those in Vela's own file: the largest of each
_SYSTEMS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_High_End", "Dedicated_Sram"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_High", "Dedicated_Sram"),
}
_KIB = 1024
_TIMEOUT_S = 600.0
_NPU = "ethos-u"
_VERIFICATION = "compiled, not run: that takes an Ethos-U"


def convert(network: NetworkToConvert, folder: Path, accelerator: Accelerator) -> list[Conversion]:
    """Write ``stage_K.vela.tflite``, for LiteRT for Microcontrollers with Ethos-U's driver.

    Raises:
        UserError: If a stage cannot be converted or compiled.
    """
    system, memory = _SYSTEMS[accelerator[: len("ethos-uNN")]]
    settings = {"accelerator": accelerator, "system": system, "memory": memory}
    stages = []
    for index, content in enumerate(quantize(float_stages(network), network.calibration)):
        file = folder / f"stage_{index}.vela.tflite"
        metrics = _compiled(content, file, settings)
        left = cpu_operators(file.read_bytes())
        notes = {"on the processor": ", ".join(left) or "no operator"}
        stages.append(StageConversion(file, metrics, notes))
    return [Conversion("int8", tuple(stages), settings, _VERIFICATION)]


def cpu_operators(model: bytes) -> list[str]:
    """Return the operators of a compiled model that the NPU does not compute, by kind."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    codes = vars(schema.BuiltinOperator).items()
    names = {code: name for name, code in codes if not name.startswith("_")}
    content = read_model_from_bytearray(bytearray(model))
    found = []
    for graph in content.subgraphs:
        for operator in graph.operators:
            code = content.operatorCodes[operator.opcodeIndex]
            if code.customCode is None or code.customCode.decode() != _NPU:
                found.append(names[max(code.builtinCode, code.deprecatedBuiltinCode)])
    return sorted(set(found))


def read_summary(path: Path) -> dict[str, dict[str, Any]]:
    """Return what Vela's summary says of one inference, as metrics.

    Args:
        path: The CSV file that it writes: one line of figures; memories in KiB.

    Raises:
        UserError: If a figure is missing or no number.
    """
    try:
        with path.open(newline="") as file:
            (row,) = csv.DictReader(file)
        kib = {
            "sram_bytes": float(row["sram_memory_used"]),
            "dram_bytes": float(row["dram_memory_used"]),
            "flash_bytes": float(row["on_chip_flash_memory_used"])
            + float(row["off_chip_flash_memory_used"]),
        }
        figures = {name: _KIB * value for name, value in kib.items()}
        figures["cycles"] = float(row["cycles_total"])
        figures["latency_s"] = float(row["inference_time"])
        figures["npu_cycles"] = float(row["cycles_npu"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"Vela's summary: damaged ({type(error).__name__}: {error})") from None
    if unknown := [name for name, value in figures.items() if not math.isfinite(value)]:
        raise UserError(f"Vela's summary: no number for {', '.join(unknown)}")
    return {
        name: {"value": value, "provenance": "vendor_estimate"} for name, value in figures.items()
    }


def _compiled(model: bytes, file: Path, settings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Compile a model into a file; return Vela's estimates."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "stage.tflite"
        source.write_bytes(model)
        output = Path(temporary) / "output"
        command = [sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", str(output)]
        command += ["--config", _CONFIG, "--accelerator-config", settings["accelerator"]]
        command += ["--system-config", settings["system"], "--memory-mode", settings["memory"]]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"Vela took over {_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            told = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise UserError(f"Vela: {told[-1] if told else f'exit code {done.returncode}'}")
        summaries = list(output.glob("*_summary_*.csv"))
        if len(summaries) != 1:
            raise UserError(f"Vela: wanted one summary, got {len(summaries)}. Try another version.")
        metrics = read_summary(summaries[0])
        file.write_bytes((output / "stage_vela.tflite").read_bytes())
    return metrics
