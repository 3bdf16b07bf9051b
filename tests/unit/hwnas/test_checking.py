"""The gate: bundles and runs judged through the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.checking import check
from hwnas.cli import main
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.run_folder import RunFolder
from hwnas.variants import NetworkForm, Variant, Variants
from tests.unit.hwnas.tiny_bundle import TinyBundle

KEPT = "high: [energy < 2 mJ]\n"
BROKEN_BY_HIGH = "high: [energy < 0.6 mJ]\n"


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return TinyBundle(tmp_path / "bundle")


def written(folder: Path, text: str) -> Path:
    path = folder / "sla.yaml"
    path.write_text(text)
    return path


def variant(name: str, energy_j: float, on_test: float = 0.9) -> Variant:
    form = NetworkForm(name, "plain", "int8", f"{name}.safetensors", (f"{name}.onnx",))
    metrics = {
        "accuracy": Metric(on_test, "measured", on_test, on_test, split="test"),
        "validation_accuracy": Metric(0.9, "measured", 0.9, 0.9, split="validation"),
        "energy_j": Metric(energy_j, "measured", energy_j, energy_j),
        "latency_s": Metric(1e-3, "measured", 1e-3, 1e-3),
        "flash_bytes": Metric(1024.0, "measured"),
    }
    return Variant(form, ExitPolicy(()), (1.0,), "host", metrics)


def run_with(folder: Path, *variants: Variant) -> Path:
    run = RunFolder(folder / "run")
    run.checkpoints.mkdir(parents=True)
    Variants(variants, variants[0].variant_id).save(run.variants_json)
    return run.path


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["hwnas", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return end.value.code, out, err


def test_every_operating_point_of_a_bundle_must_meet_the_sla(bundle: TinyBundle) -> None:
    sla = written(bundle.path.parent, BROKEN_BY_HIGH)
    result = check(bundle.path, sla)
    # 0.9 mJ and 0.5 mJ
    assert {name: report.is_met for name, report in result.reports.items()} == {
        "high": False,
        "low": True,
    }
    assert not result.is_met
    assert check(bundle.path, written(bundle.path.parent, KEPT)).is_met


@pytest.mark.parametrize(("text", "code"), [(KEPT, 0), (BROKEN_BY_HIGH, 1), ("high: [x < 1]", 2)])
def test_the_exit_code_is_the_gates(
    bundle: TinyBundle,
    text: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sla = written(bundle.path.parent, text)
    found, out, err = command(monkeypatch, capsys, bundle.path, "--sla", sla)
    assert found == code
    if code == 2:
        assert out == ""
        assert err.count("\n") == 1
    else:
        assert ("high meets the SLA" in out) == (code == 0)
        assert "low meets the SLA" in out
        assert "projected" in out


def test_json_says_what_the_table_says(
    bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sla = written(bundle.path.parent, BROKEN_BY_HIGH)
    code, out, _ = command(monkeypatch, capsys, bundle.path, "--sla", sla, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["is_met"] is False
    assert document["sla"]["high"] == ["energy < 0.6 mJ"]
    (clause,) = document["reports"]["high"]["clauses"]
    assert clause["verdict"] == "fail"
    assert clause["margin"] == pytest.approx(-0.3e-3)
    assert clause["provenance"] == "modelled"


def test_of_a_run_the_variant_to_export_is_judged(tmp_path: Path) -> None:
    run = run_with(tmp_path, variant("dear", 2e-3), variant("cheap", 1e-3))
    result = check(run, written(tmp_path, "critical: [energy < 1.5 mJ, flash <= 1 KiB]"))
    assert list(result.reports) == ["cheap-int8-host-t0"]
    assert result.is_met


@pytest.mark.parametrize(
    ("limit", "on_test", "code", "said"),
    [
        (0.85, 0.86, 0, "the test split confirms it"),
        (0.85, 0.84, 1, "The test split does not confirm what the validation split chose"),
        (0.95, 0.99, 1, "No variant meets the SLA on the validation split"),
    ],
    ids=["confirmed", "not confirmed", "nothing to choose"],
)
def test_a_run_is_chosen_from_by_validation_and_judged_once_by_test(
    limit: float,
    on_test: float,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # the dear one would pass on either split up to 0.9: it is no second choice
    run = run_with(tmp_path, variant("dear", 2e-3), variant("cheap", 1e-3, on_test))
    sla = written(tmp_path, f"critical: [accuracy >= {limit}]")
    found, out, _ = command(monkeypatch, capsys, run, "--sla", sla)
    assert found == code
    assert said in out
    assert "dear" not in out
    chosen = "meets" if limit == 0.85 else "does not meet"
    assert f"cheap-int8-host-t0 {chosen} the SLA on the validation split" in out
    assert ("on the test split" in out) == (limit == 0.85)
    _, out, _ = command(monkeypatch, capsys, run, "--sla", sla, "--json")
    document = json.loads(out)
    assert document["is_met"] == (code == 0)
    assert document["choice"]["variant_id"] == "cheap-int8-host-t0"


def test_a_bundle_that_changed_is_refused(bundle: TinyBundle) -> None:
    (bundle.path / "samples.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"samples\.npz"):
        check(bundle.path, written(bundle.path.parent, KEPT))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({}, "damaged .*without energy_j"),
        ({"energy_j": {"worth": 1}}, "low.metrics: energy_j: wanted a value"),
        ({"energy_j": {"value": 10**400}}, "low.metrics: energy_j.value: wanted a finite number"),
        ({"energy_j": {"value": float("nan")}}, "energy_j.value: wanted a finite number. Got nan"),
        ({"energy_j": {"value": -1e-3}}, "energy_j.value: wanted more than 0. Got -0.001"),
    ],
)
def test_damaged_metrics_of_a_bundle_are_one_line(
    bundle: TinyBundle, metrics: dict[str, Any], message: str
) -> None:
    bundle.manifest["operating_points"]["low"]["metrics"] = metrics
    bundle.seal()
    with pytest.raises(UserError, match=f"manifest.json: .*{message}"):
        check(bundle.path, written(bundle.path.parent, KEPT))


def test_an_unfinished_run_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    sla = written(tmp_path, KEPT)
    RunFolder(tmp_path / "run").checkpoints.mkdir(parents=True)
    with pytest.raises(UserError, match="its search has not finished"):
        check(tmp_path / "run", sla)
    with pytest.raises(UserError, match="not a bundle"):
        check(tmp_path / "nothing", sla)


def test_a_wrong_sla_costs_no_heavy_import(bundle: TinyBundle) -> None:
    sla = written(bundle.path.parent, "high: [energy < 5 ms]\n")
    code = (
        "import sys\nfrom hwnas.cli import main\n"
        f"sys.argv = ['hwnas', 'check', {str(bundle.path)!r}, '--sla', {str(sla)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    heavy = {'torch', 'tvm', 'onnxruntime', 'sklearn', 'onnx'}\n"
        "    print(end.code, *heavy & set(sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.strip() == "2"
