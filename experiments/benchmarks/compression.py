"""What distillation and pruning gain over several seeds, and whether they would be kept.

    HWNAS_DATA=FOLDER python experiments/benchmarks/compression.py experiments/spoken_digits.yaml

Students are architectures of the experiment's space at quantiles of multiply-accumulates, the
teacher is the largest of those drawn. Each student is trained with every seed, and then:
distilled (the same weights and batches, another loss), pruned to a share of its latency as
measured on the target and trained on, and, as a control, trained on without being pruned.
Changes are those of accuracy on the validation split and of measured latency under early exits,
with 95 % intervals over seeds. ``--quick`` shows that everything runs; its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from hwnas.candidate_training import (
    Teacher,
    TrainingOutcome,
    TrainingTask,
    load_network,
    write_weights,
)
from hwnas.compression_config import DistillationConfig, MarginsConfig, PruningConfig
from hwnas.compression_verdict import SeedResult, cost_errors, judge_compression
from hwnas.config import ExperimentConfig, load_config
from hwnas.datasets import load_dataset
from hwnas.errors import LatencyUnreachableError
from hwnas.measuring import failure_error
from hwnas.pruning import prune, prune_to_latency
from hwnas.spaces import create_space
from hwnas.target_checking import open_target
from hwnas.training_pool import TrainingPool
from hwnas.variants import Attempt
from latency_predictors import MeasuredArchitecture, measure_stages
from latency_predictors.measured_architecture import untrained_network
from search_spaces import Architecture, SearchSpace, total_macs, workloads_from_onnx
from search_spaces.onnx_export import stage_models
from targets import EnergyModel, Failure, MeasureConfig, Target

_DRAWN = 200


@dataclass(frozen=True)
class Settings:
    """How much is tried, and how.

    Args:
        students: Architectures.
        seeds: Trainings of each.
        workers: Processes that train.
        distillation: Of the loss.
        pruning: How far.
        timing: Of every measurement.
    """

    students: int
    seeds: int
    workers: int
    distillation: DistillationConfig
    pruning: PruningConfig
    timing: MeasureConfig = MeasureConfig()


@dataclass(frozen=True)
class Student:
    """An architecture, measured before and after pruning.

    Args:
        architecture: What it is.
        whole: Measured as it is.
        pruned: Measured after pruning, which weights are left does not matter; or why that
            cannot be.
        ratio: Share of channels that pruning removes.
    """

    architecture: Architecture
    whole: MeasuredArchitecture
    pruned: MeasuredArchitecture | LatencyUnreachableError
    ratio: float = 0.0


@dataclass(frozen=True)
class Row:
    """One attempt with one student.

    Args:
        attempt: What came of it.
        base_accuracy: Mean over seeds, on the validation split, before.
        base_latency_s: Mean over seeds, before.
        cpu_s: Processor seconds of its trainings, all seeds.
    """

    attempt: Attempt
    base_accuracy: float
    base_latency_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--weight", type=float, default=DistillationConfig().weight)
    parser.add_argument("--temperature", type=float, default=DistillationConfig().temperature)
    parser.add_argument("--latency-share", type=float, default=PruningConfig().latency_share)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    quick = ["training.epochs=1"] if arguments.quick else []
    config = load_config(arguments.config, [*arguments.set, *quick])
    settings = Settings(
        1 if arguments.quick else arguments.students,
        2 if arguments.quick else arguments.seeds,
        arguments.workers,
        DistillationConfig(weight=arguments.weight, temperature=arguments.temperature),
        PruningConfig(latency_share=arguments.latency_share),
    )
    torch.set_num_threads(1)
    rows = compress(config, arguments.config.parent, settings)
    Console(width=140).print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([as_json(row) for row in rows], indent=1))


def compress(config: ExperimentConfig, base_dir: Path, settings: Settings) -> list[Row]:
    """Measure all students while nothing trains, then train them in every way."""
    dataset = load_dataset(config.dataset, base_dir)
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    *architectures, teacher = drawn(space, settings.students, config.seed)
    with open_target(config.target) as target:
        students = [measured_student(target, space, a, settings) for a in architectures]
        energy_model = target.spec.energy_model
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        TrainingPool(config, base_dir, settings.workers) as trainers,
    ):
        bench = Bench(space, trainers, Path(folder), settings)
        teaching = bench.teacher(teacher)
        for student in students:
            rows += compared(bench, student, teaching, energy_model)
    return rows


def compared(
    bench: Bench, student: Student, teacher: Teacher, energy_model: EnergyModel
) -> Iterator[Row]:
    """Train a student in every way, and compare each with the first."""
    whole, arch_id = student.whole, student.architecture.arch_id
    trained = bench.trained(student)
    before = {seed: SeedResult.of(o, whole, energy_model) for seed, o in trained.items()}
    accuracy = float(np.mean([r.accuracy for r in before.values()]))
    latency_s = float(np.mean([r.latency_s for r in before.values()]))

    def row(
        what: str, outcomes: Mapping[int, TrainingOutcome], measured: MeasuredArchitecture
    ) -> Row:
        after = {seed: SeedResult.of(o, measured, energy_model) for seed, o in outcomes.items()}
        error = cost_errors(whole, measured)
        attempt = judge_compression(arch_id, what, before, after, MarginsConfig(), error)
        return Row(attempt, accuracy, latency_s, sum(o.cpu_s for o in outcomes.values()))

    yield row("distillation", bench.distilled(student, teacher), whole)
    if isinstance(student.pruned, LatencyUnreachableError):
        attempt = Attempt(arch_id, "pruning", False, f"not kept, {student.pruned}")
        yield Row(attempt, accuracy, latency_s, 0.0)
    else:
        yield row("pruning", bench.pruned(student), student.pruned)
    yield row("training on (control)", bench.trained_on(student), whole)


def drawn(space: SearchSpace, students: int, seed: int) -> list[Architecture]:
    """Return students from small to large, and the largest of those drawn last."""
    rng = np.random.default_rng(seed)
    found = {space.sample(rng) for _ in range(_DRAWN)}
    ordered = sorted(found, key=lambda a: (total_macs(space.workloads(a)), a.arch_id))
    places = [round((k + 1) / (students + 1) * (len(ordered) - 1)) for k in range(students)]
    return [*(ordered[place] for place in places), ordered[-1]]


def measured_student(
    target: Target, space: SearchSpace, architecture: Architecture, settings: Settings
) -> Student:
    """Measure an architecture, and find by measuring how far it must be pruned.

    Raises:
        UserError, UnreachableError: If the target refuses it.
    """
    network = untrained_network(space, architecture, seed=0)

    def measured(network: nn.Module) -> MeasuredArchitecture:
        return measure(target, space, architecture, network, settings.timing)

    whole_s = measured(network).latency_s

    def latency_s(pruned: nn.Module) -> float:
        # beside the whole network: what slows the device down slows both
        return measured(pruned).latency_s / measured(network).latency_s * whole_s

    goal_s, multiple = settings.pruning.latency_share * whole_s, settings.pruning.channel_multiple
    try:
        found = prune_to_latency(network, space.input_shape, latency_s, goal_s, multiple)
    except LatencyUnreachableError as error:
        return Student(architecture, measured(network), error)
    # once more: the bisection chose it by its own measurement
    return Student(architecture, measured(network), measured(found.network), found.ratio)


def measure(
    target: Target,
    space: SearchSpace,
    architecture: Architecture,
    network: nn.Module,
    timing: MeasureConfig,
) -> MeasuredArchitecture:
    """Measure each stage of a network, which may be pruned."""
    models = stage_models(network, space.input_shape)
    measurements = measure_stages(target, models, config=timing, fresh=True)
    if isinstance(measurements, Failure):
        raise failure_error(measurements, architecture.arch_id)
    graphs = tuple(workloads_from_onnx(model) for model in models)
    return MeasuredArchitecture(architecture, graphs, measurements)


class Bench:
    """Trains students in every way, with equal seeds.

    Args:
        space: Of the students.
        trainers: Train.
        folder: For weights.
        settings: How much is tried, and how.
    """

    def __init__(
        self, space: SearchSpace, trainers: TrainingPool, folder: Path, settings: Settings
    ) -> None:
        self._space = space
        self._trainers = trainers
        self._folder = folder
        self._settings = settings

    def teacher(self, architecture: Architecture) -> Teacher:
        """Train the teacher."""
        n = len(self._space.stages(architecture))
        path = self._folder / "teacher.safetensors"
        (outcome,) = self._trainers.run([TrainingTask(architecture, 0, (1.0,) * n, path)])
        Console().print(f"teacher {architecture.arch_id}: {outcome.note}", highlight=False)
        return Teacher(architecture, path, self._settings.distillation)

    def trained(self, student: Student) -> dict[int, TrainingOutcome]:
        """Train a student."""
        return self._run(self._task(student, seed, "plain") for seed in self._seeds)

    def distilled(self, student: Student, teacher: Teacher) -> dict[int, TrainingOutcome]:
        """Train a student by a teacher."""
        tasks = (self._task(student, seed, "distilled", teacher=teacher) for seed in self._seeds)
        return self._run(tasks)

    def trained_on(self, student: Student) -> dict[int, TrainingOutcome]:
        """Train a trained student as long again."""
        return self._run(
            self._task(student, seed, "on", start=path)
            for seed in self._seeds
            if (path := self._path(student, seed, "plain")).exists()
        )

    def pruned(self, student: Student) -> dict[int, TrainingOutcome]:
        """Prune a trained student, and train it as long again."""
        return self._run(
            self._task(student, seed, "pruned", start=self._pruned_weights(student, seed))
            for seed in self._seeds
            if self._path(student, seed, "plain").exists()
        )

    def _pruned_weights(self, student: Student, seed: int) -> Path:
        trained = self._path(student, seed, "plain")
        network = load_network(self._space, student.architecture, trained)
        multiple = self._settings.pruning.channel_multiple
        path = self._path(student, seed, "start")
        write_weights(prune(network, self._space.input_shape, student.ratio, multiple), path)
        return path

    @property
    def _seeds(self) -> range:
        return range(self._settings.seeds)

    def _path(self, student: Student, seed: int, how: str) -> Path:
        return self._folder / f"{student.architecture.arch_id}-{how}-{seed}.safetensors"

    def _task(
        self,
        student: Student,
        seed: int,
        how: str,
        *,
        start: Path | None = None,
        teacher: Teacher | None = None,
    ) -> TrainingTask:
        measured = student.whole
        if how == "pruned" and not isinstance(student.pruned, LatencyUnreachableError):
            measured = student.pruned
        return TrainingTask(
            architecture=student.architecture,
            seed=seed,
            stage_costs=tuple(m.latency_median_s for m in measured.measurements),
            checkpoint=self._path(student, seed, how),
            start=start,
            teacher=teacher,
        )

    def _run(self, tasks: Iterator[TrainingTask]) -> dict[int, TrainingOutcome]:
        listed = list(tasks)
        outcomes = self._trainers.run(listed)
        return {
            task.seed: outcome
            for task, outcome in zip(listed, outcomes, strict=True)
            if outcome.validation is not None
        }


def table(rows: Sequence[Row]) -> Table:
    """Return what is printed: the changes with their intervals."""
    found = Table("student", "accuracy", "latency", "tried", "kept", "what came of it", "CPU s")
    for row in rows:
        found.add_row(
            row.attempt.arch_id,
            f"{100 * row.base_accuracy:.1f} %",
            f"{1e3 * row.base_latency_s:.3f} ms",
            row.attempt.what,
            "yes" if row.attempt.kept else "no",
            row.attempt.outcome,
            f"{row.cpu_s:.0f}",
        )
    return found


def as_json(row: Row) -> dict[str, object]:
    """Return a row as JSON; changes of costs are shares, those of accuracy fractions."""
    return {
        **row.attempt.to_dict(),
        "base_accuracy": row.base_accuracy,
        "base_latency_s": row.base_latency_s,
        "cpu_s": row.cpu_s,
    }


if __name__ == "__main__":
    main()
