"""Train one architecture and judge it under its exit policy: the work of one evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.bits import pack_bits
from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset, Split
from hwnas.early_exit import exit_shares
from hwnas.exit_policy import ExitPolicy
from hwnas.policy_curve import CurvePoint, policy_curve
from search_spaces import Architecture, SearchSpace
from targets import write_atomically

if TYPE_CHECKING:
    from torch import nn

    from hwnas.compression_config import DistillationConfig
    from hwnas.distillation import DistillationLoss
    from hwnas.training_config import TrainingConfig

# of the policies that an outcome tells of: enough for any choice, few enough to be stored
_KEPT_POINTS = 8
_WITHOUT_EXITS = ExitPolicy(())


@dataclass(frozen=True)
class Teacher:
    """A trained network that a student learns from; see `hwnas.distillation`.

    Args:
        architecture: Of the teacher.
        checkpoint: Its weights.
        settings: How much the student heeds it.
    """

    architecture: Architecture
    checkpoint: Path
    settings: DistillationConfig


@dataclass(frozen=True)
class TrainingTask:
    """What to train and how to judge it.

    Args:
        architecture: What to train.
        seed: Of weights, batches and augmentation.
        stage_costs: Cost of each stage (predicted seconds), for exit thresholds.
        checkpoint: Where the weights go.
        judge_on_test: Whether to look at the test split; only for finalists.
        keep_weights: Whether ``checkpoint`` is written.
        max_accuracy_drop: What the exit policy may cost; as configured where ``None``.
        start: Weights to go on from, perhaps of a pruned network; random ones where not given.
        epochs: To train; as many as the experiment says where not given.
        teacher: Whom to learn from beside the labels.
    """

    architecture: Architecture
    seed: int
    stage_costs: tuple[float, ...]
    checkpoint: Path
    judge_on_test: bool = False
    keep_weights: bool = True
    max_accuracy_drop: float | None = None
    start: Path | None = None
    epochs: int | None = None
    teacher: Teacher | None = None


@dataclass(frozen=True)
class SplitResult:
    """How a network does on one split under its exit policy.

    Args:
        n: Samples.
        accuracy: Share classified right under the policy.
        exit_accuracy: Accuracy of each exit alone, were all samples to leave there.
        exit_shares: Share of samples that leaves at each exit.
        correct: Which samples were classified right, packed by `pack_bits`; kept of the
            test split, where networks are compared sample by sample.
    """

    n: int
    accuracy: float
    exit_accuracy: tuple[float, ...]
    exit_shares: tuple[float, ...]
    correct: str | None = None


@dataclass(frozen=True)
class LearningCurve:
    """Validation accuracy, under the exit policy of the moment, during one training.

    Args:
        seed: Of the training.
        epochs: When it was judged, ascending.
        accuracy: One per entry of ``epochs``.
        cpu_s: Processor seconds spent until then, one per entry of ``epochs``.
    """

    seed: int
    epochs: tuple[int, ...]
    accuracy: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LearningCurve:
        """Rebuild a curve from its JSON form."""
        lists = {name: tuple(data[name]) for name in ("epochs", "accuracy", "cpu_s")}
        return cls(int(data["seed"]), **lists)


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of a `TrainingTask`; a training that diverged or was halted is a value, too.

    Args:
        failure: Why there is no network, or ``None``.
        policy: When the network answers early, chosen on the validation split.
        max_accuracy_drop: What the policy was allowed to cost of the last exit's accuracy.
        curve: Policies that it may have, well spread, as judged on that split; the most
            accurate first, its own among them.
        validation: On the validation split.
        test: On the test split, where the task asked for it.
        epochs: Trained.
        seconds: Wall-clock time of the training.
        cpu_s: Processor seconds of the whole evaluation.
        halted: Whether the training ended early, not being worth its cost. ``validation`` is
            then that of the unfinished network, whose weights are not kept.
        scorer: Registered name of what judged it; accuracies of one scorer compare.
        curves: What was seen during the trainings, where a scorer looked; one per seed.
    """

    failure: str | None = None
    policy: ExitPolicy = _WITHOUT_EXITS
    max_accuracy_drop: float = 0.0
    curve: tuple[CurvePoint, ...] = ()
    validation: SplitResult | None = None
    test: SplitResult | None = None
    epochs: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    halted: bool = False
    scorer: str = "full"
    curves: tuple[LearningCurve, ...] = ()

    @property
    def note(self) -> str:
        """What there is to tell of it in a few words."""
        if self.validation is None:
            return self.failure or "failed"
        how = f"halted after {self.epochs} epochs, " if self.halted else ""
        return f"{self.validation.accuracy:.1%} {how}in {self.seconds:.1f} s"

    def under(self, point: CurvePoint) -> TrainingOutcome:
        """Return the outcome under another policy of its curve; the test split is not looked at.

        Raises:
            ValueError: If the training failed, or the test split was looked at already.
        """
        if self.validation is None or self.test is not None:
            raise ValueError("wanted a network that was judged on the validation split alone.")
        drop = max(0.0, self.validation.exit_accuracy[-1] - point.accuracy)
        judged = replace(self.validation, accuracy=point.accuracy, exit_shares=point.exit_shares)
        return replace(self, policy=point.policy, max_accuracy_drop=drop, validation=judged)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingOutcome:
        """Rebuild an outcome from `to_dict`; what else stands beside it is left alone."""
        splits = {name: _split_result(data[name]) for name in ("validation", "test")}
        curves = tuple(map(LearningCurve.from_dict, data.get("curves", ())))
        exits = {
            "policy": ExitPolicy.from_dict(data["policy"]),
            "curve": tuple(map(CurvePoint.from_dict, data["curve"])),
        }
        own = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        return cls(**{**own, **splits, **exits, "curves": curves})


def train_candidate(
    task: TrainingTask,
    space: SearchSpace,
    dataset: Dataset,
    config: ExperimentConfig,
    *,
    go_on: Callable[[int, nn.Module], bool] = lambda epoch, network: True,
) -> TrainingOutcome:
    """Train an architecture, choose its exit policy, judge it, save its weights.

    Args:
        task: What to train.
        space: Its search space.
        dataset: To train and judge on.
        config: Of the training and of the exits.
        go_on: Asked after each epoch, with the number of those finished and the network,
            which it must not change; the training is halted where the answer is no.
    """
    from hwnas.training import train

    began = time.process_time()
    training = config.training
    if task.epochs is not None:
        training = training.model_copy(update={"epochs": task.epochs})
    network = _untrained(task, space)
    trained = train(
        network,
        dataset,
        training,
        task.seed,
        loss=_distillation_loss(task.teacher, space, training) if task.teacher else None,
        go_on=lambda epoch: go_on(epoch, network),
    )
    if trained.diverged:
        outcome = TrainingOutcome(failure="training diverged: the loss is not finite")
    else:
        halted = trained.epochs < training.epochs
        outcome = judge_candidate(network, task, dataset, config)
        if not halted:
            save_weights(network, task)
        outcome = replace(outcome, halted=halted)
    return replace(
        outcome,
        epochs=trained.epochs,
        seconds=trained.seconds,
        cpu_s=time.process_time() - began,
    )


def _untrained(task: TrainingTask, space: SearchSpace) -> nn.Module:
    """Return the network that a training begins with."""
    from search_spaces.initialize import initialize_weights

    if task.start is not None:
        return load_network(space, task.architecture, task.start)
    network = space.build(task.architecture)
    initialize_weights(network, task.seed)
    return network


def _distillation_loss(
    teacher: Teacher, space: SearchSpace, training: TrainingConfig
) -> DistillationLoss:
    from hwnas.distillation import DistillationLoss

    network = load_network(space, teacher.architecture, teacher.checkpoint)
    return DistillationLoss(network, training, teacher.settings)


def judge_candidate(
    network: nn.Module, task: TrainingTask, dataset: Dataset, config: ExperimentConfig
) -> TrainingOutcome:
    """Judge a network whose weights are final, on the splits that the task asks for."""
    outcome = judge_on_validation(network, task, dataset, config)
    return judge_on_test(outcome, network, dataset) if task.judge_on_test else outcome


def judge_on_validation(
    network: nn.Module, task: TrainingTask, dataset: Dataset, config: ExperimentConfig
) -> TrainingOutcome:
    """Choose the exit policy of a network on the validation split, and judge it there."""
    from hwnas.training import predict_logits

    split = dataset.validation
    logits = predict_logits(network, split.x)
    curve = policy_curve(logits, split.y, task.stage_costs, config.early_exit)
    drop = task.max_accuracy_drop
    if drop is None:
        drop = config.early_exit.max_accuracy_drop
    chosen = curve.for_drop(drop)
    return TrainingOutcome(
        policy=chosen.policy,
        max_accuracy_drop=drop,
        curve=curve.well_spread(_KEPT_POINTS, chosen),
        validation=judge(logits, split, chosen.policy),
    )


def save_weights(network: nn.Module, task: TrainingTask) -> None:
    """Write a network's weights, where the task wants them kept."""
    if task.keep_weights:
        write_weights(network, task.checkpoint)


def write_weights(network: nn.Module, checkpoint: Path) -> None:
    """Write a network's weights as safetensors; `load_network` reads them."""
    from safetensors.torch import save

    weights = {k: v.contiguous().cpu() for k, v in network.state_dict().items()}
    write_atomically(checkpoint, save(weights))


def judge(
    logits: Sequence[np.ndarray[Any, np.dtype[np.float32]]],
    split: Split,
    policy: ExitPolicy,
) -> SplitResult:
    """Judge exit logits, each of shape ``(n, classes)``, under an exit policy."""
    predicted, exits = policy.apply(logits)
    return SplitResult(
        n=len(split.y),
        accuracy=float(np.mean(predicted == split.y)),
        exit_accuracy=tuple(float(np.mean(z.argmax(axis=1) == split.y)) for z in logits),
        exit_shares=tuple(float(s) for s in exit_shares(exits, len(logits))),
    )


def judge_on_test(
    outcome: TrainingOutcome, network: nn.Module, dataset: Dataset
) -> TrainingOutcome:
    """Add how a trained network does on the test split under its exit policy."""
    from hwnas.training import predict_logits

    logits = predict_logits(network, dataset.test.x)
    predicted, _ = outcome.policy.apply(logits)
    result = judge(logits, dataset.test, outcome.policy)
    return replace(outcome, test=replace(result, correct=pack_bits(predicted == dataset.test.y)))


def load_network(space: SearchSpace, architecture: Architecture, checkpoint: Path) -> nn.Module:
    """Rebuild a trained network from its checkpoint, with as many channels as pruning left.

    Raises:
        OSError, SafetensorError: If the file cannot be read.
        RuntimeError, ValueError: If it holds the weights of another network.
    """
    import torch
    from safetensors.torch import load_file

    from hwnas.pruning import fit_to_weights

    network = space.build(architecture).eval()
    weights = load_file(checkpoint)
    narrowed = fit_to_weights(network, weights)
    network.load_state_dict(weights)
    if narrowed:
        with torch.no_grad():
            # layers that do not fit one another are noticed here or far away
            network(torch.zeros(1, *space.input_shape))
    return network


def _split_result(data: Mapping[str, Any] | None) -> SplitResult | None:
    if data is None:
        return None
    return SplitResult(
        n=int(data["n"]),
        accuracy=float(data["accuracy"]),
        exit_accuracy=tuple(data["exit_accuracy"]),
        exit_shares=tuple(data["exit_shares"]),
        correct=data.get("correct"),
    )
