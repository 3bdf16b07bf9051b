"""The terminal's table of variants."""

import io
from dataclasses import replace

from rich.console import Console

from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.variant_table import variant_table
from hwnas.variants import NetworkForm, Training, Variant, Variants


def variant(arch_id: str, latency_s: float, training: Training, *, on_front: bool) -> Variant:
    metrics = {
        "accuracy": Metric(0.9, "measured", 0.85, 0.94),
        "latency_s": Metric(latency_s, "measured"),
        "energy_j": Metric(4e-3, "modelled"),
        "flash_bytes": Metric(65536.0, "measured"),
    }
    form = NetworkForm(arch_id, training, "int8", "c", ("a", "b"))
    policy, shares = ExitPolicy((0.5,)), (0.75, 0.25)
    return Variant(form, policy, shares, "host", metrics, "1 GHz", on_front=on_front)


def shown(*variants: Variant) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(variant_table(Variants(variants, variants[0].variant_id)))
    return console.export_text()


def test_energies_of_several_kinds_are_marked_and_of_one_kind_named() -> None:
    modelled = variant("modelled", 1e-5, "plain", on_front=True)
    metrics = dict(modelled.metrics) | {"energy_j": Metric(2e-3, "measured")}
    form = NetworkForm("metered", "plain", "float32", "c", ("a",))
    metered = replace(modelled, form=form, metrics=metrics)
    both = shown(modelled, metered)
    assert "4.00 mJ †" in both
    assert "2.00 mJ │" in both
    assert "several kinds that do not compare" in " ".join(both.split())
    assert "†" not in shown(modelled)
    assert "energy: modelled, no power meter" in " ".join(shown(modelled).split())


def test_the_baseline_comes_first_then_the_front_from_slow_to_fast() -> None:
    fast = variant("fast[bold]", 1e-5, "quantization_aware", on_front=True)
    slow = variant("slow", 3e-5, "plain", on_front=True)
    base = variant("base", 2e-5, "plain", on_front=False)
    beaten = variant("beaten", 9e-5, "plain", on_front=False)
    table = variant_table(Variants((fast, slow, base, beaten), base.variant_id))
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in console.export_text().splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in rows] == ["base", "slow", "fast[bold]"]
    assert rows[2][1:] == [
        "int8, quantization aware, 1 GHz",
        "75/25 %",
        "90.0 % (85.0-94.0)",
        "10.0 µs",
        "4.00 mJ",
        "64 KiB",
    ]
