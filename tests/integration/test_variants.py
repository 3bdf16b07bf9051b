"""Variants of a finished search: measured where they run, judged as other code judges them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from numpy.typing import NDArray

import hwnas
from hwnas.dataset_config import DigitsSource
from hwnas.datasets import load_dataset
from hwnas.form_judging import JudgedVariant
from hwnas.run_folder import RunFolder
from hwnas.variants import Variant, Variants
from targets import open_measurement_log
from targets.spec import BOARDS

EXPERIMENT = """\
name: variants
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
    se: [0]
    activation: [relu6]
    exit_after: [1]
    exit_width: [0, 16]
target: host
objectives: [accuracy, latency]
calibration: {samples: 8, held_out: 0}
training: {epochs: 4}
accuracy: {scorer: full}
search: {evaluations: 4, batch: 2, warm_start: 2}
finalists: {count: 2, seeds: 2}
deployment:
  members: 1
  max_int8_drop: 0.5          # so little trained, int8 may lose anything
  distillation: {}
  pruning: {latency_share: 0.8, epochs: 1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("variants")
    (folder / "variants.yaml").write_text(EXPERIMENT)
    # who runs int8 is a file of one's own, beside that of the target
    for board, changes in (
        ("host", {"name": "mine", "quantized_target": "int8.yaml"}),
        ("host-onnxruntime", {"name": "mine-int8"}),
    ):
        document = yaml.safe_load((BOARDS / f"{board}.yaml").read_text()) | changes
        path = folder / ("mine.yaml" if board == "host" else "int8.yaml")
        path.write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(folder / "cache"))
        return hwnas.search(
            folder / "variants.yaml",
            overrides=[f"target={folder / 'mine.yaml'}"],
            runs=folder / "runs",
            predictors=folder / "predictors",
            workers=1,
        )


@pytest.fixture(scope="module")
def variants(run: RunFolder) -> Variants:
    return Variants.load(run.variants_json)


def forms(variants: Variants) -> dict[tuple[str, bool], Variant]:
    """Return the first exit policy of every plain form, by precision and whether it has exits."""
    return {
        (v.form.precision, v.form.has_exits): v
        for v in variants.variants
        if v.form.training == "plain" and not v.policy_index
    }


def answers(
    run: RunFolder, variant: Variant, x: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return class and exit of each sample, one at a time, by the definition of an exit policy."""
    sessions = [onnxruntime.InferenceSession(run.variants / f) for f in variant.form.models]
    policy, found = variant.policy, []
    for sample in x:
        features = sample[None]
        for index, session in enumerate(sessions):
            logits, *rest = session.run(None, {"input": features})
            z = logits[0].astype(np.float64) / (policy.temperatures or (1.0,) * 9)[index]
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            ordered = np.sort(p)
            sure = {
                "max_probability": ordered[-1],
                "entropy": 1 + (p * np.log(p)).sum() / np.log(len(p)),
                "margin": ordered[-1] - ordered[-2],
            }[policy.measure]
            if index == len(sessions) - 1 or sure >= policy.thresholds[index]:
                break
            features = rest[0]
        found.append((int(logits.argmax()), index))
    classes, exits = np.array(found).T
    return classes, exits


def test_a_member_is_deployed_with_and_without_exits_in_both_precisions(
    variants: Variants,
) -> None:
    found = forms(variants)
    assert {("float32", True), ("float32", False), ("int8", True), ("int8", False)} <= set(found)
    assert {v.target for v in variants.variants if v.form.precision == "int8"} == {"mine-int8"}
    for variant in variants.variants:
        assert variant.metrics["latency_s"].provenance == "measured"
        assert sum(variant.exit_shares) == pytest.approx(1)
    baseline = variants.named(variants.baseline)
    assert (baseline.form.precision, baseline.form.has_exits) == ("float32", False)
    assert baseline.metrics["accuracy_drop"].value == 0


def test_accuracy_and_shares_are_those_of_the_files_run_sample_by_sample(
    run: RunFolder, variants: Variants
) -> None:
    dataset = load_dataset(DigitsSource(kind="digits"), Path("."))
    data = json.loads(next(run.variants.glob("*-int8.json")).read_text())
    for stored in data["variants"]:
        variant = Variant.from_dict(stored["variant"])
        judged = JudgedVariant.from_dict(stored)
        # one sample at a time or many: ONNX Runtime may round a tie of two classes, or of a
        # confidence and its threshold, differently
        for split, deployed in (
            (dataset.test, judged.correct[0]),
            (dataset.validation, judged.validation_correct[0]),
        ):
            classes, exits = answers(run, variant, split.x)
            assert np.sum((classes == split.y) != deployed) <= 2
        shares = [np.mean(exits == k) for k in range(len(variant.exit_shares))]
        assert variant.exit_shares == pytest.approx(shares, abs=2 / len(exits))


def test_expected_latency_lies_between_the_first_exit_and_the_whole_path(
    variants: Variants,
) -> None:
    for variant in variants.variants:
        metrics = variant.metrics
        assert metrics["latency_s"].value <= metrics["worst_latency_s"].value * (1 + 1e-9)
        if len(variant.exit_shares) == 1:
            assert metrics["latency_s"].value == pytest.approx(metrics["worst_latency_s"].value)


def test_all_that_was_tried_is_told(variants: Variants) -> None:
    tried = {attempt.what for attempt in variants.attempts}
    assert {"early exits", "int8", "int8 without exits"} <= tried
    # the most accurate member has no teacher, and a network may be too small to prune
    assert "pruned" in tried
    assert all("\n" not in attempt.outcome for attempt in variants.attempts)


def test_what_was_measured_of_variants_is_among_the_runs_measurements(
    run: RunFolder, variants: Variants
) -> None:
    recorded: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for line in map(json.loads, run.measurements.read_text().splitlines()):
        if line["phase"] == "variants":
            models = tuple((stage["target"], stage["model_sha256"]) for stage in line["stages"])
            medians = [float(np.median(stage["latency_s"])) for stage in line["stages"]]
            recorded.setdefault(models, []).append(sum(medians))
    for variant in variants.variants:
        files = [(run.variants / name).read_bytes() for name in variant.form.models]
        models = tuple((variant.target, hashlib.sha256(file).hexdigest()) for file in files)
        # as searched, a form is measured again where it is compared with its pruned self
        assert pytest.approx(variant.metrics["worst_latency_s"].value) in recorded[models]


def test_what_may_be_deployed_is_timed_twice(run: RunFolder) -> None:
    log = open_measurement_log(run.path.parent.parent / "cache")
    timings = Counter(
        head.fields["model_sha256"] for head in log.heads() if head.fields["kind"] == "measurement"
    )
    lines = [json.loads(line) for line in run.measurements.read_text().splitlines()]
    phases = {"front", "variants"}
    deployed = {
        (line["phase"], s["model_sha256"])
        for line in lines
        if line["phase"] in phases
        for s in line["stages"]
    }
    assert {phase for phase, _ in deployed} == phases
    assert all(timings[sha256] >= 2 for _, sha256 in deployed)


def test_int8_is_exported_for_the_target_that_measured_it(
    run: RunFolder, variants: Variants
) -> None:
    chosen = forms(variants)["int8", False]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(run.path.parent.parent / "cache"))
        bundle = hwnas.export(run.path, pick=chosen.variant_id)
        assert bundle.points["default"] == chosen
        assert bundle.checks
        path = run.path.parent.parent / "int8.yaml"
        text = path.read_text()
        path.write_text(text.replace("mine-int8", "another"))
        try:
            with pytest.raises(hwnas.UserError, match="was measured on 'mine-int8'"):
                hwnas.export(run.path, pick=chosen.variant_id, out=run.path / "again")
        finally:
            path.write_text(text)


def test_a_quantized_target_that_is_none_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    (tmp_path / "variants.yaml").write_text(EXPERIMENT)
    board = yaml.safe_load((BOARDS / "host.yaml").read_text())
    typo = board | {"name": "mine", "quantized_target": "host-onnx"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(typo))
    with pytest.raises(hwnas.UserError, match=r"target 'mine': quantized_target: .*host-onnx"):
        hwnas.search(
            tmp_path / "variants.yaml",
            overrides=[f"target={tmp_path / 'mine.yaml'}"],
            runs=tmp_path / "runs",
            predictors=tmp_path / "predictors",
        )
    assert not (tmp_path / "runs").exists()


def test_nothing_that_was_derived_is_derived_again(run: RunFolder) -> None:
    kept: dict[str, Any] = {p.name: p.stat().st_mtime_ns for p in run.variants.iterdir()}
    before = run.variants_json.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(run.path.parent.parent / "cache"))
        hwnas.search(
            run.path.parent.parent / "variants.yaml",
            overrides=[f"target={run.path.parent.parent / 'mine.yaml'}"],
            runs=run.path.parent,
            predictors=run.path.parent.parent / "predictors",
            workers=1,
            resume=True,
        )
    assert {p.name: p.stat().st_mtime_ns for p in run.variants.iterdir()} == kept
    assert run.variants_json.read_bytes() == before


def test_a_finished_search_is_resumed_for_other_variants(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = run.path.parent.parent
    monkeypatch.setenv("HWNAS_CACHE", str(home / "cache"))
    shutil.copytree(run.path.parent, tmp_path / "runs")
    again = hwnas.search(
        home / "variants.yaml",
        overrides=[f"target={home / 'mine.yaml'}", "deployment.int8=false"],
        runs=tmp_path / "runs",
        predictors=home / "predictors",
        workers=1,
        resume=True,
    )
    derived = Variants.load(again.variants_json).variants
    assert {v.form.precision for v in derived} == {"float32"}
    assert again.front()["candidates"] == run.front()["candidates"]
    # what is exported later, and checked, goes by what was wanted last
    assert again.manifest()["config"]["deployment"]["int8"] is False
    assert run.manifest()["config"]["deployment"]["int8"] is True
