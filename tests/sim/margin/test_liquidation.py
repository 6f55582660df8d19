"""Isolated margin: what is held, when a position is taken over, what is lost, and when a run ends."""

from __future__ import annotations

import pytest

from keel.core.errors import ConfigError
from keel.core.model.messages import Bracket
from keel.core.model.money import UNIT, to_text, to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange

FLAT = (100.0, 100.0, 100.0, 100.0)
FEES = ExecutionConfig(slippage_bps=0.0)


def test_a_position_holds_initial_margin_and_fee_to_close(venue) -> None:
    """10 x 100 at 10x: 100 + 900 x 0.055 %; the fee to open is paid."""
    v = venue(config=FEES, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    assert v.account == {"free": "9898.955", "position": "100.495", "fees": "0.55"}
    assert v.exchange.position_log["XUSDT"] == [(0, 1000, to_units("1000"), to_units("100.495"), pytest.approx(90.4522613, abs=1e-6))]


@pytest.mark.parametrize(
    ("side", "bar", "loss"), [("BUY", (100.0, 100.0, 90.0, 95.0), "100.495"), ("SELL", (100.0, 110.0, 100.0, 105.0), "100.605")]
)
def test_liquidation_takes_the_margin_no_more_and_no_less(venue, side, bar, loss) -> None:
    v = venue(config=FEES, leverage=10.0).send("a", side, 10.0)
    v.bar(FLAT)
    free = v.book.accounts[0]
    out = "SELL" if side == "BUY" else "BUY"
    bust = "90" if side == "BUY" else "110"
    assert v.bar(bar) == [f"liquidation {out} 10", f"fill liquidation-1 {out} 10 @ {bust} bust"]
    liquidation, fill = v.exchange.liquidations[0], v.exchange.fills[-1]
    assert (to_text(liquidation.loss), liquidation.insurance) == (loss, 0)
    assert fill.realized_pnl - fill.fee == -liquidation.loss
    assert v.exchange.balance("USDT") == free
    assert v.book.positions[0].steps == v.book.positions[0].cost == v.book.positions[0].margin == 0


def test_a_gap_beyond_bankruptcy_is_insured(venue) -> None:
    """Marked at 80, the position is worth 200 less; its margin covers 100.495 of that and of the fee."""
    v = venue(config=FEES, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    v.bar((80.0,) * 4)
    assert to_text(v.exchange.insurance_paid) == "100"
    assert v.account["insurance"] == "-100"


def test_liquidation_goes_by_mark_not_by_last(venue) -> None:
    v = venue(leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    assert v.bar((100.0, 100.0, 50.0, 100.0), mark=FLAT) == []
    assert v.bar(FLAT, mark=(100.0, 100.0, 90.0, 100.0))[0] == "liquidation SELL 10"


def test_what_dies_at_the_low_takes_no_profit_at_the_high_and_its_orders_are_cancelled_first(venue) -> None:
    v = venue(leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    v.exits(take_profit=110.0).send("l", "BUY", 1.0, price=50.0).bar(FLAT)
    assert v.bar((100.0, 120.0, 85.0, 110.0)) == [
        "cancelled a-tp CancelAllBeforeLiq", "cancelled l CancelAllBeforeLiq",
        "liquidation SELL 10", "fill liquidation-1 SELL 10 @ 90 bust",
    ]  # fmt: skip
    assert v.exchange.ambiguous_bars == 1  # the take-profit and the liquidation were both within reach


def test_liquidation_wins_against_a_stop_at_the_same_place(venue) -> None:
    """A gap at the open over both: liquidated, and the bar is ambiguous."""
    v = venue(leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    v.exits(stop_loss=95.0).bar(FLAT)
    assert v.bar((90.0,) * 4)[:2] == ["cancelled a-sl CancelAllBeforeLiq", "liquidation SELL 10"]
    assert v.exchange.ambiguous_bars == 1


def test_a_stop_before_the_liquidation_price_saves_the_position(venue) -> None:
    v = venue(leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    v.exits(stop_loss=95.0).bar(FLAT)
    assert v.bar((100.0, 100.0, 80.0, 90.0))[0] == "triggered a-sl"
    assert v.exchange.liquidations == []


def test_a_long_without_leverage_is_never_liquidated(venue) -> None:
    v = venue().send("a", "BUY", 100.0)
    v.bar(FLAT)
    assert v.bar((100.0, 100.0, 0.01, 1.0)) == []
    assert v.book.wake_low == float("-inf")


def test_an_entry_already_past_its_liquidation_price_is_refused(venue) -> None:
    v = venue(leverage=10.0).send("a", "BUY", 10.0)
    assert v.bar(FLAT, mark=(90.0,) * 4) == ["rejected a 110011"]


def test_leverage_is_limited_by_the_tier_of_the_position(venue, make_perpetual, tiers) -> None:
    table = tiers(("1000", "0.005", "100"), ("10000", "0.05", "10"))
    v = venue(make_perpetual(tiers=table), leverage=20.0).send("a", "BUY", 10.0).send("b", "BUY", 1.0)
    assert v.bar(FLAT) == ["fill a BUY 10 @ 100 taker", "filled a", "rejected b 110090"]


def test_a_partial_close_releases_its_share_of_the_margin(venue) -> None:
    v = venue(config=FEES, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    before = v.book.positions[0].liquidation_price
    v.send("b", "SELL", 4.0).bar(FLAT)
    assert to_text(v.book.positions[0].margin) == "60.297"
    assert v.book.positions[0].liquidation_price == pytest.approx(before)


def test_a_close_that_loses_more_than_its_margin_takes_free_cash_then_insurance(venue) -> None:
    """Last falls far below a mark that stays: 200 are lost of 100 in all; the fill states what was booked."""
    v = venue(capital=120.0, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    assert v.send("b", "SELL", 10.0).bar((80.0,) * 4, mark=FLAT) == ["fill b SELL 10 @ 80 bust", "filled b"]
    assert v.account == {"pnl": "200", "insurance": "-80"}
    assert to_text(v.exchange.fills[-1].realized_pnl) == "-120"


def test_a_partial_close_may_eat_the_margin_of_the_rest(venue) -> None:
    v = venue(capital=100.0, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    assert v.send("b", "SELL", 4.0).bar((85.0,) * 4, mark=FLAT) == ["fill b SELL 4 @ 85 taker", "filled b"]
    assert v.account == {"position": "40", "pnl": "60"}


def test_the_run_ends_when_no_order_is_possible_any_more(venue, make_perpetual) -> None:
    v = venue(make_perpetual(min_notional=to_units("5")), capital=100.4, leverage=10.0).send("a", "BUY", 10.0)
    v.bar(FLAT)
    assert v.exchange.should_stop() is None
    v.bar((100.0, 100.0, 85.0, 90.0))
    reason = v.exchange.should_stop()
    assert reason is not None
    assert (reason.code, reason.ts) == ("account_blown", v.exchange.liquidations[0].ts)
    assert "equity 0.4 USDT" in reason.detail


def test_a_refusal_alone_does_not_end_a_run(venue) -> None:
    v = venue().send("a", "BUY", 1000.0)
    assert v.bar(FLAT) == ["rejected a 110007"]
    assert v.exchange.should_stop() is None


@pytest.mark.parametrize(
    ("capital", "profile", "text"),
    [
        (0.0, RiskProfileConfig(), "above 0"),
        (float("nan"), RiskProfileConfig(), "above 0"),
        (1000.0, RiskProfileConfig(leverage=0.5), "at least 1"),
        (1000.0, RiskProfileConfig(leverage=101.0), "more than its 100"),
    ],
)
def test_accounts_that_cannot_be_simulated(capital, profile, text) -> None:
    with pytest.raises(ConfigError, match=text):
        SimulatedExchange("BTCUSDT", capital, ExecutionConfig(), profile)


def test_fee_rates_of_the_profile_go_before_those_of_the_execution_and_the_instrument() -> None:
    def rates(config: ExecutionConfig, profile: RiskProfileConfig) -> tuple[int, int]:
        book = SimulatedExchange("BTCUSDT", 1000.0, config, profile).books["BTCUSDT"]
        return book.taker_fee, book.maker_fee

    assert rates(ExecutionConfig(), RiskProfileConfig()) == (55_000, 20_000)
    assert rates(ExecutionConfig(taker_fee=0.001), RiskProfileConfig()) == (UNIT // 1000, 20_000)
    assert rates(ExecutionConfig(taker_fee=0.001), RiskProfileConfig(taker_fee_rate=0.002, maker_fee_rate=0.0)) == (UNIT // 500, 0)


def test_the_liquidation_of_one_side_of_a_hedge_leaves_the_other_without_exits_and_warns(venue) -> None:
    """The exchange cancels the contract's orders before it takes a position over: both sides are one contract."""
    v = venue(config=ExecutionConfig(slippage_bps=0.0), leverage=25.0, hedge=True)
    v.send("long", "BUY", 1.0, position_idx=1).send(
        "short", "SELL", 1.0, position_idx=2, bracket=Bracket(stop_loss=110.0, take_profit=80.0)
    )
    v.bar((100.0,) * 4)
    assert v.exchange.warnings == []
    said = v.bar((100.0, 100.0, 95.0, 95.0))
    assert said[:2] == ["cancelled short-sl CancelAllBeforeLiq", "cancelled short-tp CancelAllBeforeLiq"]
    (warning,) = v.exchange.warnings
    assert "the liquidation of the long cancelled all orders of the contract, the exits of the short of 1 among them" in warning
    assert (v.book.positions[1].steps, v.book.orders) == (-100, {})


def test_a_liquidation_without_another_side_warns_of_nothing(venue) -> None:
    v = venue(config=ExecutionConfig(slippage_bps=0.0), leverage=25.0)
    v.send("long", "BUY", 1.0, bracket=Bracket(stop_loss=50.0))
    v.bar((100.0,) * 4)
    v.bar((100.0, 100.0, 95.0, 95.0))
    assert v.steps == 0 and v.exchange.warnings == []
