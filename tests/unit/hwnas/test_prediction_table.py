"""What `hwnas predict` shows of an energy."""

from typing import Any

from rich.console import Console

from hwnas.tables import prediction_table


def shown(**energy: Any) -> str:
    cost = {"mean": 1e-3, "low": 0.9e-3, "high": 1.1e-3, "in_domain": True}
    size = {"mean": 2048.0, "low": 2048.0, "high": 4096.0, "in_domain": True}
    terms = {"energy_j": 3e-3, "low_j": 2e-3, "high_j": 4e-3, "boundary": "inference_gross"}
    document = {
        "target": "board",
        "latency_s": cost,
        "flash_bytes": size,
        "peak_ram_bytes": size,
        "energy_j": terms | {"provenance": "predicted"} | energy,
    }
    console = Console(width=120)
    with console.capture() as captured:
        console.print(prediction_table(document))
    return captured.get()


def test_what_idle_power_draws_is_told_from_the_rest() -> None:
    lines = [line for line in shown(idle_j=1e-3, net_j=2e-3).splitlines() if "idle" in line]
    assert ["1.00 mJ" in lines[0], "2.00 mJ" in lines[1]] == [True, True]
    assert all("predicted" in line for line in lines)


def test_where_idle_power_is_unknown_nothing_is_said_of_it() -> None:
    assert "idle" not in shown(idle_j=None, net_j=None)
