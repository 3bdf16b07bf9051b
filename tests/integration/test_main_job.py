"""The main job in miniature, through the command line: TVM on this computer, early exits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import targets
from hwnas.bundle_samples import BundleSamples
from hwnas.bundle_verification import verify
from hwnas.bundle_writing import BundleWriter
from hwnas.candidate_training import load_network
from hwnas.config import load_config
from hwnas.dataset_config import DigitsSource
from hwnas.datasets import load_dataset
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.exporting import export
from hwnas.spaces import create_space
from hwnas.training import predict_logits
from search_spaces import Architecture

EXPERIMENT = """\
name: miniature
dataset: {kind: digits}
space:
  name: early_exit
  n_stages: 2
  choices:
    stem_width: [8]
    width_multiplier: [1.0]
    stride_plan: ["1-2-2"]
    depth: [1]
    width: [8, 12]
    kernel: [3, 5]
    expansion: [2]
    se: [0, 1]
    activation: [relu6, hard_swish]
    exit_after: [1]
    exit_width: [0, 16]
target: host
constraints: {max_latency_ms: 50, max_flash_kib: 2000}
calibration: {samples: 8, held_out: 3}
training: {epochs: 3}
search: {evaluations: 4, batch: 2, warm_start: 2}
finalists: {count: 1, seeds: 2}
early_exit: {measure: max_probability}
"""


class Miniature:
    """A finished search of two-stage networks on the host, and the command to go on with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "miniature"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hwnas", *arguments],
            cwd=self.folder,
            env=os.environ | {"HWNAS_CACHE": str(self.folder / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def json(self, *arguments: str) -> Any:
        finished = self.command(*arguments, "--json")
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    def float32(self) -> str:
        """Return a variant that is what was trained: int8 is not, and may be the best one."""
        return self.variant("float32")

    def variant(self, precision: str) -> str:
        """Return a variant in a precision."""
        variants = json.loads((self.run / "variants.json").read_text())["variants"]
        return str(next(v["variant_id"] for v in variants if v["precision"] == precision))


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    made = Miniature(tmp_path_factory.mktemp("miniature"))
    (made.folder / "miniature.yaml").write_text(EXPERIMENT)
    front = made.json("search", "miniature.yaml")
    assert front == json.loads((made.run / "front.json").read_text())
    return made


@pytest.fixture(scope="module")
def front(miniature: Miniature) -> Any:
    return json.loads((miniature.run / "front.json").read_text())


def test_every_number_of_the_front_says_where_it_comes_from(front: Any) -> None:
    members = [c for c in front["candidates"] if c["on_front"]]
    assert members
    for member in members:
        metrics = member["metrics"]
        for name in ("latency_s", "worst_latency_s", "flash_bytes", "peak_ram_bytes"):
            assert metrics[name]["provenance"] == "measured"
            assert metrics[name]["value"] > 0
        for name in ("energy_j", "worst_energy_j", "inferences_per_joule"):
            assert metrics[name]["provenance"] == "modelled"
            assert metrics[name]["boundary"] == "inference_gross"
        assert metrics["accuracy"]["split"] == "test"
        assert metrics["validation_accuracy"]["split"] == "validation"


def test_the_search_spent_its_budget_on_distinct_architectures(front: Any) -> None:
    ids = [evaluation["arch_id"] for evaluation in front["evaluations"]]
    assert len(ids) == len(set(ids)) == 4


def test_calibration_and_front_measurements_are_all_kept(miniature: Miniature, front: Any) -> None:
    lines = (miniature.run / "measurements.jsonl").read_text().splitlines()
    phases = [json.loads(line)["phase"] for line in lines]
    assert phases.count("calibration") == 11
    assert phases.count("front") == len(front["candidates"])


def test_expected_latency_is_the_stages_measured_medians_weighted_by_exit_shares(
    miniature: Miniature, front: Any
) -> None:
    records = [
        json.loads(line) for line in (miniature.run / "measurements.jsonl").read_text().splitlines()
    ]
    for candidate in front["candidates"]:
        (record,) = [
            r
            for r in records
            if r["phase"] == "front" and r["architecture"] == candidate["architecture"]
        ]
        first, second = (np.median(stage["latency_s"]) for stage in record["stages"])
        early, late = candidate["deployment"]["exit_shares"]
        expected = early * first + late * (first + second)
        assert candidate["metrics"]["latency_s"]["value"] == pytest.approx(expected)
        assert candidate["metrics"]["worst_latency_s"]["value"] == pytest.approx(first + second)


def test_the_bundle_answers_the_test_split_as_the_trained_network_does(
    miniature: Miniature, front: Any
) -> None:
    exported = miniature.json("export", str(miniature.run), "--pick", miniature.float32())
    bundle = Path(miniature.folder / exported["path"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    (point,) = manifest["operating_points"].values()
    policy = ExitPolicy.from_dict(point["exit_policy"])
    stages = manifest["networks"][point["network"]]["stages"]
    sessions = [onnxruntime.InferenceSession(bundle / stage["onnx"]) for stage in stages]
    test = load_dataset(DigitsSource(kind="digits"), Path()).test
    got = []
    for x in test.x[:, None]:
        for k, session in enumerate(sessions):
            logits, *features = session.run(None, {"input": x})
            if k == len(sessions) - 1 or policy.confidence(k, logits) >= policy.thresholds[k]:
                break
            (x,) = features
        got.append(int(logits.argmax()))
    wanted, _ = policy.apply(_trained_logits(miniature, front, exported, test.x)[-len(stages) :])
    # a confidence within rounding of the threshold may leave at another exit: one sample at most
    assert np.count_nonzero(wanted != np.array(got)) <= 1


def _trained_logits(
    miniature: Miniature, front: Any, exported: Any, x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    arch_id = exported["operating_points"]["default"]["arch_id"]
    (member,) = [c for c in front["candidates"] if c["arch_id"] == arch_id]
    config = load_config(miniature.folder / "miniature.yaml")
    network = load_network(
        create_space(config.space, (1, 8, 8), 10),
        Architecture.from_dict(member["architecture"]),
        miniature.run / "checkpoints" / member["deployment"]["checkpoint"],
    )
    return predict_logits(network, x)


def test_checksums_of_the_bundle_cover_every_file(miniature: Miniature, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    exported = miniature.json("export", str(miniature.run), "--out", str(out))
    manifest = json.loads((out / "manifest.json").read_text())
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found - {"manifest.json"} == set(manifest["files"])
    assert {"samples.npz", "model_card.md", "run_example.py"} < found
    for name, record in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == record["sha256"]
    assert exported["size_bytes"] == sum((out / name).stat().st_size for name in found)


def test_a_target_that_computes_something_else_is_found(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(miniature.folder / "cache"))
    out = tmp_path / "bundle"
    exported = miniature.json(
        "export", str(miniature.run), "--pick", miniature.float32(), "--out", str(out)
    )
    assert "host" in {check["what"] for check in exported["checks"]}
    honest = targets.create

    def lying(*arguments: Any, **options: Any) -> Any:
        target = honest(*arguments, **options)
        run = target.run
        monkeypatch.setattr(
            target, "run", lambda artifact, x: tuple(1.01 * y for y in run(artifact, x))
        )
        return target

    monkeypatch.setattr(targets, "create", lying)
    with pytest.raises(UserError, match="outputs on host differ"):
        verify(out, ["host"])


def test_a_bundle_that_fails_its_checks_is_not_left_behind(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(miniature.folder / "cache"))
    finish = BundleWriter.finish

    def finish_wrongly(*arguments: Any) -> Any:
        (samples,) = [a for a in arguments if isinstance(a, BundleSamples)]
        logits = {n: tuple(1.01 * z for z in exits) for n, exits in samples.logits.items()}
        wrong = replace(samples, logits=logits)
        return finish(*(wrong if a is samples else a for a in arguments))

    monkeypatch.setattr(BundleWriter, "finish", finish_wrongly)
    with pytest.raises(UserError, match="differ from those stored"):
        export(miniature.run, out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_part_of_the_bundle_and_run(miniature: Miniature, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    asked = ["--format", "vela", "--format", "litert", "--accelerator", "ethos-u55-64"]
    exported = miniature.json(
        *("export", str(miniature.run), "--pick", miniature.float32(), "--out", str(out)), *asked
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["formats"] == exported["formats"]
    made = [(c["format"], c["precision"]) for c in manifest["formats"]]
    assert made == [("litert", "float32"), ("litert", "int8"), ("vela", "int8")]
    (network,) = manifest["networks"].values()
    for converted in manifest["formats"]:
        assert converted["failure"] is None
        assert len(converted["stages"]) == len(network["stages"])
        assert {stage["file"] for stage in converted["stages"]} < set(manifest["files"])
    _, int8, vela = manifest["formats"]
    assert int8["operating_points"]["default"]["metrics"]["class_agreement"]["value"] > 0.5
    assert vela["settings"]["accelerator"] == "ethos-u55-64"
    compared = {check["what"]: check["samples"] for check in exported["checks"]}
    assert compared["LiteRT float32"] == compared["LiteRT int8"] == compared["ONNX Runtime"]
    assert "LiteRT int8" in {check.what for check in verify(out)}


def test_a_bundle_without_a_format_that_was_asked_for_is_written_and_the_reason_told(
    miniature: Miniature, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    pick = ["--pick", miniature.variant("int8")]
    done = miniature.command(
        *("export", str(miniature.run), "--format", "coreml", "--out", str(out)), *pick
    )
    assert done.returncode == 1, done.stderr
    assert "not converted: the bundle has it in int8; only float32 is converted" in done.stdout
    (failed,) = json.loads((out / "manifest.json").read_text())["formats"]
    assert failed["stages"] == []
    assert not (out / "formats" / "coreml" / failed["network"]).exists()
    assert verify(out)


def test_a_format_that_is_not_there_is_refused_before_anything_is_exported(
    miniature: Miniature, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    done = miniature.command("export", str(miniature.run), "--format", "tflite", "--out", str(out))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--format tflite: wanted litert, vela, coreml, executorch. Did you mean" in line
    assert not out.exists()


def test_an_exported_stage_measures_and_predicts_alike(
    miniature: Miniature, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    miniature.json("export", str(miniature.run), "--pick", miniature.float32(), "--out", str(out))
    (stage, *_) = sorted(out.glob("networks/*/stage_0.onnx"))
    measured = miniature.json("measure", "host", str(stage))
    predicted = miniature.json("predict", "host", "--onnx", str(stage))
    assert measured["latency_s"]["provenance"] == "measured"
    assert predicted["latency_s"]["provenance"] == "predicted"
    # a predictor of 11 networks on a busy machine: within a factor of two
    ratio = predicted["latency_s"]["mean"] / measured["latency_s"]["value"]
    assert 0.5 < ratio < 2
    assert predicted["flash_bytes"]["mean"] == pytest.approx(
        measured["flash_bytes"]["value"], rel=0.2
    )


def test_an_architecture_of_the_front_is_predicted_from_its_json(
    miniature: Miniature, front: Any
) -> None:
    architecture = front["candidates"][0]["architecture"]
    predicted = miniature.json("predict", "host", "--arch", json.dumps(architecture))
    assert len(predicted["stage_latency_s"]) == 2
    total = sum(stage["mean"] for stage in predicted["stage_latency_s"])
    assert predicted["latency_s"]["mean"] == pytest.approx(total)


def test_the_report_is_written_by_the_search_and_again_on_demand(miniature: Miniature) -> None:
    page = miniature.run / "report.html"
    first = page.read_text()
    page.unlink()
    miniature.json("report", str(miniature.run))
    second = page.read_text()
    assert "miniature on host" in first
    assert "miniature on host" in second


def test_targets_are_listed_shown_and_checked(miniature: Miniature) -> None:
    names = [spec["name"] for spec in miniature.json("targets", "list")]
    assert {"host", "host-onnxruntime", "raspberry-pi-4"} <= set(names)
    assert miniature.json("targets", "show", "host")["backend"] == "tvm"
    steps = miniature.json("targets", "check", "host-onnxruntime")
    assert all(step["ok"] for step in steps)
    assert {"compile", "parity", "latency"} <= {step["name"] for step in steps}


def test_doctor_finds_everything_in_order_here(miniature: Miniature) -> None:
    findings = {finding["name"]: finding for finding in miniature.json("doctor")}
    assert all(finding["ok"] for finding in findings.values())
    assert {"Python", "C compiler", "torch", "apache-tvm", "target host"} <= findings.keys()
