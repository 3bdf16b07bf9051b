"""Formats that a bundle's networks can be converted to, each by tools of an extra of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle_manifest import FormatName
from hwnas.bundle_samples import Logits
from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError

if TYPE_CHECKING:
    from search_spaces import Shape
    from search_spaces.blocks import StagedNetwork

Accelerator: TypeAlias = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
DEFAULT_ACCELERATOR: Accelerator = "ethos-u55-128"

RunNetwork: TypeAlias = Callable[[Sequence[Path], NDArray[np.float32]], Logits]
"""Given a file for each stage and samples ``(n, C, H, W)``, returns the logits of every exit."""


@dataclass(frozen=True)
class NetworkToConvert:
    """A trained network of a bundle.

    Args:
        network: Its float32 weights, ready for inference.
        input_shape: ``(C, H, W)``.
        precision: Of the bundle's network: where that is not float32, only formats in int8 are
            of the same kind.
        calibration: Training samples ``(N, C, H, W)`` that ranges of int8 are taken from.
    """

    network: StagedNetwork
    input_shape: Shape
    precision: Literal["float32", "int8", "mixed"]
    calibration: NDArray[np.float32]


@dataclass(frozen=True)
class StageConversion:
    """A stage in another format.

    Args:
        file: Where it was written; a folder for Core ML.
        metrics: What its tools say of it, by name in SI units, with provenance.
        notes: What else they say, by subject.
    """

    file: Path
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Conversion:
    """A network in another format.

    Args:
        precision: Of its arithmetic.
        stages: In execution order.
        settings: Of the tools that made it, by name.
        verification: How far its outputs are known, in a few words.
    """

    precision: Literal["float32", "int8"]
    stages: tuple[StageConversion, ...]
    settings: Mapping[str, str]
    verification: str


Convert: TypeAlias = Callable[[NetworkToConvert, Path, Accelerator], list[Conversion]]


@dataclass(frozen=True)
class ExportFormat:
    """A format and what makes it.

    Args:
        title: For people.
        module: Of this package, which has ``convert``, a `Convert`, and, where this computer can
            run the format, ``run``, a `RunNetwork`.
        tools: Packages that it needs, by the module that each is imported as. They come with
            the extra of the format's name.
        runs: Whether this computer can run it.
    """

    title: str
    module: str
    tools: Mapping[str, str]
    runs: bool

    def missing_tools(self) -> list[str]:
        """Return the packages that are not installed; nothing is imported."""
        return [package for module, package in self.tools.items() if find_spec(module) is None]

    def versions(self) -> dict[str, str]:
        """Return the versions of its packages."""
        return {package: metadata.version(package) for package in self.tools.values()}

    def convert(
        self, network: NetworkToConvert, folder: Path, accelerator: Accelerator
    ) -> list[Conversion]:
        """Write a network's stages into an empty folder, in every precision there is.

        Raises:
            UserError: If the network cannot be converted; it says why.
        """
        convert: Convert = import_module(self.module).convert
        return convert(network, folder, accelerator)

    def runner(self) -> RunNetwork | None:
        """Return what runs it; none where nothing does, or where its tools are missing."""
        if not self.runs or self.missing_tools():
            return None
        run: RunNetwork = import_module(self.module).run
        return run


_LITERT = {"ai_edge_litert": "ai-edge-litert", "ai_edge_quantizer": "ai-edge-quantizer"}

FORMATS: Mapping[FormatName, ExportFormat] = {
    "litert": ExportFormat("LiteRT", "hwnas.litert_export", _LITERT, runs=True),
    "vela": ExportFormat(
        "Vela", "hwnas.vela_export", {**_LITERT, "ethosu": "ethos-u-vela"}, runs=False
    ),
    "coreml": ExportFormat(
        "Core ML", "hwnas.coreml_export", {"coremltools": "coremltools"}, runs=False
    ),
    "executorch": ExportFormat(
        "ExecuTorch", "hwnas.executorch_export", {"executorch": "executorch"}, runs=True
    ),
}


@dataclass(frozen=True)
class FormatRequest:
    """What a bundle is to have beside ONNX.

    Args:
        names: Of formats.
        accelerator: That Vela compiles for.
    """

    names: tuple[FormatName, ...] = ()
    accelerator: Accelerator = DEFAULT_ACCELERATOR


def format_request(names: Sequence[str], accelerator: str | None) -> FormatRequest:
    """Check what a user asks for, before anything heavy is imported.

    Args:
        names: Of formats; repeated ones count once.
        accelerator: For Vela; the default one where ``None``.

    Raises:
        UserError: If there is no such format or accelerator, if it needs an extra that is not
            installed, or if an accelerator is named that nothing is compiled for.
    """
    for name in names:
        if name not in FORMATS:
            hint = did_you_mean(name, [*FORMATS])
            raise UserError(f"--format {name}: wanted {', '.join(FORMATS)}.{hint}")
    if accelerator is not None:
        known = get_args(Accelerator)
        if accelerator not in known:
            hint = did_you_mean(accelerator, [*known])
            raise UserError(f"--accelerator {accelerator}: wanted {', '.join(known)}.{hint}")
        if "vela" not in names:
            raise UserError("--accelerator: only with --format vela, which compiles for it")
    wanted = tuple(name for name in FORMATS if name in names)
    for name in wanted:
        if missing := FORMATS[name].missing_tools():
            raise UserError(
                f"--format {name}: needs {', '.join(missing)}. "
                f"Install them: pip install 'hwnas[{name}]'"
            )
    chosen: Any = accelerator or DEFAULT_ACCELERATOR
    return FormatRequest(wanted, chosen)
