from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from hwnas.bundle import open_bundle
from hwnas.errors import UserError
from tests.unit.hwnas.tiny_bundle import CLASSES, FEATURES, INPUT_SHAPE, TinyBundle


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return TinyBundle(tmp_path / "bundle")


def test_a_sound_bundle_is_opened(bundle: TinyBundle) -> None:
    manifest = open_bundle(bundle.path)
    assert manifest.default_point == "high"
    assert manifest.operating_points["low"].exit_policy.policy.thresholds == (0.5,)


def test_the_tiny_bundles_graphs_compute_what_it_says(bundle: TinyBundle) -> None:
    first, second = (onnxruntime.InferenceSession(bundle.path / bundle.stage(k)) for k in range(2))
    logits, features = first.run(None, {"input": bundle.x[:1]})
    (last,) = second.run(None, {"input": features})
    for got, wanted in zip((logits, last), bundle.logits(bundle.x[:1]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)  # float32 sums of a few terms


@pytest.mark.parametrize("name", [TinyBundle.stage(0), TinyBundle.stage(1), "samples.npz"])
def test_a_changed_byte_of_any_file_is_found(bundle: TinyBundle, name: str) -> None:
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name}: changed since it was exported"):
        open_bundle(bundle.path)


def damage_point(bundle: TinyBundle, key: str, value: object) -> None:
    bundle.manifest["operating_points"]["low"][key] = value
    bundle.seal()


def damage_policy(bundle: TinyBundle, key: str, value: object) -> None:
    bundle.manifest["operating_points"]["low"]["exit_policy"][key] = value
    bundle.seal()


def missing_stage(bundle: TinyBundle) -> None:
    (bundle.path / bundle.stage(1)).unlink()


def stage_too_many(bundle: TinyBundle) -> None:
    bundle.path.joinpath("networks/net/stage_2.onnx").write_bytes(b"")


def stage_without_checksum(bundle: TinyBundle) -> None:
    del bundle.manifest["files"][bundle.stage(1)]
    bundle.write_manifest()


def torn_file(bundle: TinyBundle) -> None:
    (bundle.path / "samples.npz").write_bytes(b"PK")


def path_out_of_the_bundle(bundle: TinyBundle) -> None:
    bundle.manifest["samples"] = "../samples.npz"
    bundle.seal()


def link_out_of_the_bundle(bundle: TinyBundle) -> None:
    outside = bundle.path.parent / "samples.npz"
    (bundle.path / "samples.npz").rename(outside)
    (bundle.path / "samples.npz").symlink_to(outside)


def features_of_another_width(bundle: TinyBundle) -> None:
    bundle.write_stage(
        1, [1, FEATURES + 1], {"logits": np.ones((FEATURES + 1, CLASSES), np.float32)}
    )
    bundle.choose_again()


def classes_too_many(bundle: TinyBundle) -> None:
    bundle.manifest["class_names"].append("d")
    bundle.seal()


def input_of_another_shape(bundle: TinyBundle) -> None:
    bundle.manifest["input"]["shape"] = [1, 1, 2, 3]
    bundle.seal()


def stages_swapped(bundle: TinyBundle) -> None:
    bundle.manifest["networks"]["net"]["stages"].reverse()
    for point in bundle.manifest["operating_points"].values():
        point["exit_policy"]["chosen_for"].reverse()
    bundle.seal()


def other_weights(bundle: TinyBundle) -> None:
    outputs = {"logits": 2 * bundle.heads[0], "features": bundle.trunk}
    bundle.write_stage(0, list(INPUT_SHAPE), outputs)
    bundle.seal()


def no_model(bundle: TinyBundle) -> None:
    (bundle.path / bundle.stage(1)).write_bytes(b"\xff" * 9)
    bundle.choose_again()


def weights_elsewhere(bundle: TinyBundle) -> None:
    path = bundle.path / bundle.stage(1)
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    path.write_bytes(model.SerializeToString())
    bundle.choose_again()


def network_of_no_point(bundle: TinyBundle) -> None:
    bundle.manifest["networks"]["spare"] = bundle.manifest["networks"]["net"]
    bundle.seal()


DAMAGES: dict[Callable[[TinyBundle], None], str] = {
    missing_stage: r"stage_1\.onnx: missing\.",
    stage_too_many: r"stage_2\.onnx: not in bundle/manifest\.json",
    stage_without_checksum: r"files: no checksum of networks/net/stage_1\.onnx",
    torn_file: r"samples\.npz: wanted \d+ bytes\. Got 2\.",
    path_out_of_the_bundle: r"samples: wanted text that matches",
    link_out_of_the_bundle: r"samples\.npz: a link out of the bundle",
    features_of_another_width: r"wanted the features of stage 0, \(1, 5\)\. Got input \(1, 6\)",
    classes_too_many: r"wanted logits \(1, 4\) for 4 class_names\. Got \(1, 3\)",
    input_of_another_shape: r"wanted the bundle's input, \(1, 1, 2, 3\)\. Got input \(1, 1, 2, 2\)",
    stages_swapped: r"stage 0 of 2: wanted input -> logits, features\. Got input -> logits\.",
    other_weights: r"operating_points\.high\.exit_policy: chosen for other graphs",
    no_model: r"stage_1\.onnx: not a valid ONNX model",
    weights_elsewhere: r"stage_1\.onnx: keeps weights in another file",
    network_of_no_point: r"networks\.spare: no operating point uses it",
    lambda b: damage_point(b, "network", "nat"): r"no network 'nat'\. The bundle has: net\.",
    lambda b: damage_point(b, "exit_shares", [1.0]): r"low\.exit_shares: wanted 2\. Got 1\.",
    lambda b: damage_policy(b, "thresholds", [0.5, 0.5]): r"thresholds: chosen for another graph",
    lambda b: damage_policy(b, "temperatures", [1.0]): r"temperatures: .* wanted 2\. Got 1\.",
}


@pytest.mark.parametrize(
    ("damage", "message"), DAMAGES.items(), ids=[m[:24] for m in DAMAGES.values()]
)
def test_a_damaged_bundle_is_refused_in_one_line(
    bundle: TinyBundle, damage: Callable[[TinyBundle], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(UserError, match=message) as caught:
        open_bundle(bundle.path)
    assert str(bundle.path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [100_000, 3000, 900, 300])
def test_a_manifest_nested_deeply_is_refused(bundle: TinyBundle, depth: int) -> None:
    notes = '{"schema_version": 2, "notes": ' + "[" * depth + "]" * depth + "}"
    (bundle.path / "manifest.json").write_text(notes)
    with pytest.raises(UserError, match=r"manifest\.json: "):
        open_bundle(bundle.path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a bundle"):
        open_bundle(tmp_path)


def test_opening_loads_neither_torch_nor_a_runtime(bundle: TinyBundle) -> None:
    code = (
        "import sys; from pathlib import Path; from hwnas.bundle import open_bundle; "
        f"open_bundle(Path({str(bundle.path)!r})); "
        "print(sorted({'torch', 'tvm', 'onnxruntime', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_networks_in_other_formats_are_part_of_a_bundle(bundle: TinyBundle) -> None:
    bundle.add_format()
    (converted,) = open_bundle(bundle.path).formats
    assert converted.name == "vela-int8/net"
    (bundle.path / converted.stages[1].file).write_text("changed")
    with pytest.raises(UserError, match=r"stage_1.vela.tflite: wanted \d+ bytes. Got 7"):
        open_bundle(bundle.path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network", "other", r"formats.0.network: no network 'other'. The bundle has: net"),
        ("stages", [], r"formats.0.stages: wanted 2. Got 0"),
        ("failure", "no Mac", r"formats.0.stages: wanted 0. Got 2"),
        ("format", "edgetpu", r"formats.0.format: wanted 'litert', .* Got .edgetpu"),
        (
            "stages",
            [{"file": f"formats/vela/net/{k}", "metrics": {}, "notes": {}} for k in range(2)],
            r"formats.0: no checksum of formats/vela/net/0",
        ),
        (
            "stages",
            [{"file": "../stage", "metrics": {}, "notes": {}}] * 2,
            r"formats.0.stages.0.file",
        ),
    ],
    ids=["network", "missing", "failed", "format", "unchecked", "outside"],
)
def test_a_format_that_does_not_fit_its_network_is_refused(
    bundle: TinyBundle, key: str, value: object, message: str
) -> None:
    bundle.add_format()[key] = value
    bundle.write_manifest()
    with pytest.raises(UserError, match=message):
        open_bundle(bundle.path)
