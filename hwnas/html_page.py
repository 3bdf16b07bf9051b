"""Pieces of an HTML page; every text is escaped unless it is `Html` already."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

_PLOT = {"responsive": True, "displaylogo": False, "displayModeBar": False}


class Html(str):
    """Text that is HTML already."""


def section(title: str, body: str, note: str = "") -> str:
    """Return a section with a heading; ``body`` is HTML, ``note`` is text."""
    noted = f'<p class="note">{text(note)}</p>' if note else ""
    return f"<section><h2>{text(title)}</h2>{noted}{body}</section>"


def figure(plot: Any, identifier: str) -> str:
    """Return a plotly figure as HTML, without plotly's library."""
    # plotly escapes "<" in the data it writes into the script; with an identifier
    # of its own it would be random, and no two pages about a run the same
    shown: str = plot.to_html(
        full_html=False, include_plotlyjs=False, div_id=identifier, config=_PLOT
    )
    return shown


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Html]]) -> str:
    """Return a table that scrolls where it is too wide."""
    head = "".join(f"<th>{text(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def notes(texts: Sequence[str]) -> str:
    """Return a small paragraph of each text."""
    return "".join(f'<p class="note">{text(note)}</p>' for note in texts)


def tagged(shown: str, tag: str) -> Html:
    """Return a text with a smaller one behind it."""
    return Html(f'{text(shown)} <span class="tag">{text(tag)}</span>' if tag else text(shown))


def text(raw: str) -> str:
    """Return a text escaped."""
    return html.escape(raw)


def _cell(cell: str | Html) -> str:
    return cell if isinstance(cell, Html) else text(cell)
