"""ccxt.pro with its default options: every stream that a bot watches, and orders by the trade stream. ``python ccxt_streams.py URL``"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import ccxt.pro
from ccxt_options import options
from said import Report

SYMBOLS = {"swap": ("BTC/USDT:USDT", "ETH/USDT:USDT"), "spot": ("BTC/USDT", "ETH/USDT")}
PATIENCE_S = 30.0


class Watcher:
    """One market type."""

    def __init__(self, url: str, kind: str) -> None:
        self.kind, (self.symbol, self.other) = kind, SYMBOLS[kind]
        self.report = Report(kind)
        self.exchange = ccxt.pro.bybit(options(url, kind))

    async def do(self, name: str, *args: Any) -> Any:
        """A unified method, which must come to something."""
        said = ", ".join(f"{arg}"[:60] for arg in args)
        try:
            result = await asyncio.wait_for(getattr(self.exchange, name)(*args), PATIENCE_S)
        except Exception as error:  # noqa: BLE001 (whatever a client raises is its result)
            self.report.settle(f"{name}({said})", error)
            return None
        self.report.settle(f"{name}({said})", None)
        return result

    async def public(self) -> None:
        symbol, other = self.symbol, self.other
        for _ in range(2):
            await self.do("watch_ticker", symbol)
        await self.do("watch_tickers", [symbol, other])
        await self.do("watch_bids_asks", [symbol])
        await self.do("watch_ohlcv", symbol, "1m")
        await self.do("watch_ohlcv_for_symbols", [[symbol, "1m"], [other, "5m"]])
        for arguments in ((symbol,), (symbol, 200)):
            book = await self.do("watch_order_book", *arguments)
            self.report.check("the book is not crossed", book is not None and book["bids"][0][0] < book["asks"][0][0])
        await self.do("watch_order_book_for_symbols", [symbol, other])
        await self.do("watch_trades", symbol)
        await self.do("watch_trades_for_symbols", [symbol, other])
        await self.do("un_watch_ticker", symbol)
        await self.do("un_watch_ohlcv", symbol, "1m")
        await self.do("un_watch_order_book", symbol, {"limit": 50})
        await self.do("un_watch_trades", symbol)

    async def private(self) -> None:
        """Every private stream is watched before the order is placed that they all tell of."""
        names: list[tuple[str, Any]] = [("watch_orders", (self.symbol,)), ("watch_my_trades", (self.symbol,)), ("watch_balance", ())]
        waiting = [asyncio.create_task(self.do(name, *args)) for name, args in names]
        await asyncio.sleep(2.0)
        last = (await self.exchange.fetch_ticker(self.symbol))["last"]
        made = await self.do("create_order", self.symbol, "market", "buy", 0.01, last)
        orders, trades, balance = await asyncio.gather(*waiting)
        self.report.check("the order is told of", bool(orders) and orders[-1]["id"] == made["id"] and orders[-1]["symbol"] == self.symbol)
        self.report.check(
            "its trade is told of", bool(trades) and trades[-1]["order"] == made["id"] and trades[-1]["symbol"] == self.symbol
        )
        self.report.check("the balance is told of", bool(balance) and balance["USDT"]["total"] > 0)
        if self.kind == "swap":
            await self.positions(last)

    async def positions(self, last: float) -> None:
        seen = await self.do("watch_positions", [self.symbol])
        watching = asyncio.create_task(self.do("watch_positions", [self.symbol])) if not seen else None
        await asyncio.sleep(1.0)
        await self.do("create_order", self.symbol, "market", "buy", 0.01, last)
        seen = seen if watching is None else await watching
        self.report.check("the position is told of", bool(seen) and seen[-1]["symbol"] == self.symbol, f"{seen}")

    async def trading(self) -> None:
        last = (await self.exchange.fetch_ticker(self.symbol))["last"]

        def at(factor: float) -> float:
            return float(self.exchange.price_to_precision(self.symbol, last * factor))

        made = await self.do("create_order_ws", self.symbol, "limit", "buy", 0.01, at(0.98))
        await self.do("edit_order_ws", made["id"], self.symbol, "limit", "buy", 0.02, at(0.97))
        await self.do("cancel_order_ws", made["id"], self.symbol)
        found = await self.do("fetch_order", made["id"], self.symbol, {"acknowledged": True})
        self.report.check(
            "it ended as it was told to", found is not None and (found["amount"], found["status"]) == (0.02, "canceled"), f"{found}"
        )
        await self.do("un_watch_orders")
        await self.do("un_watch_my_trades")

    async def run(self) -> int:
        try:
            await self.exchange.load_markets()
            for part in (self.public, self.private, self.trading):
                try:
                    await part()
                except Exception as error:  # noqa: BLE001 (whatever a client raises is its result)
                    self.report.settle(f"the part {part.__name__} ran to its end", error)
        finally:
            await self.exchange.close()
        return self.report.failed


async def main(url: str) -> int:
    """Both market types; how many things failed."""
    return sum([await Watcher(url, kind).run() for kind in SYMBOLS])


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(main(sys.argv[1]))))
