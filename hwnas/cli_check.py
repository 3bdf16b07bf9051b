"""The command that judges by an SLA. Heavy imports happen inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli_output import Json, console, print_json

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
        from hwnas.sla_table import sla_table

        for name, report in result.reports.items():
            console().print(sla_table(report, name))
    if not result.is_met:
        raise typer.Exit(SLA_NOT_MET)
