"""A simulation for the terminal: here units get prefixes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from hwnas.runtime.simulating import Comparison, Simulation
from hwnas.runtime.simulation import Outcome
from hwnas.units import engineering, percent


def simulation_table(simulation: Simulation) -> Table:
    """Return one row for the policy and one for each single model."""
    rows = {"policy": simulation.policy, **simulation.fixed}
    table = Table(title="Predicted")
    table.add_column("mode")
    heads = ["accuracy", "of events", "network, a day", "changes, a day"]
    if simulation.policy.average_power_w is not None:
        heads += ["product", "battery"]
    for head in (*heads, "shares of inferences"):
        table.add_column(head, justify="right")
    for name, outcome in rows.items():
        table.add_row(name, *_cells(outcome))
    return table


def _cells(outcome: Outcome) -> Iterator[str]:
    events = outcome.event_accuracy
    yield percent(outcome.accuracy)
    yield "-" if events is None else percent(events)
    yield engineering(outcome.inference_j_per_day, "J")
    yield f"{outcome.mode_changes_per_day:.0f}"
    if outcome.average_power_w is not None:
        days = outcome.battery_days
        yield engineering(outcome.average_power_w, "W")
        yield "-" if days is None else f"{days:.1f} days"
    yield ", ".join(f"{name} {percent(share)}" for name, share in outcome.mode_shares.items())


def simulation_notes(simulation: Simulation) -> list[str]:
    """Return what belongs below the table."""
    whose = "network" if simulation.policy.average_power_w is None else "product"
    notes = [
        _compared("At no more energy than the policy's", simulation.at_equal_energy, whose),
        _compared("At no less accuracy than the policy's", simulation.at_equal_accuracy, whose),
        "Energies and times of operating points: " + ", ".join(sorted(simulation.provenances)),
    ]
    if simulation.not_compared:
        notes.append(
            f"Not compared, as their energies are of another kind: "
            f"{len(simulation.not_compared)} of {len(simulation.fixed)} single models"
        )
    if simulation.ran_samples:
        notes.append("Accuracies: of the networks on the bundle's samples, in turn")
    else:
        notes.append("Accuracies: of operating points, taken for the same whatever is shown")
    if simulation.ignored_signals:
        names = ", ".join(simulation.ignored_signals)
        notes.append(f"Rules that never held, as nothing here tells their signals: {names}")
    return notes


def _compared(limit: str, found: Comparison | None, whose: str) -> str:
    if found is None:
        return f"{limit} there is no single model"
    gain, more = 100 * found.accuracy_gain, -100 * found.energy_saved
    return (
        f"{limit}, the best single model is {found.single}: beside it, the policy has {gain:+.2f} "
        f"points of accuracy and takes {more:+.1f} % of the {whose}'s energy"
    )
