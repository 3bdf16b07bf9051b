"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

_LOG_WIDTH = 132

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def console() -> Console:
    """Return standard output, wide enough for tables where it is no terminal."""
    # a pipe or log has no width; 80 columns would cut the tables
    screen = Console()
    return screen if screen.is_terminal else Console(width=_LOG_WIDTH)


def yaml_text(document: Any) -> str:
    """Return a document as YAML, its keys in their order."""
    import yaml

    return yaml.safe_dump(document, sort_keys=False, width=_LOG_WIDTH)


def print_json(document: Any) -> None:
    """Print a JSON document."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
