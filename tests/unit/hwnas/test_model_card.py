"""The model card of a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.bundle import open_bundle
from hwnas.bundle_manifest import BundleManifest
from hwnas.model_card import model_card
from tests.unit.hwnas.tiny_bundle import TinyBundle


@pytest.fixture
def manifest(tmp_path: Path) -> BundleManifest:
    bundle = TinyBundle(tmp_path / "bundle")
    bundle.manifest["class_names"][1] = "b | <b>c"
    bundle.manifest["notes"] = {"licence of the data": "CC BY 4.0"}
    bundle.manifest["operating_points"]["low"]["metrics"]["energy_j"] |= {
        **{"low": 4e-4, "high": 6e-4, "boundary": "inference_gross", "flags": "clock_unknown"}
    }
    bundle.write_manifest()
    return open_bundle(bundle.path)


def rows(card: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in card.splitlines()
        if line.startswith("| `")
    ]


def test_every_metric_of_every_operating_point_has_a_row(manifest: BundleManifest) -> None:
    names = [name for p in manifest.operating_points.values() for name in p.metrics]
    assert [row[0].strip("`") for row in rows(model_card(manifest))] == names


def test_a_row_holds_value_interval_provenance_boundary_and_doubts(
    manifest: BundleManifest,
) -> None:
    last_energy = [row for row in rows(model_card(manifest)) if row[0] == "`energy_j`"][-1]
    assert last_energy == [
        *("`energy_j`", "0.0005", "0.0004 to 0.0006"),
        *("modelled", "inference_gross", "flags clock_unknown"),
    ]


def test_shares_and_notes_are_told_and_nothing_is_markup(manifest: BundleManifest) -> None:
    card = model_card(manifest)
    assert "50.0%, 50.0% leave at each exit" in card
    assert "**licence of the data**: CC BY 4.0" in card
    assert "a, b \\| \\<b\\>c, c" in card


def test_other_formats_are_told_with_the_provenance_of_their_figures(tmp_path: Path) -> None:
    bundle = TinyBundle(tmp_path / "bundle")
    assert "In other formats" not in model_card(open_bundle(bundle.path))
    entry = bundle.add_format()
    failed = entry | {"format": "coreml", "stages": [], "precision": None, "failure": "no | Mac"}
    bundle.manifest["formats"].append(failed)
    bundle.write_manifest()
    card = model_card(open_bundle(bundle.path))
    assert "- Vela int8 of net, `formats/vela/net/`: latency 20.0 µs, 20.0 µs (vendor" in card
    assert "not run; accelerator ethos-u55-128; ethos-u-vela 5.2.0" in card
    assert "- Core ML of net: not converted: no \\| Mac" in card


def test_a_class_of_any_name_leaves_the_table_whole(tmp_path: Path) -> None:
    bundle = TinyBundle(tmp_path / "bundle")
    for name in ("a | b", "`c`", "d\ne"):
        metric = {"value": 0.5, "provenance": "measured"}
        bundle.manifest["operating_points"]["low"]["metrics"][f"recall({name})"] = metric
    bundle.write_manifest()
    lines = model_card(open_bundle(bundle.path)).splitlines()
    found = [line for line in lines if line.startswith("| recall(")]
    cells = "| 0.5 |  | measured |  |  |"
    assert found == [
        f"| recall(a \\| b) {cells}",
        f"| recall(\\`c\\`) {cells}",
        f"| recall(d e) {cells}",
    ]
