"""Downloads through pybit give what our own reader gives."""

from __future__ import annotations

import pytest

from keel.adapters.bybit.market.history import HistoryDownloader
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.errors import VenueError
from tests.adapters.bybit.conftest import desk_over


async def test_two_clients_read_the_same_history() -> None:
    pytest.importorskip("pybit")
    async with desk_over(minutes=600) as desk:
        end = desk.now_ms
        told: list[tuple[int, int]] = []
        history = HistoryDownloader(endpoints(Environment.SANDBOX, desk.url), "linear", lambda done, total: told.append((done, total)))
        ours = await desk.reader.bars("BTCUSDT", "5m", end - 36_000_000, end)
        theirs = await history.bars("BTCUSDT", "5m", end - 36_000_000, end)
        assert theirs[: len(ours)] == ours
        assert told[-1][0] <= told[-1][1]
        assert await history.funding_rates("BTCUSDT", 0, end) == await desk.reader.funding_rates("BTCUSDT", 0, end)
        with pytest.raises(VenueError, match="NOPEUSDT"):
            await history.bars("NOPEUSDT", "5m", end - 3_600_000, end)
