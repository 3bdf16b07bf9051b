"""Find faster code for a target's kernels before anything is calibrated or searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.calibrating import describe_space
from hwnas.errors import UserError
from hwnas.measuring import failure_error, read_onnx
from hwnas.progress import ProgressReporter, SilentProgress
from hwnas.target_checking import open_target
from search_spaces import Shape
from targets import Failure, Target, TunableTarget, TunedKernel

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TunedModel:
    """What tuning brought to one model.

    Args:
        name: File or architecture (and stage).
        kernels: Tuned now; those tuned before are left out.
        before_s: Median latency with what was known before.
        after_s: Median latency now.
    """

    name: str
    kernels: tuple[TunedKernel, ...]
    before_s: float
    after_s: float

    @property
    def n_improved(self) -> int:
        """How many kernels are better off without the rules' own choice."""
        return sum(kernel.tile is not None for kernel in self.kernels)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {**asdict(self), "n_improved": self.n_improved}


def tune(
    target: str,
    models: Sequence[Path] = (),
    *,
    space: str | None = None,
    input_shape: Shape | None = None,
    n_classes: int | None = None,
    samples: int = 10,
    seconds: float = 60.0,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> list[TunedModel]:
    """Tune the kernels of models on a target, and keep what is found for all later models.

    Predictors that were calibrated before no longer fit and are calibrated anew.

    Args:
        target: Name of a target, or a path to its YAML file.
        models: ONNX files with static shapes.
        space: An experiment file or a registered space, whose random architectures
            are tuned after the files.
        input_shape: ``(C, H, W)``; needed with a space's name.
        n_classes: Needed with a space's name.
        samples: Architectures of the space.
        seconds: For each model; a kernel that was begun is finished.
        seed: Chooses architectures and weights.
        progress: Told how far the work is.

    Raises:
        UserError: If the input is wrong, or the target has nothing to tune.
        UnreachableError: If the target does not answer.
    """
    if not models and space is None:
        raise UserError("nothing to tune: give ONNX files, --space, or both")
    progress = progress or SilentProgress()
    graphs = [(str(path), read_onnx(path)) for path in models]
    if space is not None:
        graphs.extend(_random_models(space, input_shape, n_classes, samples, seed))
    with open_target(target) as opened:
        if not isinstance(opened, TunableTarget):
            raise UserError(f"target {target!r}: its backend has no kernels to tune; TVM's has")
        progress.phase("tuning", len(graphs))
        results = []
        for name, graph in graphs:
            tuned = _tune_model(opened, name, graph, seconds)
            results.append(tuned)
            progress.advance(f"{name}: {1e6 * tuned.before_s:.1f} -> {1e6 * tuned.after_s:.1f} us")
    return results


def _tune_model(
    target: TunableTarget, name: str, model: onnx.ModelProto, seconds: float
) -> TunedModel:
    before_s = _latency_s(target, name, model)
    kernels = target.tune([model], seconds)
    if isinstance(kernels, Failure):
        raise failure_error(kernels, name)
    return TunedModel(name, tuple(kernels), before_s, _latency_s(target, name, model))


def _latency_s(target: Target, name: str, model: onnx.ModelProto) -> float:
    artifact = target.compile(model)
    result = artifact if isinstance(artifact, Failure) else target.measure(artifact, fresh=True)
    if isinstance(result, Failure):
        raise failure_error(result, name)
    return result.latency_median_s


def _random_models(
    space: str, input_shape: Shape | None, n_classes: int | None, samples: int, seed: int
) -> Iterator[tuple[str, onnx.ModelProto]]:
    import numpy as np

    from latency_predictors.coverage import distinct_architectures
    from latency_predictors.measured_architecture import untrained_network
    from search_spaces.onnx_export import stage_models

    built = describe_space(space, input_shape, n_classes).create()
    for arch in distinct_architectures(built, samples, np.random.default_rng(seed)):
        stages = stage_models(untrained_network(built, arch, seed), built.input_shape)
        for index, model in enumerate(stages):
            yield f"{arch.arch_id} stage {index}", model
