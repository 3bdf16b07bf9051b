"""Latency from whole networks or from their kernels: what each needs, on this computer.

    python experiments/benchmarks/kernel_calibration.py [--networks 100] [--held-out 40]
        [--json OUT] [--measured FILE]

For both search spaces (input 3x32x32, 10 classes) random architectures are measured from
cold twice: as whole networks (compile, check, measure), and kernel by kernel, each in a
cache of its own, in turns. Predictors are fitted to N of them and judged on architectures
held out: the default predictor on N whole networks; kernels of N networks with 8 whole ones;
and kernels of as many networks as take, with the 8 whole ones, no longer than N whole
networks did. Accuracies are means over 5 random choices of the N. ``--json`` keeps the
measurements, and ``--measured`` takes them from such a file.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import targets
from latency_predictors.coverage import distinct_architectures
from latency_predictors.kernel_costs import KernelCosts
from latency_predictors.kernel_predictor import KernelSumPredictor
from latency_predictors.measured_architecture import untrained_network
from latency_predictors.metrics import Agreement, agreement
from latency_predictors.prior_residual import PriorResidualPredictor
from search_spaces import Architecture, SearchSpace, Stage, create
from search_spaces.onnx_export import stage_models
from targets import Failure, KernelTarget, KernelTime, Measurement, Target

Array = NDArray[np.float64]

SPACES = ("depthwise_separable", "early_exit")
SIZES = (10, 20, 50, 100)
N_WHOLE = 8
N_SEEDS = 5


@dataclass(frozen=True)
class Sample:
    """One architecture, measured both ways.

    Args:
        choices: Of the architecture.
        latency_s: Median of each stage.
        kernels: Names and samples of the kernels of each stage.
        whole_s: What compiling, checking and measuring the whole network took.
        kernels_s: What compiling and timing its kernels took; 0 if it was not done.
    """

    choices: dict[str, Any]
    latency_s: list[float]
    kernels: list[list[tuple[str, list[float]]]]
    whole_s: float
    kernels_s: float

    def times(self) -> list[list[KernelTime]]:
        """Return the times of the kernels of each stage."""
        return [
            [KernelTime(name, tuple(samples_s), "measured") for name, samples_s in stage]
            for stage in self.kernels
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measured", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # its threads spin, beside what is timed
    measured: dict[str, list[Sample]] = {}
    if arguments.measured:
        content = json.loads(arguments.measured.read_text())
        measured = {name: [Sample(**s) for s in samples] for name, samples in content.items()}
    for name in SPACES:
        space = create(name, input_shape=(3, 32, 32), n_classes=10)
        if name not in measured:
            measured[name] = measure(space, arguments.networks, arguments.held_out, arguments.seed)
            if arguments.json:
                content = {n: [asdict(s) for s in samples] for n, samples in measured.items()}
                arguments.json.write_text(json.dumps(content))
        report(space, measured[name])


def measure(space: SearchSpace, n_networks: int, n_held_out: int, seed: int) -> list[Sample]:
    """Measure architectures both ways, those held out only whole."""
    rng = np.random.default_rng(seed)
    first, *architectures = distinct_architectures(space, 1 + n_networks + n_held_out, rng)
    with (
        tempfile.TemporaryDirectory() as whole_folder,
        tempfile.TemporaryDirectory() as kernels_folder,
        targets.create("host", Path(whole_folder)) as whole,
        targets.create("host", Path(kernels_folder)) as single,
    ):
        if not isinstance(single, KernelTarget):
            raise SystemExit("host: its backend times no kernels")
        measure_one(space, first, whole, single)  # imports and starts everything
        samples = []
        for index, arch in enumerate(architectures):
            timed = single if index < n_networks else None
            samples.append(measure_one(space, arch, whole, timed))
            if index % 20 == 19:
                print(f"# {space.name}: {index + 1} of {len(architectures)}", flush=True)
    return samples


def measure_one(
    space: SearchSpace, arch: Architecture, whole: Target, single: KernelTarget | None
) -> Sample:
    """Measure an architecture whole, and its kernels."""
    models = stage_models(untrained_network(space, arch, 0), space.input_shape)
    start = time.perf_counter()
    latency_s = []
    for model in models:
        artifact = whole.compile(model)
        result = artifact if isinstance(artifact, Failure) else whole.measure(artifact)
        if not isinstance(result, Measurement):
            raise SystemExit(f"{arch.arch_id}: {result}")
        latency_s.append(result.latency_median_s)
    middle = time.perf_counter()
    kernels = []
    for times in single.measure_kernels(models) if single else []:
        if isinstance(times, Failure):
            raise SystemExit(f"{arch.arch_id}: {times}")
        kernels.append([(k.kernel, list(k.samples_s)) for k in times])
    kernels_s = time.perf_counter() - middle if single else 0.0
    return Sample(dict(arch.choices), latency_s, kernels, middle - start, kernels_s)


def report(space: SearchSpace, samples: Sequence[Sample]) -> None:
    """Print one row per number of networks and way of calibrating."""
    pool = [s for s in samples if s.kernels]
    held_out = [s for s in samples if not s.kernels]
    n_kernels = len({name for s in pool for stage in s.kernels for name, _ in stage})
    print(f"\n{space.name}: {len(pool)} networks of {n_kernels} different kernels, ", end="")
    print(f"{len(held_out)} held out")
    whole_s = np.cumsum([s.whole_s for s in pool])
    kernels_s = np.cumsum([s.kernels_s for s in pool])
    print(
        f"{'N':>4} {'calibrated with':32} {'seconds':>8} {'MAPE %':>7} {'<5 %':>6} {'<10 %':>6} "
        f"{'Spearman':>9} {'cover %':>8}"
    )
    for n in (n for n in SIZES if n <= len(pool)):
        row(space, pool, held_out, f"{n:4} {n} whole networks", whole_s[n - 1], n, None)
        seconds = kernels_s[n - 1] + whole_s[N_WHOLE - 1]
        label = f"{n:4} kernels of {n}, {N_WHOLE} whole"
        row(space, pool, held_out, label, seconds, n, N_WHOLE)
        affordable = int(np.sum(kernels_s + whole_s[N_WHOLE - 1] <= whole_s[n - 1]))
        if affordable >= N_WHOLE:
            seconds = kernels_s[affordable - 1] + whole_s[N_WHOLE - 1]
            label = f"{n:4} equal time: {affordable}, {N_WHOLE} whole"
            row(space, pool, held_out, label, seconds, affordable, N_WHOLE)


def row(
    space: SearchSpace,
    pool: Sequence[Sample],
    held_out: Sequence[Sample],
    label: str,
    seconds: float,
    n_networks: int,
    n_whole: int | None,
) -> None:
    """Print the accuracy on what was held out, averaged over random choices of networks."""
    found: list[tuple[Agreement, float]] = []
    for seed in range(N_SEEDS):
        order = np.random.default_rng(seed).permutation(len(pool))
        chosen = [pool[i] for i in order[:n_networks]]
        found.append(judged(space, chosen, held_out, n_whole))
    agreements = [a for a, _ in found]
    print(
        f"{label:37} {seconds:8.0f} {100 * np.mean([a.mape for a in agreements]):7.2f} "
        f"{100 * np.mean([a.within_5 for a in agreements]):6.1f} "
        f"{100 * np.mean([a.within_10 for a in agreements]):6.1f} "
        f"{np.mean([a.spearman or 0.0 for a in agreements]):9.4f} "
        f"{100 * np.mean([coverage for _, coverage in found]):8.1f}",
        flush=True,
    )


def judged(
    space: SearchSpace, chosen: Sequence[Sample], held_out: Sequence[Sample], n_whole: int | None
) -> tuple[Agreement, float]:
    """Return agreement of whole-network predictions, and coverage of stages' intervals."""
    stages = [stages_of(space, s) for s in held_out]
    flat = [stage for own in stages for stage in own]
    measured = [np.array(s.latency_s) for s in held_out]
    fitted = chosen if n_whole is None else chosen[:n_whole]
    groups = [str(i) for i, s in enumerate(fitted) for _ in s.latency_s]
    values = np.array([latency_s for s in fitted for latency_s in s.latency_s])
    fit_on = [stage for s in fitted for stage in stages_of(space, s)]
    if n_whole is None:
        predictor = PriorResidualPredictor("latency_s")
        predictor.fit([stage.workloads for stage in fit_on], values, groups)
        found = predictor.predict([stage.workloads for stage in flat])
    else:
        known = [stage for s in chosen for stage in stages_of(space, s)]
        costs = KernelCosts.fit(known, [times for s in chosen for times in s.times()])
        found = KernelSumPredictor(costs).fit(fit_on, values, groups).predict(flat).to_list()
    means = np.split(np.array([p.mean for p in found]), np.cumsum([len(s) for s in stages])[:-1])
    everything = np.concatenate(measured)
    covered = [p.low <= value <= p.high for p, value in zip(found, everything, strict=True)]
    total = agreement(totals(measured), totals(means))
    return total, float(np.mean(covered))


def stages_of(space: SearchSpace, sample: Sample) -> tuple[Stage, ...]:
    """Return the stages of a sample's architecture."""
    return space.stages(space.canonicalize(sample.choices))


def totals(parts: Sequence[Array]) -> Array:
    """Return the latency of the path through every stage."""
    return np.array([part.sum() for part in parts])


if __name__ == "__main__":
    main()
