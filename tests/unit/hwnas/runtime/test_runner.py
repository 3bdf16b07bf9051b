"""The runtime on a bundle whose logits are known in closed form."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from hwnas.bundle_verification import verify
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.runtime import (
    Answer,
    DecisionLog,
    DeviceState,
    LowConfidenceFallback,
    Runtime,
    RuntimeMetrics,
    serve_metrics,
)
from hwnas.runtime.signals import EventMonitor
from tests.unit.hwnas.tiny_bundle import TinyBundle

THRESHOLDS = {"high": 0.9, "low": 0.5}
BATTERY_RULE = """
default: high
min_dwell_s: 0
rules:
- {mode: low, when: {battery_level: {below: 0.2, until: 0.3}}}
"""
EMPTY = DeviceState(battery_level=0.1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return TinyBundle(tmp_path / "bundle")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(BATTERY_RULE)
    return path


@pytest.mark.parametrize("mode", ["high", "low"])
def test_answers_and_exits_are_those_of_the_closed_form(
    bundle: TinyBundle, policy: Path, mode: str
) -> None:
    runtime = Runtime(bundle.path, policy=policy)
    device = EMPTY if mode == "low" else DeviceState(battery_level=0.9)
    answers = [runtime.infer(x, device) for x in bundle.x]
    rule = ExitPolicy((THRESHOLDS[mode],))
    logits = bundle.logits(bundle.x)
    classes, exits = rule.apply(logits)
    assert [a.class_index for a in answers] == classes.tolist()
    assert [a.exit_index for a in answers] == exits.tolist()
    assert len(set(exits.tolist())) == 2, "samples that leave at both exits"
    confidences = rule.confidences(logits)[exits, np.arange(len(exits))]
    # float32 sums of a few terms
    np.testing.assert_allclose([a.confidence for a in answers], confidences, rtol=1e-5)
    assert {a.operating_point for a in answers} == {mode}
    assert answers[0].class_name == "abc"[answers[0].class_index]


def test_a_bundle_without_a_policy_stays_at_its_first_operating_point(bundle: TinyBundle) -> None:
    assert Runtime(bundle.path).infer(bundle.x[0], EMPTY).operating_point == "high"


def test_the_bundles_own_policy_is_used(bundle: TinyBundle) -> None:
    (bundle.path / "policy.yaml").write_text(BATTERY_RULE)
    bundle.manifest["scaling_policy"] = "policy.yaml"
    bundle.seal()
    assert Runtime(bundle.path).decide(EMPTY) == "low"


def test_an_estimate_of_energy_says_how_it_was_obtained(bundle: TinyBundle) -> None:
    answer = Runtime(bundle.path).infer(bundle.x[0])
    assert answer.energy_j == pytest.approx(0.9e-3)
    assert answer.energy_provenance == "modelled"


def test_a_sample_with_its_batch_axis_gives_the_same_answer(bundle: TinyBundle) -> None:
    runtime = Runtime(bundle.path)
    alone, batched = runtime.infer(bundle.x[0]), runtime.infer(bundle.x[:1])
    assert replace(alone, latency_s=0.0) == replace(batched, latency_s=0.0)


def test_an_input_of_another_shape_is_refused(bundle: TinyBundle) -> None:
    with pytest.raises(ValueError, match=r"wanted shape \(1, 1, 2, 2\), or \(1, 2, 2\)"):
        Runtime(bundle.path).infer(np.zeros((2, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_input_that_is_no_number_is_refused(bundle: TinyBundle, value: float) -> None:
    x = bundle.x[0].copy()
    x[0, 1, 1] = value
    with pytest.raises(ValueError, match="wanted finite numbers"):
        Runtime(bundle.path).infer(x)


def test_a_wrong_policy_or_bundle_is_refused(bundle: TinyBundle, policy: Path) -> None:
    policy.write_text(BATTERY_RULE.replace("mode: low", "mode: lwo"))
    with pytest.raises(UserError, match="Did you mean 'low'"):
        Runtime(bundle.path, policy=policy)
    del bundle.manifest["operating_points"]["low"]["metrics"]["energy_j"]
    bundle.write_manifest()
    with pytest.raises(UserError, match="low: metrics: 'energy_j' is missing"):
        Runtime(bundle.path)


def test_a_meter_closes_the_loop_of_the_energy_budget(bundle: TinyBundle, policy: Path) -> None:
    policy.write_text("default: high\nmin_dwell_s: 0\nenergy_budget_j_per_hour: 6\n")
    metered_j = 50.0
    runtime = Runtime(bundle.path, policy=policy, meter=lambda: metered_j)
    assert runtime.decide() == "high"
    # the bucket is the budget of 10 min, 1 J; under a half allows the cheaper of two modes
    metered_j += 0.6
    assert runtime.decide() == "low"


def test_answers_of_the_quiet_class_are_no_activity(bundle: TinyBundle, policy: Path) -> None:
    name = Runtime(bundle.path).infer(bundle.x[0]).class_name
    rule = (
        "rules:\n- {mode: low, when: {activity_per_min: {above: 0.5, until: 0.5}}}\n"
        "default: high\nmin_dwell_s: 0\n"
    )
    clock = Clock()
    policy.write_text(rule)
    active = Runtime(bundle.path, policy=policy, clock=clock)
    policy.write_text(f"{rule}quiet_class: {name}\n")
    quiet = Runtime(bundle.path, policy=policy, clock=clock)
    for runtime in (active, quiet):
        runtime.infer(bundle.x[0])
    assert (active.decide(), quiet.decide()) == ("low", "high")


ANSWER = Answer(0, "a", 0.3, 1, "high", 1e-3, 1e-3, "modelled")
X = np.zeros((1, 1, 2, 2), dtype=np.float32)


def test_a_server_is_asked_from_the_third_doubtful_answer_in_a_row_on() -> None:
    def server(x: NDArray[np.float32], answer: Answer) -> Answer:
        return replace(answer, class_name="c", source="cloud")

    fallback = LowConfidenceFallback(server, below=0.5, after=3)
    confidences = [0.3, 0.3, 0.6, 0.3, 0.4, 0.49, 0.1, 0.5]
    got = [
        fallback.consider(X, replace(ANSWER, confidence=c), is_last_exit=True).source
        for c in confidences
    ]
    assert got == [*["device"] * 5, "cloud", "cloud", "device"]


def test_an_answer_of_an_earlier_exit_is_never_doubtful() -> None:
    def server(x: NDArray[np.float32], answer: Answer) -> Answer:
        raise AssertionError

    fallback = LowConfidenceFallback(server, below=0.5, after=1)
    assert fallback.consider(X, ANSWER, is_last_exit=False) is ANSWER


def test_a_server_without_an_answer_leaves_the_devices(bundle: TinyBundle) -> None:
    asked = []

    def server(x: NDArray[np.float32], answer: Answer) -> None:
        asked.append(x)

    fallback = LowConfidenceFallback(server, below=1.0, after=1)
    runtime = Runtime(bundle.path, fallback=fallback)
    answers = [runtime.infer(x) for x in bundle.x]
    assert {a.source for a in answers} == {"device"}
    assert len(asked) == sum(a.exit_index for a in answers)


@pytest.mark.parametrize("fails", [ConnectionError("away"), TypeError("of its own")])
def test_a_server_that_fails_leaves_the_devices_answer_and_the_books(
    bundle: TinyBundle, caplog: pytest.LogCaptureFixture, fails: Exception
) -> None:
    def server(x: NDArray[np.float32], answer: Answer) -> Answer:
        raise fails

    runtime = Runtime(bundle.path, fallback=LowConfidenceFallback(server, below=1.0, after=1))
    metrics = RuntimeMetrics(runtime.operating_points, runtime.governor.mode)
    runtime.observers.append(metrics)
    answers = [runtime.infer(x) for x in bundle.x]
    assert {a.source for a in answers} == {"device"}
    assert f'source="device"}} {sum(a.exit_index == 1 for a in answers)}.0' in metrics.text()
    assert str(fails) in caplog.text


def test_an_answer_from_elsewhere_leaves_what_the_device_took(bundle: TinyBundle) -> None:
    def server(x: NDArray[np.float32], answer: Answer) -> Answer:
        return Answer(2, "c", 0.99, 0, "cloud", 3.0, 100.0, "measured", source="cloud")

    runtime = Runtime(bundle.path, fallback=LowConfidenceFallback(server, below=1.0, after=1))
    metrics = RuntimeMetrics(runtime.operating_points, runtime.governor.mode)
    runtime.observers.append(metrics)
    answers = [runtime.infer(x) for x in bundle.x]
    by_cloud = [a for a in answers if a.source == "cloud"]
    assert by_cloud
    for answer in by_cloud:
        assert (answer.class_name, answer.confidence) == ("c", 0.99)
        assert answer.energy_j == pytest.approx(0.9e-3)
        assert answer.energy_provenance == "modelled"
        assert (answer.operating_point, answer.exit_index) == ("high", 1)
        assert answer.latency_s < 3.0
    text = metrics.text()
    last = [a for a in answers if a.source == "device"][-1]
    assert f"hwnas_confidence {last.confidence!r}" in text
    assert 'provenance="measured"' not in text


def test_values_of_numpy_print_as_numbers() -> None:
    metrics = RuntimeMetrics({"high": None}, "high")
    metrics.answered(0.0, replace(ANSWER, confidence=np.float32(0.5)))  # type: ignore[arg-type]
    assert "hwnas_confidence 0.5\n" in metrics.text()


def test_logits_that_are_no_numbers_are_answered_with_confidence_0(bundle: TinyBundle) -> None:
    """Neither does one such answer stay in the mean for good."""
    for k, shape in enumerate(([1, 1, 2, 2], [1, 5])):
        heads = {"logits": bundle.heads[k].copy(), "features": bundle.trunk}
        heads["logits"][0, 0] = 1e38
        bundle.write_stage(k, shape, heads if k == 0 else {"logits": heads["logits"]})
    bundle.choose_again()
    runtime = Runtime(bundle.path)
    large = np.full((1, 2, 2), 3e38, dtype=np.float32)
    answer = runtime.infer(large)
    assert (answer.exit_index, answer.confidence) == (1, 0.0)


def test_a_confidence_that_is_no_number_has_no_part_in_the_mean() -> None:
    monitor = EventMonitor()
    for confidence in (float("nan"), 0.8, float("nan"), float("inf"), 0.8):
        monitor.answered(0.0, 0.0, confidence)
    assert monitor.signals(0.0, DeviceState()).confidence == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("battery_level", 10.0),
        ("battery_level", -0.1),
        ("temperature_c", 300.0),
        ("temperature_c", float("nan")),
    ],
)
def test_a_device_state_in_another_unit_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name}: wanted .* Got"):
        DeviceState(**{name: value})  # type: ignore[arg-type]


def test_a_graph_that_the_installed_onnx_runtime_lacks_is_one_line(bundle: TinyBundle) -> None:
    path = bundle.path / bundle.stage(1)
    model = onnx.load(path)
    model.graph.node[1].op_type = "MatMulOfTheFuture"
    onnx.save(model, path)
    bundle.choose_again()
    message = rf"stage_1\.onnx: ONNX Runtime {re.escape(onnxruntime.__version__)} cannot load it"
    with pytest.raises(UserError, match=message):
        Runtime(bundle.path)
    with pytest.raises(UserError, match=message):
        verify(bundle.path)


@pytest.mark.parametrize(("below", "after"), [(0.0, 1), (1.1, 1), (0.5, 0)])
def test_a_fallback_that_makes_no_sense_is_refused(below: float, after: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        LowConfidenceFallback(lambda x, answer: None, below=below, after=after)


def test_the_log_holds_every_answer_and_change_as_a_line(
    bundle: TinyBundle, policy: Path, tmp_path: Path
) -> None:
    clock = Clock()
    with DecisionLog(tmp_path / "log.jsonl") as log:
        runtime = Runtime(bundle.path, policy=policy, clock=clock)
        runtime.observers.append(log)
        runtime.infer(bundle.x[0], DeviceState(battery_level=0.5))
        clock.now_s += 1
        runtime.infer(bundle.x[1], EMPTY)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["answered", "mode_changed", "answered"]
    change = lines[1]
    assert (change["time_s"], change["before"], change["after"]) == (1001.0, "high", "low")
    assert (change["reason"], change["rule"]) == ("rule", 0)
    assert change["signals"]["battery_level"] == 0.1
    assert "temperature_c" not in change["signals"]
    assert lines[2]["operating_point"] == "low"


def test_signals_of_numpy_are_logged(bundle: TinyBundle, policy: Path, tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log.jsonl") as log:
        runtime = Runtime(bundle.path, policy=policy)
        runtime.observers.append(log)
        device = DeviceState(np.float32(0.125), np.bool_(False), np.float32(20))  # type: ignore[arg-type]
        runtime.infer(bundle.x[0], device)
    change = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert change["signals"]["battery_level"] == 0.125
    assert change["signals"]["charging"] is False


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_once_and_stops_no_answer(
    bundle: TinyBundle, caplog: pytest.LogCaptureFixture
) -> None:
    with DecisionLog(Path("/dev/full")) as log:
        runtime = Runtime(bundle.path)
        runtime.observers.append(log)
        answers = [runtime.infer(x) for x in bundle.x]
    assert len(answers) == len(bundle.x)
    assert [r.getMessage() for r in caplog.records] == [
        "/dev/full: cannot be written (No space left on device)"
    ]


_LINE = re.compile(r'^(?P<name>[a-z_]+)(\{(?P<labels>([a-z_]+="[^"]*",?)*)\})? (?P<value>\S+)$')


def test_prometheus_metrics_count_answers_energy_and_changes(
    bundle: TinyBundle, policy: Path
) -> None:
    runtime = Runtime(bundle.path, policy=policy)
    metrics = RuntimeMetrics(runtime.operating_points, runtime.governor.mode)
    runtime.observers.append(metrics)
    for x in bundle.x:
        runtime.infer(x)
    runtime.infer(bundle.x[0], EMPTY)
    with serve_metrics(metrics, port=0) as (host, port):
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://{host}:{port}/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = response.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"http://{host}:{port}/")
        caught.value.close()
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _LINE.match(line)
            assert match, line
            found[f"{match['name']} {match['labels'] or ''}"] = float(match["value"])
    answers = {k: v for k, v in found.items() if k.startswith("hwnas_answers_total")}
    assert sum(answers.values()) == 21
    assert sum(v for k, v in answers.items() if 'point="low"' in k) == 1
    energy = 'hwnas_energy_joules_total operating_point="high",provenance="modelled"'
    assert found[energy] == pytest.approx(20 * 0.9e-3)
    assert found['hwnas_operating_point operating_point="low"'] == 1
    assert found['hwnas_operating_point operating_point="high"'] == 0
    assert found['hwnas_mode_changes_total before="high",after="low",reason="rule"'] == 1


def test_a_wrong_policy_is_found_before_any_network_is_loaded(
    bundle: TinyBundle, policy: Path
) -> None:
    policy.write_text("default: medium")
    code = (
        "import sys; from pathlib import Path; from hwnas.runtime import Runtime\n"
        "try: Runtime(Path(sys.argv[1]), policy=Path(sys.argv[2]))\n"
        "except ValueError as error: print(error)\n"
        "sys.exit('onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bundle.path, policy], capture_output=True, text=True
    )
    assert "default: unknown 'medium'" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    code = (
        "import sys, hwnas.runtime.runner, hwnas.runtime.metrics\n"
        "heavy = {'torch', 'tvm', 'onnxruntime', 'onnx', 'optuna', 'sklearn', 'scipy', 'plotly'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
