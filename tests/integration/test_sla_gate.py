"""An SLA from the search to the gate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.cli import main
from hwnas.run_folder import RunFolder
from tests.integration.conftest import TinySearch

SLA = """\
critical: [accuracy >= 0.2, latency < 1 s]
high: [flash <= 1 MiB, energy < 1 kJ, battery_life >= 1 h]
medium: [accuracy >= 0.999]
product: product.yaml
"""
PRODUCT = """\
product:
  interval_s: 10
  sleep_power_mw: 0.1
  battery: {capacity_mah: 1000, voltage_v: 3}
"""


@pytest.fixture(scope="module")
def sla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sla")
    (folder / "product.yaml").write_text(PRODUCT)
    path = folder / "sla.yaml"
    path.write_text(SLA.replace("1 kJ", "1000 J"))
    return path


@pytest.fixture(scope="module")
def run(tiny: TinySearch, sla: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    # of two seeds an interval may reach from nothing to everything, and pass no SLA
    seeds = "finalists={count: 1, seeds: 5}"
    return tiny.search(tmp_path_factory.mktemp("runs"), seeds, workers=1, sla=sla)


def test_a_search_keeps_the_limits_of_an_sla_and_records_it(run: RunFolder) -> None:
    manifest = run.manifest()
    limits = {name: v for name, v in manifest["config"]["constraints"].items() if v is not None}
    assert limits == pytest.approx(
        {
            "min_accuracy": 0.2,
            "max_flash_kib": 1024.0,
            "min_inferences_per_joule": 1e-3,
            "min_battery_days": 1 / 24,
        }
    )
    assert manifest["config"]["product"]["interval_s"] == 10
    assert manifest["sla"]["medium"] == ["accuracy >= 0.999"]


def test_the_run_is_judged_by_its_measured_variants(run: RunFolder, sla: Path) -> None:
    result = hwnas.check(run.path, sla)
    (report,) = result.reports.values()
    verdicts = {str(r.clause): r.verdict for r in report.results}
    # a host without a power meter: its energy, and what follows of it, is modelled
    assert verdicts == {
        "accuracy >= 0.2": "pass",
        "latency < 1 s": "pass",
        "flash <= 1 MiB": "pass",
        "energy < 1000 J": "projected",
        "battery_life >= 1 h": "projected",
        "accuracy >= 0.999": "fail",
    }
    assert result.is_met
    json.dumps(result.to_dict(), allow_nan=False)


def test_export_writes_the_variant_that_an_sla_chose_and_none_where_it_is_not_met(
    run: RunFolder,
    sla: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def exported(limits: Path, out: Path) -> tuple[object, dict[str, Any]]:
        command = ["hwnas", "export", run.path, "--sla", limits, "--out", out, "--json"]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, json.loads(capsys.readouterr().out)

    code, document = exported(sla, tmp_path / "met")
    assert code == 0
    choice = document["sla"]["choice"]
    (point,) = document["operating_points"].values()
    assert point["variant_id"] == choice["variant_id"]
    splits = {
        when: {c["split"] for c in choice[when]["clauses"]} for when in ("chosen_by", "judged")
    }
    # latency, energy and flash are of no split
    assert splits == {"chosen_by": {None, "validation"}, "judged": {None, "test"}}

    (tmp_path / "sla.yaml").write_text("critical: [accuracy >= 0.9999]\n")
    code, document = exported(tmp_path / "sla.yaml", tmp_path / "not met")
    assert code == 1
    assert document["sla"]["choice"]["judged"] is None
    assert not (tmp_path / "not met").exists()


def test_an_sla_out_of_reach_ends_the_search_before_any_training(
    tiny: TinySearch, tmp_path: Path
) -> None:
    path = tmp_path / "sla.yaml"
    path.write_text("critical: [flash < 1 KiB]\n")
    with pytest.raises(hwnas.UserError, match="max_flash_kib: 1 KiB is out of reach"):
        tiny.search(tmp_path, sla=path)
    assert not (tmp_path / "tiny").exists()
