"""An account in full swing on a sandbox: orders and positions in many symbols, made at once, past the request budgets.

    python -m benchmarks.panic_scene [--symbols 20] [--orders 60] [--hedge]      serves until it is ended, and says where

Per symbol: a position, limit orders below and above the market, ten conditional orders among them; in hedge mode a position on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import DEFAULT_KEY, AccountSettings, SandboxSettings

CONDITIONAL = 10
"""The most that the exchange takes per symbol."""


def names(symbols: int) -> list[str]:
    """BTCUSDT, ETHUSDT, and invented ones."""
    return ["BTCUSDT", "ETHUSDT", *(f"COIN{number:02d}USDT" for number in range(2, symbols))][:symbols]


def wall_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def scene(symbols: int, *, hedge: bool = False, limit_factor: float = 1.0) -> tuple[SandboxSettings, WalkFeed]:
    """A market that moves by itself, with the exchange's own request budgets."""
    account = AccountSettings(usdt=50_000_000.0, hedge=hedge)
    settings = SandboxSettings(accounts=(account,), tick_ms=200, limit_factor=limit_factor)
    return settings, WalkFeed(names(symbols), wall_ms(), 7, bars=60)


def fill_account(server: SandboxServer, orders: int, key: str = DEFAULT_KEY) -> None:
    """So many orders per symbol, and a position in each."""
    account, desk = server.engine.accounts[key], server.engine.order_requests
    for market in server.engine.markets.values():
        if not market.is_linear:
            continue
        is_hedge, grid, instrument = account.is_hedge[market.name], market.instrument.price_grid, market.instrument
        lot = instrument.qty_grid.text(max(1, instrument.qty_grid.ceil(200.0 / market.last)))
        base: dict[str, Any] = {"category": "linear", "symbol": market.symbol, "qty": lot}
        for idx, side in ((1, "Buy"), (2, "Sell")) if is_hedge else ((0, "Buy"),):
            desk.create(account, {**base, "side": side, "orderType": "Market", "positionIdx": idx})
        for number in range(orders):
            is_buy = number % 2 == 0
            away = 1.0 + (0.05 + 0.0005 * number) * (-1 if is_buy else 1)
            body = {**base, "side": "Buy" if is_buy else "Sell", "positionIdx": (1 if is_buy else 2) if is_hedge else 0}
            if number < CONDITIONAL:
                trigger = grid.text(grid.floor(market.last * (2.0 - away)))
                body |= {"orderType": "Market", "triggerPrice": trigger, "triggerDirection": 1 if is_buy else 2}
            else:
                body |= {
                    "orderType": "Limit",
                    "price": grid.text(grid.floor(market.last * away)),
                    "orderLinkId": f"other-{market.symbol}-{number}",
                }
            desk.create(account, body)


async def serve(symbols: int, orders: int, *, hedge: bool) -> None:
    """Until it is ended."""
    server = SandboxServer(*scene(symbols, hedge=hedge), wall_ms)
    url = await server.start()
    fill_account(server, orders)
    print(url, flush=True)
    await server.wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--orders", type=int, default=60, help="per symbol")
    parser.add_argument("--hedge", action="store_true")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.symbols, chosen.orders, hedge=chosen.hedge))


if __name__ == "__main__":
    main()
