"""Latency of a front's members by TVM and by ONNX Runtime, alternated in one run, one thread each.

    python experiments/benchmarks/runtimes.py runs/quickstart [--rounds 5]

Prints one row per front member (path through every exit) and the geometric mean of TVM / ORT.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

import targets
from hwnas.candidate_training import load_network
from hwnas.config import ExperimentConfig
from hwnas.datasets import load_dataset
from hwnas.front import Candidate
from hwnas.run_folder import RunFolder
from hwnas.spaces import create_space
from search_spaces.onnx_export import stage_models
from targets import Failure, Target

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    manifest = run.manifest()
    config = ExperimentConfig.model_validate(manifest["config"])
    dataset = load_dataset(config.dataset, Path(manifest["base_dir"]))
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    members = [Candidate.from_dict(c) for c in run.front()["candidates"] if c["on_front"]]
    ratios = []
    print(f"{'architecture':18} {'TVM us':>9} {'ORT us':>9} {'TVM/ORT':>8}")
    with targets.create("host") as tvm, targets.create("host-onnxruntime") as ort:
        for member in members:
            checkpoint = run.checkpoints / member.deployment.checkpoint
            network = load_network(space, member.architecture, checkpoint)
            models = stage_models(network, space.input_shape)
            latency = path_latency((tvm, ort), models, arguments.rounds)
            ratio = latency[0] / latency[1]
            ratios.append(ratio)
            print(
                f"{member.architecture.arch_id:18} {1e6 * latency[0]:9.2f} "
                f"{1e6 * latency[1]:9.2f} {ratio:8.2f}"
            )
    print(
        f"geometric mean of {len(ratios)}: {np.exp(np.mean(np.log(ratios))):.2f}, "
        f"worst {max(ratios):.2f}"
    )


def path_latency(
    pair: tuple[Target, Target], models: Sequence[onnx.ModelProto], rounds: int
) -> NDArray[np.float64]:
    """Return the median over rounds of the summed stage medians, one entry per target."""
    compiled = [[unwrap(target.compile(model)) for target in pair] for model in models]
    totals = []
    for _ in range(rounds):
        total = np.zeros(2)
        for artifacts in compiled:
            for side, (target, artifact) in enumerate(zip(pair, artifacts, strict=True)):
                measured = unwrap(target.measure(artifact, fresh=True))
                total[side] += measured.latency_median_s
        totals.append(total)
    return np.median(totals, axis=0)


def unwrap(result: T | Failure) -> T:
    """Return a result that is no failure."""
    if isinstance(result, Failure):
        raise RuntimeError(f"{result.stage} failed on {result.target}: {result.message}")
    return result


if __name__ == "__main__":
    main()
