"""NautilusTrader 1.x: a live node on perpetuals and one on spot: instruments, bars, quotes and trades, orders accepted, changed, cancelled
and filled; then a second node that finds the position and the closed orders at its start. ``python nautilus_live.py URL``"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

from nautilus_steps import Steps, first_life, main, second_life
from nautilus_trader.adapters.bybit.config import BybitDataClientConfig, BybitExecClientConfig
from nautilus_trader.adapters.bybit.data import BybitDataClient
from nautilus_trader.adapters.bybit.factories import BybitLiveDataClientFactory, BybitLiveExecClientFactory
from nautilus_trader.config import InstrumentProviderConfig, LiveExecEngineConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.core import nautilus_pyo3
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

PATIENCE_S = 100.0
KINDS = {"linear": nautilus_pyo3.BybitProductType.LINEAR, "spot": nautilus_pyo3.BybitProductType.SPOT}
URL = sys.argv[1] if len(sys.argv) > 1 else ""


class SandboxDataFactory(BybitLiveDataClientFactory):
    """1.231 opens its public sockets at ``base_url_http``, whatever that is: here they get a URL of their own."""

    @staticmethod
    def create(*args: Any, **more: Any) -> BybitDataClient:
        client = BybitLiveDataClientFactory.create(*args, **more)
        for kind in list(client._ws_clients):
            name = next(name for name, known in KINDS.items() if known == kind)
            client._ws_clients[kind] = nautilus_pyo3.BybitWebSocketClient.new_public(
                product_type=kind,
                environment=nautilus_pyo3.BybitEnvironment.MAINNET,
                url=f"{URL.replace('http', 'ws', 1)}/v5/public/{name}",
            )
            client._ws_clients[kind].set_bars_timestamp_on_close(True)
        return client


class TraderConfig(StrategyConfig, frozen=True):
    instrument_id: InstrumentId
    qty: str = "0.01"


class Trader(Steps, Strategy):
    """``Steps`` in the words of 1.x."""

    def __init__(self, config: TraderConfig) -> None:
        super().__init__(config)
        self.seen = {}
        self.done = threading.Event()

    def on_start(self) -> None:
        self.instrument = self.cache.instrument(self.config.instrument_id)
        self.seen["instrument"] = self.instrument is not None
        bars = BarType.from_str(f"{self.config.instrument_id}-1-MINUTE-LAST-EXTERNAL")
        self.subscribe_bars(bars)
        self.request_bars(bars, start=self.clock.utc_now() - timedelta(minutes=30))
        self.subscribe_quote_ticks(self.config.instrument_id)
        self.subscribe_trade_ticks(self.config.instrument_id)

    def on_historical_data(self, data: Any) -> None:
        self.count("past bars")

    def on_trade_tick(self, tick: Any) -> None:
        self.count("trades")

    def on_quote_tick(self, tick: Any) -> None:
        self.count("quotes")
        if self.step == "quote":
            self.step = "resting"
            self.bid = tick.bid_price.as_decimal()
            self.place("0.98")

    def place(self, factor: str, **more: Any) -> None:
        price = self.instrument.make_price(self.bid * Decimal(factor))
        self.resting = self.order_factory.limit(self.config.instrument_id, OrderSide.BUY, self._qty(), price, TimeInForce.GTC, **more)
        self.submit_order(self.resting)

    def change(self, factor: str) -> None:
        self.modify_order(self.resting, self._qty(2), self.instrument.make_price(self.bid * Decimal(factor)))

    def drop(self) -> None:
        self.cancel_order(self.resting)

    def buy(self) -> None:
        self.submit_order(self.order_factory.market(self.config.instrument_id, OrderSide.BUY, self._qty()))

    def _qty(self, times: int = 1) -> Any:
        return self.instrument.make_qty(times * Decimal(self.config.qty))


class Onlooker(Strategy):
    """A second life, which looks at what it finds at its start."""

    def __init__(self, config: TraderConfig) -> None:
        super().__init__(config)
        self.seen: dict[str, Any] = {}
        self.done = threading.Event()

    def on_start(self) -> None:
        self.seen["position"] = [
            (position.side.name if hasattr(position.side, "name") else str(position.side), str(position.quantity))
            for position in self.cache.positions_open()
        ]
        self.seen["closed orders"] = len(self.cache.orders_closed())
        self.seen["open orders"] = len(self.cache.orders_open())
        self.done.set()


def node_of(kind: str, strategy: Strategy) -> TradingNode:
    """A node as Nautilus's own examples make it."""
    socket = URL.replace("http", "ws", 1)
    provider = InstrumentProviderConfig(load_all=True)
    keys = {
        "api_key": "sandbox-key",
        "api_secret": "sandbox-secret",
        "base_url_http": URL,
        "product_types": (KINDS[kind],),
        "instrument_provider": provider,
    }
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("REFEREE-001"),
            logging=LoggingConfig(log_level="WARNING"),
            timeout_connection=30.0,
            timeout_reconciliation=20.0,
            exec_engine=LiveExecEngineConfig(reconciliation=True, reconciliation_lookback_mins=1440),
            data_clients={"BYBIT": BybitDataClientConfig(**keys)},
            exec_clients={
                "BYBIT": BybitExecClientConfig(**keys, base_url_ws_private=f"{socket}/v5/private", base_url_ws_trade=f"{socket}/v5/trade")
            },
        )
    )
    node.trader.add_strategy(strategy)
    node.add_data_client_factory("BYBIT", SandboxDataFactory)
    node.add_exec_client_factory("BYBIT", BybitLiveExecClientFactory)
    node.build()
    return node


def live(kind: str, strategy: Any) -> dict[str, Any]:
    """Run a node until its strategy has seen everything, or patience ends; what it has seen."""
    node = node_of(kind, strategy)

    def watch() -> None:
        strategy.done.wait(PATIENCE_S)
        node.kernel.loop.call_soon_threadsafe(node.stop)

    threading.Thread(target=watch, daemon=True).start()
    try:
        node.run()
    finally:
        node.dispose()
    return dict(strategy.seen)


def symbol_of(kind: str) -> InstrumentId:
    """BTCUSDT."""
    return InstrumentId.from_str(f"BTCUSDT-{kind.upper()}.BYBIT")


def trade(kind: str) -> int:
    """How many things failed."""
    return first_life(kind, lambda: live(kind, Trader(TraderConfig(instrument_id=symbol_of(kind)))))


def look(kind: str) -> int:
    """How many things failed."""
    return second_life(kind, lambda: live(kind, Onlooker(TraderConfig(instrument_id=symbol_of(kind)))))


if __name__ == "__main__":
    sys.exit(main(__file__, {"first": trade, "second": look}))
