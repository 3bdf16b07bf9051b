"""List targets, open one, and prove that one works."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import targets
from hwnas.errors import UserError
from targets import Failure, Target, TargetSpec
from targets.spec import Rpc


@dataclass(frozen=True)
class CheckStep:
    """One step of a check: what was tried, whether it worked, and what came of it."""

    name: str
    ok: bool
    detail: str


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


def open_target(name: str) -> Target:
    """Make a target.

    Raises:
        UserError: If there is no such target or its file is wrong.
    """
    try:
        return targets.create(name)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_target(name: str) -> list[CheckStep]:
    """Compile, compare with ONNX Runtime, run and time a small network on a target.

    Args:
        name: Name of a target, or a path to its YAML file.

    Returns:
        The steps up to the first that failed.

    Raises:
        UserError: If there is no such target.
    """
    import tempfile

    import numpy as np

    from search_spaces import create
    from search_spaces.initialize import initialize_weights, live_batch_norm
    from search_spaces.onnx_export import stage_models

    spec = show_target(name)
    space = create("depthwise_separable", input_shape=(3, 16, 16), n_classes=10)
    network = space.build(space.sample(np.random.default_rng(0)))
    initialize_weights(network, 0)
    live_batch_norm(network, space.input_shape, 0)
    (model,) = stage_models(network, space.input_shape)
    steps = [CheckStep("description", True, spec.description)]
    if spec.rpc is not None:
        steps.append(_check_tracker(spec.rpc))
        if not steps[-1].ok:
            return steps
    # a fresh cache: a check that reads an old result checks nothing
    with (
        tempfile.TemporaryDirectory() as folder,
        targets.create(name, cache_dir=Path(folder)) as target,
    ):
        artifact = target.compile(model)
        if isinstance(artifact, Failure):
            return [*steps, _failed(artifact)]
        steps.append(
            CheckStep(
                "compile",
                True,
                f"{artifact.compile_s:.1f} s, {artifact.flash_bytes / 1024:.0f} KiB flash, "
                f"{artifact.peak_ram_bytes / 1024:.0f} KiB peak RAM",
            )
        )
        steps.append(
            CheckStep(
                "parity",
                True,
                f"outputs differ from ONNX Runtime's by at most "
                f"{artifact.parity_max_abs_error:.1e}",
            )
        )
        measurement = target.measure(artifact, fresh=True)
        if isinstance(measurement, Failure):
            return [*steps, _failed(measurement)]
        low, high = measurement.latency_interval_s()
        steps.append(
            CheckStep(
                "latency",
                True,
                f"median {1e6 * measurement.latency_median_s:.1f} us "
                f"({1e6 * low:.1f} to {1e6 * high:.1f}), "
                f"P99 {1e6 * measurement.latency_p99_s:.1f} us, "
                f"{len(measurement.latency_s)} inferences, {measurement.provenance}",
            )
        )
        steps.append(CheckStep("device", True, _device(measurement.device_state)))
        steps.append(CheckStep("power meter", True, "none: energy is modelled, never measured"))
    return steps


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
            f"{rpc.tracker} answers, but no board has the key {rpc.key!r} ({known}). On the "
            f"board: python3 board_server.py --tracker {rpc.tracker} --key {rpc.key}",
        )
    return CheckStep(
        "tracker", True, f"{rpc.tracker}: {', '.join(boards)} with key {rpc.key!r}, {n_free} free"
    )


def to_dicts(steps: list[CheckStep]) -> list[dict[str, Any]]:
    """Return the steps JSON-ready."""
    return [asdict(step) for step in steps]


def _failed(failure: Failure) -> CheckStep:
    return CheckStep(failure.stage, False, failure.message)


def _device(state: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in state.items() if value is not None)
