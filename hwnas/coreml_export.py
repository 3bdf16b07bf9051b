"""Convert networks to Core ML packages; predicting with them takes a Mac or an iPhone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.bundle import FEATURES, INPUT, LOGITS
from hwnas.errors import UserError
from hwnas.export_formats import Accelerator, Conversion, NetworkToConvert, StageConversion
from hwnas.foreign_tools import quiet_tool

if TYPE_CHECKING:
    from hwnas.stage_modules import StageModule

_SETTINGS = {"type": "ML program", "precision": "float32", "runs on": "iOS 15, macOS 12 or newer"}
_VERIFICATION = "read back, not run: that takes macOS"

Interface = dict[str, tuple[int, ...]]


def convert(network: NetworkToConvert, folder: Path, accelerator: Accelerator) -> list[Conversion]:
    """Write ``stage_K.mlpackage`` in float32, which processor and GPU compute in.

    What is written is read back: inputs and outputs have the names, shapes and types of the
    stage. Its arithmetic is not checked.

    Raises:
        UserError: If the network is not a float32 one in the bundle, or cannot be converted.
    """
    from hwnas.stage_modules import stage_modules

    stages = []
    for index, stage in enumerate(stage_modules(network)):
        package = folder / f"stage_{index}.mlpackage"
        with quiet_tool("coremltools"):
            _write(stage, package)
            found = interface(package)
        wanted = _wanted(stage)
        if found != wanted:
            raise UserError(f"coremltools: stage {index}: wanted {wanted}. Got {found}.")
        stages.append(StageConversion(package))
    return [Conversion("float32", tuple(stages), _SETTINGS, _VERIFICATION)]


def interface(package: Path) -> tuple[Interface, Interface]:
    """Return names and shapes of what a package reads and writes, all float32.

    Raises:
        UserError: If something is of another type.
    """
    import coremltools

    description = coremltools.utils.load_spec(str(package)).description
    return _shapes(description.input), _shapes(description.output)


def _shapes(features: Any) -> Interface:
    from coremltools.proto.FeatureTypes_pb2 import ArrayFeatureType

    shapes = {}
    for feature in features:
        array = feature.type.multiArrayType
        if array.dataType != ArrayFeatureType.FLOAT32:
            raise UserError(f"{feature.name}: wanted float32")
        shapes[feature.name] = tuple(array.shape)
    return shapes


def _wanted(stage: StageModule) -> tuple[Interface, Interface]:
    outputs = stage(stage.example)
    values = (outputs,) if stage.is_last else outputs
    names = (LOGITS, FEATURES)[: len(values)]
    return (
        {INPUT: tuple(stage.example.shape)},
        {name: tuple(value.shape) for name, value in zip(names, values, strict=True)},
    )


def _write(stage: StageModule, package: Path) -> None:
    import coremltools as ct
    import torch

    inputs, outputs = _wanted(stage)
    traced = torch.jit.trace(stage, stage.example)  # type: ignore[no-untyped-call]
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name=name, shape=shape) for name, shape in inputs.items()],
        outputs=[ct.TensorType(name=name) for name in outputs],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS15,
        skip_model_load=True,
    )
    model.save(str(package))
    # it is made of temporary files, which their owner alone may read
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
