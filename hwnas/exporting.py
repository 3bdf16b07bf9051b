"""Write one front member as a deployable bundle, and run it again to prove that it works."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.candidate_training import load_network
from hwnas.config import ExperimentConfig, parse_config
from hwnas.datasets import Dataset, load_dataset
from hwnas.errors import UserError
from hwnas.front import Candidate
from hwnas.measuring import failure_error
from hwnas.objectives import objectives_of
from hwnas.pareto import ObjectiveScale, knee
from hwnas.run_folder import SCHEMA_VERSION, RunFolder, environment
from hwnas.spaces import create_space
from hwnas.target_checking import open_target
from targets import Artifact, Failure, Target, write_atomically

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from search_spaces import SearchSpace

_SAMPLES = 16
# float32 sums in another order differ by about 1e-6 of the largest logit per layer
_TOLERANCE = 1e-4

Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Bundle:
    """A written and verified bundle.

    Args:
        path: Its folder.
        candidate: What it holds.
        max_error: Largest difference of logits from torch, relative to the
            largest logit, per runtime.
    """

    path: Path
    candidate: Candidate
    max_error: dict[str, float]


def export(run: Path, *, pick: str = "knee", out: Path | None = None) -> Bundle:
    """Write one front member: ONNX and compiled library per stage, samples, manifest.

    The bundle is loaded again and run on test samples with ONNX Runtime and on
    the target before it gets its final name, so that a bundle that exists works.

    Args:
        run: Folder of a finished search.
        pick: ``knee``, ``best`` (most accurate on validation), or an ``arch_id``.
        out: Where to; ``<run>/export/<arch_id>`` by default.

    Raises:
        UserError: If the run, the pick or the folder is wrong, or the bundle does
            not do what the trained network does.
        UnreachableError: If the target does not answer.
    """
    folder = RunFolder(run)
    manifest, front = folder.manifest(), folder.front()
    config = parse_config(manifest["config"], str(folder.manifest_json))
    candidate = pick_candidate(front, config, pick)
    dataset = load_dataset(config.dataset, Path(manifest["base_dir"]))
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    network = _load_trained(folder, space, candidate)
    path = out or folder.path / "export" / candidate.architecture.arch_id
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path}: is not empty. Choose another folder with --out, or remove it.")
    from hwnas.training import predict_logits
    from search_spaces.onnx_export import stage_models

    samples = dataset.test.x[:_SAMPLES]
    reference = predict_logits(network, samples)
    models = stage_models(network, space.input_shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as temporary,
            open_target(config.target) as target,
        ):
            unfinished = Path(temporary) / "bundle"
            unfinished.mkdir()
            artifacts = _write_stages(unfinished, models, target)
            _write_samples(unfinished, samples, reference)
            errors = _verify(unfinished, len(models), samples, reference, target, artifacts)
            _write_manifest(unfinished, candidate, dataset, config, reference, errors)
            if path.exists():
                path.rmdir()
            shutil.move(unfinished, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the bundle ({error.strerror})") from None
    return Bundle(path, candidate, errors)


def _load_trained(folder: RunFolder, space: SearchSpace, candidate: Candidate) -> nn.Module:
    from safetensors import SafetensorError

    # a name only: a front.json from elsewhere must not reach out of the run
    path = folder.checkpoints / Path(candidate.deployment.checkpoint).name
    try:
        return load_network(space, candidate.architecture, path)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({error}). Search again.") from None


def pick_candidate(front: dict[str, Any], config: ExperimentConfig, pick: str) -> Candidate:
    """Choose a front member by rule or ``arch_id``.

    A rule prefers finalists: their accuracy was confirmed by several seeds.

    Raises:
        UserError: If the front is empty or damaged, or has no such member.
    """
    try:
        candidates = [Candidate.from_dict(c) for c in front["candidates"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"front.json: damaged ({type(error).__name__}: {error}).") from None
    by_id = {c.architecture.arch_id: c for c in candidates}
    if pick in by_id:
        return by_id[pick]
    members = [c for c in candidates if c.on_front]
    if pick not in ("knee", "best"):
        ids = ", ".join(by_id)
        raise UserError(f"--pick {pick}: wanted knee, best, or one of {ids}")
    if not members:
        raise UserError(
            f"--pick {pick}: no measured candidate meets the limits. "
            "Pick an arch_id, or search with other limits."
        )
    confirmed = [(c.metrics["validation_accuracy"].seeds or 0) > 1 for c in members]
    if not any(confirmed):
        confirmed = [True] * len(members)
    if pick == "best":
        return max(
            (c for c, allowed in zip(members, confirmed, strict=True) if allowed),
            key=lambda c: c.metrics["validation_accuracy"].value,
        )
    objectives = objectives_of(config.objectives)
    hypervolume = front["hypervolume"]
    scale = ObjectiveScale(objectives, tuple(hypervolume["ideal"]), tuple(hypervolume["reference"]))
    values = np.array([c.values(objectives) for c in members])
    return members[knee(scale.losses(values), np.array(confirmed))]


def run_stages(folder: Path, n_stages: int, samples: NDArray[np.float32]) -> Logits:
    """Run a bundle's ONNX files on samples, one at a time, as a device would.

    Args:
        folder: The bundle.
        n_stages: How many stage files it has.
        samples: Shape ``(N, C, H, W)``.

    Returns:
        Logits of every exit, each ``(N, classes)``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(
            str(folder / _onnx_name(k)), options, providers=["CPUExecutionProvider"]
        )
        for k in range(n_stages)
    ]

    def run_one(stage: int, x: NDArray[np.float32]) -> Logits:
        return tuple(sessions[stage].run(None, {"input": x}))

    return _run_all(run_one, n_stages, samples)


def _run_all(run_one: Any, n_stages: int, samples: NDArray[np.float32]) -> Logits:
    exits: list[list[NDArray[np.float32]]] = [[] for _ in range(n_stages)]
    for sample in samples:
        x = sample[None]
        for stage in range(n_stages):
            outputs = run_one(stage, x)
            exits[stage].append(outputs[0])
            x = outputs[-1]
    return tuple(np.concatenate(parts) for parts in exits)


def _write_stages(
    folder: Path, models: tuple[onnx.ModelProto, ...], target: Target
) -> list[Artifact]:
    artifacts = []
    for stage, model in enumerate(models):
        (folder / _onnx_name(stage)).write_bytes(model.SerializeToString(deterministic=True))
        artifact = target.compile(model)
        if isinstance(artifact, Failure):
            raise failure_error(artifact, f"stage {stage}")
        shutil.copyfile(
            artifact.path, folder / f"stage_{stage}.{target.name}{artifact.path.suffix}"
        )
        artifacts.append(artifact)
    return artifacts


def _write_samples(folder: Path, samples: NDArray[np.float32], logits: Logits) -> None:
    named = {f"logits_{stage}": z for stage, z in enumerate(logits)}
    with (folder / "samples.npz").open("wb") as file:
        np.savez(file, input=samples, **named)  # type: ignore[arg-type]


def _verify(
    folder: Path,
    n_stages: int,
    samples: NDArray[np.float32],
    reference: Logits,
    target: Target,
    artifacts: list[Artifact],
) -> dict[str, float]:
    """Compare what the written files compute with the trained network, per runtime."""

    def on_target(stage: int, x: NDArray[np.float32]) -> Logits:
        outputs = target.run(artifacts[stage], [x])
        if isinstance(outputs, Failure):
            raise failure_error(outputs, f"stage {stage}")
        return outputs

    results = {
        "onnxruntime": run_stages(folder, n_stages, samples),
        target.name: _run_all(on_target, n_stages, samples),
    }
    errors = {}
    for runtime, logits in results.items():
        pairs = list(zip(logits, reference, strict=True))
        errors[runtime] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        if not errors[runtime] <= _TOLERANCE:
            raise UserError(
                f"the bundle's outputs on {runtime} differ from the trained network's by "
                f"{errors[runtime]:.1e} of the largest logit (allowed {_TOLERANCE:.0e}). "
                "This is a defect of the toolchain; report it with the ONNX files."
            )
    return errors


def _write_manifest(
    folder: Path,
    candidate: Candidate,
    dataset: Dataset,
    config: ExperimentConfig,
    reference: Logits,
    errors: dict[str, float],
) -> None:
    deployment = candidate.deployment
    predicted, exits = deployment.policy.apply(reference)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **candidate.to_dict(),
        "run": config.name,
        "target": config.target,
        "class_names": list(dataset.class_names),
        "input": {"shape": [1, *dataset.input_shape], "dtype": "float32"},
        "preprocessing": dict(dataset.preprocessing),
        "exit_policy": deployment.policy.to_dict(),
        "samples": {
            "file": "samples.npz",
            "predicted": [dataset.class_names[c] for c in predicted],
            "exit": exits.tolist(),
            "max_relative_error": errors,
        },
        "environment": environment(),
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir())},
    }
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def _onnx_name(stage: int) -> str:
    return f"stage_{stage}.onnx"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
