"""What a harness can tell the checker of a sandbox in this process."""

from __future__ import annotations

from keel.core.model.timeframe import MINUTE_MS
from keel.sim.sandbox.server import SandboxServer


def candles_of(server: SandboxServer) -> dict[tuple[str, str, int], tuple[float, float, float, float]]:
    """(symbol, timeframe, open time) -> (open, high, low, close) of the perpetuals' closed minutes."""
    found: dict[tuple[str, str, int], tuple[float, float, float, float]] = {}
    for market in server.engine.markets.values():
        if not market.is_linear or server.engine.feed.duration_ms != MINUTE_MS:
            continue
        for ts, (open_, high, low, close, *_) in market.candles.rows("1", None, None, 10_000):
            if market.candles.forming is None or ts != market.candles.forming_ts:
                found[market.symbol, "1m", ts] = (open_, high, low, close)
    return found
