"""The same venue over spot: quantities in base, fees in what is received, no positions and no leverage."""

from __future__ import annotations

from keel.core.actors.portfolio import Portfolio
from keel.core.model.messages import CancelAll
from keel.core.model.money import to_units
from tests.adapters.bybit.conftest import desk_over


async def test_bought_rested_cancelled_and_sold() -> None:
    async with desk_over(category="spot") as desk:
        instrument = desk.venue.tracker.instruments["BTCUSDT"]
        portfolio = Portfolio([instrument], to_units(100_000))
        desk.venue.submit_order(desk.order(1, qty=0.02))
        desk.venue.submit_order(desk.order(2, order_type="limit", price=desk.last - 500))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"] and desk.updates("t-2") == ["accepted"])
        assert desk.fills()[0].fee_coin == "BTC"
        desk.venue.cancel_all(CancelAll(desk.now_ms, "BTCUSDT"))
        await desk.until(lambda: desk.venue.in_flight <= 1)
        await desk.step()
        await desk.until(lambda: desk.updates("t-2")[-1:] == ["cancelled"])
        desk.venue.submit_order(desk.order(3, side="SELL", qty=0.019))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-3")[-1:] == ["filled"])
        for fill in desk.fills():
            portfolio.on_fill(fill)
        await desk.venue.resync()
        assert portfolio.cash == desk.venue.tracker.stated.balances["USDT"].wallet
        assert portfolio.lines["BTCUSDT"].book.steps == desk.venue.tracker.stated.balances["BTC"].wallet
        assert not desk.venue.gate.frozen
