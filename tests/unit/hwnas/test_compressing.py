"""Distilling and pruning a finalist: real trainings of two seeds on a part of the digits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hwnas.candidate_training import TrainingTask, load_network, train_candidate
from hwnas.compressing import CompressedMember, choose_teacher, distil_member, prune_member
from hwnas.compression_config import DistillationConfig, PruningConfig
from hwnas.config import ExperimentConfig
from hwnas.datasets import load_dataset
from hwnas.distillation import DistillationLoss
from hwnas.errors import LatencyUnreachableError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Candidate, Deployment, Metric, ParetoFront
from hwnas.objectives import objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.progress import SilentProgress
from hwnas.retraining import finalist_outcomes, finalist_seeds, retrain
from hwnas.run_folder import RunFolder
from hwnas.search_context import SearchContext
from hwnas.search_plan import SearchPlan
from hwnas.spaces import create_space
from hwnas.training import train
from hwnas.training_pool import TrainingPool
from search_spaces.initialize import initialize_weights
from targets import Target
from tests.unit.hwnas.law_costs import ENERGY_MODEL, law_costs

CONFIG = ExperimentConfig.model_validate(
    {
        "name": "compressing",
        "dataset": {"kind": "digits"},
        "space": {"name": "early_exit", "n_stages": 2, "choices": {"depth": [1], "kernel": [3]}},
        "training": {"epochs": 2, "batch_size": 256, "device": "cpu"},
        "finalists": {"count": 2, "seeds": 2},
    }
)
SETTINGS = DistillationConfig(weight=0.5, temperature=3)
PRUNING = PruningConfig(latency_share=0.97, channel_multiple=4, epochs=1)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SearchContext:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.checkpoints.mkdir()
    dataset = load_dataset(CONFIG.dataset, Path())
    space = create_space(CONFIG.space, dataset.input_shape, len(dataset.class_names))
    # nothing here is measured
    nowhere = cast(Target, None)
    made = SearchContext(CONFIG, Path(), run, dataset, space, nowhere, SilentProgress())
    made.costs = law_costs(space)
    made.plan = SearchPlan(
        CONFIG, Path(), "", ENERGY_MODEL, (1.0, 1e-4), (0.0, 1e-2), made.costs._predictors
    )
    return made


@pytest.fixture(scope="module")
def trainers() -> Iterator[TrainingPool]:
    with TrainingPool(CONFIG, Path(), 1) as pool:
        yield pool


def candidate(context: SearchContext, number: int, accuracy: float) -> Candidate:
    arch = context.space.sample(np.random.default_rng(number))
    seed = finalist_seeds(context)[0]
    checkpoint = context.run.checkpoint(arch.arch_id, seed).name
    metrics = {"validation_accuracy": Metric(accuracy), "latency_s": Metric(1e-3)}
    return Candidate(
        number, arch, metrics, Deployment(checkpoint, seed, ExitPolicy(()), (1.0,), 0.0)
    )


@pytest.fixture(scope="module")
def members(context: SearchContext, trainers: TrainingPool) -> tuple[Candidate, Candidate]:
    """A student and a teacher, retrained as finalists are."""
    pair = candidate(context, 1, 0.8), candidate(context, 5, 0.9)
    retrain(context, trainers, pair)
    return pair


@pytest.fixture(scope="module")
def distilled(
    context: SearchContext, trainers: TrainingPool, members: tuple[Candidate, Candidate]
) -> CompressedMember:
    return distil_member(context, trainers, *members, SETTINGS)


@pytest.fixture(scope="module")
def pruned(
    context: SearchContext, trainers: TrainingPool, members: tuple[Candidate, Candidate]
) -> CompressedMember:
    return prune_member(context, trainers, members[0], PRUNING)


def widths(network: nn.Module) -> list[int]:
    return [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]


def test_each_seed_is_distilled_as_if_the_student_were_trained_by_hand(
    context: SearchContext, members: tuple[Candidate, Candidate], distilled: CompressedMember
) -> None:
    student, teacher = members
    assert list(distilled.outcomes) == finalist_seeds(context)
    seed, path = list(distilled.checkpoints.items())[1]
    by_hand = context.space.build(student.architecture)
    initialize_weights(by_hand, seed)
    teaching = load_network(
        context.space,
        teacher.architecture,
        context.run.checkpoints / teacher.deployment.checkpoint,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loss = DistillationLoss(teaching, CONFIG.training, SETTINGS)
    train(by_hand, context.dataset, CONFIG.training, seed, loss=loss)
    torch.set_num_threads(threads)
    weights, plain = (
        load_file(p) for p in (path, context.run.checkpoint(student.architecture.arch_id, seed))
    )
    assert all(torch.equal(weights[name], v) for name, v in by_hand.state_dict().items())
    assert any(not torch.equal(weights[name], plain[name]) for name in weights)


def test_the_same_teacher_trained_with_another_seed_makes_another_student(
    context: SearchContext,
    trainers: TrainingPool,
    members: tuple[Candidate, Candidate],
    distilled: CompressedMember,
) -> None:
    student, teacher = members
    seed = finalist_seeds(context)[1]
    checkpoint = context.run.checkpoint(teacher.architecture.arch_id, seed).name
    other = replace(teacher, deployment=replace(teacher.deployment, checkpoint=checkpoint))
    by_other = distil_member(context, trainers, student, other, SETTINGS)
    for path, as_before in zip(
        by_other.checkpoints.values(), distilled.checkpoints.values(), strict=True
    ):
        weights, before = load_file(path), load_file(as_before)
        assert any(not torch.equal(weights[name], before[name]) for name in weights)


def test_pruned_networks_of_all_seeds_are_equally_narrow_and_fast_enough(
    context: SearchContext, members: tuple[Candidate, Candidate], pruned: CompressedMember
) -> None:
    arch = members[0].architecture
    networks = [load_network(context.space, arch, path) for path in pruned.checkpoints.values()]
    assert list(pruned.outcomes) == finalist_seeds(context)
    assert widths(networks[0]) == widths(networks[1])
    whole = widths(context.space.build(arch))
    assert all(n <= m for n, m in zip(widths(networks[0]), whole, strict=True))
    assert sum(widths(networks[0])) < sum(whole)
    figures = pruned.figures
    assert figures["predicted_latency_after_s"] <= 0.97 * figures["predicted_latency_before_s"]
    # the figure before is that of the architecture, read from its exported graph
    before = context.costs.predict([arch])[0].mean_stage_latency_s
    assert figures["predicted_latency_before_s"] == pytest.approx(sum(before))
    assert [o.epochs for o in pruned.outcomes.values()] == [1, 1]


@pytest.mark.parametrize("how", ["distilled", "pruned"])
def test_networks_in_files_are_those_that_were_judged(
    how: str,
    context: SearchContext,
    members: tuple[Candidate, Candidate],
    request: pytest.FixtureRequest,
) -> None:
    found: CompressedMember = request.getfixturevalue(how)
    validation = context.dataset.validation
    for seed, outcome in found.outcomes.items():
        network = load_network(context.space, members[0].architecture, found.checkpoints[seed])
        with torch.no_grad():
            exits = network(torch.from_numpy(validation.x))
        assert outcome.validation is not None
        right = tuple(float(np.mean(z.argmax(1).numpy() == validation.y)) for z in exits)
        # samples between two classes may fall to either, by the order of sums
        assert outcome.validation.exit_accuracy == pytest.approx(right, abs=2 / len(validation.y))
        assert outcome.test is not None


def test_what_was_trained_is_not_trained_again_and_what_is_missing_is(
    context: SearchContext,
    trainers: TrainingPool,
    members: tuple[Candidate, Candidate],
    pruned: CompressedMember,
) -> None:
    kept, lost = pruned.checkpoints.values()
    lost.with_suffix(".json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (kept, lost)}
    again = prune_member(context, trainers, members[0], PRUNING)
    assert kept.stat().st_mtime_ns == before[kept]
    assert lost.stat().st_mtime_ns > before[lost]
    for seed, outcome in pruned.outcomes.items():
        # times differ
        assert replace(again.outcomes[seed], seconds=0, cpu_s=0) == replace(
            outcome, seconds=0, cpu_s=0
        )
        document = json.loads(again.checkpoints[seed].with_suffix(".json").read_text())
        assert document["validation"]["n"] == len(context.dataset.validation.y)


def test_who_is_no_finalist_has_nothing_to_compare_with_and_is_left_alone(
    context: SearchContext, trainers: TrainingPool, members: tuple[Candidate, Candidate]
) -> None:
    other = candidate(context, 9, 0.5)
    nothing = CompressedMember({}, {}, {})
    assert finalist_outcomes(context, other.architecture.arch_id) == {}
    assert distil_member(context, trainers, other, members[1], SETTINGS) == nothing
    assert prune_member(context, trainers, other, PRUNING) == nothing


def test_a_latency_out_of_reach_is_told_before_anything_is_trained(
    context: SearchContext, trainers: TrainingPool, members: tuple[Candidate, Candidate]
) -> None:
    with pytest.raises(LatencyUnreachableError, match="pruning reaches"):
        prune_member(context, trainers, members[0], PruningConfig(latency_share=0.01))


def test_weights_of_another_network_are_refused(
    context: SearchContext, members: tuple[Candidate, Candidate], pruned: CompressedMember
) -> None:
    student, teacher = members
    path = next(iter(pruned.checkpoints.values()))
    with pytest.raises(RuntimeError):
        load_network(context.space, teacher.architecture, path)
    weights = load_file(path)
    name, stem = next(
        (n, m)
        for n, m in load_network(context.space, student.architecture, path).named_modules()
        if isinstance(m, nn.Conv2d)
    )
    weights[f"{name}.weight"] = stem.weight.detach()[:-1].clone()
    damaged = path.with_name("damaged.safetensors")
    save_file(weights, damaged)
    with pytest.raises(RuntimeError):
        load_network(context.space, student.architecture, damaged)


def test_a_diverged_seed_is_left_out(context: SearchContext, tmp_path: Path) -> None:
    arch = context.space.sample(np.random.default_rng(1))
    explosive = CONFIG.training.model_copy(update={"learning_rate": 1e9})
    config = CONFIG.model_copy(update={"training": explosive})
    task = TrainingTask(arch, 0, (1.0, 1.0), tmp_path / "w.safetensors", epochs=3)
    outcome = train_candidate(task, context.space, context.dataset, config)
    assert outcome.failure is not None
    assert not task.checkpoint.exists()


def test_the_most_accurate_member_teaches_others_and_nobody_teaches_it(
    context: SearchContext,
) -> None:
    objectives = objectives_of(("accuracy", "latency"))
    weak, strong = candidate(context, 1, 0.8), candidate(context, 5, 0.9)
    values = {
        c.architecture.arch_id: {
            "accuracy": c.metrics["validation_accuracy"],
            "latency_s": Metric(latency_s),
        }
        for c, latency_s in ((weak, 1e-3), (strong, 2e-3))
    }
    both = [
        replace(c, metrics={**c.metrics, **values[c.architecture.arch_id]}) for c in (weak, strong)
    ]
    scale = ObjectiveScale(objectives, (1.0, 1e-4), (0.0, 1e-2))
    front = ParetoFront.of(both, objectives, (), scale)
    teacher = choose_teacher(front, weak)
    assert teacher is not None
    assert teacher.architecture == strong.architecture
    assert choose_teacher(front, strong) is None
    assert choose_teacher(ParetoFront.of((), objectives, (), scale), weak) is None
    # one lucky training is no better teacher than several that come to nearly as much
    accuracy = both[0].metrics["validation_accuracy"]
    lucky = replace(accuracy, value=0.95, selected=True, expected=0.8)
    flattered = replace(both[0], metrics={**both[0].metrics, "validation_accuracy": lucky})
    front = ParetoFront.of((flattered, both[1]), objectives, (), scale)
    assert choose_teacher(front, strong) is None
