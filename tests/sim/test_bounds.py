"""Bounds are bounds, per bar and symbol, from the state at its open: held against both ways through each bar, which are gone one by one.

The oracle knows nothing of checkpoints: it begins anew for each bar, sends the same commands, and goes through all bars in an order of
extremes that it is told. So "worse" and "differs" are seen from outside, on two exchanges that did nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Grid, Instrument, generic_tiers
from keel.core.model.messages import AmendOrder, Bracket, CancelOrder, SetTradingStop, SubmitOrder
from keel.core.model.money import UNIT, to_units
from keel.core.model.position import PositionBook
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.book import Position, SymbolBook
from keel.sim.exchange.events import Outbox
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.exchange.exhaustion import ExhaustionCheck
from keel.sim.margin.funding import FundingSchedule
from keel.sim.matching.intrabar_path import Path, points
from keel.sim.matching.walk import Walk
from tests.sim.test_invariants import CONFIGS, LADDER, QTY, SOURCE, brackets, candles, orders

HOUR = 3_600_000
SYMBOLS = ("XUSDT", "YUSDT")
FREE = {"slippage_bps": 0.0, "taker_fee": 0.0, "maker_fee": 0.0}
QUIET = list(HealthCheck)


class World(NamedTuple):
    """An account, and what is sent before and shown in each bar: (commands, symbol, last, mark, volume)."""

    category: str
    hedge: bool
    margin_mode: str
    leverage: float
    config: ExecutionConfig
    bars: list[tuple[list[Any], str, Any, Any, float]]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to seven bars with orders of every kind, exits, amendments, cancellations and funding."""
    category = draw(st.sampled_from(["linear", "linear", "linear", "spot"]))
    hedge = category == "linear" and draw(st.booleans())
    mode = draw(st.sampled_from(["isolated", "isolated", "cross"])) if category == "linear" else "isolated"
    leverage = 1.0 if category == "spot" else draw(st.sampled_from([1.0, 5.0, 25.0]))
    symbols = SYMBOLS if draw(st.booleans()) else SYMBOLS[:1]
    config = msgspec.structs.replace(draw(CONFIGS), latency_ms=draw(st.sampled_from([0, 0, 250, 900_000, 1_900_000, HOUR])))
    bars = []
    for number in range(draw(st.integers(1, 7))):
        now = (number // len(symbols)) * HOUR
        symbol = symbols[number % len(symbols)]
        sent: list[Any] = [
            msgspec.structs.replace(draw(orders(f"k-{number}-{each}", now, hedge)), symbol=symbol)
            for each in range(draw(st.integers(0, 3)))
        ]
        other = f"k-{draw(st.integers(0, 6))}-0{draw(st.sampled_from(['', '-sl', '-tp', '-ts']))}"
        extra = draw(st.integers(0, 5))
        if extra == 0:
            sent.append(CancelOrder(other, symbol, now))
        elif extra == 1:
            sent.append(AmendOrder(other, symbol, now, draw(st.none() | QTY), draw(st.none() | LADDER), draw(st.none() | LADDER)))
        elif extra == 2:
            exits = draw(brackets(draw(st.sampled_from(["BUY", "SELL"])))) or Bracket()
            sent.append(SetTradingStop(symbol, now, exits, draw(st.sampled_from([1, 2])) if hedge else 0))
        last = draw(candles())
        bars.append((sent, symbol, last, draw(st.none() | candles()) or last, draw(st.sampled_from([0.0, 10.0, 200.0]))))
    return World(category, hedge, mode, leverage, config, bars)


NEAR = st.integers(94, 106).map(float)


@st.composite
def plain_worlds(draw: st.DrawFn) -> World:
    """What most systems do: now and then an entry with exits near the price, alone in the account, without a cap on volume."""
    latency = draw(st.sampled_from([0, 0, 0, 250, 1_900_000]))
    config = ExecutionConfig(**FREE, latency_ms=latency, path=draw(st.sampled_from(["ohlc", "pessimistic"])))
    bars = []
    for number in range(draw(st.integers(2, 7))):
        sent = []
        if draw(st.integers(0, 2)) == 0 or not number:
            side, out = draw(st.sampled_from([("BUY", 1), ("SELL", -1)]))
            stop, target = (draw(st.none() | st.integers(1, 7)) for _ in range(2))
            exits = Bracket(
                None if stop is None else 100.0 - out * stop, None if target is None else 100.0 + out * target,
                draw(st.none() | st.sampled_from([1.0, 2.0, 4.0])), draw(st.none() | NEAR), draw(SOURCE),
            )  # fmt: skip
            kind = draw(st.sampled_from(["market", "market", "limit", "stop_market"]))
            price, trigger = draw(NEAR) if kind == "limit" else None, draw(NEAR) if kind == "stop_market" else None
            sent.append(
                SubmitOrder(f"k-{number}-0", SYMBOLS[0], side, kind, 1.0, number * HOUR, price, trigger_price=trigger, bracket=exits)
            )
        last = _between(draw, 100.0 if not number else bars[-1][2][3])
        mark = last if draw(st.integers(0, 2)) else _between(draw, last[0])
        bars.append((sent, SYMBOLS[0], last, mark, 100.0))
    return World("linear", False, "isolated", draw(st.sampled_from([1.0, 20.0])), config, bars)


def _between(draw: st.DrawFn, opened: float) -> tuple[float, float, float, float]:
    values = [opened, *(draw(NEAR) for _ in range(3))]
    return opened, max(values), min(values), values[1]


class Replay:
    """One exchange that goes through a world from its beginning. forced: whether the low comes first, bar by bar; None: as it wants."""

    def __init__(self, world: World, forced: Sequence[bool] | None = None) -> None:
        grid = Grid.from_text
        self.world, self.events, self.clock, self.done = world, list[Any](), ReplayClock(), 0
        instruments = {
            symbol: Instrument(
                symbol, world.category, symbol[0], "USDT", grid("1"), grid("0.01"), 0.01, 1e6, 1e6, to_units("1"), 55_000, 20_000,
                tiers=generic_tiers(), price_limit_y=to_units("0.15"), price_limit_x=to_units("0.1"),
            )
            for symbol in SYMBOLS
        }  # fmt: skip
        self.exchange = SimulatedExchange(
            SYMBOLS, 1000.0, world.config, RiskProfileConfig(leverage=world.leverage, margin_mode=world.margin_mode),
            instruments=instruments, clock=self.clock, emit=self.events.append, hedge_mode=world.hedge,
        )  # fmt: skip
        stamps = list(range(0, 20 * HOUR, 8 * HOUR if world.config.slippage_bps == 0.0 else HOUR * 3 // 2 + 7))
        rates = [((n * 37) % 21 - 10) * 50_000 for n in range(len(stamps))]
        for symbol in SYMBOLS:
            self.exchange.set_funding(symbol, stamps, rates, [100 * UNIT + n * 12_345 for n in range(len(stamps))])
        if forced is not None:
            self._force(forced)

    def _force(self, forced: Sequence[bool]) -> None:
        replay = self

        class Forced(Walk):
            __slots__ = ()

            def along(self, book, ts_open, ts_close, last, mark, index):  # type: ignore[no-untyped-def]
                paths = (points(prices, forced[replay.done]) for prices in (last, mark, index))
                self.follow(book, Path(ts_open, ts_close - ts_open, *paths), ts_close)

        self.exchange._walk.__class__ = Forced

    def step(self) -> None:
        """The next bar."""
        sent, symbol, last, mark, volume = self.world.bars[self.done]
        for command in sent:
            send = {
                SubmitOrder: self.exchange.submit_order, CancelOrder: self.exchange.cancel_order, AmendOrder: self.exchange.amend_order,
                SetTradingStop: self.exchange.set_trading_stop,
            }[type(command)]  # fmt: skip
            send(command)
        start = self.clock.now_ms - (HOUR if symbol == SYMBOLS[1] else 0)
        self.exchange.step(self.exchange.books[symbol], start, start + HOUR, *last, volume, *mark, *last, 30.0)
        self.clock.now_ms = start + HOUR
        self.done += 1

    def until(self, bars: int) -> Replay:
        """Go on until so many are done."""
        while self.done < bars:
            self.step()
        return self

    @property
    def equity(self) -> Fraction:
        """Of the account, as ``SimulatedExchange.equity`` has it, without its rounding."""
        exchange = self.exchange
        value = Fraction(exchange.ledger.wallet("USDT"), UNIT)
        for book in exchange.books.values():
            grid = book.instrument.book_grid
            for position in book.positions:
                qty = Fraction(position.steps * grid.num, grid.den)
                cost = Fraction(position.cost, UNIT)
                value += qty * Fraction(book.last) if book.is_spot else qty * Fraction(book.mark) - (cost if qty > 0 else -cost)
        assert float(value) == pytest.approx(exchange.equity("USDT"), abs=1e-6)
        return value

    def fills_from(self, number: int) -> list[tuple[Any, ...]]:
        """What was filled since, without when."""
        rows = [
            (each.client_order_id if each.kind == "trade" else "", each.side, each.qty, each.price, each.fee, each.realized_pnl, each.maker)
            for each in self.exchange.fills[number:]
        ]
        return sorted(rows)


def check_each_bar(world: World) -> None:
    """Pessimistic is the worse of both orders in each bar, ohlc the usual one; both count the bars in which the two differ."""
    is_pessimistic = world.config.path == "pessimistic"
    real, chosen = Replay(world), list[bool]()
    for number, (_, _, last, _, _) in enumerate(world.bars):
        before, counted = len(real.exchange.fills), real.exchange.ambiguous_bars
        usual = last[3] >= last[0]
        own = Replay(world, [*chosen, usual]).until(number + 1)
        other = Replay(world, [*chosen, not usual]).until(number + 1)
        differs = own.equity != other.equity or own.fills_from(before) != other.fills_from(before)
        is_worse = is_pessimistic and other.equity < own.equity
        expected = other if is_worse else own
        chosen.append(usual is not is_worse)
        real.step()
        assert real.equity == expected.equity
        if is_pessimistic:
            assert real.equity == min(own.equity, other.equity)
        assert real.events == expected.events
        assert real.exchange.state == expected.exchange.state
        assert real.exchange.ledger.coins == expected.exchange.ledger.coins
        assert real.exchange.position_log == expected.exchange.position_log
        assert real.exchange.stop_reason == expected.exchange.stop_reason
        is_beside_a_stop = expected.exchange.books[world.bars[number][1]].ambiguous  # a takeover where a stop was due, too
        assert real.exchange.ambiguous_bars - counted == (differs or is_beside_a_stop)
        counts, wanted = real.exchange.metrics.trust(), expected.exchange.metrics.trust()
        assert {**counts, "ambiguous_bars": 0} == {**wanted, "ambiguous_bars": 0}
        event(f"{'differs' if differs else 'same'}, {'worse taken' if is_worse else 'usual'}")


@pytest.mark.parametrize(
    "kind", [pytest.param(worlds(), id="any orders"), pytest.param(plain_worlds(), id="entries with exits", marks=pytest.mark.long)]
)
def test_every_bar_is_bounded_and_counted(kind):
    @settings(max_examples=min(150, 2 * settings().max_examples), suppress_health_check=QUIET, deadline=None)
    @given(kind)
    def holds(world: World) -> None:
        check_each_bar(world)

    holds()


@pytest.mark.long
@pytest.mark.parametrize("kind", [worlds(), plain_worlds()], ids=["any orders", "entries with exits"])
def test_every_bar_of_thousands_of_worlds_is_bounded_and_counted(kind):
    @settings(max_examples=2_000, suppress_health_check=QUIET, deadline=None)
    @given(kind)
    def holds(world: World) -> None:
        check_each_bar(world)

    holds()


NEVER_CHANGED_ON_THE_WAY = {
    "account", "accounts", "base_accounts", "instrument", "is_spot", "is_trailing", "leverage", "lot", "maker_fee", "margin", "min_steps",
    "min_value", "price_den", "price_num", "qty_den", "qty_num", "symbol", "taker_fee", "volatility_bps", "volume", "wake_high",
    "wake_low", "wake_ts",
}  # fmt: skip
KEPT = {
    "ambiguous", "fresh", "funding", "index", "is_capped", "last", "mark", "orders", "pending", "position_log", "positions", "ts",
    "volume_left",
    "waiting",
}  # fmt: skip


def test_whoever_adds_state_to_the_venue_decides_whether_a_bar_changes_it():
    """A new field of these belongs into sim/exchange/rewind.py when the walk along a bar changes it; then it is listed here."""
    assert set(SymbolBook.__slots__) == KEPT | NEVER_CHANGED_ON_THE_WAY
    assert set(Position.__slots__) - {"idx", "bracket_count"} == {"children", "liquidation_price", "margin", "parent_id"}
    assert set(PositionBook.__slots__) - {"instrument"} == {"cost", "steps"}
    assert set(FundingSchedule.__slots__) - {"marks", "rates", "stamps"} == {"cursor", "next_stamp"}
    assert set(Outbox.__slots__) == {"emit", "fills", "funding_payments", "liquidations", "warnings"}
    assert set(ExhaustionCheck.__slots__) - {"_books", "_ledger"} == {"reason"}
