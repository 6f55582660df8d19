"""Runs both sides over the same bars: the actors against the simulated exchange, and a session over a sandbox, in lock-step."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.journal import read
from keel.adapters.replay.history import PriceColumns, SymbolHistory
from keel.adapters.store import HistoricalDataStore
from keel.core.model.instrument import Grid
from keel.core.model.messages import Bar, Fill, FundingPayment, Liquidation, MarkPrice, Message
from keel.core.model.money import UNIT
from keel.core.model.timeframe import tf_ms
from keel.runners.backtest.preparation import Prepared
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.lifecycle.registry import system_uid
from keel.runners.live.memory.history import COMMANDS
from keel.runners.live.memory.records import TYPES, Decided
from keel.runners.live.session.decisions import decided_command
from keel.runners.live.session.ending import Ending, Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.runners.process.own_loop import run_to_end
from keel.runners.research.wire_parity.rows import BAR_FIELDS, Row, Side, Table, message_rows, table
from keel.runners.sandbox.assembly import StoredBars, bars_of
from keel.runners.sandbox.local import local_sandbox
from keel.runners.systems import LoadedSystem, effective_system
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings

Progress = Callable[[int, int], None]
"""(execution bars done, of how many)."""
_VENUE: Final = (Fill, FundingPayment, Liquidation)
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class OverTheWire:
    """A session's side. problem: why it is not whole: it broke, or its books differ from the sandbox's; "" where it is."""

    side: Side
    messages: list[Message]
    notices: list[Notice]
    problem: str


# --- marks, as the wire has them ---


def as_on_the_wire(prepared: Prepared, bars: StoredBars) -> tuple[Prepared, int]:
    """Both sides with mark and index prices rounded to the tick, as the exchange publishes them; and how many marks that changed.

    A stored mark may have more digits (an invented one, or one that was derived from a basis); a session can only hear what is published.
    """
    changed = 0
    histories = []
    for history in prepared.histories:
        grid = history.instrument.price_grid
        if history.mark is not None:
            changed += int(np.count_nonzero(_rounded(history.mark.valuation, grid) != history.mark.valuation))
        histories.append(_rounded_history(history, grid))
    for series in bars.columns:
        grid = series.instrument.price_grid
        series.mark = None if series.mark is None else tuple(_rounded(column, grid) for column in series.mark)
        series.index = None if series.index is None else tuple(_rounded(column, grid) for column in series.index)
        series.mark_closes = None if series.mark_closes is None else _rounded(series.mark_closes, grid)
        stamps, rates, marks = series.funding
        series.funding = (stamps, rates, [round(grid.value(grid.count(mark / UNIT)) * UNIT) for mark in marks])
    return replace(prepared, histories=histories), changed


def _rounded_history(history: SymbolHistory, grid: Grid) -> SymbolHistory:
    funding = history.funding
    if funding is not None:
        funding = replace(funding, marks=_rounded(funding.marks, grid))
    return replace(history, mark=_rounded_columns(history.mark, grid), index=_rounded_columns(history.index, grid), funding=funding)


def _rounded_columns(columns: PriceColumns | None, grid: Grid) -> PriceColumns | None:
    if columns is None:
        return None
    names = ("open", "high", "low", "close", "valuation")
    return replace(columns, **{name: _rounded(getattr(columns, name), grid) for name in names})


def _rounded(column: Any, grid: Grid) -> Any:
    """``grid.value(grid.count(x))`` of a column: numpy rounds halves to even, too."""
    return np.where(np.isfinite(column), np.round(column * grid.den / grid.num) * grid.num / grid.den, column)


# --- the backtest ---


def backtest_side(prepared: Prepared) -> Side:
    """Run the actors against the simulated exchange."""
    parts = wire_backtest(prepared, "bt")
    replay(parts.feed, parts.engine, parts.venue)
    timeframe = prepared.system.execution_timeframe or prepared.system.timeframe
    side = Side(rows=message_rows((each for each in parts.messages if isinstance(each, COMMANDS)), parts.messages))
    side.tables = {
        "bars": {history.symbol: _bars(history, timeframe) for history in prepared.histories},
        "marks": {history.symbol: _marks(history, timeframe) for history in prepared.histories if prepared.system.category == "linear"},
    }
    execution = prepared.histories[0].execution
    closes = np.unique(np.concatenate([history.execution.ts for history in prepared.histories])) + tf_ms(execution.timeframe)
    equity = parts.portfolio.equity_values
    side.tables["equity points"] = {"": table(ts=closes[: len(equity)], equity=np.array(equity, dtype=np.float64))}
    portfolio = parts.portfolio
    side.rows["final account"] = _account(portfolio.cash, portfolio.fees, portfolio.funding)
    return side


def _bars(history: SymbolHistory, timeframe: str) -> Table:
    frame = history.execution
    columns = {name: frame[name] for name in BAR_FIELDS[1:]}
    columns["volume"] = _rounded(frame["volume"], history.instrument.qty_grid)  # a sum of finer bars has noise that the wire has not
    return table(ts=frame.ts + tf_ms(timeframe), ts_open=frame.ts, **columns)


def _marks(history: SymbolHistory, timeframe: str) -> Table:
    frame = history.execution
    marks = frame["close"] if history.mark is None else history.mark.valuation
    return table(ts=frame.ts + tf_ms(timeframe), mark=marks)


def _account(cash: int, fees: int, funding: int, wallet: int | None = None) -> list[Row]:
    rows = [("cash", cash), ("fees", fees), ("funding", funding), ("wallet at the exchange", cash if wallet is None else wallet)]
    return [{"account": name, "value": value} for name, value in rows]


# --- the session ---


def sandbox_bars(store: HistoricalDataStore, prepared: Prepared) -> StoredBars:
    """What the sandbox plays: the bars of the backtest, and those before them as its past."""
    return bars_of(store, prepared.histories, prepared.system.category)


def session_side(
    loaded: LoadedSystem, store: HistoricalDataStore | None, bars: StoredBars, *, progress: Progress | None = None,
    folder: Path | None = None, **sandbox_has: Any,
) -> OverTheWire:  # fmt: skip
    """Run the session over a sandbox that plays these bars, HTTP and WebSocket included. folder: of its journals; None: one of its
    own, that goes with it. sandbox_has: settings of the sandbox that are other ones. Raises what a session's start raises."""
    system = loaded.config
    key, secret = os.environ.get("BYBIT_SANDBOX_KEY"), os.environ.get("BYBIT_SANDBOX_SECRET")  # a session takes these first
    account = AccountSettings(usdt=system.initial_equity)
    if key and secret:
        account = msgspec.structs.replace(account, key=key, secret=secret)
    values: dict[str, Any] = {
        "pace": "lockstep", "limit_factor": 1000.0, "execution": system.execution, "accounts": (account,),
    }  # fmt: skip
    settings = SandboxSettings(**(values | sandbox_has))
    with tempfile.TemporaryDirectory(prefix="keel-parity-") as passing:
        return run_to_end(_session(loaded, store, bars, settings, folder or Path(passing), progress))


async def _session(
    loaded: LoadedSystem, store: HistoricalDataStore | None, bars: StoredBars, settings: SandboxSettings, folder: Path,
    progress: Progress | None,
) -> OverTheWire:  # fmt: skip
    total = max(len(series.ts) - series.first for series in bars.columns)
    uid = system_uid("", {"system": effective_system(loaded), "epoch": "parity"}, "")
    notices: list[Notice] = []
    async with local_sandbox(settings, BarFeed(bars)) as sandbox:
        plan = Plan(loaded, loaded.config, uid, Environment.SANDBOX, folder / "journals", store, sandbox.url)
        session = Session(plan, notices.append)
        live, ending = await session.run(_told(session, progress, total))
        wallet = sandbox.account(settings.accounts[0].key)["wallet_units"][live.quote]
    messages = [record.message for record in read(live.journal.folder, types=TYPES)]
    return OverTheWire(_session_side(live, messages, wallet), messages, notices, _problem(ending, live))


def _told(session: Session, progress: Progress | None, total: int) -> Callable[[Live, Stop], AsyncIterator[None]]:
    async def tell() -> None:
        while progress is not None:
            progress(session.bars.count, total)
            await asyncio.sleep(_LOOK_S)

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    return beside


def _session_side(live: Live, messages: list[Message], wallet: int) -> Side:
    portfolio, closes, system = live.books.portfolio, live.books.engine.closes, live.plan.system
    timeframe = system.execution_timeframe or system.timeframe
    side = Side(rows=message_rows(decided_commands(messages), (each for each in messages if isinstance(each, _VENUE))))
    bars: dict[str, dict[int, Bar]] = {symbol: {} for symbol in system.symbols}
    marks: dict[str, list[MarkPrice]] = {symbol: [] for symbol in system.symbols}
    for message in messages:
        if isinstance(message, Bar) and message.tf == timeframe:
            bars[message.symbol][message.ts_open] = message
        elif isinstance(message, MarkPrice):
            marks[message.symbol].append(message)
    side.tables = {"bars": {symbol: _heard_bars(list(found.values())) for symbol, found in bars.items()}}
    side.tables["marks"] = {
        symbol: table(ts=[each.ts for each in found], mark=[each.price for each in found])
        for symbol, found in marks.items()
        if system.category == "linear"
    }
    equity = np.array(portfolio.equity_values, dtype=np.float64)
    side.tables["equity points"] = {"": table(ts=np.array(closes, dtype=np.int64)[: len(equity)], equity=equity)}
    side.rows["final account"] = _account(portfolio.cash, portfolio.fees, portfolio.funding, wallet=wallet)
    return side


def _heard_bars(bars: list[Bar]) -> Table:
    columns = {name: [getattr(bar, name) for bar in bars] for name in BAR_FIELDS}
    return table(ts=np.array([bar.ts_close for bar in bars], dtype=np.int64), **columns)


def decided_commands(messages: list[Message]) -> list[Message]:
    """What the system ordered, out of a journal's decisions."""
    made = [decided_command(message.made) for message in messages if isinstance(message, Decided)]
    return [command for command in made if command is not None]


def _problem(ending: Ending, live: Live) -> str:
    if ending.failure is not None:
        return f"the session broke: {type(ending.failure).__name__}: {ending.failure}"
    if not ending.agrees:
        items = [each.text for each in ending.differences] + ([] if ending.statement is None else list(ending.statement.items))
        return f"the session's books and the sandbox's differ: {'; '.join(items) or ending.unstated or 'they could not be compared'}"
    return ""
