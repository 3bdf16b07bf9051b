"""The commands that search. Heavy imports happen inside them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from hwnas.cli_output import Json, Predictors, console, console_progress, print_json

_TERMINATED = 128 + signal.SIGTERM


def search(
    config: Annotated[Path, typer.Argument(help="Experiment file (YAML).")],
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option("--set", help="Replace an entry: key.subkey=value. Repeatable."),
    ] = None,
    sla: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="SLA (YAML) whose limits the search keeps."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run.")] = False,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Worker processes here; one per core by default."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    predictors: Predictors = Path("predictors"),
    json_: Json = False,
) -> None:
    """Search architectures and write runs/NAME/ with front, measurements and report."""
    from hwnas.searching import search as run_search

    with console_progress() as progress:
        run = run_search(
            config,
            overrides=set_ or (),
            sla=sla,
            resume=resume,
            runs=runs,
            predictors=predictors,
            workers=workers,
            progress=progress,
        )
        # not before wrong input was told
        from hwnas.accuracy_text import accuracy_notes
        from hwnas.reporting import report
        from hwnas.tables import front_table
        from hwnas.variant_table import variant_table
        from hwnas.variants import Variants

        page = report(run.path)
    if json_:
        print_json(run.front())
        return
    screen = console()
    screen.print(front_table(run.front()))
    for note in accuracy_notes(run.front()):
        screen.print(note, soft_wrap=True, markup=False, highlight=False)
    screen.print(variant_table(Variants.load(run.variants_json)))
    screen.print(f"Report: {page}", soft_wrap=True)
    screen.print(f"Next: hwnas export {run.path}", soft_wrap=True)


def worker(
    location: Annotated[str, typer.Argument(help="Folder of a run, or URL of its storage.")],
    study: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The search's name; with a URL."),
    ] = None,
    base_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Where relative data paths start on this computer."),
    ] = None,
    json_: Json = False,
) -> None:
    """Join a running search from another process or computer, and evaluate candidates."""
    from hwnas.worker import worker as run_worker

    # as Ctrl-C: what is being evaluated goes to the others at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    with console_progress() as progress:
        count = run_worker(location, study_name=study, base_dir=base_dir, progress=progress)
    if json_:
        print_json({"evaluated": count})
    else:
        console().print(f"{count} candidates evaluated here; nothing is left to do")


def serve_storage(
    location: Annotated[str, typer.Argument(help="URL of the storage.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 13000,
) -> None:
    """Put a gRPC proxy in front of a storage: hundreds of workers share its connections."""
    from hwnas.storages import serve_storage as run_serve

    console().print(f"Serving on {host}:{port} until interrupted", highlight=False)
    run_serve(location, host, port)
