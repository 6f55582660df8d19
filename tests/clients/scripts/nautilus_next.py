"""NautilusTrader 2.x (release candidate): what ``nautilus_live.py`` does, by its new interface. ``python nautilus_next.py URL``"""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from nautilus_trader.adapters.bybit import (
    BybitDataClientConfig,
    BybitDataClientFactory,
    BybitExecutionClientConfig,
    BybitExecutionClientFactory,
    BybitProductType,
)
from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import LiveNode
from nautilus_trader.model import BarType, InstrumentId, OrderSide, TraderId
from nautilus_trader.trading import Strategy, StrategyConfig
from said import Report

PATIENCE_S = 100.0
KINDS = {"linear": BybitProductType.LINEAR, "spot": BybitProductType.SPOT}
URL = sys.argv[1] if len(sys.argv) > 1 else ""
QTY = 0.01


class Life(Strategy):
    """What is common to both lives."""

    def begin(self, kind: str) -> Any:
        self.kind, self.seen, self.done, self.step = kind, {}, threading.Event(), "quote"
        self.name = InstrumentId.from_str(f"BTCUSDT-{kind.upper()}.BYBIT")
        return self


class Trader(Life):
    """One order after another, each step by the event of the one before."""

    def on_start(self) -> None:
        self.instrument = self.cache.instrument(self.name)
        self.seen["instrument"] = self.instrument is not None
        bars = BarType.from_str(f"{self.name}-1-MINUTE-LAST-EXTERNAL")
        self.subscribe_bars(bars)
        self.request_bars(bars, start=datetime.now(UTC) - timedelta(minutes=30))
        self.subscribe_quotes(self.name)
        self.subscribe_trades(self.name)

    def on_historical_bars(self, bars: Any) -> None:
        self.seen["past bars"] = len(bars)

    def on_bar(self, bar: Any) -> None:
        self.seen["bars"] = self.seen.get("bars", 0) + 1
        self._end()

    def on_trade(self, trade: Any) -> None:
        self.seen["trades"] = self.seen.get("trades", 0) + 1

    def on_quote(self, quote: Any) -> None:
        self.seen["quotes"] = self.seen.get("quotes", 0) + 1
        if self.step == "quote":
            self.step = "resting"
            self.price = float(str(quote.bid_price))
            self.resting = self._limit(0.98)
            self.submit_order(self.resting)

    def _limit(self, factor: float, **more: Any) -> Any:
        price = self.instrument.make_price(self.price * factor)
        return self.order_factory.limit(self.name, OrderSide.BUY, self.instrument.make_qty(QTY), price, **more)

    def on_order_accepted(self, event: Any) -> None:
        if self.step == "resting":
            self.seen["accepted"] = True
            self.step = "changed"
            qty, price = self.instrument.make_qty(2 * QTY), self.instrument.make_price(self.price * 0.97)
            self.modify_order(self.resting.client_order_id, qty, price)

    def on_order_updated(self, event: Any) -> None:
        if self.step == "changed":
            self.seen["changed"] = True
            self.step = "cancelled"
            self.cancel_order(self.resting.client_order_id)

    def on_order_canceled(self, event: Any) -> None:
        if self.step == "cancelled":
            self.seen["cancelled"] = True
            self.step = "filled"
            self.submit_order(self.order_factory.market(self.name, OrderSide.BUY, self.instrument.make_qty(QTY)))
        else:
            self._refused("canceled", event)

    def on_order_filled(self, event: Any) -> None:
        if self.step == "filled":
            self.seen["filled"] = str(event.last_qty)
            self.step = "crossing"
            self.submit_order(self._limit(1.001, post_only=True))

    def on_order_rejected(self, event: Any) -> None:
        self._refused("rejected", event)

    def on_order_expired(self, event: Any) -> None:
        self._refused("expired", event)

    def _refused(self, how: str, event: Any) -> None:
        if self.step == "crossing":
            self.seen["post-only refused"] = how
            self.step = "end"
            self._end()
        else:
            self.seen["unexpected"] = f"{how} at {self.step}: {event}"

    def _end(self) -> None:
        if self.step == "end" and self.seen.get("bars"):
            self.done.set()


class Onlooker(Life):
    """A second life, which looks at what it finds at its start."""

    def on_start(self) -> None:
        self.seen["position"] = [(str(position.side), str(position.quantity)) for position in self.cache.positions_open()]
        self.seen["closed orders"] = len(self.cache.orders_closed())
        self.done.set()


def live(kind: str, strategy: Any) -> dict[str, Any]:
    """Run a node until its strategy has seen everything, or patience ends; what it has seen."""
    socket = URL.replace("http", "ws", 1)
    keys = {"api_key": "sandbox-key", "api_secret": "sandbox-secret", "base_url_http": URL, "product_types": [KINDS[kind]]}
    data = BybitDataClientConfig(**keys, base_url_ws_public=f"{socket}/v5/public/{kind}", base_url_ws_private=f"{socket}/v5/private")
    trade = BybitExecutionClientConfig(**keys, base_url_ws_private=f"{socket}/v5/private", base_url_ws_trade=f"{socket}/v5/trade")
    node = (
        LiveNode.builder("referee", TraderId("REFEREE-001"), Environment.LIVE)
        .with_logging(LoggerConfig(stdout_level=LogLevel.WARNING))
        .with_reconciliation(True)
        .with_reconciliation_lookback_mins(1440)
        .add_data_client("BYBIT", BybitDataClientFactory(), data)
        .add_exec_client("BYBIT", BybitExecutionClientFactory(), trade)
        .build()
    )
    node.add_strategy(strategy)
    handle = node.handle()

    def watch() -> None:
        strategy.done.wait(PATIENCE_S)
        handle.stop()

    threading.Thread(target=watch, daemon=True).start()
    node.run()
    return dict(strategy.seen)


def first_life(kind: str) -> int:
    """How many things failed."""
    report = Report(kind)
    seen = report.tried("a node trades", lambda: live(kind, Trader(StrategyConfig(order_id_tag="001")).begin(kind))) or {}
    for name in ("instrument", "past bars", "bars", "quotes", "trades", "accepted", "changed", "cancelled", "filled", "post-only refused"):
        report.check(name, bool(seen.get(name)), f"{seen.get(name, seen.get('unexpected', 'not seen'))}")
    return report.failed


def second_life(kind: str) -> int:
    """Of a process of its own."""
    report = Report(kind)
    found = report.tried("a second node starts", lambda: live(kind, Onlooker(StrategyConfig(order_id_tag="001")).begin(kind))) or {}
    if kind == "linear":
        report.check("it finds the position", [size for _, size in found.get("position", [])] == ["0.010"], f"{found.get('position')}")
    report.check("it finds closed orders", bool(found.get("closed orders")), f"{found}")
    return report.failed


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit(min(1, {"first": first_life, "second": second_life}[sys.argv[3]](sys.argv[2])))
    lives = [(kind, life) for kind in KINDS for life in ("first", "second")]
    sys.exit(max([subprocess.run([sys.executable, __file__, URL, kind, life], check=False).returncode for kind, life in lives]))
