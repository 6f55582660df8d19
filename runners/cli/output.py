"""What people see: tables, pairs of names and values, and numbers in words. rich draws on a terminal; elsewhere plain columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

SYNTHETIC = "SYNTHETIC history: these prices are invented, and say nothing about a market."


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """A table. right: the columns that are aligned to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(headers, cells, right)
        return
    widths = [max(len(row[place]) for row in [list(headers), *cells]) for place in range(len(headers))]
    for row in [list(headers), *cells]:
        padded = [
            cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(padded).rstrip())


def pairs(entries: Sequence[tuple[str, Any]], indent: str = "  ") -> None:
    """Names and values, one pair a line; pairs without a value are left out."""
    shown = [(name, _text(value)) for name, value in entries if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{indent}{name:<{width}}  {value}")


def money(text: str | None, coin: str = "") -> str:
    """Decimal text as people read it: thousands apart, two decimals."""
    if text is None:
        return "–"
    value = round(float(text), 2) + 0.0  # no "-0.00"
    return f"{value:,.2f} {coin}".rstrip()


def ratio(value: Any, digits: int = 2) -> str:
    """A number, or a dash for what has no value."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: Any, digits: int = 2) -> str:
    """A number that is in percent."""
    return "–" if value is None else f"{value:,.{digits}f} %"


def warn(warnings: Sequence[str]) -> None:
    """What must be known before the figures, a line each."""
    for text in warnings:
        click.secho(f"WARNING {text}", fg="yellow", bold=True)


def moment(ts: int) -> str:
    """ms UTC as a date, with the time where there is one."""
    from keel.core.model.time_range import to_iso

    text = to_iso(ts)
    return text[:10] if text.endswith("T00:00:00Z") else text[:16].replace("T", " ")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}"
    return str(value)


def _rich_table(headers: Sequence[str], cells: list[list[str]], right: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for place, header in enumerate(headers):
        drawn.add_column(header, justify="right" if place in right else "left", overflow="fold", no_wrap=place == 0)
    for row in cells:
        drawn.add_row(*row)
    Console(highlight=False, markup=False).print(drawn)
