"""NautilusTrader 2.x (release candidate): what ``nautilus_live.py`` does, by its new interface. ``python nautilus_next.py URL``"""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from nautilus_steps import Steps, first_life, main, second_life
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

PATIENCE_S = 100.0
KINDS = {"linear": BybitProductType.LINEAR, "spot": BybitProductType.SPOT}
URL = sys.argv[1] if len(sys.argv) > 1 else ""
QTY = 0.01


class Life(Strategy):
    """What is common to both lives."""

    def begin(self, kind: str) -> Any:
        self.seen, self.done = {}, threading.Event()
        self.name = InstrumentId.from_str(f"BTCUSDT-{kind.upper()}.BYBIT")
        return self


class Trader(Steps, Life):
    """``Steps`` in the words of 2.x."""

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

    def on_trade(self, trade: Any) -> None:
        self.count("trades")

    def on_quote(self, quote: Any) -> None:
        self.count("quotes")
        if self.step == "quote":
            self.step = "resting"
            self.bid = float(str(quote.bid_price))
            self.place("0.98")

    def place(self, factor: str, **more: Any) -> None:
        price = self.instrument.make_price(self.bid * float(factor))
        self.resting = self.order_factory.limit(self.name, OrderSide.BUY, self.instrument.make_qty(QTY), price, **more)
        self.submit_order(self.resting)

    def change(self, factor: str) -> None:
        qty, price = self.instrument.make_qty(2 * QTY), self.instrument.make_price(self.bid * float(factor))
        self.modify_order(self.resting.client_order_id, qty, price)

    def drop(self) -> None:
        self.cancel_order(self.resting.client_order_id)

    def buy(self) -> None:
        self.submit_order(self.order_factory.market(self.name, OrderSide.BUY, self.instrument.make_qty(QTY)))


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


def trade(kind: str) -> int:
    """How many things failed."""
    return first_life(kind, lambda: live(kind, Trader(StrategyConfig(order_id_tag="001")).begin(kind)))


def look(kind: str) -> int:
    """How many things failed."""
    return second_life(kind, lambda: live(kind, Onlooker(StrategyConfig(order_id_tag="001")).begin(kind)))


if __name__ == "__main__":
    sys.exit(main(__file__, {"first": trade, "second": look}))
