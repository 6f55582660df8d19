"""The tool that sets a session beside its backtest, and splits the difference in profit into its causes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from keel.adapters.report.compare_live import ComparedRow, ComparedSession, write_compare_page
from keel.core.errors import DataError
from keel.core.model.money import UNIT, to_text
from keel.core.model.time_range import to_iso
from keel.runners.live.session_journal import SessionJournal, find_session, load_code
from keel.runners.process.private_files import private_files
from keel.runners.research.compare_live.parts import FILL_PRICE, PARTS, Row
from keel.runners.research.compare_live.trips import Trip
from keel.runners.research.compare_live.whole import Comparison, compare_live
from keel.runners.research.session_replay import replay_session
from keel.runners.systems import LoadedSystem
from keel.runners.tools.registry import Request, Response, ToolContext, tool

PAGE = "compare-live.html"


class CompareLiveRequest(Request, frozen=True):
    """run: the id of a session's run, ``last``, or the folder of a journal. page: write compare-live.html beside the run's report.
    with_current_code: run the code that is there now, though it is not the code that ran."""

    run: str
    page: bool = True
    with_current_code: bool = False


class TripEntry(msgspec.Struct, frozen=True):
    """One round trip of one side. Times UTC; exit "": still open. prices: volume-weighted; money as exact decimal text."""

    side: str
    qty: float
    entry: str
    entry_price: float
    exit: str
    exit_price: float
    exit_reason: str
    fees: str
    funding: str
    net: str


class CompareRow(msgspec.Struct, frozen=True):
    """One round trip of the session beside the backtest's; None: that side has none. parts: what is not 0, in sum the ``difference``."""

    symbol: str
    session: TripEntry | None
    backtest: TripEntry | None
    difference: str
    parts: dict[str, str]


class CompareLiveResponse(Response, frozen=True, kw_only=True):
    """Money as exact decimal text of the quote coin. parts: all of them; they add up to ``difference``, session_profit - backtest_profit.

    fill_price: latency + spread + slippage.  bars: whose bars the backtest ran over.  note: why the store's were not compared, what of the
    journal could not be heard, and whether its decisions are made again.
    outside: what was taken over from the exchange, such as transfers, which are no profit.
    """

    run_id: str
    journal: str
    system: str
    symbols: list[str]
    quote: str
    window: dict[str, str]
    sessions: int
    session_profit: str
    backtest_profit: str
    difference: str
    parts: dict[str, str]
    fill_price: str
    bars: str
    note: str
    spread_is_measured: bool
    rows: list[CompareRow]
    outside: list[str]
    changed_code: str
    page: str | None


@tool("session_compare", CompareLiveRequest, CompareLiveResponse)
def session_compare_tool(request: CompareLiveRequest, context: ToolContext) -> CompareLiveResponse:
    """Set a session (demo, live or sandbox) beside the backtest of the same system over the same bars, and split the difference in profit,
    trade by trade and in sum, into data, timing, fill price (latency, spread, slippage), fee, funding, size, missed and extra orders. The
    parts add up exactly."""
    journal = find_session(request.run, context.home)
    code = load_code(journal, context.home, with_current_code=request.with_current_code)
    step = context.step("comparing")
    if step is not None:
        step(0, 1)
    found = compare_live(journal, code.loaded, context.home)
    chance = "" if code.changed else _chance(journal, code.loaded)
    answer = _answer(journal, found, code.loaded.config.system, list(code.loaded.config.symbols), code.changed, chance)
    if not request.page:
        return answer
    folder = journal.folder if journal.run is None else journal.run.folder
    with private_files():
        path = write_compare_page(_page(answer, journal), folder / PAGE)
        _link(folder / "report.html")
    return msgspec.structs.replace(answer, page=str(path))


def _chance(journal: SessionJournal, loaded: LoadedSystem) -> str:
    """What is told of a strategy that decides otherwise on the same messages; "" for one that does not."""
    if replay_session(journal, loaded).difference is None:
        return ""
    return (
        f"the session's own code does not make its decisions again (keel replay {journal.name} shows the first that differs): what the"
        " backtest did otherwise may be chance"
    )


def _answer(journal: SessionJournal, found: Comparison, system: str, symbols: list[str], changed: str, chance: str) -> CompareLiveResponse:
    grids = {each["symbol"]: each for each in journal.program.instruments}
    quote = str(next(iter(grids.values()))["quote"])
    steps = {symbol: each["qty_grid"]["num"] / each["qty_grid"]["den"] for symbol, each in grids.items()}
    return CompareLiveResponse(
        run_id="" if journal.run is None else journal.run.run_id,
        journal=str(journal.folder),
        system=system,
        symbols=symbols,
        quote=quote,
        window={"start": to_iso(found.window.start_ms), "end": to_iso(found.window.end_ms)},
        sessions=found.sessions,
        session_profit=to_text(found.live_profit),
        backtest_profit=to_text(found.backtest_profit),
        difference=to_text(found.difference),
        parts={name: to_text(found.parts[name]) for name in PARTS},
        fill_price=to_text(sum(found.parts[name] for name in FILL_PRICE)),
        bars=found.bars,
        note="; ".join(each for each in (found.note, journal.cut_short(), chance) if each),
        spread_is_measured=found.quoted and not journal.opened.account.startswith("sandbox"),
        rows=[_row(row, steps) for row in found.rows],
        outside=[_told(each.reason, each.symbol, each.cash_change, quote, each.ts) for each in found.adjusted],
        changed_code=changed,
        page=None,
    )


def _told(reason: str, symbol: str, cash: int, quote: str, ts: int) -> str:
    what = f"{to_text(cash)} {quote}" if cash else f"the position in {symbol} as the exchange has it"
    return f"{to_iso(ts)} {reason}: {what}"


def _row(row: Row, steps: dict[str, float]) -> CompareRow:
    trip = row.live or row.backtest or row.same_bars
    symbol = "" if trip is None else trip.symbol
    parts = {name: to_text(amount) for name, amount in row.parts.items()}
    return CompareRow(symbol, _trip(row.live, steps), _trip(row.backtest, steps), to_text(row.difference), parts)


def _trip(trip: Trip | None, steps: dict[str, float]) -> TripEntry | None:
    if trip is None:
        return None
    qty = trip.steps * steps[trip.symbol]
    prices = [round(paid / UNIT / qty, 8) if qty else 0.0 for paid in (trip.entry.paid, trip.exit.paid + trip.worth)]
    return TripEntry(
        "LONG" if trip.direction > 0 else "SHORT", qty, to_iso(trip.entry_ts), prices[0],
        "" if trip.exit_ts is None else to_iso(trip.exit_ts), prices[1], trip.exit_reason, to_text(trip.fees), to_text(trip.funding),
        to_text(trip.net),
    )  # fmt: skip


# --- the page ---


def _page(answer: CompareLiveResponse, journal: SessionJournal) -> ComparedSession:
    rows = [
        ComparedRow(
            row.symbol, (row.session or row.backtest or _NOBODY).side, (row.session or row.backtest or _NOBODY).entry,
            None if row.session is None else row.session.net, None if row.backtest is None else row.backtest.net, row.difference, row.parts,
        )
        for row in answer.rows
    ]  # fmt: skip
    notes = [note for note in (answer.note, f"NOT the code that ran: {answer.changed_code}" if answer.changed_code else "") if note]
    return ComparedSession(
        answer.system, journal.name, answer.symbols, answer.quote, answer.window["start"], answer.window["end"], answer.session_profit,
        answer.backtest_profit, answer.difference, answer.parts, answer.bars, [*notes, *answer.outside], rows,
    )  # fmt: skip


_NOBODY = TripEntry("", 0.0, "", 0.0, "", 0.0, "", "0", "0", "0")


def _link(report: Path) -> None:
    """A line on the run's report that leads to the page; once. Raises DataError when the report cannot be written."""
    mark = f'<p class="beside"><a href="{PAGE}">This session beside its backtest</a></p>'
    if not report.is_file():
        return
    try:
        text = report.read_text(encoding="utf-8")
        if mark not in text and "<main>" in text:
            part = report.with_name(f"{report.name}.part")
            part.write_text(text.replace("<main>", f"<main>{mark}", 1), encoding="utf-8")
            part.replace(report)
    except OSError as error:
        raise DataError(f"{report}: no link could be written into it: {error.strerror or error}") from error
