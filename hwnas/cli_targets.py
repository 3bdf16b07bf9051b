"""The commands under ``hwnas targets``. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hwnas.cli_output import Json, console, print_json

targets_app = typer.Typer(help="Boards: list, show, check, log.", no_args_is_help=True)

_TABLE_ROWS = 30


@targets_app.command("list")
def targets_list(json_: Json = False) -> None:
    """List the targets that come with hwnas."""
    from hwnas.tables import targets_table
    from hwnas.target_checking import list_targets

    specs = list_targets()
    if json_:
        print_json([spec.model_dump(mode="json") for spec in specs])
    else:
        console().print(targets_table(specs))


@targets_app.command("show")
def targets_show(
    name: Annotated[str, typer.Argument(help="Target, or a path to its YAML file.")],
    json_: Json = False,
) -> None:
    """Show one target's description."""
    import yaml

    from hwnas.target_checking import show_target

    spec = show_target(name).model_dump(mode="json")
    if json_:
        print_json(spec)
    else:
        console().print(yaml.safe_dump(spec, sort_keys=False), end="", highlight=False)


@targets_app.command("check")
def targets_check(
    name: Annotated[str, typer.Argument(help="Target, or a path to its YAML file.")],
    predictors: Annotated[
        Path, typer.Option(help="Folder of calibrated predictors, compared with the board.")
    ] = Path("predictors"),
    json_: Json = False,
) -> None:
    """Try a small network on a target, and whether the target still matches its predictors."""
    from hwnas.tables import check_table
    from hwnas.target_checking import check_target, to_dicts

    steps = check_target(name, predictors)
    if json_:
        print_json(to_dicts(steps))
    else:
        console().print(check_table(steps))
    if not all(step.ok for step in steps):
        raise typer.Exit(3)


@targets_app.command("log")
def targets_log(
    name: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="Target, or a path to its YAML file; all by default."),
    ] = None,
    model: Annotated[str, typer.Option(help="How the model's SHA-256 begins.")] = "",
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Date, or date and time, UTC: 2026-01-31T12:00."),
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only doubtful measurements.")] = False,
    failures: Annotated[bool, typer.Option("--failures", help="Only failures.")] = False,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help=f"The newest so many; {_TABLE_ROWS} in a table, else all."),
    ] = None,
    export: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the records to NAME.jsonl or NAME.parquet instead."),
    ] = None,
    json_: Json = False,
) -> None:
    """List recorded measurements and failures, newest last, or export them."""
    from hwnas.measurement_export import export_measurements
    from hwnas.measurement_listing import MeasurementQuery, list_measurements, summary
    from hwnas.tables import records_table

    if export is None and not json_:
        limit = limit or _TABLE_ROWS
    query = MeasurementQuery(name, model, since, flagged, failures, limit)
    if export is not None:
        count = export_measurements(export, query)
        if json_:
            print_json({"path": str(export), "records": count})
        else:
            console().print(f"{count} records: {export}", soft_wrap=True)
    elif json_:
        print_json([summary(record) for record in list_measurements(query)])
    else:
        console().print(records_table(list_measurements(query)))
