"""The command that judges by an SLA. Heavy imports happen inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli_output import Json, console, print_json

if TYPE_CHECKING:
    from hwnas.checking import SlaCheck

SLA_NOT_MET = 1
"""Exit code of commands that judge by an SLA."""


def check(
    path: Annotated[Path, typer.Argument(help="Folder of a bundle, or of a finished run.")],
    sla: Annotated[Path, typer.Option(help="SLA (YAML).")],
    json_: Json = False,
) -> None:
    """Judge a bundle or a run by an SLA: exit code 0 if it is met, 1 if not."""
    from hwnas.checking import check as run_check

    result = run_check(path, sla)
    if json_:
        print_json(result.to_dict())
    else:
        show_check(result)
    if not result.is_met:
        raise typer.Exit(SLA_NOT_MET)


def show_check(result: SlaCheck) -> None:
    """Print what a run's variant was chosen by, and what was judged."""
    from hwnas.sla_table import outcome_note, sla_table

    screen = console()
    if result.choice is not None:
        screen.print(sla_table(result.choice.chosen_by, result.choice.variant.variant_id))
    for name, report in result.reports.items():
        screen.print(sla_table(report, name))
    if result.choice is not None:
        screen.print(outcome_note(result.choice), soft_wrap=True)
