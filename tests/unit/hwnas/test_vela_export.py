"""Networks compiled for Ethos-U: what Vela says of them, and that it is called an estimate."""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

from hwnas.errors import UserError
from hwnas.export_formats import Accelerator, Conversion, NetworkToConvert
from hwnas.litert_export import float_stages, quantize
from hwnas.vela_export import convert, cpu_operators, read_summary
from search_spaces import total_macs, workloads_from_onnx
from tests.unit.hwnas.quantized_networks import SHAPE, exported, samples, separable, two_stages

SUMMARY = """\
experiment,inference_time,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,\
off_chip_flash_memory_used,cycles_npu,cycles_total
default,4.04e-05,4.671875,0.0,1.0,15.78125,14865,20200
"""


def source() -> NetworkToConvert:
    return NetworkToConvert(two_stages(), SHAPE, "float32", samples(16))


def compiled(folder: Path, accelerator: Accelerator) -> Conversion:
    folder.mkdir()
    (conversion,) = convert(source(), folder, accelerator)
    return conversion


def test_a_summary_is_read_in_si_units_as_the_makers_estimate(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(SUMMARY)
    metrics = read_summary(path)
    assert {name: metric["value"] for name, metric in metrics.items()} == {
        "latency_s": 4.04e-5,
        "cycles": 20200,
        "npu_cycles": 14865,
        "sram_bytes": 4784,  # 4.671875 KiB
        "dram_bytes": 0,
        "flash_bytes": 17184,  # 16.78125 KiB
    }
    assert {metric["provenance"] for metric in metrics.values()} == {"vendor_estimate"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Vela's summary: damaged"),
        (SUMMARY.replace("cycles_total", "cycles"), "KeyError: 'cycles_total'"),
        (SUMMARY.replace("4.04e-05", "nan"), "no number for latency_s"),
        (SUMMARY.replace("4.671875", "much"), "could not convert string to float: 'much'"),
    ],
    ids=["empty", "renamed", "nan", "text"],
)
def test_a_summary_that_is_not_understood_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_summary(path)


def test_every_stage_is_compiled_for_the_npu_alone(tmp_path: Path) -> None:
    conversion = compiled(tmp_path / "u55", "ethos-u55-128")
    assert [s.file.name for s in conversion.stages] == [
        "stage_0.vela.tflite",
        "stage_1.vela.tflite",
    ]
    for stage in conversion.stages:
        model = read_model_from_bytearray(bytearray(stage.file.read_bytes()))
        assert [code.customCode for code in model.operatorCodes] == [b"ethos-u"]
        assert stage.notes == {"on the processor": "no operator"}
    assert conversion.settings["accelerator"] == "ethos-u55-128"
    assert "not run" in conversion.verification


def test_cycles_are_no_fewer_than_the_multiplications_take(tmp_path: Path) -> None:
    conversion = compiled(tmp_path / "u55", "ethos-u55-128")
    for stage, model in zip(conversion.stages, exported(two_stages()), strict=True):
        macs = total_macs(workloads_from_onnx(model))
        # the name says how many multiply-accumulates it does in a cycle
        assert stage.metrics["cycles"]["value"] >= macs / 128
        # its clock in Vela's file is 500 MHz
        cycles = stage.metrics["cycles"]["value"]
        assert stage.metrics["latency_s"]["value"] == pytest.approx(cycles / 500e6)


def test_an_npu_with_more_multipliers_takes_fewer_cycles(tmp_path: Path) -> None:
    small, large = (
        sum(s.metrics["npu_cycles"]["value"] for s in compiled(tmp_path / name, name).stages)
        for name in ("ethos-u55-32", "ethos-u55-256")
    )
    assert large < small


def test_an_ethos_u65_keeps_its_weights_in_dram(tmp_path: Path) -> None:
    (first, _) = compiled(tmp_path / "u65", "ethos-u65-256").stages
    assert first.metrics["dram_bytes"]["value"] > 0
    assert first.metrics["flash_bytes"]["value"] == 0


def test_operators_that_the_npu_leaves_are_named() -> None:
    network = NetworkToConvert(separable(), SHAPE, "float32", samples(16))
    (model,) = quantize(float_stages(network), network.calibration)
    # not compiled: all of them are left
    kinds = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "RESHAPE"]
    assert cpu_operators(model) == kinds
    assert all(hasattr(schema.BuiltinOperator, kind) for kind in kinds)
