"""A finished run: its data, its networks and their files, as an export needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle_checks import onnx_logits
from hwnas.bundle_samples import BundleSamples, Logits, PointAnswers
from hwnas.candidate_training import load_network
from hwnas.config import ExperimentConfig, parse_config
from hwnas.datasets import Dataset, RawSample, load_with_raw
from hwnas.errors import UserError
from hwnas.front import Candidate
from hwnas.measuring import read_onnx
from hwnas.run_folder import RunFolder
from hwnas.spaces import create_space
from hwnas.variants import NetworkForm, Variant, Variants
from search_spaces import SearchSpace

if TYPE_CHECKING:
    from search_spaces.blocks import StagedNetwork

_SAMPLES = 200
_RAW_SAMPLES = 16


@dataclass(frozen=True)
class FinishedRun:
    """A run whose search has ended.

    Args:
        folder: Where it is.
        config: Of its experiment.
        front: Content of its ``front.json``.
        dataset: That its networks were trained on.
        raw: Gives samples of the validation split before preprocessing, where there are any.
        space: Of its architectures.
        candidates: Its measured candidates, by identifier of the architecture.
        variants: What can be deployed.
    """

    folder: RunFolder
    config: ExperimentConfig
    front: Mapping[str, Any]
    dataset: Dataset
    raw: RawSample | None
    space: SearchSpace
    candidates: Mapping[str, Candidate]
    variants: Variants

    @classmethod
    def open(cls, path: Path) -> FinishedRun:
        """Read a run.

        Raises:
            UserError: If it is none, has not finished, or is damaged.
        """
        folder = RunFolder(path)
        manifest, front = folder.manifest(), folder.front()
        config = parse_config(manifest["config"], str(folder.manifest_json))
        candidates = _candidates(front)
        dataset, raw = load_with_raw(config.dataset, Path(manifest["base_dir"]))
        space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
        variants = Variants.load(folder.variants_json)
        return cls(folder, config, front, dataset, raw, space, candidates, variants)

    def models(self, variant: Variant) -> list[Path]:
        """Return a variant's ONNX files, all of them there and readable.

        Raises:
            UserError: If one is not.
        """
        # names only: a variants.json from elsewhere must not reach out of the run
        paths = [self.folder.variants / Path(name).name for name in variant.form.models]
        for path in paths:
            read_onnx(path)
        return paths

    def network(self, form: NetworkForm) -> StagedNetwork:
        """Return a form's float32 network, without early exits where the form has none.

        Raises:
            UserError: If its weights are missing or damaged.
        """
        from safetensors import SafetensorError

        from search_spaces.blocks import without_exits

        if form.arch_id not in self.candidates:
            raise UserError(f"variants.json: {form.arch_id} is not in front.json. Search again.")
        architecture = self.candidates[form.arch_id].architecture
        # a name only, as for models
        path = self.folder.checkpoints / Path(form.checkpoint).name
        try:
            network = load_network(self.space, architecture, path)
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged ({error}). Search again.") from None
        staged = cast("StagedNetwork", network)
        return staged if form.has_exits else without_exits(staged).eval()

    def samples(self, points: Mapping[str, Variant], networks: Mapping[str, str]) -> BundleSamples:
        """Return validation samples with what networks and operating points answer.

        Args:
            points: By name.
            networks: Name of each point's network, see `network_names`.
        """
        validation = self.dataset.validation
        count = min(_SAMPLES, len(validation.y))
        # spread over the split: neighbours may be of one class or one speaker
        rows = np.linspace(0, len(validation.y) - 1, count).round().astype(np.intp)
        x = validation.x[rows]
        raw = () if self.raw is None else tuple(map(self.raw, rows[:_RAW_SAMPLES].tolist()))
        computed, stored = {}, {}
        for name, variant in by_network(points, networks).items():
            trained = self._trained_logits(variant.form, x)
            computed[name] = onnx_logits(self.models(variant), x)
            stored[name] = trained or computed[name]
        answers = {
            point: PointAnswers(*variant.policy.apply(computed[networks[point]]))
            for point, variant in points.items()
        }
        return BundleSamples(x, validation.y[rows], raw, stored, answers)

    def _trained_logits(self, form: NetworkForm, x: NDArray[np.float32]) -> Logits | None:
        """Return what torch says of samples; none of quantized forms."""
        from hwnas.training import predict_logits

        return predict_logits(self.network(form), x) if form.precision == "float32" else None

    def notes(self) -> dict[str, str]:
        """Return what a user must know of data and licences."""
        dataset, source = self.dataset, self.config.dataset
        counts = [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)]
        return {
            "data": f"{Path(dataset.name).name}, read as {source.kind}: {counts[0]} samples to "
            f"train, {counts[1]} to choose, {counts[2]} to judge",
            "licence of the data": source.licence
            or "not stated in the experiment (dataset.licence); ask who owns the data",
            "licence of the weights": "for whoever trained them to choose, within that of the data",
        }


def network_names(points: Mapping[str, Variant]) -> dict[str, str]:
    """Return the name of each operating point's network; points may share one."""
    names: dict[str, str] = {}
    known: dict[tuple[NetworkForm, str], str] = {}
    for point, variant in points.items():
        key = (variant.form, variant.target)
        if key not in known:
            name = variant.form.network_id
            taken = name in known.values()
            known[key] = f"{name}-{variant.target}" if taken else name
        names[point] = known[key]
    return names


def by_network(points: Mapping[str, Variant], networks: Mapping[str, str]) -> dict[str, Variant]:
    """Return a variant of each network, by the network's name."""
    return {networks[point]: variant for point, variant in points.items()}


def _candidates(front: Mapping[str, Any]) -> dict[str, Candidate]:
    try:
        found = [Candidate.from_dict(c) for c in front["candidates"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"front.json: damaged ({type(error).__name__}: {error}).") from None
    return {c.architecture.arch_id: c for c in found}
