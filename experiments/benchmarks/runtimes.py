"""Latency by TVM and by ONNX Runtime, alternated in one run, one thread each.

    python experiments/benchmarks/runtimes.py [--samples 20] [--tune 60] [--run runs/quickstart]

Measures random architectures of both search spaces (path through every exit), the
field's reference networks, and with ``--run`` a run's front members. Prints one row per
network with the ratio TVM / ONNX Runtime, untuned and, with ``--tune SECONDS``, after
tuning each network for so long; geometric mean and worst of each group; and seconds per
network that TVM took to compile, with an empty kernel cache in the beginning (kernels
repeat from network to network) and with a full one.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from networks import NETWORKS, to_onnx

import targets
from hwnas.candidate_training import load_network
from hwnas.config import ExperimentConfig
from hwnas.datasets import load_dataset
from hwnas.front import Candidate
from hwnas.run_folder import RunFolder
from hwnas.spaces import create_space
from latency_predictors.coverage import distinct_architectures
from latency_predictors.measured_architecture import untrained_network
from search_spaces import create
from search_spaces.onnx_export import stage_models
from targets import Failure, MeasureConfig, Target, TunableTarget

T = TypeVar("T")

CONFIG = MeasureConfig(warmup_s=0.02, min_samples=100, max_samples=2000, min_time_s=0.05)
SPACES = {"depthwise_separable": (3, 32, 32), "early_exit": (3, 32, 32)}


@dataclass
class Row:
    """One network's figures; latencies are sums over its stages."""

    group: str
    name: str
    models: list[onnx.ModelProto] = field(repr=False)
    compile_cold_s: float = 0.0
    compile_warm_s: float = 0.0
    tvm_s: float = 0.0
    ort_s: float = 0.0
    tuned_s: float | None = None
    tuned_ort_s: float | None = None
    tuning_s: float | None = None

    @property
    def ratio(self) -> float:
        """Untuned TVM / ONNX Runtime."""
        return self.tvm_s / self.ort_s

    @property
    def tuned_ratio(self) -> float | None:
        """Tuned TVM / ONNX Runtime; None without tuning."""
        if self.tuned_s is None or self.tuned_ort_s is None:
            return None
        return self.tuned_s / self.tuned_ort_s

    @property
    def label(self) -> str:
        """Group and name."""
        return f"{self.group}: {self.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20, help="of each search space")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tune", type=float, metavar="SECONDS", help="for each network")
    parser.add_argument("--run", type=Path, help="a finished run, whose front is measured too")
    parser.add_argument("--only", help="measure networks with this in group or name")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = list(space_rows(arguments.samples, arguments.seed))
    rows += [Row("reference", name, [to_onnx(network)]) for name, network in NETWORKS.items()]
    rows += list(run_rows(arguments.run)) if arguments.run else []
    rows = [row for row in rows if (arguments.only or "") in row.label]
    with tempfile.TemporaryDirectory() as folder:
        benchmark(rows, Path(folder), arguments.rounds, arguments.tune)
    print_json(rows) if arguments.json else print_table(rows)


def benchmark(rows: Sequence[Row], cache: Path, rounds: int, tune_s: float | None) -> None:
    """Fill in the figures."""
    with targets.create("host", cache_dir=cache) as tvm:
        for row in rows:
            row.compile_cold_s = sum(unwrap(tvm.compile(m)).compile_s for m in row.models)
    # the kernels stay: what is compiled now, only their order and weights are new
    shutil.rmtree(cache / "artifacts")
    with (
        targets.create("host", cache_dir=cache) as tvm,
        targets.create("host-onnxruntime", cache_dir=cache) as ort,
    ):
        for row in rows:
            row.compile_warm_s = sum(unwrap(tvm.compile(m)).compile_s for m in row.models)
            row.tvm_s, row.ort_s = path_latency((tvm, ort), row.models, rounds)
            say(f"{row.label}: {row.ratio:.2f}")
        if tune_s is None:
            return
        for row in rows:
            row.tuning_s = tune(tvm, row.models, tune_s)
            row.tuned_s, row.tuned_ort_s = path_latency((tvm, ort), row.models, rounds)
            say(f"{row.label}: {row.ratio:.2f} -> {shown(row.tuned_ratio, 2)}")


def tune(target: Target, models: Sequence[onnx.ModelProto], seconds: float) -> float:
    """Tune the kernels of one network; return the seconds it took."""
    if not isinstance(target, TunableTarget):
        raise TypeError(f"{target.name} cannot be tuned")
    start = time.perf_counter()
    unwrap(target.tune(models, seconds))
    return time.perf_counter() - start


def path_latency(
    pair: tuple[Target, Target], models: Sequence[onnx.ModelProto], rounds: int
) -> tuple[float, float]:
    """Return the median over rounds of the summed stage medians, one for each target."""
    compiled = [[unwrap(target.compile(model)) for target in pair] for model in models]
    totals = []
    for _ in range(rounds):
        total = np.zeros(2)
        for artifacts in compiled:
            for side, (target, artifact) in enumerate(zip(pair, artifacts, strict=True)):
                measured = unwrap(target.measure(artifact, CONFIG, fresh=True))
                total[side] += measured.latency_median_s
        totals.append(total)
    first, second = np.median(totals, axis=0)
    return float(first), float(second)


def space_rows(samples: int, seed: int) -> Iterator[Row]:
    """Yield random architectures of both search spaces."""
    for name, shape in SPACES.items():
        space = create(name, input_shape=shape, n_classes=10)
        for arch in distinct_architectures(space, samples, np.random.default_rng(seed)):
            network = untrained_network(space, arch, seed)
            yield Row(name, arch.arch_id, list(stage_models(network, shape)))


def run_rows(path: Path) -> Iterator[Row]:
    """Yield the front members of a run, with their trained weights."""
    run = RunFolder(path)
    manifest = run.manifest()
    config = ExperimentConfig.model_validate(manifest["config"])
    dataset = load_dataset(config.dataset, Path(manifest["base_dir"]))
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    for document in run.front()["candidates"]:
        if document["on_front"]:
            member = Candidate.from_dict(document)
            checkpoint = run.checkpoints / member.deployment.checkpoint
            network = load_network(space, member.architecture, checkpoint)
            models = list(stage_models(network, space.input_shape))
            yield Row(path.name, member.architecture.arch_id, models)


def print_table(rows: Sequence[Row]) -> None:
    print(
        f"{'network':42} {'TVM us':>9} {'ORT us':>9} {'ratio':>6} {'tuned':>6} "
        f"{'cold s':>7} {'warm s':>7} {'tuning s':>8}"
    )
    for row in rows:
        print(
            f"{row.label:42} {1e6 * row.tvm_s:9.2f} {1e6 * row.ort_s:9.2f} "
            f"{row.ratio:6.2f} {shown(row.tuned_ratio, 2):>6} {row.compile_cold_s:7.2f} "
            f"{row.compile_warm_s:7.2f} {shown(row.tuning_s, 1):>8}"
        )
    for group in dict.fromkeys(row.group for row in rows):
        print(f"{group}: {summary([row for row in rows if row.group == group])}")
    print(f"all: {summary(rows)}")


def summary(rows: Sequence[Row]) -> str:
    """Return the figures of a group in one line."""
    ratios = [row.ratio for row in rows]
    tuned = [row.tuned_ratio for row in rows if row.tuned_ratio is not None]
    cold_s = np.mean([row.compile_cold_s for row in rows])
    warm_s = np.mean([row.compile_warm_s for row in rows])
    tuned_text = f"tuned {geometric_mean(tuned):.2f}, worst {max(tuned):.2f}; " if tuned else ""
    return (
        f"n = {len(rows)}, untuned geometric mean {geometric_mean(ratios):.2f}, worst "
        f"{max(ratios):.2f}; {tuned_text}"
        f"compile {cold_s:.2f} s cold, {warm_s:.2f} s warm on average"
    )


def print_json(rows: Sequence[Row]) -> None:
    documents = []
    for row in rows:
        fields = asdict(row)
        del fields["models"]
        documents.append(fields | {"ratio": row.ratio, "tuned_ratio": row.tuned_ratio})
    json.dump(documents, sys.stdout, indent=1)


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def shown(value: float | None, digits: int) -> str:
    """Return a figure, or a dash if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def unwrap(result: T | Failure) -> T:
    """Return a result that is no failure."""
    if isinstance(result, Failure):
        raise RuntimeError(f"{result.stage} failed on {result.target}: {result.message}")
    return result


if __name__ == "__main__":
    main()
