"""The commands about running bundles on a device. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hwnas.cli_output import Json, console, print_json


def simulate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    trace: Annotated[Path, typer.Argument(help="CSV: time_s, event, see hwnas trace.")],
    policy: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Scaling policy (YAML); the bundle's own by default."),
    ] = None,
    product: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File whose section product tells of battery and sleep."),
    ] = None,
    variants: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A run's variants.json: single models to compare with."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run the networks on the bundle's samples.")
    ] = False,
    json_: Json = False,
) -> None:
    """Predict battery life, accuracy and use of operating points from a day of events."""
    from hwnas.config import load_product
    from hwnas.runtime.simulating import simulate as run_simulate

    described = load_product(product) if product else None
    result = run_simulate(
        bundle, trace, policy=policy, product=described, variants=variants, run=run
    )
    if json_:
        print_json(result.to_dict())
        return
    from hwnas.runtime.simulation_table import simulation_notes, simulation_table

    screen = console()
    screen.print(simulation_table(result))
    for note in simulation_notes(result):
        screen.print(note, soft_wrap=True, markup=False, highlight=False)


def trace(
    out: Annotated[Path, typer.Argument(help="CSV to write.")],
    interval_s: Annotated[float, typer.Option(help="Between inferences of background.")] = 5.0,
    burst_interval_s: Annotated[float, typer.Option(help="The same within bursts.")] = 1.0,
    bursts_per_day: Annotated[float, typer.Option(help="Of events, on average.")] = 20.0,
    burst_s: Annotated[float, typer.Option(help="How long one lasts, on average.")] = 60.0,
    night_share: Annotated[
        float, typer.Option(help="Rate of bursts from 22:00 to 6:00, relative to the day's.")
    ] = 0.1,
    days: Annotated[float, typer.Option(help="How long it is.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json_: Json = False,
) -> None:
    """Make up a trace of always-on sensing with rare events, for hwnas simulate."""
    from hwnas.runtime.trace_generator import SensingDay
    from hwnas.runtime.trace_generator import trace as run_trace

    day = SensingDay(interval_s, burst_interval_s, bursts_per_day, burst_s, night_share, days)
    made = run_trace(out, day, seed)
    events = int(made.event.sum())
    if json_:
        print_json({"path": str(out), "rows": len(made.event), "events": events})
    else:
        console().print(
            f"{out}: {len(made.event)} inferences, {events} of events", soft_wrap=True, markup=False
        )
