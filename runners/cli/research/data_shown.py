"""What people see of the data tools' answers."""

from __future__ import annotations

from pathlib import Path

import click

from keel.adapters.store.records import ImportReport
from keel.runners.cli.output import moment, table
from keel.runners.tools.research.data import FillResponse, GapsResponse, ListResponse, VerifyResponse
from keel.runners.tools.research.data_import import ImportResponse
from keel.runners.tools.research.data_maintenance import ChangedSeries

_SHOWN_GAPS = 20
_SHOWN_SYMBOLS = 10


def show_import(answer: ImportResponse) -> None:
    """What each file was, what became of its rows, and what was decided."""
    rows = [
        [
            _short(entry.path),
            entry.symbol,
            entry.category,
            f"{entry.kind} {entry.timeframe}".strip(),
            entry.rows,
            entry.inserted,
            entry.replaced,
            entry.time_unit,
            f"{moment(entry.first)} to {moment(entry.last)}",
        ]
        for entry in answer.imported
    ]
    if rows:
        headers = ["file", "symbol", "category", "series", "rows", "new", "replaced", "times in", "span"]
        table(headers, rows, right=(4, 5, 6))
    for folder in answer.folders:
        aside = f", {folder.others:,} of other kinds left aside" if folder.others else ""
        click.echo(f"  {folder.path}: {folder.files:,} files{aside}")
    for entry in answer.imported:
        if entry.rows != entry.rows_in_file:
            click.echo(f"  {_short(entry.path)}: {_of_the_rows(entry)}")
        for note in entry.notes:
            click.echo(f"  {_short(entry.path)}: {note}")


def _of_the_rows(entry: ImportReport) -> str:
    """What became of a file's rows, where not all of them were taken."""
    others = ((entry.duplicates, "doubled"), (entry.unfinished, "unfinished"), (entry.empty, "empty"), (entry.left_out, "of others"))
    return f"{entry.rows_in_file:,} rows in the file: {entry.rows:,} taken" + "".join(f", {n:,} {what}" for n, what in others if n)


def show_changed(what: str, series: list[ChangedSeries]) -> None:
    """Series that were deleted or renamed."""
    rows = [[one.symbol, one.category, f"{one.kind} {one.timeframe}".strip(), one.rows, what] for one in series]
    table(["symbol", "category", "series", "rows", ""], rows, right=(3,))


def _short(path: str) -> str:
    """A file with its folder: many files of many folders are called BTCUSDT.parquet."""
    return "/".join(Path(path).parts[-2:])


def show_series(answer: ListResponse, symbol: str | None) -> None:
    """What the store has."""
    if not answer.symbols:
        click.echo(f"{answer.store} is empty: keel data import FILE… brings history in, keel data synth invents a sample")
        return
    if not answer.series:
        there = ", ".join(answer.symbols[:_SHOWN_SYMBOLS]) + (", …" if len(answer.symbols) > _SHOWN_SYMBOLS else "")
        click.echo(f"{answer.store} has nothing of {symbol}, it has {there}: keel data import FILE… brings history in")
        return
    rows = [
        [
            entry.symbol,
            entry.category,
            f"{entry.kind} {entry.timeframe}".strip(),
            entry.rows,
            moment(entry.first),
            moment(entry.last),
            entry.gaps,
            _sources(entry.sources),
        ]
        for entry in answer.series
    ]
    table(["symbol", "category", "series", "rows", "first", "last", "gaps", "from"], rows, right=(3, 6))


def _sources(sources: dict[str, int]) -> str:
    names = [name.upper() if name.startswith("synthetic") else name for name in sources]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def show_gaps(answer: GapsResponse) -> None:
    """The gaps, and the longest of them."""
    gaps = [(series, f"{series.kind} {series.timeframe}".strip(), gap) for series in answer.series for gap in series.gaps]
    if not gaps:
        click.echo(f"no gaps in {len(answer.series)} series")
        return
    series, name, longest = max(gaps, key=lambda found: found[2].missing)
    click.echo(
        f"{answer.missing:,} missing in {len(gaps):,} gaps; the longest: {longest.missing:,} of {series.symbol} {name} from"
        f" {moment(longest.start)} to {moment(longest.end)}"
    )
    rows = [
        [series.symbol, series.category, name, moment(gap.start), moment(gap.end), gap.missing] for series, name, gap in gaps[:_SHOWN_GAPS]
    ]
    table(["symbol", "category", "series", "from", "to", "missing"], rows, right=(5,))
    if len(gaps) > _SHOWN_GAPS:
        click.echo(f"and {len(gaps) - _SHOWN_GAPS:,} more gaps (--json has all)")


def show_fill(answer: FillResponse) -> None:
    """What was built."""
    rows = [
        [
            series.symbol,
            series.category,
            f"{series.kind} {series.timeframe}",
            series.report.filled,
            ", ".join(f"{count:,} from {source}" for source, count in series.report.built_from.items()) or "–",
            sum(gap.missing for gap in series.report.remaining),
        ]
        for series in answer.series
    ]
    table(["symbol", "category", "series", "built", "out of", "still missing"], rows, right=(3, 5))


def show_findings(answer: VerifyResponse) -> None:
    """What was found, and how much of it."""
    rows = [
        [finding.severity, finding.symbol, f"{finding.kind} {finding.timeframe}".strip(), finding.check, finding.detail]
        for finding in answer.findings
    ]
    if rows:
        table(["severity", "symbol", "series", "check", "what"], rows)
    click.echo(f"{answer.errors} errors, {answer.warnings} warnings")
