"""Sizers by hand-worked numbers; and, for any numbers: on the grid, within every cap, never under a minimum."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keel.core.errors import ConfigError
from keel.core.model.instrument import Grid, Instrument
from keel.core.model.messages import Signal
from keel.core.model.money import to_units
from keel.core.risk.manager import RiskManager
from keel.core.system.config import Distance, ExitsConfig, RiskConfig, SizingConfig
from tests.core.risk.account import DAY, Account, instrument

BIG = {"leverage": 100.0, "margin_reserve_percent": 0.0}
FEATURES = {
    ("BTCUSDT", "_atr_14"): 2.0,
    ("BTCUSDT", "_volatility_96"): 0.01,
    ("ETHUSDT", "_volatility_96"): 0.02,
    ("SOLUSDT", "_volatility_96"): math.nan,
}


def manager(sizing: dict[str, Any], *, exits: ExitsConfig | None = None, risk: dict[str, Any] | None = None, **changes: Any) -> RiskManager:
    instruments = {name: instrument(name, **changes) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
    return RiskManager(
        RiskConfig(**(risk if risk is not None else BIG)),
        SizingConfig(**sizing),
        exits=exits,
        instruments=instruments,
        read_feature=lambda symbol, name: FEATURES.get((symbol, name), math.nan),
    )


def buy(size_usd: float = 0.0, **own: Any) -> Signal:
    return Signal("BTCUSDT", "LONG", size_usd, ts=DAY, **own)


STOP = ExitsConfig(stop_loss=Distance(percent=5.0))
CASES: list[tuple[str, dict[str, Any], ExitsConfig | None, Signal, float]] = [
    ("fixed quantity", {"model": "fixed_qty", "qty": 1.2345}, None, buy(), 1.234),
    ("fixed usd", {"model": "fixed_usd", "usd": 250.0}, None, buy(), 2.5),
    ("percent of 10,000", {"model": "percent_equity", "percent": 10.0}, None, buy(), 10.0),
    ("1 % over a stop of 5", {"model": "risk_per_trade", "percent": 1.0}, STOP, buy(), 20.0),
    ("the signal's stop comes first", {"model": "risk_per_trade", "percent": 1.0}, STOP, buy(stop_loss=96.0), 25.0),
    ("the stop as it was rounded", {"model": "risk_per_trade", "percent": 1.0}, None, buy(stop_loss=95.01), 20.0),
    ("3 ATR of 2", {"model": "risk_per_trade", "percent": 1.2, "stop_atr": 3.0}, None, buy(), 20.0),
    ("a stop comes before the ATR", {"model": "risk_per_trade", "percent": 1.0, "stop_atr": 3.0}, STOP, buy(), 20.0),
    ("the stop's distance from a limit", {"model": "risk_per_trade", "percent": 1.0}, None,
     buy(order_type="limit", limit_price=98.0, stop_loss=94.0), 25.0),
    # 1/0.01 = 100 and 1/0.02 = 50: two thirds of 30 % of 10,000
    ("inverse volatility", {"model": "inverse_vol", "budget_percent": 30.0}, None, buy(), 20.0),
    ("the wish caps", {"model": "fixed_usd", "usd": 250.0}, None, buy(100.0), 1.0),
    ("the sizer caps the wish", {"model": "fixed_usd", "usd": 250.0}, None, buy(1000.0), 2.5),
    ("at most what a market order may be", {"model": "fixed_qty", "qty": 1000.0}, None, buy(), 100.0),
    ("at most what a limit order may be", {"model": "fixed_qty", "qty": 1000.0}, None, buy(order_type="limit", limit_price=100.0), 500.0),
]  # fmt: skip


@pytest.mark.parametrize(("sizing", "exits", "signal", "qty"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_sizes(sizing: dict[str, Any], exits: ExitsConfig | None, signal: Signal, qty: float) -> None:
    sized = manager(sizing, exits=exits, risk={"leverage": 100.0, "margin_reserve_percent": 0.0}).size_position(signal, Account())
    assert (sized.allowed, sized.quantity, sized.steps) == (True, qty, round(qty * 1000))
    assert sized.size_usd == pytest.approx(qty * 100.0)


NOES: list[tuple[str, dict[str, Any], Signal, Account, str]] = [
    ("no stop", {"model": "risk_per_trade", "percent": 1.0}, buy(), Account(), "stop_distance_unknown"),
    ("no ATR yet", {"model": "risk_per_trade", "stop_atr": 1.0, "atr_period": 99}, buy(), Account(), "stop_distance_unknown"),
    ("no volatility yet", {"model": "inverse_vol"}, Signal("SOLUSDT", "LONG", ts=DAY), Account(), "volatility_unknown"),
    ("no equity", {"model": "percent_equity"}, buy(), Account(-5.0), "leverage"),
]


@pytest.mark.parametrize(("sizing", "signal", "account", "reason"), [case[1:] for case in NOES], ids=[case[0] for case in NOES])
def test_noes(sizing: dict[str, Any], signal: Signal, account: Account, reason: str) -> None:
    sized = manager(sizing).size_position(signal, account)
    assert (sized.allowed, sized.reason) == (False, reason)


MINIMUMS = [
    # (usd, min_qty, min_notional, reason): price 100, step 0.001
    (5.0, 0.001, "5", ""),
    (4.99, 0.001, "5", "below_min_notional"),
    (10.0, 0.1, "0", ""),
    (9.99, 0.1, "0", "below_min_qty"),
    (0.09, 0.001, "0", "below_min_qty"),
    (0.1, 0.001, "0", ""),
]


@pytest.mark.parametrize(("usd", "min_qty", "min_notional", "reason"), MINIMUMS)
def test_minimums_at_their_boundary(usd: float, min_qty: float, min_notional: str, reason: str) -> None:
    sized = manager({"model": "fixed_usd", "usd": usd}, min_qty=min_qty, min_notional=to_units(min_notional)).size_position(
        buy(), Account()
    )
    assert (sized.allowed, sized.reason) == (reason == "", reason)


@given(ticks=st.floats(0.3, 3.0), share=st.floats(0.3, 3.5), tick=st.sampled_from(["0.1", "0.0001", "1"]))
@example(ticks=1.45, share=1.3, tick="0.1")
@example(ticks=0.4, share=3.4, tick="0.1")
def test_the_minimum_value_counts_at_the_rounded_price(ticks: float, share: float, tick: str) -> None:
    """At prices of few ticks, where rounding to the grid changes a value most, and values about the minimum; against exact decimals."""
    account = Account(1e9)
    price = account.prices["BTCUSDT"] = ticks * float(tick)
    steps = max(1, round(share * 50.0 / price))
    grids = {"price_grid": Grid.from_text(tick), "qty_grid": Grid.from_text("1"), "max_market_qty": 0.0}
    sizer = manager({"model": "fixed_qty", "qty": float(steps)}, min_notional=to_units("50"), **grids)
    if abs(ticks % 1.0 - 0.5) > 1e-6:  # at half a tick it is the float's last digit that decides
        assert sizer.size_position(buy(), account).allowed == (round(ticks) * Decimal(tick) * steps >= 50)


def test_a_price_that_is_not_there_is_a_no() -> None:
    account = Account()
    account.prices["BTCUSDT"] = 0.0
    assert manager({"model": "fixed_usd", "usd": 5.0}).size_position(buy(), account).reason == "no_price"


@pytest.mark.parametrize("model", ["fixed_qty", "fixed_usd"])
def test_a_model_without_its_number_is_an_error(model: Any) -> None:
    with pytest.raises(ConfigError, match=model):
        manager({"model": model})


STEPS = ["0.001", "0.1", "1", "10", "0.00001"]
TICKS = ["0.1", "0.01", "0.5", "0.0001"]


@given(
    step=st.sampled_from(STEPS),
    tick=st.sampled_from(TICKS),
    ticks=st.integers(1, 10**6),
    equity=st.floats(0.01, 1e7),
    percent=st.floats(0.01, 5000.0),
    wish=st.one_of(st.just(0.0), st.floats(0.01, 1e8)),
    leverage=st.floats(1.0, 100.0),
    max_position=st.one_of(st.none(), st.floats(0.01, 1e8)),
    max_gross=st.one_of(st.none(), st.floats(0.01, 1e8)),
    other=st.floats(0.0, 100.0),
    taker_fee=st.integers(0, 100_000),
)
def test_a_size_is_on_the_grid_and_within_every_cap(
    step: str, tick: str, ticks: int, equity: float, percent: float, wish: float, leverage: float, max_position: float | None,
    max_gross: float | None, other: float, taker_fee: int,
) -> None:  # fmt: skip
    traded: Instrument = instrument(
        price_grid=Grid.from_text(tick), qty_grid=Grid.from_text(step), min_qty=float(step), max_market_qty=1e6, taker_fee=taker_fee
    )
    account = Account(equity, ETHUSDT=other)
    price = account.prices["BTCUSDT"] = traded.price_grid.value(ticks)
    config = RiskConfig(leverage=leverage, max_position_usd=max_position, max_gross_usd=max_gross)
    risk = RiskManager(config, SizingConfig(percent=percent), instruments={"BTCUSDT": traded, "ETHUSDT": instrument("ETHUSDT")})
    sized = risk.size_position(buy(wish), account)
    if not sized.allowed:
        assert (sized.quantity, sized.steps) == (0.0, 0) and sized.reason
        return
    assert Decimal(str(sized.quantity)) % Decimal(step) == 0
    assert traded.qty_grid.count(sized.quantity) == sized.steps
    assert float(step) <= sized.quantity <= 1e6
    usd, slack = sized.quantity * price, 1.0 + 1e-9
    assert usd * slack >= 5.0
    assert usd <= equity * percent / 100.0 * slack
    assert not wish or usd <= wish * slack
    assert usd <= (max_position or math.inf) * slack
    assert usd + 100.0 * other <= (max_gross or math.inf) * slack
    assert (usd + 100.0 * other) * (1.0 / leverage + 2e-8 * taker_fee) <= equity * slack
