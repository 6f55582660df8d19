"""A session as a result: the same form that a backtest has, so that metrics, artifacts and report are the same, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keel.adapters.replay.history import Floats, Ints, SymbolHistory
from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT, to_text
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import DAY_MS
from keel.core.results.result import BacktestResult, Reconciliation, StopReason
from keel.runners.backtest.curve import equity_curve
from keel.runners.backtest.funnel import run_funnel
from keel.runners.backtest.outcome import holdings_value, made_result
from keel.runners.backtest.warnings import many_refused
from keel.runners.live.checks.statement import text_of
from keel.runners.live.reporting.tallies import tallies
from keel.runners.live.session.books import Books
from keel.runners.live.session.ending import Ending
from keel.runners.live.session.live import Live


def session_result(live: Live, ending: Ending, *, wall_s: float) -> BacktestResult:
    """Everything since the journal began, sessions before this one included."""
    system, books, tape = live.plan.system, live.books, live.tape
    portfolio, closes = books.portfolio, books.engine.closes
    timeframe = system.execution_timeframe or system.timeframe
    histories = [_history(live.instruments[symbol], books, symbol, timeframe) for symbol in system.symbols]
    times, equity = _equity_over_time(books)
    initial = _initial_equity(live) / UNIT
    curve = equity_curve(times, equity, histories, tape.changes, live.opened.start_ms, initial)
    end = closes[-1] if closes else live.opened.start_ms + 1
    days = (end - live.opened.start_ms) / DAY_MS
    actors = books.actors
    funnel = run_funnel(actors.risk, actors.executor, portfolio, fills=len(tape.fills), takeovers=len(tape.liquidations))
    return made_result(
        system,
        TimeRange(live.opened.start_ms, max(end, live.opened.start_ms + 1)),
        portfolio,
        curve,
        initial,
        metrics={"days": days, "reconciliation_difference": float(_difference(live, ending) / UNIT)},
        deferred={"message_hash": lambda: live.journal.digest},
        fills=tape.fills,
        funding_payments=tape.payments,
        liquidations=tape.liquidations,
        reconciliation=_reconciliation(live),
        trust=_trust(live, ending, timeframe),
        timing={"bars": sum(len(history.execution) for history in histories), "total_s": round(wall_s, 3)},
        stop_reason=_stop_reason(live, ending),
        bars={history.symbol: history.execution for history in histories},
        order_log=actors.executor.memory.order_log.entries,
        funnel=funnel,
        warnings=[
            *_untested(live),
            *_from_outside(live),
            *many_refused(funnel),
            *(f"not screened: {note}" for note in live.books.notes),
            *(f"counted: {words} {count:,}" for words, count in tallies(live).items()),
        ],
        system_uid=live.plan.uid,
    )


def _initial_equity(live: Live) -> int:
    """What the account was worth when the journal began, in 1e-8: cash, and on spot the coins in it, at the price of the first look."""
    coins = sum(cost for _, _, cost in live.opened.positions) if live.plan.system.category == "spot" else 0
    return live.opened.cash + coins


def _untested(live: Live) -> Iterator[str]:
    if live.plan.untested:
        yield f"UNTESTED: promoted to demo without a look at its rules ({live.plan.untested})"


def _from_outside(live: Live) -> Iterator[str]:
    moved = _reconciliation(live).initial_equity - _initial_equity(live)
    if moved:
        text = f"money from outside: {to_text(moved)} {live.quote} came to the account (negative: left it)"
        yield f"{text}, corrections by its transaction log included; net profit and curve contain it"


def _equity_over_time(books: Books) -> tuple[Ints, Floats]:
    """Equity at each close, and once more at the end where something was filled or paid after the last one: the figures are made of it."""
    portfolio = books.portfolio
    times, equity = list(books.engine.closes), list(portfolio.equity_values)
    if times and portfolio.equity != equity[-1]:
        times.append(max(books.clock.now_ms, times[-1] + 1))
        equity.append(portfolio.equity)
    return np.array(times, dtype=np.int64), np.array(equity, dtype=np.float64)


def _reconciliation(live: Live) -> Reconciliation:
    """From the portfolio's sums. Fills are booked at their own prices, so that what slippage cost is in the gross."""
    portfolio = live.books.actors.portfolio
    is_spot = live.plan.system.category == "spot"
    value, held_cost = holdings_value(portfolio)
    unrealized = value - held_cost
    booked = portfolio.initial_equity + portfolio.realized - portfolio.fees - portfolio.funding - (held_cost if is_spot else 0)
    transferred = portfolio.cash - booked
    return Reconciliation(
        initial_equity=portfolio.initial_equity + transferred,
        gross=portfolio.realized + portfolio.liquidation_loss,
        slippage=0,
        fees=portfolio.fees,
        funding=portfolio.funding,
        liquidation_loss=portfolio.liquidation_loss,
        unrealized=unrealized,
        final_balance=portfolio.cash,
        final_equity=portfolio.cash + (value if is_spot else unrealized),
    )


def _trust(live: Live, ending: Ending, timeframe: str) -> dict[str, Any]:
    where, sandbox = live.connection.where, live.connection.sandbox
    source = f"bybit {where.environment.value} ({where.rest})"
    return {
        "synthetic": sandbox is not None and sandbox.is_synthetic,
        "data_sources": [source],
        "decision_timeframe": live.plan.system.timeframe,
        "execution_timeframe": timeframe,
        "execution_is_finer": timeframe != live.plan.system.timeframe,
        "symbols": {symbol: {"data_source": {source: live.books.bars.count(symbol)}} for symbol in live.instruments},
        "account": live.account,
        "journal": str(live.journal.folder),
        "session": live.journal.session,
        "ended": ending.reason,
        "cancelled_at_end": ending.cancelled,
        "protective_left": ending.protective,
        "positions_left": ending.positions,
        "unanswered_at_end": ending.unanswered,
        "compared": ending.is_compared,
        "differences": [each.text for each in ending.differences],
        "trading_state_at_end": ending.state,
        "restrictions_at_end": [each.line for each in ending.restrictions],
        "transaction_log": None if ending.statement is None else text_of(ending.statement, live.quote),
        "statements": [text for stated in live.statement.made for text in (text_of(stated, live.quote), *stated.items)],
        "controls": dict(live.controls.counts.denials),
    }


def _stop_reason(live: Live, ending: Ending) -> StopReason | None:
    if ending.failure is None:
        return None
    return StopReason("fault", live.books.clock.now_ms, f"{type(ending.failure).__name__}: {ending.failure}")


def _difference(live: Live, ending: Ending) -> int:
    """The wallet less our cash at the end, in 1e-8; where they agree, what this session's statements could not explain."""
    cash = next((each.theirs - each.ours for each in ending.differences if each.symbol is None), 0)
    return cash or sum(stated.difference for stated in live.statement.made)


def _history(instrument: Instrument, books: Books, symbol: str, timeframe: str) -> SymbolHistory:
    closes = books.engine.closes
    frame = books.bars.frame(symbol, timeframe, closes[-1] if closes else 0)
    return SymbolHistory(instrument, frame, frame)


def _reason(ending: Ending) -> str:
    failure = ending.failure
    if failure is None:
        return ending.reason
    return f"{ending.reason}: {type(failure).__name__}: {str(failure).partition(chr(10))[0][:300]}"


def ending_lines(live: Live, ending: Ending) -> list[str]:
    """What a person is told when a session has ended."""
    portfolio = live.books.actors.portfolio
    quote = next(iter(live.instruments.values())).quote
    lines = [f"stopped: {ending.reason}" if ending.failure is None else f"trading stopped: {_reason(ending)}"]
    lines.append(f"cancelled: {', '.join(ending.cancelled) or 'nothing rested'}")
    if ending.unanswered:
        lines.append(f"NOT KNOWN to be cancelled: {', '.join(ending.unanswered)}; a restart cancels them again")
    if ending.positions:
        held = ", ".join(f"{symbol} {qty:g}" for symbol, qty in ending.positions.items())
        lines.append(f"positions stay: {held}")
        lines.append(f"exits that stay at the exchange: {', '.join(ending.protective) or 'none: what is held has no stop there'}")
    lines.append(f"equity {portfolio.equity:,.2f} {quote}, wallet {to_text(portfolio.cash)} {quote}")
    unread = "NOT COMPARED: the exchange could not be read at the end; a restart compares"
    agreement = "books and exchange: difference 0" if ending.is_compared else f"books and exchange {unread}"
    lines += [f"DIFFERENCE  {each.text}" for each in ending.differences] or [agreement]
    if ending.unstated:
        lines.append(f"NOT STATED: the transaction log could not be read ({ending.unstated}); the next session's statement covers it")
    if ending.state != "ACTIVE":
        lines.append(f"{ending.state}: no order that adds could be sent any more")
    lines += [f"STOPPED BY  {each.line}" for each in ending.restrictions if each.cause != "fault"]
    if ending.statement is not None:
        lines.append(text_of(ending.statement, quote))
        lines += [f"DIFFERENCE  {text}" for text in ending.statement.items]
    return lines
