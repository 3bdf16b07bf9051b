"""What a measurement costs, how well it repeats, and whether anything leaks, on this computer.

    python experiments/benchmarks/measuring.py [--measurements 1000]

Prints measurements per minute with empty and with full caches, the time of a measurement
beyond the inferences themselves, the coefficient of variation of ten measurements of one
artifact on the machine as it is and with every core busy, how often an undisturbed one is
called drifting, and the memory of client and server over many measurements.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import psutil

import targets
from latency_predictors.coverage import distinct_architectures
from latency_predictors.measured_architecture import untrained_network
from search_spaces import create
from search_spaces.onnx_export import stage_models
from targets import Artifact, Failure, MeasureConfig, Measurement
from targets.tvm_target import TvmTarget

T = TypeVar("T")

DEFAULT = MeasureConfig()
QUICK = MeasureConfig(warmup_s=0.0, min_samples=20, max_samples=50, min_time_s=0.0)
N_REPEATED = 10
INPUT_SHAPE = (1, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=15)
    parser.add_argument("--measurements", type=int, default=1000)
    arguments = parser.parse_args()
    models = random_models(arguments.models)
    with tempfile.TemporaryDirectory() as folder, targets.create("host", Path(folder)) as target:
        assert isinstance(target, TvmTarget)
        unwrap(target.compile(models[0]))  # imports and starts everything
        print_rates(target, models[1:])
        artifacts = [unwrap(target.compile(model)) for model in models]
        print_overhead(target, artifacts)
        print_spread("as it is", target, artifacts)
        with every_core_busy():
            print_spread("every core busy", target, artifacts)
        print_memory(target, artifacts, arguments.measurements)


def print_rates(target: TvmTarget, models: Sequence[onnx.ModelProto]) -> None:
    """Print how many networks are compiled, checked and measured in a minute."""
    for label, fresh in (("cold", False), ("warm, measured again", True), ("warm", False)):
        start = time.perf_counter()
        for model in models:
            unwrap(target.measure(unwrap(target.compile(model)), DEFAULT, fresh=fresh))
        seconds = time.perf_counter() - start
        print(f"measurements per minute, {label}: {60 * len(models) / seconds:.0f}", flush=True)


def print_overhead(target: TvmTarget, artifacts: Sequence[Artifact]) -> None:
    """Print what a measurement takes beyond the inferences that were timed or warmed up."""
    extra_s = []
    for artifact in artifacts:
        start = time.perf_counter()
        measurement = unwrap(target.measure(artifact, QUICK, fresh=True))
        extra_s.append(time.perf_counter() - start - sum(measurement.latency_s))
    print(f"overhead of a measurement over RPC: median {1e3 * np.median(extra_s):.0f} ms")


def print_spread(label: str, target: TvmTarget, artifacts: Sequence[Artifact]) -> None:
    """Print how much repeated measurements differ, and how many are in doubt."""
    spreads, n_drifting = [], 0
    once = MeasureConfig(repeats=0)
    for artifact in artifacts:
        repeated = [unwrap(target.measure(artifact, once, fresh=True)) for _ in range(N_REPEATED)]
        medians = [measurement.latency_median_s for measurement in repeated]
        spreads.append(np.std(medians, ddof=1) / np.mean(medians))
        n_drifting += sum(is_drifting(measurement) for measurement in repeated)
    print(
        f"spread of {N_REPEATED} medians, {label}: CV median {100 * np.median(spreads):.2f} %, "
        f"worst {100 * max(spreads):.2f} % of {len(artifacts)} artifacts; "
        f"{n_drifting} of {len(artifacts) * N_REPEATED} called drifting",
        flush=True,
    )


def print_memory(target: TvmTarget, artifacts: Sequence[Artifact], n: int) -> None:
    """Print the memory of all processes together while measuring many times."""
    sizes = []
    start = time.perf_counter()
    for index in range(n):
        unwrap(target.measure(artifacts[index % len(artifacts)], QUICK, fresh=True))
        if index % max(1, n // 10) == 0:
            sizes.append(resident_bytes(target))
    sizes.append(resident_bytes(target))
    print(f"memory over {n} measurements, MiB: client, tracker, server with sessions, this process")
    for size in sizes:
        print("  " + " ".join(f"{value / 2**20:7.1f}" for value in size))
    print(f"{n} quick measurements: {time.perf_counter() - start:.0f} s")


def resident_bytes(target: TvmTarget) -> tuple[int, ...]:
    """Return unique set sizes: what would be freed if a process ended."""

    def size(pid: int) -> int:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().uss for member in family)

    pids = target.process_ids
    roles = [size(pids[role]) for role in ("client", "tracker", "server")]
    return (*roles, psutil.Process().memory_full_info().uss)


def is_drifting(measurement: Measurement) -> bool:
    return "drifting" in measurement.flags


@contextmanager
def every_core_busy():
    """Keep every core busy with another process."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(psutil.cpu_count())]
    for burner in burners:
        burner.start()
    time.sleep(1.0)
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def burn() -> None:
    while True:
        pass


def random_models(n: int) -> list[onnx.ModelProto]:
    """Return random networks, one stage each."""
    space = create("depthwise_separable", input_shape=INPUT_SHAPE, n_classes=10)
    archs = distinct_architectures(space, n, np.random.default_rng(0))
    networks = (untrained_network(space, arch, 0) for arch in archs)
    return [model for network in networks for model in stage_models(network, INPUT_SHAPE)]


def unwrap(result: T | Failure) -> T:
    """Return a result that is no failure."""
    if isinstance(result, Failure):
        raise RuntimeError(f"{result.stage} failed on {result.target}: {result.message}")
    return result


if __name__ == "__main__":
    main()
