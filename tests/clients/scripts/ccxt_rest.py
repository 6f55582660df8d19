"""ccxt, synchronous, with its default options: every unified method that a bot uses, on perpetuals and spot. ``python ccxt_rest.py URL``"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ccxt
from ccxt_options import options
from said import Report

SYMBOLS = {"swap": "BTC/USDT:USDT", "spot": "BTC/USDT"}
HOUR = 3_600_000


class Bot:
    """One market type."""

    def __init__(self, url: str, kind: str) -> None:
        self.kind, self.symbol = kind, SYMBOLS[kind]
        self.report = Report(kind)
        self.exchange = ccxt.bybit(options(url, kind))
        self.exchange.load_markets()
        self.last = float(self.exchange.fetch_ticker(self.symbol)["last"])

    def at(self, factor: float) -> float:
        """A price so far from the last one, on the grid."""
        return float(self.exchange.price_to_precision(self.symbol, self.last * factor))

    def do(self, name: str, *args: Any, refusal: str = "", **more: Any) -> Any:
        """A unified method."""
        said = ", ".join([*(f"{arg}"[:60] for arg in args), *(f"{key}={value}"[:60] for key, value in more.items())])
        return self.report.tried(f"{name}({said})", lambda: getattr(self.exchange, name)(*args, **more), refusal=refusal)

    def check(self, what: str, look: Callable[[], bool]) -> None:
        """Something that an answer must hold."""
        self.report.check(what, bool(self.report.tried(f"{what}: asked", look)))

    def market_data(self) -> None:
        symbol, now = self.symbol, self.exchange.milliseconds()
        for name in ("fetch_status", "fetch_time", "fetch_currencies", "fetch_markets", "fetch_tickers", "fetch_bids_asks"):
            self.do(name)
        self.do("fetch_ticker", symbol)
        for arguments in (("1m",), ("5m", now - HOUR, 10), ("1h", now - 24 * HOUR), ("1d", None, 5)):
            self.do("fetch_ohlcv", symbol, *arguments)
        for price in ("mark", "index", "premiumIndex"):
            self.do("fetch_ohlcv", symbol, "1m", None, 5, {"price": price})
        pages = self.do("fetch_ohlcv", symbol, "1m", now - 48 * HOUR, None, {"paginate": True}) or []
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(pages)]
        self.report.check("candles in pages have no hole and no double", len(pages) >= 48 * 60 and set(gaps) == {60_000}, f"{len(pages)}")
        minute = now - now % 60_000 - 10 * 60_000
        rows = self.do("fetch_ohlcv", symbol, "1m", minute + 30_000, 3) or []
        opens = [row[0] - minute for row in rows]
        self.report.check("candles begin after an unaligned start, which ccxt rounds up", opens == [60_000, 120_000, 180_000], f"{opens}")
        self.do("fetch_order_book", symbol)
        self.do("fetch_order_book", symbol, 200)
        self.report.check("there are public trades at once", bool(self.do("fetch_trades", symbol, None, 50)))

    def account(self) -> None:
        self.do("fetch_balance")
        self.do("fetch_balance", {"type": "funding"})
        for name in ("fetch_deposits", "fetch_withdrawals", "fetch_ledger", "fetch_transfers", "fetch_deposit_withdraw_fees"):
            self.do(name)
        self.do("fetch_trading_fee", self.symbol)
        self.do("cancel_all_orders_after", 10_000, refusal="PermissionDenied")

    def orders(self) -> None:
        symbol, price = self.symbol, self.at(0.98)
        made = self.do("create_order", symbol, "limit", "buy", 0.01, price, {"clientOrderId": f"one-{self.kind}"})
        order_id = made["id"]
        self.do("fetch_open_orders", symbol)
        self.do("fetch_open_order", order_id, symbol)
        self.do("edit_order", order_id, symbol, "limit", "buy", 0.02, self.at(0.97))
        found = self.do("fetch_order", order_id, symbol, {"acknowledged": True}) or {}
        self.report.check("an edited order is found as it is now", (found.get("amount"), found.get("status")) == (0.02, "open"), f"{found}")
        self.do("cancel_order", order_id, symbol)
        found = self.do("fetch_order", order_id, symbol, {"acknowledged": True}) or {}
        self.report.check(
            "a cancelled order is found by its id", (found.get("id"), found.get("status")) == (order_id, "canceled"), f"{found}"
        )
        self.do("fetch_canceled_orders", symbol)
        self.do("cancel_order", order_id, symbol, refusal="OrderNotFound")
        taken = self.do("create_order", symbol, "market", "buy", 0.01, self.last)
        found = self.do("fetch_order", taken["id"], symbol, {"acknowledged": True}) or {}
        self.report.check("a filled order is found by its id", found.get("status") == "closed" and found["filled"] > 0, f"{found}")
        self.do("fetch_closed_order", taken["id"], symbol)
        trades = self.do("fetch_order_trades", taken["id"], symbol) or []
        self.report.check(
            "an order's trades add up to it", abs(sum(trade["amount"] for trade in trades) - found["filled"]) < 1e-12, f"{found}"
        )
        for more in ({"postOnly": True}, {"timeInForce": "IOC"}, {"timeInForce": "FOK"}):
            self.do("create_order", symbol, "limit", "buy", 0.01, price, more)
        batch = [{"symbol": symbol, "type": "limit", "side": "buy", "amount": 0.01, "price": self.at(part)} for part in (0.98, 0.97)]
        rows = self.do("create_orders", batch)
        self.do("edit_orders", [{"id": rows[0]["id"], "symbol": symbol, "type": "limit", "side": "buy", "amount": 0.02, "price": price}])
        self.do("cancel_orders", [row["id"] for row in rows], symbol)
        self.triggered()
        self.do("fetch_open_orders", symbol, None, None, {"trigger": True})
        for name in ("fetch_my_trades", "fetch_closed_orders", "fetch_canceled_and_closed_orders", "fetch_open_orders"):
            self.do(name, symbol)
        self.do("cancel_all_orders", symbol)
        self.do("cancel_all_orders", symbol, {"trigger": True})
        self.check("nothing is open after that", lambda: not self.exchange.fetch_open_orders(symbol))

    def triggered(self) -> None:
        down, up = self.at(0.95), self.at(1.05)
        amount = 0.01 if self.kind == "swap" else 0.001
        direction = {"triggerDirection": "descending"} if self.kind == "swap" else {}
        self.do("create_order", self.symbol, "market", "sell", amount, None, {"triggerPrice": down, **direction})
        self.do("create_order", self.symbol, "limit", "sell", amount, self.at(0.94), {"triggerPrice": down, **direction})
        self.do("create_order", self.symbol, "market", "sell", amount, None, {"stopLossPrice": down})
        self.do("create_order", self.symbol, "market", "sell", amount, None, {"takeProfitPrice": up})


class SpotBot(Bot):
    """What only spot has."""

    def own(self) -> None:
        self.do("create_market_buy_order_with_cost", self.symbol, 100)
        self.do("create_market_sell_order_with_cost", self.symbol, 50)
        self.check("coins are held", lambda: self.exchange.fetch_balance()["BTC"]["total"] > 0)


class SwapBot(Bot):
    """What only perpetuals have."""

    def own(self) -> None:
        symbol, now = self.symbol, self.exchange.milliseconds()
        for name in ("fetch_mark_ohlcv", "fetch_index_ohlcv", "fetch_premium_index_ohlcv"):
            self.do(name, symbol, "1m")
        self.do("fetch_funding_rate", symbol)
        self.do("fetch_funding_rates")
        rates = self.do("fetch_funding_rate_history", symbol, now - 5 * 24 * HOUR, 10)
        self.report.check("funding has a past", len(rates or []) == 10, f"{len(rates or [])}")
        self.do("fetch_open_interest", symbol)
        self.report.check(
            "open interest has a past", len(self.do("fetch_open_interest_history", symbol, "1h", now - 24 * HOUR, 10) or []) == 10
        )
        self.do("fetch_long_short_ratio_history", symbol, "1h", None, 5)
        for name in ("fetch_trading_fees", "fetch_positions", "fetch_leverage_tiers"):
            self.do(name)
        for name in ("fetch_position", "fetch_leverage", "fetch_margin_mode", "fetch_market_leverage_tiers"):
            self.do(name, symbol)
        self.do("fetch_positions_adl_rank", [symbol])
        self.settings()
        self.exits()

    def settings(self) -> None:
        self.flatten()
        self.do("set_leverage", 5, self.symbol)
        self.do("set_leverage", 5, self.symbol, refusal="BadRequest")  # 110043, as at the exchange
        self.do("set_position_mode", False)
        self.do("set_position_mode", False, self.symbol, refusal="NoChange")
        self.do("set_margin_mode", "cross", self.symbol)
        self.do("set_margin_mode", "isolated", self.symbol)
        self.do("set_margin_mode", "isolated", self.symbol, {"leverage": 5}, refusal="MarginModeAlreadySet")

    def exits(self) -> None:
        pair = {"stopLoss": {"triggerPrice": self.at(0.9)}, "takeProfit": {"triggerPrice": self.at(1.1)}}
        self.do("create_order", self.symbol, "market", "buy", 0.02, None, pair)
        self.do("create_order", self.symbol, "limit", "buy", 0.01, self.at(0.98), pair)
        self.do("create_trailing_amount_order", self.symbol, "market", "sell", 0.02, None, 300)
        held = self.do("fetch_positions", [self.symbol]) or [{}]
        self.report.check(
            "the position is as it was bought", (held[0].get("contracts"), held[0].get("side")) == (0.02, "long"), f"{held[0]}"
        )
        self.do("cancel_all_orders")
        self.flatten()
        for name in ("fetch_funding_history", "fetch_position_history", "fetch_my_liquidations"):
            self.do(name, self.symbol)
        self.do("fetch_positions_history", [self.symbol])

    def flatten(self) -> None:
        size = sum(float(position["contracts"]) for position in self.exchange.fetch_positions([self.symbol]))
        if size:
            self.do("create_order", self.symbol, "market", "sell", size, None, {"reduceOnly": True})
        self.check(
            "the position is closed", lambda: not sum(float(one["contracts"]) for one in self.exchange.fetch_positions([self.symbol]))
        )


def main(url: str) -> int:
    """Both market types; how many things failed."""
    failed = 0
    for make, kind in ((SwapBot, "swap"), (SpotBot, "spot")):
        bot = make(url, kind)
        for part in (bot.market_data, bot.account, bot.orders, bot.own):
            bot.report.tried(f"the part {part.__name__} ran to its end", part)
        failed += bot.report.failed
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1])))
