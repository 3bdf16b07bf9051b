"""What int8 costs and gains: accuracy, latency, flash, beside float32 on the same runtime.

    HWNAS_DATA=FOLDER python experiments/benchmarks/precision.py [CONFIG ...]

Architectures drawn from each experiment's space (by default spoken digits and CIFAR-10) are trained
with several seeds, and each network is then judged in float32; in int8; with its most sensitive
operators in float32, where int8 loses more than ``--max-drop`` on the validation split; in int8
after training for it; and, as a control, in int8 after as long a training in float32. Accuracies
are those of the last exit on the test split; changes are paired, with 95 % intervals over
networks. Latencies are those of the path through every exit, by ONNX Runtime, one thread, float32
and int8 alternated. ``--quick`` shows that everything runs; its figures say nothing.
"""

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch import nn

import targets
from hwnas.config import ExperimentConfig, load_config
from hwnas.datasets import Dataset, load_dataset
from hwnas.errors import UserError
from hwnas.flash_parts import FlashParts, flash_parts
from hwnas.mixed_precision import mean_largest_drop, mixed_precision
from hwnas.quantization import CalibratedStages
from hwnas.quantization_aware import LEARNING_RATE_SHARE, fine_tune_quantization_aware
from hwnas.spaces import create_space
from hwnas.stage_running import run_stage_models
from hwnas.training import exit_loss, optimize, train
from latency_predictors import measure_stages
from latency_predictors.coverage import distinct_architectures
from search_spaces import Architecture, SearchSpace
from search_spaces.initialize import initialize_weights
from search_spaces.onnx_export import stage_models
from targets import Failure, MeasureConfig, Target

EXPERIMENTS = Path(__file__).parents[1]
TARGET = "host-onnxruntime"
TIMING = MeasureConfig(warmup_s=0.02, min_samples=200, max_samples=2000, min_time_s=0.1)
CALIBRATION_SAMPLES = 256

Models = Sequence[onnx.ModelProto]


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Args:
        architectures: Drawn from each space.
        seeds: Trainings of each.
        epochs: Of training on, for int8 and as a control.
        max_drop: Validation accuracy beyond which operators stay in float32.
        rounds: In which latencies are measured.
    """

    architectures: int
    seeds: int
    epochs: int
    max_drop: float
    rounds: int


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of one network's last exit on the test split, by how it is deployed.

    Args:
        seed: It was trained with.
        validation_drop: Of int8, at the exit that loses most.
        n_float: Operators that stay in float32 in ``mixed``; none where int8 is good enough.
    """

    seed: int
    float32: float
    int8: float
    mixed: float
    trained_for_int8: float | None
    trained_on: float
    validation_drop: float
    n_float: int


@dataclass(frozen=True)
class Costs:
    """Latency of the path through every exit, one entry per round, and the flash."""

    float32_s: tuple[float, ...]
    int8_s: tuple[float, ...]
    float32_flash: FlashParts
    int8_flash: FlashParts

    @property
    def ratio(self) -> float:
        """Latency of int8 / that of float32: median over rounds."""
        return float(np.median(np.divide(self.int8_s, self.float32_s)))


@dataclass(frozen=True)
class Row:
    """One architecture."""

    dataset: str
    arch_id: str
    accuracies: tuple[Accuracies, ...]
    costs: Costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, nargs="*", metavar="CONFIG")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--architectures", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(
        arguments.architectures,
        arguments.seeds,
        arguments.epochs,
        arguments.max_drop,
        arguments.rounds,
    )
    if arguments.quick:
        settings = Settings(1, 2, 1, arguments.max_drop, 2)
    quick = ["training.epochs=1"] if arguments.quick else []
    rows: list[Row] = []
    for path in arguments.configs or [
        EXPERIMENTS / "spoken_digits.yaml",
        EXPERIMENTS / "cifar10.yaml",
    ]:
        try:
            config = load_config(path, [*arguments.set, *quick])
            dataset = load_dataset(config.dataset, path.parent)
        except UserError as error:
            say(f"{path.name} is left out: {error}")
            continue
        found = measured_rows(config, dataset, settings)
        rows += found
        Console(width=150).print(table(config.name, found))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def measured_rows(config: ExperimentConfig, dataset: Dataset, settings: Settings) -> list[Row]:
    """Train, quantize, judge and measure the architectures of one experiment."""
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    rng = np.random.default_rng(config.seed)
    rows = []
    with tempfile.TemporaryDirectory() as cache, targets.create(TARGET, Path(cache)) as target:
        for arch in distinct_architectures(space, settings.architectures, rng):
            accuracies = []
            for seed in range(settings.seeds):
                network = trained(space, arch, dataset, config, seed)
                accuracies.append(judged(network, space, dataset, config, settings, seed))
                say(f"{config.name} {arch.arch_id} {accuracies[-1]}")
            stages = calibrated(network, space, dataset)
            costs = measured(target, stages.models, stages.quantized(), settings.rounds)
            rows.append(Row(config.name, arch.arch_id, tuple(accuracies), costs))
    return rows


def trained(
    space: SearchSpace, arch: Architecture, dataset: Dataset, config: ExperimentConfig, seed: int
) -> nn.Module:
    """Train one network from scratch."""
    network = space.build(arch)
    initialize_weights(network, seed)
    train(network, dataset, config.training, seed)
    return network


def judged(
    network: nn.Module,
    space: SearchSpace,
    dataset: Dataset,
    config: ExperimentConfig,
    settings: Settings,
    seed: int,
) -> Accuracies:
    """Judge one trained network in every form."""
    stages = calibrated(network, space, dataset)
    int8 = stages.quantized()
    validation = dataset.validation
    drop = mean_largest_drop(
        [run_stage_models(stages.models, validation.x)],
        [run_stage_models(int8, validation.x)],
        validation.y,
    )
    mixed, n_float = int8, 0
    if drop > settings.max_drop:
        found = mixed_precision([stages], validation.x, validation.y, max_drop=settings.max_drop)
        mixed, n_float = found.models[0], len(found.float_operators)
    # other batches than the training's
    seed_on = settings.seeds + seed
    for_int8 = fine_tune_quantization_aware(
        network, dataset, config.training, epochs=settings.epochs, seed=seed_on
    )
    on = trained_on(network, dataset, config, settings.epochs, seed_on)
    return Accuracies(
        seed,
        test_accuracy(stages.models, dataset),
        test_accuracy(int8, dataset),
        test_accuracy(mixed, dataset),
        None
        if for_int8 is None
        else test_accuracy(calibrated(for_int8, space, dataset).quantized(), dataset),
        test_accuracy(calibrated(on, space, dataset).quantized(), dataset),
        drop,
        n_float,
    )


def trained_on(
    network: nn.Module, dataset: Dataset, config: ExperimentConfig, epochs: int, seed: int
) -> nn.Module:
    """Train on as for int8, but in float32."""
    tuned = copy.deepcopy(network).eval()
    rate = config.training.learning_rate * LEARNING_RATE_SHARE
    training = config.training.model_copy(
        update={"epochs": epochs, "learning_rate": rate, "device": "cpu"}
    )
    optimize(
        list(tuned.parameters()),
        lambda x, y: exit_loss(tuned(x), y, training),
        dataset,
        training,
        seed,
    )
    return tuned


def calibrated(network: nn.Module, space: SearchSpace, dataset: Dataset) -> CalibratedStages:
    """Export and calibrate on training samples spread over the split."""
    x = dataset.train.x
    rows = np.linspace(0, len(x) - 1, min(CALIBRATION_SAMPLES, len(x))).round().astype(int)
    return CalibratedStages(stage_models(network, space.input_shape), x[rows])


def test_accuracy(models: Models, dataset: Dataset) -> float:
    """Return how often the last exit is right on the test split."""
    *_, logits = run_stage_models(models, dataset.test.x)
    return float(np.mean(logits.argmax(axis=1) == dataset.test.y))


def measured(target: Target, float32: Models, int8: Models, rounds: int) -> Costs:
    """Measure both precisions by turns, the order reversed from round to round."""
    latency: dict[str, list[float]] = {"float32": [], "int8": []}
    flash = {}
    pairs = [("float32", float32), ("int8", int8)]
    for index in range(rounds):
        for name, models in pairs[:: -1 if index % 2 else 1]:
            found = measure_stages(target, models, config=TIMING, fresh=True)
            if isinstance(found, Failure):
                raise RuntimeError(f"{name}: {found.stage} failed: {found.message}")
            latency[name].append(sum(m.latency_median_s for m in found))
            flash[name] = flash_parts(models, found)
    return Costs(tuple(latency["float32"]), tuple(latency["int8"]), flash["float32"], flash["int8"])


def table(name: str, rows: Sequence[Row]) -> Table:
    """Return one line per architecture, and changes over all networks."""
    found = Table(title=f"{name}: test accuracy of the last exit, and costs on {TARGET}")
    for heading in (
        *("architecture", "float32", "int8", "mixed", "float ops", "int8 trained"),
        *("control", "us float32", "us int8", "ratio", "weights kB", "all flash kB"),
    ):
        found.add_column(heading, justify="right", no_wrap=heading == "architecture")
    for row in rows:
        c = row.costs
        found.add_row(
            row.arch_id,
            *(mean_accuracy(row, form) for form in ("float32", "int8", "mixed")),
            "/".join(str(a.n_float) for a in row.accuracies),
            *(mean_accuracy(row, form) for form in ("trained_for_int8", "trained_on")),
            *(f"{1e6 * np.median(s):.0f}" for s in (c.float32_s, c.int8_s)),
            f"{c.ratio:.2f}",
            f"{c.float32_flash.weight_bytes / 1e3:.0f} > {c.int8_flash.weight_bytes / 1e3:.0f}",
            f"{total(c.float32_flash) / 1e3:.0f} > {total(c.int8_flash) / 1e3:.0f}",
        )
    changes = [change(rows, form) for form in ("int8", "mixed", "trained_for_int8", "trained_on")]
    ratio = float(np.exp(np.mean([np.log(row.costs.ratio) for row in rows])))
    found.caption = (
        "change against float32, points: "
        + "; ".join(changes)
        + f". Latency ratio int8 / float32, geometric mean: {ratio:.2f}"
    )
    return found


def mean_accuracy(row: Row, form: str) -> str:
    """Return the mean over seeds."""
    values = [getattr(a, form) for a in row.accuracies]
    return "-" if None in values else f"{np.mean(values):.4f}"


def change(rows: Sequence[Row], form: str) -> str:
    """Return the mean paired change of all networks with its 95 % interval (Student's t)."""
    pairs = [(getattr(a, form), a.float32) for row in rows for a in row.accuracies]
    points = np.array([100 * (after - before) for after, before in pairs if after is not None])
    if len(points) < 2:
        return f"{form} -"
    half = stats.t.ppf(0.975, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    return f"{form} {points.mean():+.2f} ± {half:.2f}"


def total(flash: FlashParts) -> int:
    return flash.weight_bytes + flash.overhead_bytes


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
