"""Write a bundle's files and its manifest; see `hwnas.bundle_manifest`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.bundle import NETWORKS, sha256
from hwnas.bundle_code import device_code
from hwnas.bundle_manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    BundledExitPolicy,
    BundledInput,
    BundledNetwork,
    BundledPoint,
    BundleManifest,
    ConvertedNetwork,
    FileRecord,
    StageFiles,
)
from hwnas.bundle_samples import BundleSamples
from hwnas.datasets import Dataset
from hwnas.model_card import model_card
from hwnas.run_folder import environment
from hwnas.runtime.policy import ScalingPolicy
from hwnas.variants import NetworkForm, Variant
from targets import write_atomically

SAMPLES, SCALING_POLICY, MODEL_CARD = "samples.npz", "policy.yaml", "model_card.md"


class BundleWriter:
    """Writes one bundle.

    Args:
        folder: Empty; where the bundle grows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._networks: dict[str, BundledNetwork] = {}

    def add_network(
        self,
        name: str,
        form: NetworkForm,
        target: str,
        models: Sequence[Path],
        libraries: Sequence[Path] | None,
    ) -> None:
        """Copy a network's files.

        Args:
            name: In the bundle.
            form: What it is.
            target: Name of the target that measured it.
            models: ONNX file of each stage.
            libraries: Of each stage, for the target, where its toolchain makes libraries.
        """
        stages = []
        for k, model in enumerate(models):
            onnx = f"{NETWORKS}/{name}/stage_{k}.onnx"
            self._copy(model, onnx)
            library = None
            if libraries is not None:
                library = f"{NETWORKS}/{name}/stage_{k}.{target}{libraries[k].suffix}"
                self._copy(libraries[k], library)
            stages.append(StageFiles(onnx=onnx, library=library))
        self._networks[name] = BundledNetwork(
            arch_id=form.arch_id,
            training=form.training,
            precision=form.precision,
            target=target,
            stages=tuple(stages),
        )

    def model_files(self, name: str) -> list[Path]:
        """Return the ONNX files of a network, as they are in the bundle."""
        return [self._folder / stage.onnx for stage in self._networks[name].stages]

    def finish(
        self,
        run: str,
        target: str,
        dataset: Dataset,
        points: Mapping[str, tuple[str, Variant]],
        samples: BundleSamples,
        notes: Mapping[str, str],
        policy: ScalingPolicy | None = None,
        formats: Sequence[ConvertedNetwork] = (),
    ) -> BundleManifest:
        """Write everything else.

        Args:
            run: Name of the run.
            target: Name of its target.
            dataset: That the networks were trained on.
            points: By name, the dearest first: name of the network, and the variant.
            samples: With the answers of all networks and points.
            notes: Licences, and what else a user must know.
            policy: When to use which point; the first one always where there is none.
            formats: Networks in other formats, whose files are in the folder already.
        """
        samples.save(self._folder / SAMPLES)
        for name, code in device_code().items():
            (self._folder / name).write_bytes(code)
        if policy is not None:
            (self._folder / SCALING_POLICY).write_text(policy.to_yaml(), encoding="utf-8")
        manifest = BundleManifest(
            schema_version=SCHEMA_VERSION,
            run=run,
            target=target,
            class_names=dataset.class_names,
            input=BundledInput(shape=(1, *dataset.input_shape), dtype="float32"),
            preprocessing=dict(dataset.preprocessing),
            networks=self._networks,
            operating_points={
                name: self._point(network, variant) for name, (network, variant) in points.items()
            },
            formats=tuple(formats),
            scaling_policy=SCALING_POLICY if policy is not None else None,
            samples=SAMPLES,
            notes=dict(notes),
            environment=environment(),
            files={},
        )
        (self._folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
        manifest = manifest.model_copy(update={"files": self._records()})
        content: dict[str, Any] = manifest.model_dump(mode="json")
        write_atomically(
            self._folder / MANIFEST, json.dumps(content, indent=1, allow_nan=False).encode()
        )
        return manifest

    def _point(self, network: str, variant: Variant) -> BundledPoint:
        return BundledPoint(
            network=network,
            variant_id=variant.variant_id,
            exit_policy=BundledExitPolicy(
                chosen_for=tuple(sha256(path) for path in self.model_files(network)),
                measure=variant.policy.measure,
                temperatures=variant.policy.temperatures,
                thresholds=variant.policy.thresholds,
            ),
            exit_shares=variant.exit_shares,
            device_point=variant.device_point,
            metrics={name: metric.to_dict() for name, metric in variant.metrics.items()},
        )

    def _records(self) -> dict[str, FileRecord]:
        return {
            path.relative_to(self._folder).as_posix(): FileRecord(
                sha256=sha256(path), size_bytes=path.stat().st_size
            )
            for path in sorted(self._folder.rglob("*"))
            if path.is_file()
        }

    def _copy(self, source: Path, name: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
