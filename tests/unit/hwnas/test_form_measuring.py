"""Forms are measured, recorded, and counted in the precision of each operator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hwnas.form_measuring import VARIANT_PHASE, FormMeasuring, int8_nodes
from hwnas.quantization import CalibratedStages
from hwnas.variants import NetworkForm, Precision
from latency_predictors import MeasuredArchitecture
from search_spaces import Architecture
from targets import (
    Artifact,
    EnergyConfig,
    EnergyMeasurement,
    EnergyObserver,
    Failure,
    TargetSpec,
    load_spec,
)
from tests.unit.hwnas.clocked_device import ClockedTarget, make_device
from tests.unit.hwnas.quantized_networks import exported, samples, two_stages
from tests.unit.hwnas.untrained_search import random_dataset, untrained_search

ARCHITECTURE = Architecture("early_exit", ())


class DeadMeter(ClockedTarget):
    """Its clocks are known; its meter never answers."""

    def measure_energy(
        self,
        artifacts: Sequence[Artifact],
        config: EnergyConfig = EnergyConfig(),
        *,
        fresh: bool = False,
        observer: EnergyObserver | None = None,
    ) -> list[EnergyMeasurement | Failure]:
        return [Failure(self.name, "meter", "no such device") for _ in artifacts]


def form(precision: Precision, *float_operators: str) -> NetworkForm:
    files = ("a.onnx", "b.onnx")
    return NetworkForm("0123456789abcdef", "plain", precision, "c", files, float_operators)


def test_a_meter_that_fails_leaves_the_latency_and_is_no_failure(tmp_path: Path) -> None:
    host = load_spec("host").model_dump(mode="json", exclude_none=True)
    spec = TargetSpec.model_validate({**host, "name": "mine", "meters": [{"kind": "rapl"}]})
    make_device(tmp_path / "device")
    models = exported(two_stages())
    with DeadMeter(spec, tmp_path / "device", tmp_path / "cache") as target:
        context = untrained_search(tmp_path / "run", target, random_dataset())
        with FormMeasuring(context) as measuring:
            found = measuring.measure(form("float32"), ARCHITECTURE, models, models, target)
    assert isinstance(found, MeasuredArchitecture)
    assert [m.energy for m in found.measurements] == [None, None]
    (line,) = map(json.loads, context.run.measurements.read_text().splitlines())
    assert line["phase"] == VARIANT_PHASE
    assert [s["model_sha256"] for s in line["stages"]] == [
        m.model_sha256 for m in found.measurements
    ]


def test_operators_count_as_int8_but_for_those_that_stay_in_float32() -> None:
    calibrated = CalibratedStages(exported(two_stages()), samples(16))
    first, *others = (name for names in calibrated.stage_operators for name in names)
    for stage, model in enumerate(calibrated.models):
        prefix = f"stage_{stage}:"
        assert int8_nodes(form("float32"), stage, model) == frozenset()
        names = calibrated.stage_operators[stage]
        assert {prefix + node for node in int8_nodes(form("int8"), stage, model)} == set(names)
        mixed = {prefix + node for node in int8_nodes(form("mixed", first), stage, model)}
        assert mixed == set(names) & set(others)
