"""Add networks of a bundle to it in other formats, and judge what they answer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy import wilson_interval
from hwnas.bundle_manifest import ConvertedNetwork, ConvertedPoint, ConvertedStage, FormatName
from hwnas.bundle_samples import Logits
from hwnas.datasets import Dataset
from hwnas.early_exit import exit_shares
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.export_formats import FORMATS, Conversion, FormatRequest, NetworkToConvert, RunNetwork
from hwnas.measuring import read_onnx
from hwnas.quantization import calibration_samples
from hwnas.stage_running import run_stage_models
from hwnas.variants import Precision

if TYPE_CHECKING:
    from search_spaces.blocks import StagedNetwork

FOLDER = "formats"
"""Folder of a bundle that holds ``FORMAT/NETWORK/``."""


class FormatWriter:
    """Writes networks in the formats that are asked for.

    Args:
        bundle: Its folder, where it grows.
        request: What is asked for.
        dataset: Its training split is what int8 is calibrated on; answers are compared on its
            validation split.
        calibration: How many samples of the training split.
        samples: Inputs that the bundle keeps answers to, ``(n, C, H, W)``.

    Attributes:
        converted: What was written, and what could not be.
        logits: By `ConvertedNetwork.name`, what those in int8 answer to ``samples``, so that it
            can be repeated.
    """

    def __init__(
        self,
        bundle: Path,
        request: FormatRequest,
        dataset: Dataset,
        calibration: int,
        samples: NDArray[np.float32],
    ) -> None:
        self._bundle = bundle
        self._request = request
        self._dataset = dataset
        self._calibration = calibration_samples(dataset.train.x, calibration)
        self._samples = samples
        self.converted: list[ConvertedNetwork] = []
        self.logits: dict[str, Logits] = {}

    def add(
        self,
        name: str,
        network: StagedNetwork,
        precision: Precision,
        models: Sequence[Path],
        policies: Mapping[str, ExitPolicy],
    ) -> None:
        """Convert a network; one that cannot be is told in `converted`, and leaves no file.

        Args:
            name: Of the network in the bundle.
            network: Its float32 weights.
            precision: Of the bundle's network.
            models: Its ONNX file of each stage.
            policies: By operating point that uses it.
        """
        source = NetworkToConvert(network, self._dataset.input_shape, precision, self._calibration)
        for format_name in self._request.names:
            folder = self._bundle / FOLDER / format_name / name
            folder.mkdir(parents=True)
            try:
                made = FORMATS[format_name].convert(source, folder, self._request.accelerator)
                converted = [
                    self._told(format_name, name, conversion, models, policies)
                    for conversion in made
                ]
            except UserError as error:
                shutil.rmtree(folder)
                converted = [_failed(format_name, name, str(error))]
            self.converted += converted

    def refuse(self, name: str, reason: str) -> None:
        """Tell that a network can be converted to none of the formats, and why."""
        self.converted += [
            _failed(format_name, name, reason) for format_name in self._request.names
        ]

    def _told(
        self,
        format_name: FormatName,
        name: str,
        conversion: Conversion,
        models: Sequence[Path],
        policies: Mapping[str, ExitPolicy],
    ) -> ConvertedNetwork:
        converted = self._record(format_name, name, conversion)
        run = FORMATS[format_name].runner()
        # float32 has no answers of its own: they are those of the trained network
        if run is None or conversion.precision != "int8":
            return converted
        return self._judged(converted, run, models, policies)

    def _record(
        self, format_name: FormatName, name: str, conversion: Conversion
    ) -> ConvertedNetwork:
        stages = [
            ConvertedStage(
                file=stage.file.relative_to(self._bundle).as_posix(),
                metrics={name: dict(metric) for name, metric in stage.metrics.items()},
                notes=dict(stage.notes),
            )
            for stage in conversion.stages
        ]
        return ConvertedNetwork(
            format=format_name,
            network=name,
            precision=conversion.precision,
            stages=tuple(stages),
            tools=FORMATS[format_name].versions(),
            settings=dict(conversion.settings),
            verification=conversion.verification,
        )

    def _judged(
        self,
        converted: ConvertedNetwork,
        run: RunNetwork,
        models: Sequence[Path],
        policies: Mapping[str, ExitPolicy],
    ) -> ConvertedNetwork:
        """Compare what a network in another precision answers with what its ONNX graphs do."""
        files = [self._bundle / stage.file for stage in converted.stages]
        split = self._dataset.validation
        logits = run(files, split.x)
        wanted = run_stage_models([read_onnx(path) for path in models], split.x)
        self.logits[converted.name] = run(files, self._samples)
        stages = [
            stage.model_copy(
                update={"metrics": {**stage.metrics, **_compared(found, right, split.y)}}
            )
            for stage, found, right in zip(
                converted.stages, map(_classes, logits), map(_classes, wanted), strict=True
            )
        ]
        points = {}
        for point, policy in policies.items():
            classes, exits = policy.apply(logits)
            points[point] = ConvertedPoint(
                exit_shares=exit_shares(exits, len(logits)),
                metrics=_compared(classes, policy.apply(wanted)[0], split.y),
            )
        update = {"stages": tuple(stages), "operating_points": points, "has_own_answers": True}
        return converted.model_copy(update=update)


def _classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    classes: NDArray[np.int64] = logits.argmax(axis=1)
    return classes


def _compared(
    found: NDArray[np.int64], wanted: NDArray[np.int64], true: NDArray[np.int64]
) -> dict[str, dict[str, Any]]:
    """Return how often classes are those wanted, and how often they are right."""
    return {"class_agreement": _share(found == wanted), "accuracy": _share(found == true)}


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"value": float(hits.mean()), "low": low, "high": high, "split": "validation"}


def _failed(format_name: FormatName, name: str, reason: str) -> ConvertedNetwork:
    return ConvertedNetwork(
        format=format_name,
        network=name,
        precision=None,
        stages=(),
        tools=FORMATS[format_name].versions(),
        settings={},
        verification="",
        failure=reason,
    )
