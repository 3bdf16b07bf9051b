"""Distil and prune a front member, with the very seeds that it was retrained with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hwnas.candidate_training import (
    Teacher,
    TrainingOutcome,
    TrainingTask,
    load_network,
    write_weights,
)
from hwnas.compression_config import DistillationConfig, PruningConfig
from hwnas.front import Candidate, ParetoFront
from hwnas.retraining import finalist_outcomes, train_and_keep
from hwnas.search_context import SearchContext
from hwnas.training_pool import TrainingPool

if TYPE_CHECKING:
    from torch import nn

    from hwnas.pruning import PrunedNetwork


@dataclass(frozen=True)
class CompressedMember:
    """A member's networks after compression.

    Args:
        outcomes: By seed; those of failed trainings are left out.
        checkpoints: Weights, by seed of ``outcomes``; see `load_network`.
        figures: What to tell of how they were made, by name with unit.
    """

    outcomes: Mapping[int, TrainingOutcome]
    checkpoints: Mapping[int, Path]
    figures: Mapping[str, float]


def choose_teacher(front: ParetoFront, student: Candidate) -> Candidate | None:
    """Return the most accurate front member, by validation; none where that is the student."""
    best = max(
        front.members, key=lambda c: c.metrics["validation_accuracy"].chosen_by, default=None
    )
    if best is None or best.architecture == student.architecture:
        return None
    return best


def distil_member(
    context: SearchContext,
    trainers: TrainingPool,
    student: Candidate,
    teacher: Candidate,
    settings: DistillationConfig,
) -> CompressedMember:
    """Train a member from scratch again, by a teacher, with the seeds of its finalist trainings.

    Equal seeds begin with equal weights and see equal batches: what differs is the loss. Exits
    may cost as much accuracy as they might before.

    Args:
        context: The search; its run folder keeps weights and outcomes.
        trainers: Train.
        student: A finalist; of others nothing is trained.
        teacher: See `choose_teacher`; the network that it is deployed with teaches.
        settings: Of the loss.
    """
    arch_id = student.architecture.arch_id
    teaching = Teacher(
        teacher.architecture,
        context.run.checkpoints / Path(teacher.deployment.checkpoint).name,
        settings,
    )
    costs = context.costs.predict([student.architecture])[0].mean_stage_latency_s
    # another loss or teacher, or the same one trained otherwise, makes another student
    loss = f"{settings.weight:g}-{settings.temperature:g}"
    name = f"{arch_id}-distilled-{loss}-by-{teaching.checkpoint.stem}"
    tasks = [
        TrainingTask(
            architecture=student.architecture,
            seed=seed,
            stage_costs=costs,
            checkpoint=context.run.checkpoint(name, seed),
            judge_on_test=True,
            max_accuracy_drop=student.deployment.max_accuracy_drop,
            teacher=teaching,
        )
        for seed in finalist_outcomes(context, arch_id)
    ]
    outcomes = train_and_keep(trainers, tasks)
    return _compressed(tasks, outcomes, {})


def prune_member(
    context: SearchContext,
    trainers: TrainingPool,
    member: Candidate,
    settings: PruningConfig,
) -> CompressedMember:
    """Prune a member's networks to a share of its predicted latency, and train them on.

    The ratio is found with the first seed's network, by the search's predictors, of the path
    through every stage; it leaves the same channels in all of them. They are trained with the
    whole schedule of learning rates again.

    Args:
        context: The search; its run folder keeps weights and outcomes.
        trainers: Train.
        member: A finalist; of others nothing is trained.
        settings: How far, and how long.

    Raises:
        LatencyUnreachableError: If pruning cannot make it fast enough.
        UserError: If torch-pruning is not installed.

    References:
        Renda, Frankle & Carbin (2020), Comparing Rewinding and Fine-tuning in Neural Network
        Pruning, Sec. 3 (learning rate rewinding). arXiv:2003.02389
    """
    from hwnas.pruning import prune_to_latency

    architecture, space = member.architecture, context.space
    trained = finalist_outcomes(context, architecture.arch_id)
    if not trained:
        return CompressedMember({}, {}, {})
    checkpoint = context.run.checkpoint(architecture.arch_id, next(iter(trained)))
    first = load_network(space, architecture, checkpoint)
    whole_s = sum(_stage_latency_s(context, first))
    found = prune_to_latency(
        first,
        space.input_shape,
        lambda network: sum(_stage_latency_s(context, network)),
        settings.latency_share * whole_s,
        settings.channel_multiple,
    )
    with TemporaryDirectory() as folder:
        tasks = _tasks_after_pruning(context, member, trained, found, settings, Path(folder))
        outcomes = train_and_keep(trainers, tasks)
    figures = {
        "pruning_ratio": found.ratio,
        "parameters_left_share": found.parameters_left,
        "predicted_latency_before_s": whole_s,
        "predicted_latency_after_s": found.latency_s,
    }
    return _compressed(tasks, outcomes, figures)


def _tasks_after_pruning(
    context: SearchContext,
    member: Candidate,
    seeds: Iterable[int],
    found: PrunedNetwork,
    settings: PruningConfig,
    folder: Path,
) -> list[TrainingTask]:
    """Prune the network of every seed, its weights written into a folder to be trained on."""
    from hwnas.pruning import prune

    architecture = member.architecture
    costs = _stage_latency_s(context, found.network)
    # another ratio, as of predictors fitted anew, makes other networks, and so do other settings
    ways = f"{settings.channel_multiple}-{settings.epochs or context.config.training.epochs}"
    name = f"{architecture.arch_id}-pruned-{1000 * found.ratio:.0f}-{ways}"
    tasks = []
    for seed in seeds:
        path = context.run.checkpoint(architecture.arch_id, seed)
        network = load_network(context.space, architecture, path)
        shape, multiple = context.space.input_shape, settings.channel_multiple
        write_weights(prune(network, shape, found.ratio, multiple), folder / path.name)
        tasks.append(
            TrainingTask(
                architecture=architecture,
                seed=seed,
                stage_costs=costs,
                checkpoint=context.run.checkpoint(name, seed),
                judge_on_test=True,
                max_accuracy_drop=member.deployment.max_accuracy_drop,
                start=folder / path.name,
                epochs=settings.epochs,
            )
        )
    return tasks


def _compressed(
    tasks: Sequence[TrainingTask],
    outcomes: Sequence[TrainingOutcome],
    figures: Mapping[str, float],
) -> CompressedMember:
    done = [
        (task, outcome)
        for task, outcome in zip(tasks, outcomes, strict=True)
        if outcome.validation is not None
    ]
    return CompressedMember(
        {task.seed: outcome for task, outcome in done},
        {task.seed: task.checkpoint for task, _ in done},
        figures,
    )


def _stage_latency_s(context: SearchContext, network: nn.Module) -> tuple[float, ...]:
    """Return the predicted latency of each stage of a network that may be pruned."""
    from search_spaces import workloads_from_onnx
    from search_spaces.onnx_export import stage_models

    models = stage_models(network, context.space.input_shape)
    return context.costs.stage_latency_s([workloads_from_onnx(model) for model in models])
