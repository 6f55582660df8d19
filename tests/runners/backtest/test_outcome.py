"""What came of a run: the money adds up by books that do not know one another, and what a number rests on is said."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import InvariantError
from keel.core.model.instrument import Grid
from keel.core.model.messages import Bar, Direction, Fill, Signal
from keel.core.model.money import UNIT, to_units
from keel.core.results.result import Reconciliation
from keel.core.system.config import ConstantFunding, ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.curve import equity_curve
from keel.runners.backtest.outcome import message_hash, reconcile, trust
from keel.runners.backtest.preparation import Prepared
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, START, add_series, made_ready, perpetual, plain_system, spot_pair, store_of

COSTS = ExecutionConfig(slippage_bps=3.0, half_spread_bps=1.0, funding=ConstantFunding(constant=0.0007))
HOURLY = perpetual(funding_interval_min=60)


class Script(BaseStrategy):
    """Does at each hour what it was told: {hour: direction}."""

    def __init__(self, script: Mapping[int, Direction], symbol: str | None = None) -> None:
        self.script, self.symbol = script, symbol

    def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
        direction = self.script.get((snapshot.ts_close - START) // HOUR)
        if direction is None or self.symbol not in (None, snapshot.symbol):
            return None
        return Signal(snapshot.symbol, direction)


def walk(count: int, seed: int = 1, step: int = 30) -> list[tuple[float, float, float, float]]:
    rng = np.random.default_rng(seed)
    corners = 1000 + np.cumsum(rng.integers(-step, step + 1, 4 * count + 1))
    parts = [corners[4 * row : 4 * row + 5] / 10 for row in range(count)]
    return [(float(part[0]), float(part.max()), float(part.min()), float(part[-1])) for part in parts]


def finished(store: HistoricalDataStore, system: SystemConfig, hours: int, strategy: BaseStrategy) -> tuple[Prepared, BacktestParts]:
    with store:
        prepared = made_ready(store, system, START, START + hours * HOUR, strategy)
    parts = wire_backtest(prepared, "test")
    replay(parts.feed, parts.engine, parts.venue)
    return prepared, parts


def reconciled(prepared: Prepared, parts: BacktestParts) -> Reconciliation:
    instruments = {history.symbol: history.instrument for history in prepared.histories}
    return reconcile(parts.portfolio, parts.venue, instruments, parts.venue.fills)


def exactly(value: float) -> Fraction:
    """The decimal number that a float is written as."""
    return Fraction(repr(value))


def equity_by_hand(prepared: Prepared, parts: BacktestParts) -> Fraction:
    """Quote coins: what was there, what fills brought and cost, fees, funding, and what is held at the last price."""
    venue = parts.venue
    total = exactly(prepared.system.initial_equity) - sum(Fraction(payment.amount, UNIT) for payment in venue.funding_payments)
    for history in prepared.histories:
        held = Fraction(0)
        for fill in (fill for fill in venue.fills if fill.symbol == history.symbol):
            sign = 1 if fill.side == "BUY" else -1
            held += sign * exactly(fill.qty)
            total -= sign * exactly(fill.qty) * exactly(fill.price)
            if fill.fee_coin == history.instrument.base:
                held -= Fraction(fill.fee, history.instrument.base_unit)
            else:
                total -= Fraction(fill.fee, UNIT)
        total += held * exactly(float(history.execution["close"][-1]))
    return total


def linear(script: Mapping[int, Direction], **changes: Any) -> tuple[Prepared, BacktestParts]:
    return finished(store_of(walk(60), instrument=HOURLY), plain_system(**{"execution": COSTS} | changes), 60, Script(script))


def spot(script: Mapping[int, Direction], instrument: Any = None, scale: float = 1.0) -> tuple[Prepared, BacktestParts]:
    bars = [tuple(price * scale for price in bar) for bar in walk(60)]
    made = instrument or spot_pair(min_notional=to_units("1"))
    system = plain_system(
        category="spot", execution=ExecutionConfig(slippage_bps=3.0), sizing=SizingConfig(model="percent_equity", percent=33.0)
    )
    return finished(
        store_of(bars, made.symbol, instrument=made), msgspec.structs.replace(system, symbols=[made.symbol]), 60, Script(script)
    )


ROUNDS: dict[int, Direction] = {3: "LONG", 9: "FLAT", 12: "SHORT", 20: "FLAT"}
FLIPS: dict[int, Direction] = {3: "LONG", 9: "SHORT", 15: "LONG", 30: "SHORT", 41: "FLAT"}
OPEN: dict[int, Direction] = {3: "LONG", 9: "SHORT"}
FINE = spot_pair("SHIBUSDT", "0.00000001", "0.1", base="SHIB", min_qty=0.1, max_qty=1e12, max_market_qty=1e12)

RUNS = {
    "nothing happens": lambda: linear({}),
    "round trips": lambda: linear(ROUNDS),
    "flips": lambda: linear(FLIPS),
    "open at the end": lambda: linear(OPEN),
    "open at the end, and no costs": lambda: linear(OPEN, execution=ExecutionConfig.frictionless()),
    "spot": lambda: spot(ROUNDS),
    "spot, open at the end": lambda: spot({3: "LONG", 9: "FLAT", 20: "LONG"}),
    "spot, notionals that leave a rest": lambda: spot({3: "LONG", 9: "FLAT", 20: "LONG"}, FINE, 1e-7),
}


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS.keys())
def test_it_adds_up_to_the_last_unit_and_agrees_with_the_fills(make: Any) -> None:
    prepared, parts = make()
    found = reconciled(prepared, parts)
    assert found.difference == 0
    assert abs(found.final_equity - equity_by_hand(prepared, parts) * UNIT) <= 1 + len(parts.venue.fills)
    assert found.final_equity / UNIT == pytest.approx(parts.portfolio.equity_values[-1], abs=1e-7)
    assert (
        found.fees == sum(Fraction(fill.fee, UNIT) * UNIT for fill in parts.venue.fills if fill.fee_coin == "USDT")
        or prepared.system.category == "spot"
    )
    assert found.funding == sum(payment.amount for payment in parts.venue.funding_payments)


def test_what_the_figures_are() -> None:
    """Flat at 100 but for the references: one buy and one sale of 1, and 5 hours between them."""
    bars = [(100.0, 100.0, 100.0, 100.0)] * 8 + [(110.0, 110.0, 110.0, 110.0)] * 4
    prepared, parts = finished(store_of(bars, instrument=HOURLY), plain_system(execution=COSTS), 12, Script({4: "LONG", 9: "FLAT"}))
    buys, sells = to_units("100.1"), to_units("109.9")  # 4 bps against us, to the tick
    fees = -(-buys * 55 // 100_000) - (-sells * 55 // 100_000)
    funding = 3 * to_units("0.07") + 2 * to_units("0.077")
    assert reconciled(prepared, parts) == Reconciliation(
        initial_equity=to_units("10000"), gross=to_units("10"), slippage=to_units("0.2"), fees=fees, funding=funding, liquidation_loss=0,
        unrealized=0, final_balance=to_units("10009.8") - fees - funding, final_equity=to_units("10009.8") - fees - funding,
    )  # fmt: skip


def test_a_liquidation_adds_up() -> None:
    """Long at 100 with leverage 10; the mark falls to 80: the margin is gone, and no more."""
    bars = [(100.0, 100.0, 100.0, 100.0)] * 6 + [(100.0, 100.0, 80.0, 85.0)] * 6
    system = plain_system(execution=COSTS, risk=RiskConfig(policy="none", leverage=10.0))
    prepared, parts = finished(store_of(bars, instrument=HOURLY), system, 12, Script({2: "LONG"}))
    (liquidation,) = parts.venue.liquidations
    found = reconciled(prepared, parts)
    assert found.difference == 0
    spent = found.initial_equity - found.final_equity
    assert spent == liquidation.loss + parts.venue.fills[0].fee + found.funding
    assert found.unrealized == 0
    assert found.slippage == to_units("0.1")


def test_funding_in_a_hole_is_paid_once_for_each_stamp_at_the_mark_before_it() -> None:
    """Hours 5 to 8 are missing: the stamps 5, 6, 7, 8 (and that of the next open, 9) come with the bar of 9."""
    bars = np.array(walk(14), dtype=np.float64)
    keep = [row for row in range(14) if row not in (5, 6, 7, 8)]
    columns = dict(zip(("open", "high", "low", "close"), bars[keep].T, strict=True)) | {"volume": np.full(10, 1000.0)}
    execution = ExecutionConfig(slippage_bps=0.0, gaps="skip", funding=ConstantFunding(constant=0.001))
    store = store_of({"ts": START + HOUR * np.array(keep), **columns}, instrument=HOURLY)
    prepared, parts = finished(store, plain_system(execution=execution), 14, Script({2: "LONG"}))
    paid = {(payment.ts - START) // HOUR: payment for payment in parts.venue.funding_payments}
    assert sorted(paid) == [*range(3, 14)]
    assert {paid[hour].mark_price for hour in (5, 6, 7, 8)} == {bars[4][3]}
    assert paid[9].mark_price == bars[9][0]
    assert reconciled(prepared, parts).difference == 0


@pytest.mark.parametrize("name", ["fees", "slippage", "funding", "liquidation_loss"])
def test_one_unit_too_much_in_one_book_does_not_add_up(name: str) -> None:
    prepared, parts = linear(FLIPS)
    setattr(parts.portfolio, name, getattr(parts.portfolio, name) + 1)
    assert abs(reconciled(prepared, parts).difference) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"reference": 0.1}, "0.1"), ({"qty": 0.001}, None), ({"side": "SELL"}, None)],
    ids=["another reference", "another size", "another side"],
)
def test_a_fill_that_was_another_does_not_add_up(change: dict[str, Any], expected: str | None) -> None:
    prepared, parts = linear(OPEN)
    fill: Fill = parts.venue.fills[0]
    moved = {name: getattr(fill, name) + by if isinstance(by, float) else by for name, by in change.items()}
    parts.venue.fills[0] = msgspec.structs.replace(fill, **moved)
    difference = reconciled(prepared, parts).difference
    assert difference != 0
    assert expected is None or abs(difference) == to_units(expected)


def test_a_fill_that_is_missing_does_not_add_up() -> None:
    prepared, parts = linear(ROUNDS)
    del parts.venue.fills[1]
    assert reconciled(prepared, parts).difference != 0


def test_a_ledger_that_differs_from_the_portfolio_is_our_mistake() -> None:
    prepared, parts = linear(OPEN)
    parts.portfolio.cash += 1
    with pytest.raises(InvariantError, match=r"the exchange's ledger holds .* USDT, the portfolio"):
        reconciled(prepared, parts)


def test_so_is_an_equity_that_the_books_do_not_have() -> None:
    prepared, parts = linear(OPEN)
    parts.portfolio._equity += 0.001
    with pytest.raises(InvariantError, match="the run ends with an equity of"):
        reconciled(prepared, parts)


def test_the_curve_of_a_whole_run_says_what_each_close_says() -> None:
    """Positions appear at the close of the bar in which they were filled: never before the equity knows of them."""
    prepared, parts = linear(ROUNDS)
    equity = np.frombuffer(parts.portfolio.equity_values, dtype=np.float64)
    curve = equity_curve(parts.feed.closes, equity, prepared.histories, parts.venue.position_log, START, 10_000.0)
    closes = prepared.histories[0].execution["close"]
    held = np.zeros(60)
    held[3:9] = held[12:20] = 1.0
    assert curve["gross_notional"][1:].tolist() == (held * closes).tolist()
    lows, highs = prepared.histories[0].execution["low"], prepared.histories[0].execution["high"]
    worst = np.zeros(60)
    worst[3:9], worst[12:20] = (lows - closes)[3:9], (closes - highs)[12:20]
    assert (curve["equity_worst"] - curve["equity"])[1:] == pytest.approx(worst, abs=1e-9)
    assert (curve["margin"][1:] > 0).tolist() == (held > 0).tolist()


# --- trust, hash -----------------------------------------------------------------------------------------------------


def test_trust_says_what_the_numbers_rest_on() -> None:
    store = store_of(walk(60), instrument=HOURLY)
    add_series(store, walk(60, seed=2), "ETHUSDT", instrument=perpetual("ETHUSDT", source="exchange"))
    prepared, parts = finished(store, plain_system("BTCUSDT", "ETHUSDT", execution=COSTS), 60, Script(OPEN, "BTCUSDT"))
    found = trust(prepared.system, prepared.histories, parts.venue)
    assert set(found) == {
        "synthetic", "data_sources", "decision_timeframe", "execution_timeframe", "execution_is_finer", "symbols", "open_is_previous_close",
        "ambiguous_bars", "skipped_bars", "partial_bars", "off_grid_prices", "path", "limit_fill", "latency_ms", "liquidation",
        "not_modelled", "cost_models",
    }  # fmt: skip
    assert (found["synthetic"], found["data_sources"], found["execution_is_finer"]) == (False, ["test"], False)
    assert found["open_is_previous_close"] == 1.0
    assert found["symbols"]["ETHUSDT"]["instrument"] == "exchange"
    assert found["symbols"]["BTCUSDT"]["funding"] == "constant, 60 times"
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


@pytest.mark.parametrize("label", ["source", "instrument"])
def test_invented_history_is_called_so(label: str) -> None:
    store = store_of(walk(60), instrument=perpetual(source="synthetic" if label == "instrument" else "exchange"))
    if label == "source":
        columns = store.get_ohlcv("BTCUSDT", "1h").to_dict()
        store.upsert_bars("BTCUSDT", "1h", {**columns, "volume": columns["volume"] + 1}, source="synthetic:7")
    prepared, parts = finished(store, plain_system(), 60, Script({}))
    assert trust(prepared.system, prepared.histories, parts.venue)["synthetic"] is True


def test_the_hash_covers_messages_in_order_and_equity() -> None:
    bars = [Bar("BTCUSDT", "1h", hour, hour + 1, 1.0, 1.0, 1.0, 1.0, 1.0) for hour in range(3)]
    equity = np.arange(3.0)
    whole = message_hash(bars, equity)
    assert whole == message_hash(list(bars), equity.copy())
    assert len({whole, message_hash(bars[::-1], equity), message_hash(bars[:2], equity), message_hash(bars, equity + 1e-12)}) == 4


def test_a_grid_that_leaves_a_rest_is_among_the_cases() -> None:
    assert FINE.notional_factor[1] > 1
    assert FINE.qty_grid == Grid(1, 10)
