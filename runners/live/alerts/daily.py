"""The daily summary: what a day brought, in a dozen lines, once a day at the minute that alerts.yaml names (UTC)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS
from keel.core.results.funnel import total
from keel.runners.live.alerts.alerts import Alerts
from keel.runners.live.reporting.holdings import held_quantities

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

LOOK_S: Final = 15.0
LITTLE_MS: Final = HOUR_MS


class Figures(msgspec.Struct, frozen=True):
    """Of a session at one time, all since its journal began. equity, realized, fees, funding: quote coin; denied: by reason."""

    ts: int
    equity: float
    realized: float
    fees: float
    funding: float
    fills: int
    signals: int
    orders: int
    denied: dict[str, int]
    positions: dict[str, float]
    standing: list[str]
    differences: list[str]
    state: str
    quote: str


def figures_of(live: Live) -> Figures:
    """The session as it is now."""
    from keel.core.model.money import UNIT

    portfolio, counts = live.books.portfolio, live.books.actors.risk.counts
    return Figures(
        ts=live.connection.market_ms,
        equity=portfolio.equity,
        realized=sum(fill.realized_pnl for fill in live.tape.fills) / UNIT,
        fees=portfolio.fees / UNIT,
        funding=portfolio.funding / UNIT,
        fills=len(live.tape.fills),
        signals=counts.signals,
        orders=live.books.executor.orders_made,
        denied={str(reason): total([count]) for reason, count in counts.denied.items()},
        positions=held_quantities(portfolio),
        standing=[f"{entry.symbol or 'all symbols'}: {entry.label} ({entry.text})" for entry in live.gate.entries()],
        differences=[each.text for each in live.reconciler.last],
        state=live.gate.state.name,
        quote=live.quote,
    )


def summary_text(before: Figures, now: Figures, told: Mapping[str, int]) -> str:
    """What lies between two looks. told: notices by code."""
    gain = now.equity - before.equity
    share = f" ({gain / before.equity:+.2%})" if before.equity > 0 else ""
    realized, fees, funding = now.realized - before.realized, now.fees - before.fees, now.funding - before.funding
    denied = {reason: count - before.denied.get(reason, 0) for reason, count in now.denied.items() if count > before.denied.get(reason, 0)}
    held = ", ".join(f"{symbol} {qty:g}" for symbol, qty in now.positions.items())
    lines = [
        f"from {to_iso(before.ts)} to {to_iso(now.ts)}",
        f"equity {now.equity:,.2f} {now.quote}, {gain:+,.2f}{share}",
        f"realized {realized:+,.2f}, fees {fees:,.2f}, funding paid {funding:+,.2f}",
        f"signals {now.signals - before.signals}, orders {now.orders - before.orders}, fills {now.fills - before.fills}",
        f"denied {sum(denied.values())}" + (f" ({_counted(denied)})" if denied else ""),
        f"positions: {held or 'none'}",
        f"gate {now.state}" + "".join(f"\n- {each}" for each in now.standing),
        "differences between our books and the exchange's: " + ("; ".join(now.differences) or "none"),
        f"told: {_counted(dict(told)) or 'nothing'}",
    ]
    return "\n".join(lines)


def is_due(last_ms: int, now_ms: int, minute: int) -> bool:
    """Whether the minute of the UTC day has come between two times."""
    return (now_ms - minute * MINUTE_MS) // DAY_MS > (last_ms - minute * MINUTE_MS) // DAY_MS


def later(last_ms: int, now_ms: int) -> int:
    """The time from which the next look counts. A clock that is put back a little does not bring a minute twice; one that was wrong by more
    than LITTLE_MS is believed."""
    return now_ms if now_ms > last_ms or last_ms - now_ms > LITTLE_MS else last_ms


async def send_daily(live: Live, alerts: Alerts, *, look_s: float = LOOK_S) -> None:
    """Look until cancelled; at the minute of the day, send what lies between the last summary (at first: the start) and now."""
    minute = alerts.config.daily_minute
    if minute is None:
        return
    before = figures_of(live)
    last_ms = before.ts
    while True:
        await asyncio.sleep(look_s)
        now_ms = live.connection.market_ms
        if is_due(last_ms, now_ms, minute):
            now = figures_of(live)
            alerts.send_daily(now.ts, summary_text(before, now, alerts.take_told()))
            before = now
        last_ms = later(last_ms, now_ms)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
