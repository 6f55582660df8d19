"""``keel data``: history into the store, what it has, and out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keel.core.errors import DataError
from keel.runners.cli.output import SYNTHETIC, moment, table
from keel.runners.cli.plain_text import print_text
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.core.model.instrument import Category

_KINDS = click.Choice(["last", "mark", "index", "funding", "open_interest", "trades"])
_CATEGORIES = click.Choice(["linear", "spot"])
_BAD_DATA = DataError.exit_code


@click.group(no_args_is_help=True, epilog=example("keel data import btc_1h.parquet", "keel data list"))
@common
def data() -> None:
    """History: bring it in, look at it, check it, write it out. It lies in <home>/data/keel.duckdb."""


@data.command(epilog=example("keel data synth", "keel data synth --symbol SOLUSDT --start 2024-06-01 --end 2024-09-01 --seed 3"))
@click.option("--symbol", "symbols", multiple=True, metavar="S", default=("BTCUSDT", "ETHUSDT"), show_default=True, help="May be repeated.")
@click.option("--start", metavar="D", default="2024-01-01", show_default=True, help="First day, UTC.")
@click.option("--end", metavar="D", default="2025-01-01", show_default=True, help="The day before which it ends.")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="The same seed gives the same history.")
@common
@click.pass_obj
def synth(session: Session, symbols: tuple[str, ...], start: str, end: str, seed: int) -> None:
    """Invent a realistic sample history: 1m bars of last, mark and index, funding, open interest. It is labelled synthetic."""
    from keel.runners.tools.research.data import SynthRequest, data_synth_tool

    answer = data_synth_tool.run(SynthRequest(symbols, start, end, seed), session.context())

    def show() -> None:
        click.secho(SYNTHETIC, bold=True)
        rows = [[entry.symbol, entry.kind, entry.timeframe, entry.rows, entry.inserted] for entry in answer.series]
        table(["symbol", "kind", "timeframe", "rows", "new"], rows, right=(3, 4))
        click.echo(f"{moment(answer.start)} to {moment(answer.end)}, seed {answer.seed}, in {answer.store}")

    session.answer(answer, show)


@data.command(
    "import",
    epilog=example("keel data import bybit/linear/kline_1h/BTCUSDT.parquet", "keel data import ticks.csv --symbol BTCUSDT --timeframe 1m"),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--symbol", metavar="S", help="Where neither columns nor path say it, in any spelling (BTC/USDT:USDT).")
@click.option("--timeframe", metavar="TF", help="Of bars.")
@click.option("--kind", type=_KINDS, help="What the rows are.")
@click.option("--category", type=_CATEGORIES, help="linear (USDT perpetuals) or spot.")
@click.option("--overwrite", is_flag=True, help="Put other values in place of stored ones; otherwise they are an error.")
@click.option(
    "--keep-unfinished", is_flag=True, help="Take bars that have not closed yet and rows of the future; otherwise they are dropped."
)
@click.option("--time-format", metavar="F", help="Of times as text, such as '%d/%m/%Y %H:%M'.")
@click.option("--timezone", metavar="Z", help="Of times that say none: UTC (the default), +03:00, Europe/Berlin.")
@click.option("--decimal", type=click.Choice([".", ","]), default=".", show_default=True, help="The decimal mark of numbers.")
@click.option("--skip-lines", type=click.IntRange(0, 10_000), default=0, metavar="N", help="Lines that stand before the table.")
@click.option("--drop-empty", is_flag=True, help="Leave out rows with empty cells, and count them; otherwise they are an error.")
@common
@click.pass_obj
def import_(session: Session, /, **given: Any) -> int:
    """Import files of history, also in .gz or .zip, or a folder of them: CSV, JSON, Parquet, Feather, as exchanges and programs write them.
    What their columns or path say (symbol, timeframe, mark_1h/) need not be said again.

    An option that contradicts them is refused: give a file whose path is wrong a name and a folder that do not say so.
    Each file is imported whole or not at all; a file that is refused does not stop the others, and the exit code is 3.
    """
    from keel.runners.cli.research.data_shown import show_import
    from keel.runners.tools.research.data_import import ImportRequest, data_import_tool

    answer = data_import_tool.run(ImportRequest(**given), session.context())
    session.answer(answer, lambda: show_import(answer))
    for failed in answer.failed:
        print_text(f"error: {failed.error}")
    return _BAD_DATA if answer.failed else 0


@data.command("import-instruments", epilog=example("keel data import-instruments instruments-info.json risk-limit.json"))
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--category", type=_CATEGORIES, help="Of answers that do not say it, nor their rows.")
@common
@click.pass_obj
def import_instruments(session: Session, files: tuple[str, ...], category: Category | None) -> None:
    """Import ticks, steps, limits, fees and risk tiers from the exchange's own JSON answers."""
    from keel.runners.tools.research.data_import import InstrumentsRequest, data_import_instruments_tool

    answer = data_import_instruments_tool.run(InstrumentsRequest(files, category), session.context())
    session.answer(answer, lambda: table(["file", "symbols"], [[path, count] for path, count in answer.symbols.items()], right=(1,)))


@data.command("list", epilog=example("keel data list", "keel data list --symbol BTCUSDT --json"))
@click.option("--symbol", metavar="S", help="Only this one.")
@common
@click.pass_obj
def list_(session: Session, symbol: str | None) -> None:
    """What the store has: rows, span, gaps and sources of every series."""
    from keel.runners.cli.research.data_shown import show_series
    from keel.runners.tools.research.data import ListRequest, data_list_tool

    answer = data_list_tool.run(ListRequest(symbol), session.context())
    session.answer(answer, lambda: show_series(answer, symbol))


@data.command(epilog=example("keel data gaps --symbol BTCUSDT --timeframe 5m"))
@click.option("--symbol", metavar="S", help="Only this one.")
@click.option("--timeframe", metavar="TF", help="Only these bars.")
@click.option("--kind", type=_KINDS, help="Only this one.")
@click.option("--category", type=_CATEGORIES, help="Only this one.")
@common
@click.pass_obj
def gaps(session: Session, /, **selection: Any) -> None:
    """Bars and settlements that are missing inside the stored series."""
    from keel.runners.cli.research.data_shown import show_gaps
    from keel.runners.tools.research.data import SeriesRequest, data_gaps_tool

    answer = data_gaps_tool.run(SeriesRequest(**selection), session.context())
    session.answer(answer, lambda: show_gaps(answer))


@data.command(epilog=example("keel data fill --symbol BTCUSDT --timeframe 1h"))
@click.option("--symbol", metavar="S", help="Only this one.")
@click.option("--timeframe", metavar="TF", help="Only these bars.")
@click.option("--kind", type=click.Choice(["last", "mark", "index"]), help="Only this one.")
@click.option("--category", type=_CATEGORIES, help="Only this one.")
@common
@click.pass_obj
def fill(session: Session, /, **selection: Any) -> None:
    """Build missing bars out of finer ones, where these are complete. Nothing is invented or carried forward."""
    from keel.runners.cli.research.data_shown import show_fill
    from keel.runners.tools.research.data import SeriesRequest, data_fill_tool

    answer = data_fill_tool.run(SeriesRequest(**selection), session.context())
    session.answer(answer, lambda: show_fill(answer))


@data.command(epilog=example("keel data delete XUSDT", "keel data delete XUSDT --timeframe 1h --kind last --yes"))
@click.argument("symbol")
@click.option("--timeframe", metavar="TF", help="Only these bars.")
@click.option("--kind", type=_KINDS, help="Only this one.")
@click.option("--category", type=_CATEGORIES, help="Only this one.")
@click.option("--yes", "confirm", is_flag=True, help="Do it; without, what would go is said.")
@common
@click.pass_obj
def delete(session: Session, /, **selection: Any) -> None:
    """Delete the stored series of a symbol with all their rows. Instruments that the exchange told stay."""
    from keel.runners.cli.research.data_shown import show_changed
    from keel.runners.tools.research.data_maintenance import DeleteRequest, data_delete_tool

    answer = data_delete_tool.run(DeleteRequest(**selection), session.context())
    session.answer(answer, lambda: show_changed("deleted", answer.series))


@data.command(epilog=example("keel data rename XBTUSD BTCUSD", "keel data rename BTCUSDT BTCUSDT --to-category spot"))
@click.argument("symbol")
@click.argument("to")
@click.option("--timeframe", metavar="TF", help="Only these bars.")
@click.option("--kind", type=_KINDS, help="Only this one.")
@click.option("--category", type=_CATEGORIES, help="Only this one.")
@click.option("--to-category", type=_CATEGORIES, help="Their new category.")
@common
@click.pass_obj
def rename(session: Session, /, **selection: Any) -> None:
    """Give the stored series of a symbol another symbol or category, all of them or none."""
    from keel.runners.cli.research.data_shown import show_changed
    from keel.runners.tools.research.data_maintenance import RenameRequest, data_rename_tool

    answer = data_rename_tool.run(RenameRequest(**selection), session.context())
    session.answer(answer, lambda: show_changed(f"now {answer.to}", answer.series))


@data.command(epilog=example("keel data verify", "keel data verify --symbol BTCUSDT --json"))
@click.option("--symbol", metavar="S", help="Only this one.")
@common
@click.pass_obj
def verify(session: Session, symbol: str | None) -> int:
    """Check the stored series; the exit code is 3 when something is found that a store must never hold."""
    from keel.runners.cli.research.data_shown import show_findings
    from keel.runners.tools.research.data import VerifyRequest, data_verify_tool

    answer = data_verify_tool.run(VerifyRequest(symbol), session.context())
    session.answer(answer, lambda: show_findings(answer))
    return _BAD_DATA if answer.errors else 0


@data.command(
    epilog=example("keel data export BTCUSDT --timeframe 1h --out btc_1h.parquet", "keel data export BTCUSDT --kind funding --format csv")
)
@click.argument("symbol")
@click.option("--timeframe", metavar="TF", default="", help="Of bars.")
@click.option("--kind", type=_KINDS, default="last", show_default=True)
@click.option("--category", type=_CATEGORIES, default="linear", show_default=True)
@click.option("--start", metavar="D", help="From here on.")
@click.option("--end", metavar="D", help="Before that.")
@click.option("--format", "format_", type=click.Choice(["parquet", "csv"]), help="Default: as the file's name says.")
@click.option("--out", metavar="PATH", help="Default: SYMBOL_KIND_TIMEFRAME here.")
@common
@click.pass_obj
def export(
    session: Session,
    symbol: str,
    timeframe: str,
    kind: str,
    category: str,
    start: str | None,
    end: str | None,
    format_: str | None,
    out: str | None,
) -> None:
    """Write one series to a Parquet or CSV file, whole or not at all."""
    from keel.runners.tools.research.data import ExportRequest, data_export_tool

    name = out or f"{'_'.join(part for part in (symbol, kind, timeframe) if part)}.{format_ or 'parquet'}"
    request = ExportRequest(symbol, name, timeframe, kind, category, format_, start, end)
    answer = data_export_tool.run(request, session.context())
    session.answer(answer, lambda: click.echo(f"{answer.rows:,} rows to {answer.path}"))
