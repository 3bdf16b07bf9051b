"""The report: self-contained, escaped, drawn by a real browser."""

from __future__ import annotations

import copy
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.table import Table

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.report_figures import hypervolume_figure, pareto_figure, prediction_figure
from hwnas.reporting import render, report
from hwnas.tables import calibration_table, front_table, measurement_table
from hwnas.variants import Attempt, NetworkForm, Variant, Variants
from targets import Provenance

HOSTILE = "<script>alert(1)</script>"
INJECTIONS = [HOSTILE, '"><img src=x onerror=alert(1)>', "</script><b>", "'&lt;", "</pre><h1>"]
Document = dict[str, Any]


def metric(value: float, provenance: str | None = "measured", **more: Any) -> Document:
    return {"value": value} | ({"provenance": provenance} if provenance else {}) | more


def candidate(number: int, accuracy: float, latency_s: float, *, on_front: bool) -> Document:
    energy_j = 2 * latency_s
    return {
        "arch_id": f"arch{number:012d}",
        "number": number,
        "architecture": {"space": "toy", "choices": {"kernel": 3}},
        "feasible": True,
        "on_front": on_front,
        "deployment": {
            "checkpoint": "a.safetensors",
            "seed": 1,
            "policy": {"measure": "margin", "temperatures": [], "thresholds": [0.9]},
            "exit_shares": [0.625, 0.375],
        },
        "better_than": [],
        "ties_with": [],
        "metrics": {
            "accuracy": metric(accuracy - 0.01, low=accuracy - 0.05, high=accuracy, seeds=3),
            "validation_accuracy": metric(accuracy, low=accuracy - 0.04, high=accuracy + 0.02),
            "latency_s": metric(latency_s, predicted=1.1 * latency_s),
            "worst_latency_s": metric(2 * latency_s, predicted=2.1 * latency_s),
            "latency_p99_s": metric(3 * latency_s),
            "energy_j": metric(energy_j, "modelled", low=0.5 * energy_j, high=2 * energy_j),
            "inferences_per_joule": metric(1 / energy_j, "modelled"),
            "flash_bytes": metric(65536.0),
            "peak_ram_bytes": metric(8192.0),
            "macs": metric(123456.0, None),
        },
    }


def variants(text: str = "", energies: Provenance = "modelled") -> Variants:
    """A baseline without exits, a variant of it on the front, and what was tried."""
    metrics = {
        "accuracy": Metric(0.9, "measured", 0.85, 0.94, seeds=3),
        "validation_accuracy": Metric(0.91, "measured", 0.86, 0.95),
        "latency_s": Metric(2e-3, "measured"),
        "energy_j": Metric(4e-3, energies, 2e-3, 8e-3),
        "flash_bytes": Metric(65536.0, "measured"),
    }
    whole = NetworkForm("0123456789abcdef", "plain", "float32", "a", ("a",), has_exits=False)
    exits = NetworkForm("0123456789abcdef", "plain", "int8", "b", ("b", "c"))
    faster = {**metrics, "latency_s": Metric(5e-4, "measured")}
    both = (
        Variant(exits, ExitPolicy((0.5,)), (0.75, 0.25), "host" + text, faster, on_front=True),
        Variant(whole, ExitPolicy(()), (1.0,), "host", metrics),
    )
    tried = Attempt("0123456789abcdef", "int8" + text, True, "loses nothing" + text)
    return Variants(both, both[1].variant_id, (tried,))


def agreement(mape: float) -> Document:
    return {
        "n": 10, "mape": mape, "within_5": 0.7, "within_10": 0.9, "spearman": 0.987, "kendall": None
    }  # fmt: skip


@pytest.fixture
def front() -> Document:
    """Three members, one dominated candidate and eight trained architectures."""
    evaluations = [
        {
            "number": i,
            "arch_id": f"arch{i:012d}",
            "values": {
                "validation_accuracy": 0.5 + 0.05 * i,
                "latency_s": 1e-4 * (i + 1),
                "energy_j": 2e-4 * (i + 1),
            },
        }
        for i in range(8)
    ]
    return {
        "schema_version": 1,
        "run": "quick",
        "target": "host",
        "objectives": [
            {"name": "accuracy", "metric": "validation_accuracy"},
            {"name": "latency", "metric": "latency_s"},
        ],
        "hypervolume": {"value": 0.4321, "ideal": [1.0, 1e-4], "reference": [0.1, 1e-2]},
        "candidates": [
            candidate(7, 0.9, 8e-4, on_front=True),
            candidate(3, 0.8, 4e-4, on_front=True),
            candidate(0, 0.7, 1e-4, on_front=True),
            candidate(5, 0.6, 9e-4, on_front=False),
        ],
        "constraints": [{"name": "max_latency_ms", "bound": 2e-3, "shown_per_si": 1e3}],
        "calibration": {
            "space": "toy",
            "n_fitted": 40,
            "n_held_out": 10,
            "energies": "modelled",
            "held_out": {
                "latency_s": agreement(0.0312),
                "macs_baseline": agreement(0.2468),
                "energy_j": agreement(0.0777),
                "flash_mape": 0.01,
                "peak_ram_mape": 0.02,
                "interval_coverage": 0.9,
            },
        },
        "front_prediction": agreement(0.05),
        "counts": {"evaluated": 8, "stopped": 1, "infeasible": 2, "repeated": 1, "failed": 0},
        "evaluations": evaluations,
        "hypervolume_history": [0.1, 0.2, 0.2, 0.3, 0.35, 0.4, 0.4, 0.4321],
    }


@pytest.fixture
def manifest() -> Document:
    return {
        "schema_version": 1,
        "config": {"name": "quick", "seed": 0, "search": {"evaluations": 8}},
        "base_dir": "experiments",
        "dataset_fingerprint": "ab",
        "target_fingerprint": "cd",
        "environment": {"python": "3.11", "versions": {"torch": "2.6"}},
    }


class Tags(HTMLParser):
    """Every tag of a page with its attributes, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def without_library(page: str) -> str:
    library = get_plotlyjs()
    assert page.count(library) == 1
    return page.replace(library, "")


def poisoned(document: Any, text: str) -> Any:
    """Add hostile text to every string of a document, keys of free-form mappings included."""
    if isinstance(document, str):
        return document + text
    if isinstance(document, list):
        return [poisoned(item, text) for item in document]
    if isinstance(document, dict):
        return {key: poisoned(value, text) for key, value in document.items()}
    return document


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_from_a_run_becomes_markup(front: Document, manifest: Document, text: str) -> None:
    clean = Tags(without_library(render(manifest, compared(front), variants()))).tags
    manifest["config"] = poisoned(manifest["config"], text) | {text: text}
    manifest["environment"] = poisoned(manifest["environment"], text)
    hostile = poisoned(front, text)
    # these are read, not shown
    hostile["constraints"] = front["constraints"] + [
        {"name": text, "bound": 1.0, "shown_per_si": 1.0}
    ]
    page = without_library(render(manifest, hostile, variants(text)))
    assert [tag for tag, _ in Tags(page).tags] == [tag for tag, _ in clean]
    assert not any(name.startswith("on") for _, attrs in Tags(page).tags for name in attrs)
    assert "<script>alert" not in page
    assert html.escape(text) in page


def test_the_page_loads_nothing_from_elsewhere(front: Document, manifest: Document) -> None:
    page = without_library(render(manifest, front, variants()))
    for tag, attributes in Tags(page).tags:
        assert "src" not in attributes, tag
        assert "href" not in attributes, tag
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
    assert not re.search(r"url\(|@import", page)


def test_the_table_shows_members_with_interval_provenance_and_units(
    front: Document, manifest: Document
) -> None:
    page = without_library(render(manifest, front, variants()))
    (row,) = re.findall(r"<tr><td>arch0{11}7</td>.*?</tr>", page)
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells == [
        "arch000000000007",
        "62/38 %",
        "89.0 % (85.0-90.0)",
        "3",
        "-",
        '800 µs <span class="tag">measured</span>',
        "1.60 ms",
        "2.40 ms",
        '1.60 mJ <span class="tag">modelled</span>',
        "625",
        "64 KiB",
        "8 KiB",
        "123,456",
    ]
    members = re.findall(r"<tr><td>(arch\d+)</td>", page)
    assert members == ["arch000000000000", "arch000000000003", "arch000000000007"]


def compared(front: Document) -> Document:
    """Make finalists of three candidates: 7 and 3 are tied, 5 is worse than both."""
    best, second, _, worst = front["candidates"]
    for item, value in ((best, 0.93), (second, 0.84), (worst, 0.65)):
        item["metrics"]["search_validation_accuracy"] = metric(value, low=value, high=value)

    def comparison(other: Document, probability: float) -> Document:
        numbers = {"difference": 0.1, "low": -0.1, "high": 0.3, "probability": probability}
        return {"arch_id": other["arch_id"], **numbers}

    best["ties_with"], second["ties_with"] = [comparison(second, 0.8)], [comparison(best, 0.2)]
    best["better_than"] = [comparison(worst, 0.99995)]
    second["better_than"] = [comparison(worst, 0.997)]
    front["test_split"] = {"samples": 500, "groups": 2}
    return front


def test_ties_are_told_by_letters_and_the_rest_by_probabilities(
    front: Document, manifest: Document
) -> None:
    page = without_library(render(manifest, compared(front), variants()))
    _, section = page.split("<h2>How sure the accuracies are</h2>")
    rows = [
        re.findall(r"<td>(.*?)</td>", row)
        for row in re.findall(r"<tr>(<td>arch.*?)</tr>", section.split("</section>")[0])
    ]
    best, second, worst = ("arch000000000007", "arch000000000003", "arch000000000005")
    assert [(*row[:3], *row[6:]) for row in rows] == [
        (best, "1", "yes", "a", "3 (over 99.9 %)", "2 (80.0 %)"),
        (second, "2", "yes", "a", "3 (99.7 %)", "1 (20.0 %)"),
        (worst, "3", "no", "b", "-", "-"),
    ]
    assert "The 500 test samples come from 2 groups" in section
    terminal = text_of(front_table(front))
    ties = [line.split("│")[5].strip() for line in terminal.splitlines() if "│ arch0" in line]
    # fastest first; the first was not retrained, and the worse finalist is not on the front
    assert ties == ["-", "a", "a"]
    assert "not shown to differ in test accuracy" in unwrapped(terminal)


def test_variants_stand_beside_the_baseline_and_what_was_tried_is_told(
    front: Document, manifest: Document
) -> None:
    page = without_library(render(manifest, front, variants()))
    _, section = page.split("<h2>Variants</h2>")
    first, second = re.findall(r"<tr>(<td>0123.*?)</tr>", section.split("</section>")[0])
    assert "0123456789abcdef-float32-static-host-t0" in first
    cells = re.findall(r"<td>(.*?)</td>", second)
    assert cells[0] == "0123456789abcdef-int8-host-t0"
    assert "75/25 %" in cells
    assert any("500 µs" in cell for cell in cells)
    assert "<td>int8</td><td>yes</td><td>loses nothing</td>" in page


def test_a_run_without_finalists_has_no_section_of_them(
    front: Document, manifest: Document
) -> None:
    assert "How sure the accuracies are" not in without_library(render(manifest, front, variants()))


def test_the_page_tells_counts_limits_calibration_and_settings(
    front: Document, manifest: Document
) -> None:
    page = without_library(render(manifest, front, variants()))
    assert "8 architectures trained, 1 stopped early, 2 rejected by limits" in page
    assert "3 on the front; hypervolume 0.4321. Limits: max_latency_ms 2." in page
    assert "3.1%" in page  # of the predictor
    assert "24.7%" in page  # of MACs alone
    assert "90% of them inside the 90 % interval" in page
    assert "evaluations: 8" in page
    assert "torch: &#x27;2.6&#x27;" in page


def test_a_run_without_held_out_architectures_or_limits_says_so(
    front: Document, manifest: Document
) -> None:
    del front["calibration"]["held_out"]
    front["front_prediction"] = None
    front["constraints"] = []
    page = without_library(render(manifest, front, variants()))
    assert "No held-out architectures were measured." in page
    assert "Limits: none." in page


def test_a_run_that_does_not_optimize_accuracy_can_still_be_reported(
    front: Document, manifest: Document
) -> None:
    for evaluation in front["evaluations"]:
        del evaluation["values"]["validation_accuracy"]
    assert "arch000000000007" in render(manifest, front, variants())


def test_an_empty_front_can_still_be_reported(front: Document, manifest: Document) -> None:
    front["candidates"] = [candidate(0, 0.7, 1e-4, on_front=False)]
    assert "0 on the front" in render(manifest, front, variants())


def test_the_pareto_figure_holds_every_candidate_in_the_unit_of_its_axis(front: Document) -> None:
    figure = pareto_figure(front)
    visible = [trace for trace in figure.data if trace.visible]
    trained, dominated, members = visible
    assert list(trained.x) == pytest.approx([100 * (i + 1) for i in range(8)])
    assert list(trained.y) == pytest.approx([50 + 5 * i for i in range(8)])
    assert [*dominated.x, *dominated.y] == pytest.approx([900.0, 60.0])
    assert list(members.x) == pytest.approx([100, 400, 800])
    assert list(members.y) == pytest.approx([70.0, 80.0, 90.0])
    assert list(members.error_y.array) == pytest.approx([2.0] * 3)
    assert list(members.error_y.arrayminus) == pytest.approx([4.0] * 3)
    assert figure.layout.xaxis.title.text == "latency, µs"


def test_each_button_shows_the_traces_of_its_cost(front: Document) -> None:
    figure = pareto_figure(front)
    (menu,) = figure.layout.updatemenus
    assert len(menu.buttons) == 4
    expected = {
        "latency, µs": 800.0,
        "energy (modelled), mJ": 1.6,
        "flash, KiB": 64.0,
        "peak RAM, KiB": 8.0,
    }
    assert [button.label for button in menu.buttons] == list(expected)
    for button in menu.buttons:
        shown, titles = button.args
        assert sum(shown["visible"]) == 3
        members = [t for t, v in zip(figure.data, shown["visible"], strict=True) if v][-1]
        assert max(members.x) == pytest.approx(expected[titles["xaxis.title.text"]])


def test_the_other_figures_hold_the_history_and_the_predictions(front: Document) -> None:
    (history,) = hypervolume_figure(front).data
    assert list(history.y) == front["hypervolume_history"]
    assert list(history.x) == list(range(1, 9))
    points = prediction_figure(front).data[-1]
    assert list(points.x) == pytest.approx([1.6, 0.8, 0.2, 1.8])
    assert list(points.y) == pytest.approx([1.68, 0.84, 0.21, 1.89])


def test_terminal_tables_take_the_same_documents(front: Document) -> None:
    assert front_table(front).row_count == 3
    assert calibration_table(front["calibration"]).row_count == 3


def text_of(table: Table) -> str:
    console = Console(width=240, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def measured_energy(candidate: Document) -> Document:
    """What a power meter at the supply adds to a candidate."""
    metrics = candidate["metrics"]
    value = metrics["energy_j"]["value"]
    metrics |= {
        "energy_j": metric(
            value, low=0.9 * value, high=1.1 * value, boundary="inference_gross", note="board"
        ),
        "energy_net_j": metric(0.5 * value, boundary="inference_net"),
        "inferences_per_joule": metric(1 / value, boundary="inference_gross"),
        "peak_power_w": metric(6.0, bandwidth_hz=5e4),
        "accuracy_per_milliamp": metric(0.9, boundary="inference_gross", voltage_v=3.3),
    }
    return candidate


def with_product(candidate: Document) -> Document:
    candidate["metrics"] |= {
        "average_power_w": metric(1.144e-3, "modelled", boundary="system"),
        "battery_days": metric(19.46, "modelled", low=18.0, high=21.0, boundary="system"),
        "co2e_g_per_million": metric(
            29.6, "modelled", boundary="system", note="Germany 2023: 380.95 g CO2e/kWh"
        ),
    }
    return candidate


def test_a_front_without_a_meter_says_that_its_energies_are_modelled(
    front: Document, manifest: Document
) -> None:
    assert "energy: modelled, no power meter, gross." in unwrapped(text_of(front_table(front)))
    page = render(manifest, front, variants())
    assert "Energy: modelled, no power meter, gross." in page
    assert "†" not in without_library(page) + text_of(front_table(front))


def test_a_front_of_measured_energies_says_so(front: Document, manifest: Document) -> None:
    for member in front["candidates"]:
        measured_energy(member)
    front["calibration"]["energies"] = "measured"
    found = variants(energies="measured")
    text, page = text_of(front_table(front)), without_library(render(manifest, front, found))
    assert "energy: measured by power meters, gross." in unwrapped(text)
    assert "modelled" not in text
    assert "Energy: measured by power meters, gross." in page
    assert "modelled" not in page
    (row,) = re.findall(r"<tr><td>energy above idle.*?</tr>", page)
    assert "measured, inference_net" in row
    assert "800 µJ" in row
    assert "seen up to 50.0 kHz" in page
    assert "measured, inference_gross, at 3.3 V" in page


def test_on_a_front_of_both_kinds_every_energy_that_was_not_measured_is_marked(
    front: Document, manifest: Document
) -> None:
    measured_energy(front["candidates"][0])
    text, page = text_of(front_table(front)), without_library(render(manifest, front, variants()))
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if "│ arch0" in line}
    assert "†" not in rows["arch000000000007"]
    assert "†" in rows["arch000000000003"]
    assert "†" in rows["arch000000000000"]
    for shown in (unwrapped(text), page.lower()):
        assert "measured by power meters; † modelled, no power meter" in shown
    assert page.count('<span class="tag">modelled †</span>') == 2
    assert page.count('<span class="tag">measured †</span>') == 0


def test_on_a_front_of_both_kinds_each_has_a_symbol_and_a_legend(front: Document) -> None:
    measured_energy(front["candidates"][0])
    figure = pareto_figure(front)
    (button,) = [
        b for b in figure.layout.updatemenus[0].buttons if b.label.startswith("energy (measured a")
    ]
    visible = button.args[0]["visible"]
    shown = {t.name: t for t, v in zip(figure.data, visible, strict=True) if v}
    members = {name: trace for name, trace in shown.items() if name.startswith("Pareto front")}
    assert {name: trace.marker.symbol for name, trace in members.items()} == {
        "Pareto front, energy measured": "circle",
        "Pareto front, energy modelled": "diamond",
    }
    assert list(members["Pareto front, energy measured"].x) == pytest.approx([1.6])
    assert list(members["Pareto front, energy modelled"].x) == pytest.approx([0.2, 0.8])
    # what does not depend on the energy is not told apart
    latency = [t.name for t in figure.data if t.visible]
    assert latency.count("Pareto front (measured)") == 1
    assert len(latency) == 3


def test_a_product_has_columns_and_a_section_of_its_own(
    front: Document, manifest: Document
) -> None:
    for member in front["candidates"]:
        with_product(member)
    text, page = text_of(front_table(front)), without_library(render(manifest, front, variants()))
    assert "19.46 d" in text
    assert "1.14 mW" in text
    assert "<h2>The whole product</h2>" in page
    (row,) = re.findall(r"<tr><td>battery .*?</tr>", page)
    assert "modelled, system" in row
    assert row.count("19.46 d") == 3
    assert row.count("18 d to 21 d") == 3
    assert "CO2e per million: Germany 2023: 380.95 g CO2e/kWh" in page
    labels = [b.label for b in pareto_figure(front).layout.updatemenus[0].buttons]
    assert labels[2:4] == ["average power, mW", "battery, days"]


def test_a_run_without_a_product_has_no_section_for_it(front: Document, manifest: Document) -> None:
    assert "whole product" not in without_library(render(manifest, front, variants()))


def test_a_measurement_shows_why_net_energy_was_refused_and_what_the_meter_includes() -> None:
    document = measured_energy(candidate(0, 0.9, 1e-3, on_front=True))["metrics"]
    del document["energy_net_j"]
    document["energy_j"]["note"] = "board; net energy refused: idle power drifted [by 5 %]"
    document["latency_s"] |= {"low": 9e-4, "high": 1.1e-3, "p99": 2e-3, "samples": 200}
    document |= {"target": "rpi4", "flags": [], "energy_not_measured_because": None}
    text = text_of(measurement_table(document))
    assert "net energy refused: idle power drifted [by 5 %]" in text
    assert "energy above idle" not in text
    assert "1.80 mJ to 2.20 mJ" in text
    assert "seen up to 50.0 kHz" in text


def test_a_meter_that_failed_is_told_beside_the_modelled_energy() -> None:
    document = candidate(0, 0.9, 1e-3, on_front=True)["metrics"]
    document["latency_s"] |= {"low": 9e-4, "high": 1.1e-3, "p99": 2e-3, "samples": 200}
    reason = "no meter at /dev/ttyACM0"
    document |= {"target": "rpi4", "flags": [], "energy_not_measured_because": reason}
    text = text_of(measurement_table(document))
    assert f"energy not measured: {reason}" in text
    assert re.search(r"energy +│ 2\.00 mJ │ .* modelled", text)


def write_run(folder: Path, manifest: Document, front: Document) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "front.json").write_text(json.dumps(front))
    variants().save(folder / "variants.json")
    return folder


def test_the_report_is_one_file_in_the_run_folder(
    tmp_path: Path, front: Document, manifest: Document
) -> None:
    run = write_run(tmp_path / "quick", manifest, front)
    assert report(run) == run / "report.html"
    assert (run / "report.html").read_text() == render(manifest, front, variants())


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        report(tmp_path)


def test_a_run_of_another_schema_version_is_refused(
    tmp_path: Path, front: Document, manifest: Document
) -> None:
    run = write_run(tmp_path / "quick", manifest, copy.deepcopy(front) | {"schema_version": 2})
    with pytest.raises(UserError, match="schema_version 2"):
        report(run)
    assert not (run / "report.html").exists()


# in a real browser


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    reason = "needs chromium, chromium-browser or google-chrome on the PATH"
    if os.environ.get("HWNAS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def loaded(
    tmp_path: Path, browser: str, front: Document, manifest: Document
) -> Iterator[tuple[str, str]]:
    """The page after its scripts ran, and what the browser logged."""
    front = poisoned(front, HOSTILE)
    front["constraints"] = []
    run = write_run(tmp_path / "quick", manifest, front)
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--window-size=1200,2400",
            f"--user-data-dir={tmp_path / 'profile'}",
            # time of the page, not of the wall: every timer due until then has fired
            "--virtual-time-budget=10000",
            "--dump-dom",
            report(run).as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    yield done.stdout, done.stderr
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


@pytest.mark.slow
def test_a_browser_draws_every_point_without_an_error(loaded: tuple[str, str]) -> None:
    page, log = loaded
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []
    drawn = page[page.index("</head>") :]
    plots = drawn.split('class="plotly-graph-div')[1:]
    assert len(plots) == 3
    pareto, predicted, history = (count_points(plot) for plot in plots)
    assert pareto == 8 + 1 + 3
    assert predicted == 4
    assert history == 0
    assert 'class="js-line"' in plots[2]
    assert "<script>alert" not in drawn


def count_points(plot: str) -> int:
    return len(re.findall(r'<path class="point"', plot))
