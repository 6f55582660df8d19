"""What a session looks like on a terminal: the account, what rests, what was decided, how fresh everything is, and the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from keel.adapters.bybit.notices import Notice
from keel.core.model.messages import Signal
from keel.core.model.money import UNIT
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import HOUR_MS, MINUTE_MS
from keel.core.results.funnel import total
from keel.core.risk.gate.causes import TradingState
from keel.core.strategy.portfolio_order import TargetPosition
from keel.runners.live.arming.limits import no_stop
from keel.runners.live.memory.activity import Decision
from keel.runners.live.reporting.holdings import held_quantities
from keel.runners.live.reporting.restrictions import restrictions
from keel.runners.live.reporting.tallies import tallies
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.startup.banner import banner, border

REFRESH_S = 0.5
ROWS = 12
_IN_DROVES = ("series_late", "series_back", "series_incomplete", "inputs_late")
"""Codes that come once for each series when one thing is late: in a row they are one line."""
_PATHS = {"orders": "/v5/order/create", "cancels": "/v5/order/cancel"}
_SHADES = {"info": "dim", "warning": "yellow", "error": "red"}
_COLOURS = {TradingState.ACTIVE: "green", TradingState.REDUCING: "yellow", TradingState.HALTED: "red"}


class Display:
    """Redraws until the session ends: ``beside`` is given to ``Session.run``."""

    async def beside(self, live: Live, stop: Stop) -> AsyncIterator[None]:
        """A context: the screen is there inside of it."""
        from rich.live import Live as Screen

        with Screen(self.render(live, stop), auto_refresh=False, transient=True) as screen:

            async def redraw() -> None:
                while True:
                    screen.update(self.render(live, stop), refresh=True)
                    await asyncio.sleep(REFRESH_S)

            task = asyncio.create_task(redraw())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def render(self, live: Live, stop: Stop) -> Any:
        """The whole screen."""
        from rich.console import Group
        from rich.panel import Panel

        environment, is_live = live.plan.environment.value, live.plan.arming is not None
        parts = [
            banner(environment, is_live=is_live, has_no_stop=is_live and bool(no_stop(live.plan.system))),
            "",
            _head(live, stop),
            "",
            _positions(live),
            "",
            _orders(live),
            "",
            _decisions(live),
            "",
            _told(live),
        ]
        frame = border(environment)
        title = f"keel {live.plan.environment.value}  {live.plan.system.system}  {', '.join(live.plan.system.symbols)}"
        return Panel(
            Group(*parts),
            title=title,
            subtitle="Ctrl-C stops: entries are cancelled, exits and positions stay   P P: panic, all is cancelled and closed",
            border_style=frame,
        )


def _head(live: Live, stop: Stop) -> Any:
    from rich.table import Table
    from rich.text import Text

    portfolio, state = live.books.portfolio, live.gate.state
    table = Table.grid(padding=(0, 2))
    gain = portfolio.equity - live.opened.cash / UNIT
    table.add_row("equity", f"{portfolio.equity:,.2f} {live.quote}  ({gain:+,.2f} since the journal began)")
    money = (("wallet", portfolio.cash), ("fees", portfolio.fees), ("funding", portfolio.funding))
    table.add_row("money", "   ".join(f"{name} {amount / UNIT:,.2f}" for name, amount in money))
    table.add_row("funnel", _funnel(live))
    words = f"stopping: {stop.reason}" if stop.is_asked else state.name
    table.add_row("gate", Text(words, style="yellow" if stop.is_asked else _COLOURS[state]))
    if live.plan.arming is not None and live.plan.arming.token is not None:
        left = live.plan.arming.left_ms
        words = f"until {live.plan.arming.token.until} ({left // HOUR_MS} h {left // MINUTE_MS % 60:02d} min left)"
        table.add_row("armed", Text(words, style="bold red" if left < 15 * MINUTE_MS else ""))
    if live.plan.arming is not None and (words := no_stop(live.plan.system)):
        label, _, why = words.partition(": ")
        table.add_row(label, Text(why, style="bold red"))
    if live.plan.untested:
        table.add_row("UNTESTED", Text(f"promoted to demo without a look at its rules: {live.plan.untested}", style="bold yellow"))
    for each in restrictions(live.gate, live.plan.system.system):
        table.add_row("stopped by", Text(each.line, style="red"))
    instants, session = len(live.books.engine.closes), live.journal.session
    table.add_row("time", f"{to_iso(live.books.clock.now_ms)}   instants {instants:,}   session {session}   records {live.journal.seq:,}")
    table.add_row("feeds", _feeds(live))
    table.add_row("budget", _budget(live))
    if counted := tallies(live):
        table.add_row("counted", "   ".join(f"{words} {count:,}" for words, count in counted.items()))
    return table


def _funnel(live: Live) -> str:
    """What became of the signals and orders since the journal began."""
    counts, ends = live.books.actors.risk.counts, live.books.executor.memory.closed_counts
    denied, ignored = total(counts.denied.values()), total(counts.ignored.values())
    orders = f"orders {live.books.executor.orders_made:,} (filled {ends['filled']:,}, rejected {ends['rejected']:,})"
    return f"signals {counts.signals:,} (ignored {ignored:,}, denied {denied:,})   {orders}"


def _feeds(live: Live) -> str:
    ages = ", ".join(f"{symbol} {_age(live.market.age_ms(symbol))}" for symbol in live.instruments)
    private = "ready" if live.venue.is_ready else live.venue.private.stream.problem or "reading"
    return f"prices {ages}   private {private}   unanswered {live.venue.in_flight}   unknown {len(live.venue.unknown)}"


def _budget(live: Live) -> str:
    budget = live.connection.budget
    if budget.banned_for_ms:
        return f"the exchange has banned this address for another {budget.banned_for_ms // 1000} s"
    rests = ((name, *budget.rest(path)) for name, path in _PATHS.items())
    return "left this second: " + ", ".join(f"{name} {left} of {limit}" for name, left, limit in rests)


def _age(age_ms: float | None) -> str:
    return "none yet" if age_ms is None else f"{age_ms / 1000:.1f} s"


def _table(*headers: str) -> Any:
    from rich import box
    from rich.table import Table

    return Table(*headers, box=box.SIMPLE_HEAD, expand=True, pad_edge=False, show_edge=False)


def _positions(live: Live) -> Any:
    table = _table("position", "quantity", "entry", "mark", "unrealised")
    for symbol, qty in held_quantities(live.books.portfolio).items():
        line = live.books.portfolio.lines[symbol]
        gain = line.book.unrealized(line.mark)
        table.add_row(symbol, f"{qty:g}", _price(live, symbol, line.book.entry_price), _price(live, symbol, line.mark), f"{gain:+,.2f}")
    if not table.row_count:
        table.add_row("none")
    return table


def _orders(live: Live) -> Any:
    table = _table("order", "symbol", "side", "type", "quantity", "price", "state")
    orders = list(live.venue.tracker.orders)
    for tracked in orders[:ROWS]:
        price = tracked.price or tracked.trigger
        shown = "" if price is None else _price(live, tracked.symbol, price)
        qty = f"{tracked.instrument.qty_grid.value(tracked.qty):g}" if tracked.qty else "all"
        table.add_row(tracked.client_order_id, tracked.symbol, tracked.side, tracked.order_type, qty, shown, tracked.state)
    if not orders:
        table.add_row("none rest")
    elif len(orders) > ROWS:
        table.add_row(f"and {len(orders) - ROWS} more")
    return table


def _decisions(live: Live) -> Any:
    table = _table("time", "symbol", "last decisions")
    for message in live.tape.decisions[-6:]:
        table.add_row(to_iso(message.ts), message.symbol, _decision(message))
    if not table.row_count:
        table.add_row("none yet")
    return table


def _decision(message: Decision) -> str:
    if isinstance(message, Signal):
        return message.direction
    if isinstance(message, TargetPosition):
        return message.side if message.value is None or message.side == "CLOSE" else f"{message.side} {message.value:,.2f}"
    return f"denied: {message.reason} ({message.value:g}, limit {message.limit:g})"


def _told(live: Live) -> Any:
    from rich.text import Text

    told: list[tuple[Notice, int]] = []
    for notice in live.notices:
        is_alike = bool(told) and notice.code in _IN_DROVES and told[-1][0].code == notice.code
        count = told.pop()[1] + 1 if is_alike else 1
        told.append((notice, count))
    lines = [
        Text(f"{notice.severity}: {notice.text}" + (f" (and {count - 1} more alike)" if count > 1 else ""), style=_SHADES[notice.severity])
        for notice, count in told[-4:]
    ]
    return Text("\n").join(lines)


def _price(live: Live, symbol: str, price: float) -> str:
    return f"{price:,.{live.instruments[symbol].price_grid.decimals}f}"
