"""List targets, open one, and prove that one works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import targets
from hwnas.doubts import ADVICE
from hwnas.errors import UserError
from hwnas.units import engineering
from targets import Artifact, Failure, Measurement, Target, TargetSpec
from targets.spec import Rpc

if TYPE_CHECKING:
    import onnx

    from targets import FailureStage
    from targets.power_trace import PowerTrace
    from targets.tvm_target import TvmTarget

_SESSION_TIMEOUT_S = 30.0
_METER_CHECK_S = 2.0
_STAGE_FIXES: Mapping[FailureStage, str] = {
    "connect": "is the tunnel up, and the board's server running? Its log tells more",
    "upload": "free some space on the board; if there is enough, look after the line to it",
    "run": "does tvm_target fit the processor (/proc/cpuinfo)? Code for another one crashes",
    "timeout": "restart the board's server; a board that hangs again may lack power or cooling",
    "meter": "see docs/energy.md, and the page of the meter",
    "parity": "do not use this target: its numbers are wrong. Does tvm_target fit the processor?",
}


@dataclass(frozen=True)
class CheckStep:
    """One step of a check.

    Args:
        name: What was tried.
        ok: Whether it worked.
        detail: What came of it.
        fix: What to do, where something is wrong or could be better.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def list_targets() -> list[TargetSpec]:
    """Return the packaged targets."""
    return [targets.load_spec(name) for name in targets.names()]


def show_target(name: str) -> TargetSpec:
    """Return one target's description.

    Raises:
        UserError: If there is no such target or its file is wrong.
    """
    try:
        return targets.load_spec(name)
    except ValueError as error:
        raise UserError(str(error)) from None


def open_target(name: str, cache_dir: Path | None = None) -> Target:
    """Make a target.

    Args:
        name: Name of a target, or a path to its YAML file.
        cache_dir: As for `targets.create`.

    Raises:
        UserError: If there is no such target or its file is wrong.
    """
    try:
        return targets.create(name, cache_dir=cache_dir)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_quantized_target(spec: TargetSpec) -> None:
    """Check what a target names to run quantized models, before they are made.

    Args:
        spec: Of the target; nothing is checked where it names none, or itself.

    Raises:
        UserError: If there is no such target, its file is wrong, it cannot run them, or one of
            both is a recording and the other is not.
    """
    name = spec.quantized_target
    if name is None:
        return
    where = f"target {spec.name!r}: quantized_target"
    try:
        other = spec if name == spec.name else targets.create(name).spec
    except ValueError as error:
        raise UserError(f"{where}: {str(error).removeprefix('target: ')}") from None
    if other.backend == "tvm":
        raise UserError(
            f"{where}: {name!r} is of backend 'tvm', whose code computes quantized models in "
            "float32. Name a target of backend 'onnxruntime', or remove the key."
        )
    if (spec.recording is None) != (other.recording is None):
        raise UserError(
            f"{where}: of {spec.name!r} and {other.name!r}, one replays a recording and the other "
            "measures now. Name the target itself, if it is the recording, which may hold "
            "quantized models too; or remove the key."
        )


def check_target(name: str, predictors: Path | None = None) -> list[CheckStep]:
    """Compile, compare with ONNX Runtime, run and time a small network on a target.

    Args:
        name: Name of a target, or a path to its YAML file.
        predictors: Folder of all predictors: those of the target are compared with a few
            measurements made anew. Without it they are not.

    Returns:
        The steps up to the first that failed.

    Raises:
        UserError: If there is no such target.
    """
    import tempfile

    spec = show_target(name)
    steps = [CheckStep("description", True, spec.description)]
    if spec.rpc is not None:
        steps.append(_check_tracker(spec.rpc))
        if not steps[-1].ok:
            return steps
    # a fresh cache: a check that reads an old result checks nothing
    with tempfile.TemporaryDirectory() as folder, open_target(name, Path(folder)) as target:
        steps += _check_device(target)
        if predictors is not None and all(step.ok for step in steps):
            from hwnas.drift import drift_steps

            steps += drift_steps(target, predictors)
        return steps


def _check_device(target: Target) -> list[CheckStep]:
    from targets.tvm_target import TvmTarget

    is_board = target.spec.rpc is not None
    steps = []
    if is_board and isinstance(target, TvmTarget):
        steps.append(_check_session(target))
        if not steps[-1].ok:
            return steps
    artifact = target.compile(_small_network())
    if isinstance(artifact, Failure):
        if artifact.stage not in ("compile", "parity"):
            steps.append(CheckStep("compile", True, "done"))
        return [*steps, _failed(artifact, target.spec)]
    steps.append(
        CheckStep(
            "compile",
            True,
            f"{artifact.compile_s:.1f} s, {artifact.flash_bytes / 1024:.0f} KiB flash, "
            f"{artifact.peak_ram_bytes / 1024:.0f} KiB peak RAM",
        )
    )
    if is_board:
        size = artifact.path.stat().st_size / 1024
        steps.append(CheckStep("upload", True, f"{size:.0f} KiB arrived whole"))
    steps.append(
        CheckStep(
            "parity",
            True,
            f"outputs differ from ONNX Runtime's by at most {artifact.parity_max_abs_error:.1e}",
        )
    )
    measurement = target.measure(artifact, fresh=True)
    if isinstance(measurement, Failure):
        return [*steps, _failed(measurement, target.spec)]
    return [
        *steps,
        _latency(measurement),
        _device(measurement),
        *check_meters(target, artifact),
    ]


def _small_network() -> onnx.ModelProto:
    import numpy as np

    from search_spaces import create
    from search_spaces.initialize import initialize_weights, live_batch_norm
    from search_spaces.onnx_export import stage_models

    space = create("depthwise_separable", input_shape=(3, 16, 16), n_classes=10)
    network = space.build(space.sample(np.random.default_rng(0)))
    initialize_weights(network, 0)
    live_batch_norm(network, space.input_shape, 0)
    (model,) = stage_models(network, space.input_shape)
    return model


def _check_tracker(rpc: Rpc) -> CheckStep:
    """Ask the tracker for its boards, without taking one."""
    from targets.rpc_tracker import NoBoardError, Tracker

    host, _, port = rpc.tracker.rpartition(":")
    try:
        tracker = Tracker(host.strip("[]"), int(port))
        try:
            boards, keys, n_free = tracker.boards(rpc.key), tracker.keys(), tracker.n_free(rpc.key)
        finally:
            tracker.close()
    except (NoBoardError, OSError) as error:
        return CheckStep("tracker", False, str(error))
    if not boards:
        known = f"keys there: {', '.join(keys)}" if keys else "no board is registered there"
        return CheckStep(
            "tracker",
            False,
            f"{rpc.tracker} answers, but no board has the key {rpc.key!r} ({known})",
            f"on the board: python3 board_server.py --tracker {rpc.tracker} --key {rpc.key}",
        )
    return CheckStep(
        "tracker", True, f"{rpc.tracker}: {', '.join(boards)} with key {rpc.key!r}, {n_free} free"
    )


def _check_session(target: TvmTarget) -> CheckStep:
    """Reach a board itself: the tracker may know it where its port cannot be reached."""
    from targets.target_errors import DeviceLostError, DeviceRefusedError

    start = time.perf_counter()
    try:
        with target.session(_SESSION_TIMEOUT_S) as session:
            open_s = time.perf_counter() - start
            system = session.files.read("/proc/sys/kernel/osrelease") or "a system it does not tell"
            return CheckStep(
                "session", True, f"{session.address}, {system}; opened in {1e3 * open_s:.0f} ms"
            )
    except (DeviceLostError, DeviceRefusedError, TimeoutError) as error:
        return CheckStep("session", False, str(error), _STAGE_FIXES["connect"])


def _latency(measurement: Measurement) -> CheckStep:
    low, high = measurement.latency_interval_s()
    return CheckStep(
        "latency",
        True,
        f"median {1e6 * measurement.latency_median_s:.1f} us "
        f"({1e6 * low:.1f} to {1e6 * high:.1f}), P99 {1e6 * measurement.latency_p99_s:.1f} us, "
        f"{len(measurement.latency_s)} inferences, {measurement.provenance}",
    )


def _device(measurement: Measurement) -> CheckStep:
    state = measurement.device_state.items()
    found = [f"{key} {value}" for key, value in state if value is not None]
    fixes = dict.fromkeys(ADVICE[flag] for flag in measurement.flags)
    return CheckStep("device", True, ", ".join([*found, *measurement.flags]), "; ".join(fixes))


def check_meters(target: Target, artifact: Artifact) -> list[CheckStep]:
    """Let the power meters of a target record it while it is idle.

    Args:
        target: With or without meters.
        artifact: Of that target; it is loaded, and not run.
    """
    from targets.cached_target import CachedTarget

    if not target.spec.meters or not isinstance(target, CachedTarget):
        return [CheckStep("power meter", True, "none: energy is modelled, never measured")]
    traces = target.record_power(artifact, _METER_CHECK_S)
    if isinstance(traces, Failure):
        return [CheckStep("power meter", False, traces.message, _STAGE_FIXES["meter"])]
    return [CheckStep("power meter", True, _meter_text(trace)) for trace in traces]


def _meter_text(trace: PowerTrace) -> str:
    info = trace.info
    step = engineering(info.resolution, "J" if info.counts else "W", 2)
    most = "no stated range" if info.range_w is None else f"up to {engineering(info.range_w, 'W')}"
    gain = f"+-{info.gain_error:.1%}" if info.gain_error else "of no stated accuracy"
    n, seconds = len(trace.power_w), trace.end_s[-1] - trace.start_s[0]
    kind = "counter" if info.counts else "sampler"
    return (
        f"{info.rail}: {engineering(trace.mean_power_w(), 'W')} idle; {kind}, a new value every "
        f"{engineering(info.update_period_s, 's', 2)}, steps of {step}, {most}, {gain}; "
        f"recorded {n} values in {seconds:.1f} s, {trace.n_dropped} lost. Includes {info.scope}"
    )


def _failed(failure: Failure, spec: TargetSpec) -> CheckStep:
    fix = _STAGE_FIXES.get(failure.stage, "") if spec.rpc is not None else ""
    return CheckStep(failure.stage, False, failure.message, fix)


def to_dicts(steps: list[CheckStep]) -> list[dict[str, Any]]:
    """Return the steps JSON-ready."""
    return [asdict(step) for step in steps]
