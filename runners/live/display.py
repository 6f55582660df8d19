"""What a session looks like on a terminal: the account, what rests, what was decided, how fresh everything is, and the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from core.messages import Signal
from core.time_range import to_iso
from runners.live.gate import TradingState
from runners.live.session import Stop
from runners.live.start import Live

REFRESH_S = 0.5
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

        parts = [self._head(live, stop), _positions(live), _orders(live), _decisions(live)]
        title = f"keel {live.plan.environment.value}  {live.plan.system.system}  {', '.join(live.plan.system.symbols)}"
        return Panel(Group(*parts), title=title, subtitle="Ctrl-C stops: entries are cancelled, exits and positions stay")

    def _head(self, live: Live, stop: Stop) -> Any:
        from rich.table import Table
        from rich.text import Text

        portfolio, state = live.cycle.actors.portfolio, live.gate.state
        quote = next(iter(live.instruments.values())).quote
        table = Table.grid(padding=(0, 2))
        gain = portfolio.equity - live.opened.cash / 1e8
        table.add_row("equity", f"{portfolio.equity:,.2f} {quote}  ({gain:+,.2f} since the journal began)")
        table.add_row(
            "wallet", f"{portfolio.cash / 1e8:,.2f} {quote}   fees {portfolio.fees / 1e8:,.2f}   funding {portfolio.funding / 1e8:,.2f}"
        )
        words = f"{state.name}  {live.gate.why}" if not stop.is_asked else f"stopping: {stop.reason}"
        table.add_row("gate", Text(words, style=_COLOURS[state]))
        frozen = "; ".join(f"{name}: {'; '.join(causes.values())}" for name, causes in live.venue.frozen.items())
        if frozen:
            table.add_row("frozen", Text(frozen, style="red"))
        table.add_row("time", f"{to_iso(live.cycle.clock.now_ms)}   instants {len(live.cycle.closes):,}   session {live.journal.session}")
        ages = ", ".join(f"{symbol} {_age(live.market.age_ms(symbol))}" for symbol in live.instruments)
        private = "ready" if live.venue.is_ready else live.venue.private.stream.problem or "reading"
        table.add_row("feeds", f"prices {ages}   private {private}   unanswered {live.venue.in_flight}   unknown {len(live.venue.unknown)}")
        waits = live.connection.budget.wait_ms("/v5/order/create")
        table.add_row("budget", "orders may leave now" if not waits else f"the next order waits {waits} ms")
        return table


def _age(age_ms: int | None) -> str:
    return "none yet" if age_ms is None else f"{age_ms / 1000:.1f} s"


def _positions(live: Live) -> Any:
    from rich.table import Table

    table = Table("position", "quantity", "entry", "mark", "unrealised", title_justify="left", expand=True)
    for symbol, line in live.cycle.actors.portfolio.lines.items():
        if line.book.steps:
            gain = line.book.unrealized(line.mark)
            table.add_row(symbol, f"{line.qty:g}", f"{line.book.entry_price:,.4f}", f"{line.mark:,.4f}", f"{gain:+,.2f}")
    return table


def _orders(live: Live) -> Any:
    from rich.table import Table

    table = Table("order", "symbol", "side", "type", "price", "state", expand=True)
    for tracked in list(live.venue.fold.orders)[:12]:
        price = tracked.price or tracked.trigger
        shown = "" if price is None else f"{price:,.4f}"
        table.add_row(tracked.client_order_id, tracked.symbol, tracked.side, tracked.order_type, shown, tracked.state)
    return table


def _decisions(live: Live) -> Any:
    from rich.table import Table

    table = Table("time", "symbol", "last decisions", expand=True)
    for message in list(live.tape.decisions)[-6:]:
        words = (
            message.direction if isinstance(message, Signal) else f"denied: {message.reason} ({message.value:g}, limit {message.limit:g})"
        )
        table.add_row(to_iso(message.ts), message.symbol, words)
    return table
