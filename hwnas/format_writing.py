"""Add networks of a bundle to it in other formats, and judge what they answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy import wilson_interval
from hwnas.bundle_manifest import ConvertedNetwork, ConvertedStage, FormatName
from hwnas.bundle_samples import Logits
from hwnas.datasets import Split
from hwnas.errors import UserError
from hwnas.export_formats import (
    FORMATS,
    Conversion,
    FormatRequest,
    NetworkToConvert,
    StageConversion,
)

FOLDER = "formats"
"""Folder of a bundle that holds ``FORMAT/NETWORK/``."""


class FormatWriter:
    """Writes networks in the formats that are asked for.

    Args:
        bundle: Its folder, where it grows.
        request: What is asked for.
        validation: The validation split, which answers are compared on.

    Attributes:
        converted: What was written, and what could not be.
        logits: By `ConvertedNetwork.name`, what those that are not float32 answer to the
            bundle's samples, so that it can be repeated.
    """

    def __init__(self, bundle: Path, request: FormatRequest, validation: Split) -> None:
        self._bundle = bundle
        self._request = request
        self._validation = validation
        self.converted: list[ConvertedNetwork] = []
        self.logits: dict[str, Logits] = {}

    def add(
        self, name: str, network: NetworkToConvert, answers: Logits, samples: NDArray[np.float32]
    ) -> None:
        """Convert a network; one that cannot be is told in `converted`, and leaves no file.

        Args:
            name: Of the network in the bundle.
            network: The network.
            answers: Logits of its ONNX graphs on the validation split, by exit.
            samples: Inputs that the bundle keeps answers to.
        """
        for format_name in self._request.names:
            folder = self._bundle / FOLDER / format_name / name
            folder.mkdir(parents=True)
            try:
                made = FORMATS[format_name].convert(network, folder, self._request.accelerator)
            except UserError as error:
                shutil.rmtree(folder)
                self.converted.append(_failed(format_name, name, str(error)))
                continue
            for conversion in made:
                self._record(format_name, name, conversion, answers, samples)

    def refuse(self, name: str, reason: str) -> None:
        """Tell that a network can be converted to none of the formats, and why."""
        self.converted += [
            _failed(format_name, name, reason) for format_name in self._request.names
        ]

    def _record(
        self,
        format_name: FormatName,
        name: str,
        conversion: Conversion,
        answers: Logits,
        samples: NDArray[np.float32],
    ) -> None:
        judged: list[dict[str, Any]] = [{} for _ in conversion.stages]
        files = [stage.file for stage in conversion.stages]
        run = FORMATS[format_name].runner()
        own: Logits | None = None
        if run is not None and conversion.precision != "float32":
            judged = self._judged(run(files, self._validation.x), answers)
            own = run(files, samples)
        stages = [
            self._stage(stage, metrics)
            for stage, metrics in zip(conversion.stages, judged, strict=True)
        ]
        converted = ConvertedNetwork(
            format=format_name,
            network=name,
            precision=conversion.precision,
            stages=tuple(stages),
            tools=FORMATS[format_name].versions(),
            settings=dict(conversion.settings),
            verification=conversion.verification,
            has_own_answers=own is not None,
        )
        self.converted.append(converted)
        if own is not None:
            self.logits[converted.name] = own

    def _stage(self, stage: StageConversion, judged: dict[str, Any]) -> ConvertedStage:
        return ConvertedStage(
            file=stage.file.relative_to(self._bundle).as_posix(),
            metrics={**{k: dict(v) for k, v in stage.metrics.items()}, **judged},
            notes=dict(stage.notes),
        )

    def _judged(self, logits: Logits, answers: Logits) -> list[dict[str, Any]]:
        """Return, for every exit, how often its class is right and that of the ONNX graphs."""
        classes = self._validation.y
        judged = []
        for got, wanted in zip(logits, answers, strict=True):
            found = got.argmax(axis=1)
            alike = found == wanted.argmax(axis=1)
            pairs = {"class_agreement": alike, "exit_accuracy": found == classes}
            judged.append({name: _share(hits) for name, hits in pairs.items()})
        return judged


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
