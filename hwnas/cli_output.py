"""What commands have in common: output for people, JSON for programs, options."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from hwnas.progress import ConsoleProgress

_LOG_WIDTH = 132

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Predictors = Annotated[Path, typer.Option(help="Folder of calibrated predictors.")]


def console() -> Console:
    """Return standard output, wide enough for tables where it is no terminal."""
    # a pipe or log has no width; 80 columns would cut the tables
    screen = Console()
    return screen if screen.is_terminal else Console(width=_LOG_WIDTH)


def console_progress() -> ConsoleProgress:
    """Return what shows the progress of long work, apart from the output."""
    from hwnas.progress import ConsoleProgress

    return ConsoleProgress(Console(stderr=True))


def yaml_text(document: Any) -> str:
    """Return a document as YAML, its keys in their order."""
    import yaml

    return yaml.safe_dump(document, sort_keys=False, width=_LOG_WIDTH)


def print_json(document: Any) -> None:
    """Print a JSON document."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
