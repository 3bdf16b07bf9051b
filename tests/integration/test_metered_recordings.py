"""Searches and measurements on recordings that were metered, wholly or in part."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import optuna
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import hwnas
from hwnas.product_config import ProductConfig
from hwnas.run_folder import RunFolder
from latency_predictors.measured_architecture import CALIBRATION_ENERGY
from targets import (
    EnergyConfig,
    EnergyMeasurement,
    Interval,
    Measurement,
    measurement_from_dict,
    result_to_dict,
)
from targets.meters import MeterInfo
from targets.spec import BOARDS

if TYPE_CHECKING:
    from conftest import TinySearch

PRODUCT = (
    "product={interval_s: 1, sleep_power_mw: 1, battery: {capacity_mah: 100, voltage_v: 3.0}, "
    "country: FRA}"
)
# accuracy, latency and flash are the same numbers on the recording: what is on the front for
# them is so in both searches
OBJECTIVES = ["accuracy", "latency", "flash", "battery_days"]
OVERRIDES = [
    PRODUCT,
    f"objectives=[{', '.join(OBJECTIVES)}]",
    "constraints.min_inferences_per_joule=1e-3",
]
POWER_W, IDLE_W, BATTERY_J = 3.0, 1.0, 1080.0
METER = MeterInfo(
    rail="supply",
    scope="the made-up board",
    update_period_s=1e-5,
    resolution=1e-6,
    range_w=None,
    gain_error=0.0,
    offset_error_w=0.0,
    averages=True,
    polled=False,
    bandwidth_hz=1e5,
)


def metered(measurement: Measurement, config: EnergyConfig) -> Measurement:
    """Add what a meter of 3 W would have said, exact to 10 %."""
    t = measurement.latency_median_s
    gross, net = POWER_W * t, (POWER_W - IDLE_W) * t
    energy = EnergyMeasurement(
        target=measurement.target,
        model_sha256=measurement.model_sha256,
        artifact_sha256=measurement.artifact_sha256,
        gross_j=Interval(gross, 0.9 * gross, 1.1 * gross),
        net_j=Interval(net, 0.9 * net, 1.1 * net),
        net_refused=None,
        idle_power_w=Interval(IDLE_W, IDLE_W, IDLE_W),
        active_power_w=Interval(POWER_W, 0.9 * POWER_W, 1.1 * POWER_W),
        peak_power_w=POWER_W,
        peak_bandwidth_hz=1e5,
        trials=(),
        sustained=(),
        meters=(METER,),
        config=config,
        provenance="measured",
    )
    return replace(measurement, energy=energy)


def record(source: Path, destination: Path, is_metered: Callable[[int], bool]) -> None:
    """Copy a run's measurements and meter them; of the front's those that are asked for."""
    lines, n_front = [], 0
    for line in source.read_text().splitlines():
        document = json.loads(line)
        is_front = document["phase"] == "front"
        config = EnergyConfig() if is_front else CALIBRATION_ENERGY
        if not is_front or is_metered(n_front):
            stages = [metered(measurement_from_dict(s), config) for s in document["stages"]]
            document["stages"] = [result_to_dict(s) for s in stages]
        n_front += is_front
        lines.append(json.dumps(document))
    assert n_front >= 2, "a front of one shows no mixture"
    destination.write_text("\n".join(lines) + "\n")


def replay_beside(folder: Path) -> Path:
    """Describe a replay of the folder's ``recording.jsonl`` that has a power meter."""
    board = yaml.safe_load((BOARDS / "host-onnxruntime.yaml").read_text())
    board |= {
        "name": "replay",
        "backend": "replay",
        "recording": "recording.jsonl",
        "quantized_target": "replay",
    }
    board["meters"] = [{"kind": "rapl"}]
    path = folder / "replay.yaml"
    path.write_text(yaml.safe_dump(board))
    return path


@pytest.fixture
def replayed(tiny: TinySearch, tmp_path: Path) -> Callable[..., tuple[RunFolder, dict[str, Any]]]:
    """Return a search on what an earlier one recorded, with energies as asked."""

    def search(is_metered: Callable[[int], bool]) -> tuple[RunFolder, dict[str, Any]]:
        first = search_once("first")
        record(first.measurements, tmp_path / "recording.jsonl", is_metered)
        run = search_once("second", f"target={replay_beside(tmp_path)}")
        return run, run.front()

    def search_once(folder: str, *overrides: str) -> RunFolder:
        return hwnas.search(
            tiny.experiment,
            overrides=[*OVERRIDES, *overrides],
            runs=tmp_path / folder,
            predictors=tmp_path / folder / "predictors",
            workers=1,
        )

    return search


def test_a_metered_front_is_judged_by_what_was_measured(
    replayed: Callable[..., tuple[RunFolder, dict[str, Any]]],
) -> None:
    run, front = replayed(lambda _: True)
    members = [c["metrics"] for c in front["candidates"] if c["on_front"]]
    assert members
    for metrics in members:
        # one stage: 3 W for as long as an inference takes
        latency_s = metrics["latency_s"]["value"]
        assert metrics["energy_j"]["value"] == pytest.approx(POWER_W * latency_s)
        assert metrics["energy_j"]["provenance"] == "measured"
        assert metrics["energy_net_j"]["value"] == pytest.approx(2.0 * latency_s)
        assert metrics["inferences_per_joule"]["value"] == pytest.approx(1 / (3 * latency_s))
        power_w = POWER_W * latency_s + 1e-3 * (1 - latency_s)
        assert metrics["battery_days"]["value"] == pytest.approx(BATTERY_J / power_w / 86_400)
        assert metrics["battery_days"]["provenance"] == "modelled"
        assert metrics["co2e_g_per_million"]["value"] == pytest.approx(power_w / 3.6 * 56.039)
    assert [o["name"] for o in front["objectives"]] == OBJECTIVES
    assert {c["name"] for c in front["constraints"]} == {"min_inferences_per_joule", "interval_s"}
    box = front["hypervolume"]
    assert 0 < box["value"] <= 1
    assert box["ideal"][3] > box["reference"][3], "more days are better"
    storage = JournalStorage(JournalFileBackend(str(run.journal)))
    trials = optuna.load_study(study_name="tiny", storage=storage).get_trials()
    trained = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(trained) >= 6
    for trial in trained:
        # of the limit on a mean over the exits, too, which only training settles
        before = trial.user_attrs["record"]["violations"]
        after = trial.user_attrs["outcome"]["violations"]
        assert set(before) == {"interval_s"}
        assert set(after) == {"min_inferences_per_joule"}
        assert max(*before.values(), *after.values()) <= 0
    rows = list(csv.DictReader(run.front_csv.read_text().splitlines()))
    assert (
        float(rows[0]["battery_days"]) == front["candidates"][0]["metrics"]["battery_days"]["value"]
    )
    assert rows[0]["energy_net_j.boundary"] == "inference_net"
    assert hwnas.report(run.path).exists()


def test_a_front_of_which_one_member_was_not_metered_tells_them_apart(
    replayed: Callable[..., tuple[RunFolder, dict[str, Any]]],
) -> None:
    run, front = replayed(lambda number: number > 0)
    provenances = [c["metrics"]["energy_j"]["provenance"] for c in front["candidates"]]
    assert provenances.count("modelled") == 1
    assert provenances.count("measured") >= 1
    members = {c["metrics"]["energy_j"]["provenance"] for c in front["candidates"] if c["on_front"]}
    page = hwnas.report(run.path).read_text()
    assert ("of several kinds that do not compare" in page) == (len(members) == 2)
    assert "energy (measured and modelled)" in page


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A matrix product of 128 MACs."""
    weights = numpy_helper.from_array(np.ones((16, 8), np.float32), "w")
    tensor = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node], "g", [tensor("x", shape=[1, 16])], [tensor("y", shape=[1, 8])], [weights]
    )
    path = tmp_path / "model.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_a_measured_model_has_energies_of_the_meter_and_costs_of_the_product(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    timed = hwnas.measure("host-onnxruntime", model).measurement
    recorded = json.dumps(result_to_dict(metered(timed, EnergyConfig())))
    (tmp_path / "recording.jsonl").write_text(recorded + "\n")
    product = ProductConfig(interval_s=1.0, sleep_power_mw=1.0, supply_voltage_v=5.0)
    document = hwnas.measure(str(replay_beside(tmp_path)), model, product=product).to_dict()
    t = document["latency_s"]["value"]
    assert document["energy_j"]["value"] == pytest.approx(POWER_W * t)
    assert document["energy_j"]["provenance"] == "measured"
    assert document["energy_net_j"]["value"] == pytest.approx((POWER_W - IDLE_W) * t)
    assert document["idle_power_w"]["value"] == IDLE_W
    peak = document["peak_power_w"]
    assert (peak["value"], peak["bandwidth_hz"]) == (POWER_W, 1e5)
    # 3 W at 5 V; the meter knows no voltage
    assert document["average_current_a"]["value"] == pytest.approx(0.6)
    assert document["average_power_w"]["value"] == pytest.approx(POWER_W * t + 1e-3 * (1 - t))
    assert document["energy_not_measured_because"] is None


def test_a_measured_model_whose_meter_fails_keeps_its_latency_and_says_why(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    timed = hwnas.measure("host-onnxruntime", model).measurement
    (tmp_path / "recording.jsonl").write_text(json.dumps(result_to_dict(timed)) + "\n")
    document = hwnas.measure(str(replay_beside(tmp_path)), model).to_dict()
    assert document["latency_s"]["value"] == timed.latency_median_s
    assert document["energy_j"]["provenance"] == "modelled"
    assert "energy_net_j" not in document
    assert "the energy of this model was not recorded" in document["energy_not_measured_because"]
