"""Networks added to a bundle in other formats: what is recorded, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hwnas import format_writing
from hwnas.bundle_manifest import ConvertedNetwork
from hwnas.bundle_samples import Logits
from hwnas.datasets import Dataset, Split
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.export_formats import FormatName, FormatRequest, NetworkToConvert
from hwnas.format_text import described
from hwnas.format_writing import FormatWriter
from hwnas.quantization import calibration_samples
from tests.unit.hwnas.quantized_networks import CLASSES, exported, samples, two_stages

NETWORK = two_stages()
STORED = samples(8, seed=5)


def split(n: int, seed: int) -> Split:
    """Return random samples of which the network's last exit gets every other one right."""
    x = samples(n, seed)
    with torch.no_grad():
        y = NETWORK(torch.from_numpy(x))[-1].argmax(dim=1).numpy()
    y[::2] = (y[::2] + 1) % CLASSES
    return Split(x, y)


DATASET = Dataset("random", tuple("abcdefghij"), split(64, 1), split(100, 2), split(10, 3), {})


def writer(folder: Path, *names: FormatName) -> FormatWriter:
    return FormatWriter(folder, FormatRequest(names), DATASET, 32, STORED)


def onnx_files(folder: Path) -> list[Path]:
    paths = []
    for index, model in enumerate(exported(NETWORK)):
        paths.append(folder / f"{index}.onnx")
        onnx.save(model, paths[-1])
    return paths


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[FormatWriter, Path]:
    folder = tmp_path_factory.mktemp("bundle")
    formats = writer(folder, "litert")
    models = onnx_files(tmp_path_factory.mktemp("onnx"))
    formats.add("net", NETWORK, "float32", models, {"never": ExitPolicy((2.0,))})
    return formats, folder


def int8(formats: FormatWriter) -> ConvertedNetwork:
    (found,) = [c for c in formats.converted if c.precision == "int8"]
    return found


def test_a_float32_network_is_in_both_precisions_with_the_tools_that_made_them(
    written: tuple[FormatWriter, Path],
) -> None:
    formats, folder = written
    assert [c.name for c in formats.converted] == ["litert-float32/net", "litert-int8/net"]
    for converted in formats.converted:
        assert set(converted.tools) == {"ai-edge-litert", "ai-edge-quantizer"}
        assert [stage.file for stage in converted.stages] == [
            f"formats/litert/net/stage_{k}.{converted.precision}.tflite" for k in range(2)
        ]
        assert all((folder / stage.file).is_file() for stage in converted.stages)


def test_int8_is_judged_on_the_validation_split(written: tuple[FormatWriter, Path]) -> None:
    converted = int8(written[0])
    last = converted.stages[-1].metrics
    agreement, accuracy = (last[name]["value"] for name in ("class_agreement", "accuracy"))
    assert agreement > 0.9
    # every other true class is another one than the network's: one that is not agreed on is
    # gained or lost
    assert abs(accuracy - 0.5) <= 1 - agreement + 1e-12
    assert accuracy * 100 == pytest.approx(round(accuracy * 100))  # of 100 samples
    assert {metric["split"] for metric in last.values()} == {"validation"}
    assert accuracy < last["accuracy"]["high"]


def test_int8_is_judged_under_the_policy_of_its_operating_points(
    written: tuple[FormatWriter, Path],
) -> None:
    converted = int8(written[0])
    point = converted.operating_points["never"]
    # no probability is 2: all samples leave at the last exit
    assert point.exit_shares == (0.0, 1.0)
    assert point.metrics == converted.stages[-1].metrics


def test_what_int8_answers_to_the_bundles_samples_is_kept(
    written: tuple[FormatWriter, Path],
) -> None:
    formats, _ = written
    assert list(formats.logits) == ["litert-int8/net"]
    assert [logits.shape for logits in formats.logits["litert-int8/net"]] == [(8, CLASSES)] * 2
    assert [c.has_own_answers for c in formats.converted] == [False, True]


def test_a_network_that_is_int8_in_the_bundle_has_answers_of_its_own_in_int8(
    tmp_path: Path,
) -> None:
    formats = writer(tmp_path / "bundle", "litert")
    formats.add("net", NETWORK, "int8", onnx_files(tmp_path), {})
    (converted,) = formats.converted
    assert converted.has_own_answers
    assert list(formats.logits) == ["litert-int8/net"]


def test_a_network_that_cannot_be_converted_is_told_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HalfWay:
        """Fails after its first stage."""

        title = "Half"

        def convert(self, source: NetworkToConvert, folder: Path, _: str) -> None:
            (folder / "stage_0").write_text("half")
            raise UserError("operator Erf (gelu) is not known to this conversion")

        def versions(self) -> dict[str, str]:
            return {"half": "1"}

    monkeypatch.setattr(format_writing, "FORMATS", {"litert": HalfWay()})
    formats = writer(tmp_path / "bundle", "litert")
    formats.add("net", NETWORK, "float32", onnx_files(tmp_path), {})
    (converted,) = formats.converted
    assert converted.failure == "operator Erf (gelu) is not known to this conversion"
    assert converted.stages == ()
    assert not [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]
    line = "LiteRT of net: not converted: operator Erf (gelu) is not known to this conversion"
    assert described(converted, tmp_path) == line


def test_a_network_that_is_converted_and_cannot_be_run_is_told_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litert = format_writing.FORMATS["litert"]

    class Unrunnable:
        """Converts as LiteRT does, to what its interpreter refuses."""

        title = "LiteRT"
        convert = litert.convert
        versions = litert.versions

        def runner(self) -> Callable[[Sequence[Path], NDArray[np.float32]], Logits]:
            def run(files: Sequence[Path], x: NDArray[np.float32]) -> Logits:
                files[0].write_bytes(b"damaged")
                return litert.runner()(files, x)  # type: ignore[misc]

            return run

    monkeypatch.setattr(format_writing, "FORMATS", {"litert": Unrunnable()})
    formats = writer(tmp_path / "bundle", "litert")
    formats.add("net", NETWORK, "float32", onnx_files(tmp_path), {})
    (converted,) = formats.converted
    assert (converted.failure or "").startswith("ai-edge-litert: ")
    assert formats.logits == {}
    assert not [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]


def test_what_is_refused_is_told_of_every_format(tmp_path: Path) -> None:
    formats = writer(tmp_path, "litert", "vela")
    formats.refuse("net", "its weights were not kept")
    assert [(c.format, c.failure) for c in formats.converted] == [
        ("litert", "its weights were not kept"),
        ("vela", "its weights were not kept"),
    ]


def test_calibration_samples_are_spread_over_the_split() -> None:
    x: NDArray[np.float32] = np.arange(9, dtype=np.float32)
    assert calibration_samples(x, 3).tolist() == [0, 4, 8]
    assert calibration_samples(x, 20).tolist() == x.tolist()


def test_a_line_tells_what_is_known_of_each_stage(written: tuple[FormatWriter, Path]) -> None:
    formats, folder = written
    converted = int8(formats)
    line = described(converted, folder)
    assert line.startswith("LiteRT int8 of net: 2 stages, ")
    agreed: Sequence[float] = [s.metrics["class_agreement"]["value"] for s in converted.stages]
    assert ", ".join(f"{100 * share:.1f} %" for share in agreed) in line
    assert "0.0 %, 100.0 % leaving at each exit" in line


def test_logits_are_those_of_the_files(written: tuple[FormatWriter, Path]) -> None:
    from hwnas.litert_export import run

    formats, folder = written
    files = [folder / stage.file for stage in int8(formats).stages]
    again: Logits = run(files, STORED)
    for got, stored in zip(again, formats.logits["litert-int8/net"], strict=True):
        np.testing.assert_array_equal(got, stored)
