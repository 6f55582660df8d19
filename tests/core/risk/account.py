"""An account that stands still, an instrument, and a risk actor over them: what the tests of risk are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keel.core.actors.executor import Executor
from keel.core.actors.risk import RiskActor
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Grid, Instrument
from keel.core.model.messages import Message, OrderIntent
from keel.core.model.money import to_units
from keel.core.risk.gate.gate import Gate
from keel.core.system.config import ExitsConfig, RiskConfig, SizingConfig

DAY = 1_735_689_600_000  # 2025-01-01 00:00 UTC
HOUR = 3_600_000
MINUTE = 60_000


def instrument(symbol: str = "BTCUSDT", **changes: Any) -> Instrument:
    """Tick 0.1, step 0.001, at least 0.001 and 5 USDT, at most 100 (market) and 500 (limit), no fees."""
    values: dict[str, Any] = {
        "symbol": symbol,
        "category": "linear",
        "base": symbol.removesuffix("USDT"),
        "quote": "USDT",
        "price_grid": Grid.from_text("0.1"),
        "qty_grid": Grid.from_text("0.001"),
        "min_qty": 0.001,
        "max_qty": 500.0,
        "max_market_qty": 100.0,
        "min_notional": to_units("5"),
        "taker_fee": 0,
        "maker_fee": 0,
    }
    return Instrument(**(values | changes))


class Account:
    """A PortfolioView with what a test puts into it; every symbol's price is 100 unless told."""

    def __init__(self, equity: float = 10_000.0, **positions: float) -> None:
        self.equity = equity
        self.cash = to_units(equity)
        self.positions = dict(positions)
        self.entries: dict[str, float] = {}
        self.prices: dict[str, float] = {}
        self.marks: dict[str, float] = {}

    def steps(self, symbol: str) -> int:
        return math.floor(self.positions.get(symbol, 0.0) * 1000 + 1e-9)

    def position_qty(self, symbol: str) -> float:
        return self.positions.get(symbol, 0.0)

    def entry_price(self, symbol: str) -> float:
        return self.entries.get(symbol, self.last(symbol)) if self.positions.get(symbol) else 0.0

    def mark(self, symbol: str) -> float:
        return self.marks.get(symbol, self.last(symbol))

    def last(self, symbol: str) -> float:
        return self.prices.get(symbol, 100.0)

    def notional(self, symbol: str) -> float:
        return abs(self.position_qty(symbol)) * self.mark(symbol)

    def gross_notional(self) -> float:
        return sum(map(self.notional, self.positions))

    def open_positions(self) -> int:
        return sum(1 for symbol in self.positions if self.steps(symbol))


class Desk:
    """Risk actor and executor over an account; ``out`` holds what risk said since it was last taken."""

    def __init__(
        self,
        account: Account | None = None,
        *,
        risk: dict[str, Any] | None = None,
        sizing: dict[str, Any] | None = None,
        exits: ExitsConfig | None = None,
        symbols: tuple[Instrument, ...] = (),
        timeframe: str = "1h",
        features: dict[tuple[str, str], float] | None = None,
        allow_short: bool = True,
        gate: Gate | None = None,
    ) -> None:
        self.account = account if account is not None else Account()
        self.clock = ReplayClock(DAY)
        self.out: list[Message] = []
        self.commands: list[Message] = []
        self.instruments = {each.symbol: each for each in symbols or (instrument(), instrument("ETHUSDT"), instrument("SOLUSDT"))}
        values = features or {}
        read: Callable[[str, str], float] = lambda symbol, name: values.get((symbol, name), math.nan)  # noqa: E731
        self.executor = Executor("t", self.instruments, self.clock, self.commands.append)
        self.actor = RiskActor(
            RiskConfig(**({"margin_reserve_percent": 0.0} | (risk or {}))),
            SizingConfig(**(sizing or {"model": "fixed_qty", "qty": 1.0})),
            exits,
            self.instruments,
            self.account,
            self.clock,
            self.out.append,
            gate=gate,
            timeframe=timeframe,
            read_feature=read,
            allow_short=allow_short,
            working=self.executor,
        )

    def said(self) -> list[Message]:
        """What risk has said since; the executor takes the intents among it."""
        said, self.out[:] = list(self.out), []
        for message in said:
            if isinstance(message, OrderIntent):
                self.executor.on_intent(message)
        return said
