"""Open a bundle: everything in it is checked before anything is used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.bundle_manifest import (
    BundledNetwork,
    BundledPoint,
    BundleManifest,
    ConvertedNetwork,
    read_manifest,
)
from hwnas.errors import UserError

if TYPE_CHECKING:
    import onnx

NETWORKS = "networks"
"""Folder of a bundle that holds nothing but the stages of its networks."""

INPUT, LOGITS, FEATURES = "input", "logits", "features"
_AGAIN = "Copy the bundle again, or export it again."

Shape = tuple[int, ...]


def open_bundle(path: Path) -> BundleManifest:
    """Check a bundle and return its manifest; nothing of it is run.

    Checked are the manifest; size and SHA-256 of every file; that no file lies outside the
    bundle and no stage too many inside; that operating points name networks of the bundle,
    and policies fit the graphs that they were chosen for; and that the stages' ONNX graphs
    chain from the input to the classes.

    Args:
        path: Folder of the bundle.

    Raises:
        UserError: For the first thing that is wrong.
    """
    manifest = read_manifest(path)
    _check_files(path, manifest)
    for name, point in manifest.operating_points.items():
        _check_point(f"{path}: operating_points.{name}", point, manifest)
    for name, network in manifest.networks.items():
        _check_graphs(path, network, manifest)
        if name not in {p.network for p in manifest.operating_points.values()}:
            raise UserError(f"{path}: networks.{name}: no operating point uses it. {_AGAIN}")
    for index, converted in enumerate(manifest.formats):
        _check_format(f"{path}: formats.{index}", converted, manifest)
    return manifest


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(path: Path, manifest: BundleManifest) -> None:
    for name in _named(manifest):
        if name not in manifest.files:
            raise UserError(f"{path}: files: no checksum of {name}. {_AGAIN}")
    root = path.resolve()
    for name, record in manifest.files.items():
        file = path / name
        if not file.resolve().is_relative_to(root):
            raise UserError(f"{file}: a link out of the bundle. {_AGAIN}")
        if not file.is_file():
            raise UserError(f"{file}: missing. {_AGAIN}")
        try:
            size_bytes, digest = file.stat().st_size, sha256(file)
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror})") from None
        if size_bytes != record.size_bytes:
            raise UserError(f"{file}: wanted {record.size_bytes} bytes. Got {size_bytes}. {_AGAIN}")
        if digest != record.sha256:
            raise UserError(f"{file}: changed since it was exported (SHA-256 differs). {_AGAIN}")
    for file in sorted((path / NETWORKS).rglob("*")):
        if not file.is_dir() and file.relative_to(path).as_posix() not in manifest.files:
            raise UserError(f"{file}: not in {path.name}/manifest.json. Remove it.")


def _named(manifest: BundleManifest) -> Iterator[str]:
    for network in manifest.networks.values():
        for stage in network.stages:
            yield stage.onnx
            if stage.library is not None:
                yield stage.library
    yield manifest.samples
    if manifest.scaling_policy is not None:
        yield manifest.scaling_policy


def _check_point(where: str, point: BundledPoint, manifest: BundleManifest) -> None:
    network = manifest.networks.get(point.network)
    if network is None:
        known = ", ".join(manifest.networks)
        raise UserError(f"{where}.network: no network {point.network!r}. The bundle has: {known}.")
    n = len(network.stages)
    policy = point.exit_policy
    counts = {
        "thresholds": (len(policy.thresholds), n - 1),
        "temperatures": (len(policy.temperatures) or n, n),
        "chosen_for": (len(policy.chosen_for), n),
    }
    for name, (got, wanted) in counts.items():
        if got != wanted:
            raise UserError(
                f"{where}.exit_policy.{name}: chosen for another graph: {point.network} has "
                f"{n} stages, so wanted {wanted}. Got {got}."
            )
    if len(point.exit_shares) != n:
        raise UserError(f"{where}.exit_shares: wanted {n}. Got {len(point.exit_shares)}.")
    graphs = tuple(manifest.files[stage.onnx].sha256 for stage in network.stages)
    if policy.chosen_for != graphs:
        raise UserError(
            f"{where}.exit_policy: chosen for other graphs than those of {point.network} "
            "(SHA-256 differs). Export the bundle again."
        )


def _check_format(where: str, converted: ConvertedNetwork, manifest: BundleManifest) -> None:
    network = manifest.networks.get(converted.network)
    if network is None:
        known = ", ".join(manifest.networks)
        raise UserError(
            f"{where}.network: no network {converted.network!r}. The bundle has: {known}."
        )
    wanted = len(network.stages) if converted.failure is None else 0
    if len(converted.stages) != wanted:
        raise UserError(f"{where}.stages: wanted {wanted}. Got {len(converted.stages)}. {_AGAIN}")
    for stage in converted.stages:
        # a model of Core ML is a folder
        is_folder = converted.format == "coreml"
        inside = [name for name in manifest.files if name.startswith(f"{stage.file}/")]
        if not (inside if is_folder else stage.file in manifest.files):
            raise UserError(f"{where}: no checksum of {stage.file}. {_AGAIN}")


def _check_graphs(path: Path, network: BundledNetwork, manifest: BundleManifest) -> None:
    classes = (1, len(manifest.class_names))
    x: Shape = manifest.input.shape
    last = len(network.stages) - 1
    for k, stage in enumerate(network.stages):
        where = path / stage.onnx
        inputs, outputs = _interface(where)
        names = [LOGITS] if k == last else [LOGITS, FEATURES]
        if list(inputs) != [INPUT] or list(outputs) != names:
            raise UserError(
                f"{where}: stage {k} of {last + 1}: wanted {INPUT} -> {', '.join(names)}. "
                f"Got {', '.join(inputs)} -> {', '.join(outputs)}."
            )
        if inputs[INPUT] != x:
            before = "the bundle's input" if k == 0 else f"the features of stage {k - 1}"
            raise UserError(f"{where}: wanted {before}, {x}. Got input {inputs[INPUT]}.")
        if outputs[LOGITS] != classes:
            raise UserError(
                f"{where}: wanted logits {classes} for {classes[1]} class_names. "
                f"Got {outputs[LOGITS]}."
            )
        x = outputs.get(FEATURES, ())


def _interface(path: Path) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes of a graph's float32 inputs and outputs by name; 0: not fixed."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path}: not a valid ONNX model. {_AGAIN}") from None
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise UserError(f"{path}: keeps weights in another file, which is not checked. {_AGAIN}")
    given = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in given]
    return _shapes(path, inputs), _shapes(path, list(model.graph.output))


def _shapes(path: Path, values: list[onnx.ValueInfoProto]) -> dict[str, Shape]:
    import onnx

    for value in values:
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise UserError(f"{path}: {value.name}: wanted float32.")
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
