"""The whole product beside random search at equal processor time and hand-designed networks.

    HWNAS_DATA=FOLDER python experiments/benchmarks/product_search.py [--seeds 5]
        [--experiments spoken_digits,cifar10] [--sampler pareto_guided] [--set KEY=VALUE]
        [--runs FOLDER] [--json OUT] [--quick]

For every seed, the experiment is searched twice from the same calibration: with the sampler, and
with the random one, which gets as many evaluations as it takes to spend at least 95 % of the
processor seconds. The hand-designed networks are trained with the experiment's settings and
measured on its target. All are judged on the test split, by the mean over several training seeds.

Printed, with 95 % t-intervals over the search seeds: the hypervolume of front members that were
retrained (accuracy from chance to 1, costs on a log scale over the space and the hand-designed
networks) and its ratio to the others'; at the validation accuracy of every hand-designed network
the latency of the fastest member that reaches it; and at that of every front's best static member
the energy of the cheapest member that answers early. As both were matched by validation
accuracy, test accuracy is left to tell whether they are equal.

``--runs`` keeps searches and hand-designed networks: what has finished is not repeated, so a folder
belongs to one set of settings. ``--quick`` is a smoke test on embedded handwritten digits: its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hand_designed import AUDIO, IMAGES, Build, train_and_measure
from product_comparison import (
    Box,
    Contender,
    hypervolumes,
    print_exit_savings,
    print_hypervolumes,
    print_savings,
    savings_of_exits,
    savings_over,
)

from hwnas.bits import unpack_bits
from hwnas.config import ExperimentConfig, load_config
from hwnas.datasets import Dataset, load_dataset
from hwnas.objectives import objectives_of
from hwnas.run_folder import RunFolder
from targets import write_atomically

_EXPERIMENTS = Path(__file__).parents[1]
_BASELINES: Mapping[str, Mapping[str, Build]] = {
    "spoken_digits": AUDIO,
    "cifar10": IMAGES,
    "quickstart": {name: IMAGES[name] for name in ("ResNet-8",)},
}
# every member of the front is to be retrained
_FINALISTS = "finalists={count: 8, seeds: 3}"
_QUICK = (
    "search={evaluations: 6, warm_start: 4}",
    "training.epochs=2",
    "calibration={samples: 8, held_out: 0}",
    "finalists={count: 2, seeds: 2}",
    "constraints={}",
)
_EQUAL = 0.95
_REPEATS = 3


class Searches:
    """Searches of one experiment, each in a process of its own, kept in a folder.

    Args:
        config: The experiment, resolved.
        folder: Where runs go.
    """

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "experiment.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
        self._calibrated = folder / "calibrated"
        self._config = config

    def run(self, sampler: str, seed: int, evaluations: int) -> tuple[RunFolder, float]:
        """Return a finished search and the processor seconds it took, calibration aside."""
        self._calibrate()
        name = f"{sampler}-{seed}-{evaluations}"
        run, spent = RunFolder(self._folder / "runs" / name), self._folder / f"{name}.json"
        if not spent.exists():
            own = self._folder / "predictors"
            for stale in (run.path, own):
                shutil.rmtree(stale, ignore_errors=True)
            # a search refits its predictors, and the next one must not profit from that
            shutil.copytree(self._calibrated, own)
            settings = {
                "name": name,
                "seed": seed,
                "search.sampler": sampler,
                "search.evaluations": evaluations,
            }
            options = [f"--set={key}={value}" for key, value in settings.items()]
            cpu_s = self._hwnas(
                *("search", str(self._file), "--workers=1", *options),
                *(f"--runs={run.path.parent}", f"--predictors={own}"),
            )
            spent.write_text(json.dumps({"cpu_s": cpu_s}))
        return run, float(json.loads(spent.read_text())["cpu_s"])

    def _calibrate(self) -> None:
        if not self._calibrated.exists():
            unfinished = self._folder / "calibrating"
            calibration = self._config.calibration
            self._hwnas(
                *("calibrate", self._config.target, f"--space={self._file}"),
                *(f"--samples={calibration.samples}", f"--held-out={calibration.held_out}"),
                f"--predictors={unfinished}",
            )
            unfinished.rename(self._calibrated)

    def _hwnas(self, *arguments: str) -> float:
        """Run a command; return the processor seconds of it and of its workers."""
        with (self._folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hwnas", *arguments], stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"hwnas {arguments[0]} failed; see {log.name}")
        return usage.ru_utime + usage.ru_stime


def of_equal_cost(
    searches: Searches, seed: int, evaluations: int, cpu_s: float
) -> tuple[RunFolder, float]:
    """Return a random search that takes at least 95 % of so many processor seconds.

    Each attempt starts anew with more evaluations: going on would pay for a second front.
    """
    for _ in range(_REPEATS):
        run, spent = searches.run("random", seed, evaluations)
        if spent >= _EQUAL * cpu_s:
            break
        evaluations = max(evaluations + 1, round(evaluations * cpu_s / spent))
    return run, spent


def hand_designed(
    name: str, build: Build, dataset: Dataset, config: ExperimentConfig, folder: Path
) -> Contender:
    """Return a hand-designed network, trained and measured now or by an earlier call."""
    kept = folder / f"{name}.json"
    if not kept.exists():
        write_atomically(
            kept, json.dumps(train_and_measure(name, build, dataset, config).to_dict()).encode()
        )
    return Contender.from_dict(json.loads(kept.read_text()))


def members(run: RunFolder) -> list[Contender]:
    """Return the retrained members of a run's front."""
    found = []
    for candidate in run.front()["candidates"]:
        metrics = candidate["metrics"]
        if not candidate["on_front"] or metrics["validation_accuracy"].get("selected"):
            continue
        outcomes = [
            json.loads(path.read_text())["test"]
            for path in sorted(run.checkpoints.glob(f"{candidate['arch_id']}-seed*.json"))
        ]
        found.append(
            Contender(
                candidate["arch_id"],
                metrics["validation_accuracy"]["value"],
                np.stack([unpack_bits(test["correct"], test["n"]) for test in outcomes if test]),
                {name: metric["value"] for name, metric in metrics.items()},
                any(share > 0 for share in candidate["deployment"]["exit_shares"][:-1]),
            )
        )
    return found


def compare(
    name: str, config: ExperimentConfig, folder: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Search an experiment with every seed, and print how the fronts compare."""
    dataset = load_dataset(config.dataset, _EXPERIMENTS)
    searches = Searches(config, folder)
    designed = [
        hand_designed(network, build, dataset, config, folder)
        for network, build in _BASELINES[name].items()
    ]
    guided, random, spent = [], [], []
    for seed in range(args.seeds):
        run, cpu_s = searches.run(args.sampler, seed, config.search.evaluations)
        other, other_s = of_equal_cost(searches, seed, config.search.evaluations, cpu_s)
        guided.append(run)
        random.append(other)
        spent.append({args.sampler: cpu_s, "random": other_s})
    hypervolume = guided[0].front()["hypervolume"]
    box = Box.around(
        objectives_of(config.objectives),
        hypervolume["ideal"],
        hypervolume["reference"],
        1 / len(dataset.class_names),
        designed,
    )
    fronts = {args.sampler: [members(r) for r in guided], "random": [members(r) for r in random]}
    volumes = hypervolumes(box, fronts, designed)
    savings = [savings_over(network, fronts[args.sampler]) for network in designed]
    print(f"\n{name}: {args.seeds} search seeds, test split of {len(dataset.test.y)} samples")
    print_hypervolumes(args.sampler, volumes, spent)
    print_savings(designed, savings)
    exits = savings_of_exits([front for of_seeds in fronts.values() for front in of_seeds])
    print_exit_savings(exits)
    return {
        "experiment": name,
        "cpu_s": spent,
        "hypervolume": volumes,
        "savings": savings,
        "exits": exits,
    }


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    names = ["quickstart"] if args.quick else args.experiments.split(",")
    if not args.quick and "HWNAS_DATA" not in os.environ:
        print("Nothing to do: HWNAS_DATA names no folder of data sets.")
        return
    overrides = [*(_QUICK if args.quick else (_FINALISTS,)), *args.set]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.runs or Path(temporary)
        found = [
            compare(
                name, load_config(_EXPERIMENTS / f"{name}.yaml", overrides), folder / name, args
            )
            for name in names
        ]
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", default="spoken_digits,cifar10", metavar="NAME,...")
    parser.add_argument("--seeds", type=int, default=5, help="searches with each sampler")
    parser.add_argument("--sampler", default="pareto_guided")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, help="keep the searches here")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to save all figures")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
