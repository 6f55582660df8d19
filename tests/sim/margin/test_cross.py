"""Cross margin: one margin balance for all positions, what it refuses, when it is liquidated and what goes, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keel.core.actors.portfolio import Portfolio
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Grid, Instrument, build_tiers, generic_tiers
from keel.core.model.messages import AmendOrder, Bracket, CancelAll, Fill, FundingPayment, Liquidation, SubmitOrder
from keel.core.model.money import UNIT, to_text, to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.margin.cross import margins_at_mark
from keel.sim.margin.isolated import IsolatedMargin
from tests.sim.test_invariants import CONFIGS, HOUR, LADDER, QTY, SIDE, candles, orders, walks

FREE_OF_COSTS = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0)
SYMBOLS = ("XUSDT", "YUSDT", "ZUSDT")
LONG, SHORT = 1, -1
Ohlc = tuple[float, float, float, float]


def contract(symbol: str, **changes: Any) -> Instrument:
    """A linear contract: tick 1, step 0.01, no smallest notional."""
    values: dict[str, Any] = {"tiers": generic_tiers(), "price_limit_x": 0, "price_limit_y": 0}
    grid = Grid.from_text
    return Instrument(
        symbol, "linear", symbol[0], "USDT", grid("1"), grid("0.01"), 0.01, 1e6, 1e6, 0, 55_000, 20_000, **(values | changes)
    )  # fmt: skip


class Account:
    """A cross account of several symbols; prices are told by the hour, one for each symbol, flat or as open, high, low, close."""

    def __init__(
        self, *symbols: str, capital: float = 1000.0, leverage: float = 10.0, config: ExecutionConfig = FREE_OF_COSTS, hedge: bool = False,
        **changes: Any,
    ) -> None:  # fmt: skip
        self.events: list[Any] = []
        self.clock = ReplayClock()
        names = symbols or SYMBOLS[:2]
        self.exchange = SimulatedExchange(
            names, capital, config, RiskProfileConfig(leverage=leverage, margin_mode="cross"),
            instruments={name: contract(name, **changes) for name in names}, clock=self.clock, emit=self.events.append, hedge_mode=hedge,
        )  # fmt: skip
        self.books = list(self.exchange.books.values())
        self.account = self.exchange.cross_accounts["USDT"]
        self.hour = 0

    def send(self, name: str, symbol: str, side: str, qty: float, **more: Any) -> Account:
        kinds = {(False, False): "market", (True, False): "limit", (False, True): "stop_market", (True, True): "stop_limit"}
        kind = kinds["price" in more, "trigger_price" in more]
        self.exchange.submit_order(SubmitOrder(name, symbol, side, kind, qty, self.clock.now_ms, **more))
        return self

    def bars(self, *prices: float | Ohlc | None, marks: Sequence[float | None] = ()) -> list[str]:
        """The next hour of each symbol (None: it has no bar), and what was said in it."""
        self.events.clear()
        start = self.hour * HOUR
        self.hour += 1
        self.clock.now_ms = start + HOUR
        for number, (book, price) in enumerate(zip(self.books, prices, strict=True)):
            if price is not None:
                bar = price if isinstance(price, tuple) else (price,) * 4
                mark = marks[number] if number < len(marks) else None
                self.exchange.step(book, start, start + HOUR, *bar, 1000.0, *(bar if mark is None else (mark,) * 4), *bar)
        return [line(event) for event in self.events]

    @property
    def steps(self) -> list[int]:
        return [book.positions[0].steps for book in self.books]

    @property
    def ledger(self) -> dict[str, str]:
        names = ("free", "order", "position", "fees", "funding", "pnl", "insurance")
        return {name: to_text(value) for name, value in zip(names, self.account.accounts, strict=False) if value}


def line(event: Any) -> str:
    if isinstance(event, Fill):
        return f"{event.kind} {event.symbol[0]} {event.side} {event.qty:g} @ {event.price:g}"
    if isinstance(event, Liquidation):
        return f"liquidation {event.symbol[0]} {event.side} {event.qty:g}"
    if isinstance(event, FundingPayment):
        return f"funding {to_text(event.amount)}"
    return " ".join([event.status, event.client_order_id, event.reason.split(" ")[0]]).strip()


# --- margins ---------------------------------------------------------------------------------------------------------


def test_the_recorded_short_of_the_fact_sheet() -> None:
    """0.01 ETH short at 30x, November 2025: IM 1.23480936 and MM 0.20281586. Their difference, in which the fee to close is not, gives the
    mark, 3642.33, to the last digit; the fee was counted at a mark that is 0.006 % away from it, which is all that differs."""
    policy = IsolatedMargin(to_units("30"), to_units("0.00055"), build_tiers([(to_units("900000"), to_units("0.005"), to_units("100"))]))
    initial, maintenance = margins_at_mark(policy, to_units("36.4233"), SHORT)
    assert initial - maintenance == to_units("1.23480936") - to_units("0.20281586")
    assert initial == pytest.approx(to_units("1.23480936"), rel=1.1e-6)
    assert maintenance == pytest.approx(to_units("0.20281586"), rel=6.1e-6)


@pytest.mark.parametrize(("qty", "answer"), [(35.0, "filled b"), (35.01, "rejected b 110090")])
def test_margins_and_tiers_go_by_the_value_at_mark(qty: float, answer: str) -> None:
    """10 X at 10x with tiers to 1,500 (0.5 %) and 9,000 (2 %, deduction 22.5): at 200, 35 more are worth 9,000 with them."""
    tiers = build_tiers([(to_units("1500"), to_units("0.005"), to_units("100")), (to_units("9000"), to_units("0.02"), to_units("20"))])
    a = Account("XUSDT", tiers=tiers).send("a", "XUSDT", "BUY", 10.0)
    a.bars(100.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["1000", "100", "5"]
    a.bars(200.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["2000", "200", "17.5"]
    assert a.send("b", "XUSDT", "BUY", qty).bars(200.0)[-1] == answer


def test_fees_to_close_are_a_part_of_both_margins() -> None:
    """Long 10 at 100, 10x: IM 100 + 900 x 0.055 %, MM 5 + the same; at 200 twice of it. Short: 1,100."""
    fees = ExecutionConfig(slippage_bps=0.0)
    a = Account("XUSDT", config=fees).send("a", "XUSDT", "BUY", 10.0)
    a.bars(100.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["999.45", "100.495", "5.495"]
    a.bars(200.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["1999.45", "200.99", "10.99"]
    b = Account("XUSDT", config=fees).send("a", "XUSDT", "SELL", 10.0)
    b.bars(100.0)
    assert [to_text(value) for value in b.account.totals()[1:3]] == ["100.605", "5.605"]


def test_hedged_quantity_needs_margin_for_the_net_side_only() -> None:
    a = Account("XUSDT", hedge=True).send("a", "XUSDT", "BUY", 10.0, position_idx=1).send("b", "XUSDT", "SELL", 7.0, position_idx=2)
    a.bars(100.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["1000", "30", "1.5"]
    assert [position["margin"] for position in a.exchange.state["positions"]] == [to_units("30"), 0]
    a.send("c", "XUSDT", "SELL", 10.0, position_idx=1, reduce_only=True).bars(100.0)
    assert [to_text(value) for value in a.account.totals()[:3]] == ["1000", "70", "3.5"]


def test_the_log_has_initial_margin_at_mark_and_the_estimate_of_then() -> None:
    """10 X long and 20 Y short at 100, 10x. X alone: 1000 - 1000 + 10 p = 0.05 p, below zero. Y: 3000 - 20 p = 5 + 0.1 p."""
    a = Account().send("a", "XUSDT", "BUY", 10.0).send("b", "YUSDT", "SELL", 20.0)
    a.bars(100.0, 100.0)
    assert a.exchange.position_log == {
        "XUSDT": [(0, 1000, to_units("1000"), to_units("100"), 0.0)],
        "YUSDT": [(0, -2000, to_units("2000"), to_units("200"), pytest.approx(2995 / 20.1))],
    }
    a.bars(100.0, 120.0)
    prices = {position["symbol"]: position["liquidation_price"] for position in a.exchange.state["positions"]}
    assert prices == {"XUSDT": pytest.approx(412 / 9.95), "YUSDT": pytest.approx(2995 / 20.1)}  # X: 1000 - 400 - 1000 + 10 p = 12 + 0.05 p


@settings(deadline=None)
@given(
    capital=st.integers(200, 5000), leverage=st.sampled_from([5.0, 25.0]),
    held=st.lists(st.tuples(st.sampled_from(["BUY", "SELL"]), st.sampled_from([1.0, 2.5, 17.0])), min_size=2, max_size=2),
    marks=st.lists(st.integers(80, 120).map(float), min_size=2, max_size=2),
)  # fmt: skip
def test_the_estimate_is_where_the_account_is_due(capital, leverage, held, marks) -> None:
    """On one side of it, all other marks as they are, the account is due, on the other it is not: whatever is open and in which tier."""
    tiers = build_tiers([(to_units("500"), to_units("0.005"), to_units("100")), (to_units("90000"), to_units("0.02"), to_units("50"))])
    a = Account(capital=float(capital), leverage=leverage, config=ExecutionConfig(slippage_bps=0.0), tiers=tiers)
    for name, book, (side, qty) in zip("ab", a.books, held, strict=True):
        a.send(name, book.symbol, side, qty)
    a.bars(100.0, 100.0)
    a.bars(*marks)
    for book in a.books:
        price, steps = a.account.liquidation_price(book), book.positions[0].steps
        if not steps or price < 1.0:  # none, or one at which the step from one side to the other is below 1e-8
            continue
        kept, away = book.mark, 1e-7 * (1 if steps > 0 else -1)
        for mark, is_due in ((price * (1.0 + away), False), (price * (1.0 - away), True)):
            book.mark = mark
            assert a.account.is_due() is is_due
        book.mark = kept


# --- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("qty", "answer"), [(99.99, "filled a"), (100.0, "rejected a 110007")])
def test_an_order_that_leaves_nothing_available_is_refused(qty: float, answer: str) -> None:
    """1000 at 10x margin 10,000: at 100 % it is refused, one step below it is not."""
    assert Account().send("a", "XUSDT", "BUY", qty).bars(100.0, 100.0)[-1] == answer


@pytest.mark.parametrize(("qty", "answer"), [(39.99, "accepted b"), (40.0, "rejected b 110007")])
def test_resting_orders_hold_margin_of_the_account(qty: float, answer: str) -> None:
    """50 X hold 500; a limit of 40 Y at 125 would hold the other 500."""
    a = Account().send("a", "XUSDT", "BUY", 50.0).send("b", "YUSDT", "SELL", qty, price=125.0)
    assert a.bars(100.0, 100.0)[-1] == answer
    assert to_text(a.account.available()) == ("0.125" if answer == "accepted b" else "500")


def test_unrealised_profit_is_margin_for_new_orders_and_a_loss_is_not() -> None:
    """50 X long: at 110 it gains 500, needs 550 of 1,500, and 950 are left for Y; at 95, 250 less."""
    for price, most in ((110.0, 94.99), (95.0, 27.49)):
        for qty, is_taken in ((most, True), (round(most + 0.01, 2), False)):
            a = Account().send("a", "XUSDT", "BUY", 50.0)
            a.bars(100.0, 100.0)
            a.bars(price, 100.0)
            said = a.send("b", "YUSDT", "SELL", qty).bars(price, 100.0)
            assert (said[-1] == "filled b") is is_taken, (price, qty, said)


def test_an_order_that_rests_is_not_refused_when_it_fills() -> None:
    """Y's buy at 90 holds 90 of the account; X's loss takes all that was available, and the order still fills."""
    a = Account().send("a", "XUSDT", "BUY", 90.0).send("b", "YUSDT", "BUY", 10.0, price=90.0)
    a.bars(100.0, 100.0)
    a.bars(99.0, 100.0)
    assert a.account.available() < 0
    assert a.send("c", "YUSDT", "BUY", 0.01).bars(99.0, 100.0) == ["rejected c 110007"]
    assert a.bars(99.0, 89.0)[-2:] == ["trade Y BUY 10 @ 90", "filled b"] and a.ledger.get("order") is None


def test_a_close_is_never_refused() -> None:
    a = Account().send("a", "XUSDT", "BUY", 99.0)
    a.bars(100.0, 100.0)
    assert a.send("b", "XUSDT", "SELL", 40.0).bars(91.0, 100.0)[-1] == "filled b"


# --- the wallet ------------------------------------------------------------------------------------------------------


def test_a_realised_loss_may_stand_against_unrealised_profit_and_is_paid_when_that_is_realised() -> None:
    """X loses 1,200 of a wallet of 1,000 while Y has gained 1,500: 200 are owed, not insured; Y's close pays them."""
    a = Account().send("a", "XUSDT", "BUY", 40.0).send("b", "YUSDT", "SELL", 50.0)
    a.bars(100.0, 100.0)
    a.bars(100.0, 70.0)
    assert a.send("c", "XUSDT", "SELL", 40.0).bars(70.0, 70.0)[-1] == "filled c"
    assert (a.ledger, a.exchange.equity("USDT")) == ({"free": "-200", "pnl": "1200"}, 1300.0)
    a.send("d", "YUSDT", "BUY", 50.0).bars(70.0, 70.0)
    assert a.ledger == {"free": "1300", "pnl": "-300"} and a.exchange.insurance_paid == 0


def test_the_last_close_below_zero_is_insured_and_says_so() -> None:
    """Last falls far below a mark that stays: 4,000 are lost of 1,000."""
    a = Account("XUSDT").send("a", "XUSDT", "BUY", 80.0)
    a.bars(100.0)
    assert a.send("b", "XUSDT", "SELL", 80.0).bars(50.0, marks=[100.0]) == ["bust X SELL 80 @ 50", "filled b"]
    assert a.ledger == {"pnl": "4000", "insurance": "-3000"}
    assert a.exchange.fills[-1].realized_pnl == -to_units("1000")


def test_funding_goes_against_the_wallet_and_the_account_is_looked_at_then() -> None:
    """10 % of 9,000 at the stamp: 900 of 1,000, and MM is 45; once more, and it is over."""
    a = Account("XUSDT").send("a", "XUSDT", "BUY", 90.0)
    a.exchange.set_funding("XUSDT", [HOUR, 2 * HOUR], [UNIT // 10] * 2, [100 * UNIT] * 2)
    a.bars(100.0)
    assert a.bars(100.0) == ["funding 900"] and a.ledger == {"free": "100", "funding": "900"}
    assert a.bars(100.0) == ["funding 900", "liquidation X SELL 90", "bust X SELL 90 @ 100"]
    assert a.ledger == {"funding": "1800", "insurance": "-800"}


# --- liquidation -----------------------------------------------------------------------------------------------------


def test_the_profit_of_one_carries_the_other() -> None:
    """40 X long lose 1,520 at 62, more than the account had; 40 Y short have won 1,600."""
    a = Account().send("a", "XUSDT", "BUY", 40.0).send("b", "YUSDT", "SELL", 40.0)
    a.bars(100.0, 100.0)
    a.bars(100.0, 60.0)
    assert a.bars(62.0, 60.0) == [] and a.steps == [4000, -4000]
    alone = Account().send("a", "XUSDT", "BUY", 40.0)
    alone.bars(100.0, 100.0)
    assert alone.bars(62.0, 60.0) == ["liquidation X SELL 40", "bust X SELL 40 @ 62"]


def test_the_largest_maintenance_margin_goes_first_until_the_rate_is_below_100_percent() -> None:
    """60 X and 10 Y long. At 87, 90 are left, and MM is 30.45; at 86, 20 of 30.1: X goes, and Y stays with 20 against 4.3."""
    a = Account().send("a", "XUSDT", "BUY", 60.0).send("b", "YUSDT", "BUY", 10.0)
    a.bars(100.0, 100.0)
    assert a.bars(100.0, 86.0) == [] and a.bars(87.0, 86.0) == []
    assert a.bars(86.0, 86.0) == ["liquidation X SELL 60", "bust X SELL 60 @ 86"]
    assert a.steps == [0, 1000] and a.ledger == {"free": "160", "pnl": "840"}
    assert [to_text(value) for value in a.account.totals()[:3]] == ["20", "86", "4.3"]


def test_nothing_is_owed_after_a_liquidation() -> None:
    """X loses 1,020 of 1,000 and goes first. Y, with a profit of 40 and 20 left against 4.8, may stay, but for the 20 owed."""
    a = Account().send("a", "XUSDT", "BUY", 60.0).send("b", "YUSDT", "SELL", 10.0)
    a.bars(100.0, 100.0)
    a.bars(100.0, 96.0)
    assert [text for text in a.bars(83.0, 96.0) if text.startswith("liq")] == ["liquidation X SELL 60", "liquidation Y BUY 10"]
    assert a.ledger == {"free": "20", "pnl": "980"} and a.exchange.insurance_paid == 0


@pytest.mark.parametrize(("capital", "steps"), [(204.0, 0), (204.00000001, 1000)])
def test_a_rate_of_exactly_100_percent_is_enough(capital: float, steps: int) -> None:
    """10 X at 80 lose 200 and need 4."""
    a = Account("XUSDT", capital=capital).send("a", "XUSDT", "BUY", 10.0)
    a.bars(100.0)
    a.bars(80.0)
    assert a.steps == [steps]


def test_both_go_in_their_order_and_insurance_pays_what_is_left_below_zero() -> None:
    """A gap to 80: X loses 1,200, Y 200, and 400 are missing."""
    a = Account().send("a", "XUSDT", "BUY", 10.0).send("b", "YUSDT", "BUY", 60.0)
    a.bars(100.0, 100.0)
    a.events.clear()
    assert a.bars(None, 80.0) == ["liquidation Y SELL 60", "bust Y SELL 60 @ 80", "liquidation X SELL 10", "bust X SELL 10 @ 100"]
    assert a.ledger == {"pnl": "1200", "insurance": "-200"}
    losses = [(event.symbol, to_text(event.loss), to_text(event.insurance)) for event in a.exchange.liquidations]
    assert losses == [("YUSDT", "1200", "0"), ("XUSDT", "0", "200")]
    assert sum(fill.realized_pnl - fill.fee for fill in a.exchange.fills) == -to_units("1000")


@pytest.mark.parametrize(
    ("side", "qty", "mark", "price", "fee", "lost"),
    [("BUY", 50.5, 80.6, 80, "2.222", "997.2225"), ("SELL", 50.0, 119.3, 120, "3.3", "997.25")],
)
def test_the_fee_of_a_takeover_is_the_takers_and_the_mark_is_rounded_against_the_trader(side, qty, mark, price, fee, lost) -> None:
    """What is lost is what the fee to open has left; that the price took more, insurance pays."""
    a = Account("XUSDT", config=ExecutionConfig(slippage_bps=0.0)).send("a", "XUSDT", side, qty)
    a.bars(100.0)
    out = "SELL" if side == "BUY" else "BUY"
    assert a.bars(float(price), marks=[mark])[-1] == f"bust X {out} {qty:g} @ {price}"
    fill, liquidation = a.exchange.fills[-1], a.exchange.liquidations[-1]
    assert (to_text(fill.fee), to_text(liquidation.loss), fill.realized_pnl - fill.fee) == (fee, lost, -liquidation.loss)
    assert a.account.wallet == 0 and a.exchange.insurance_paid == liquidation.insurance > 0


def test_it_is_looked_at_in_the_corners_of_the_path() -> None:
    """A low of 80 that recovers within the bar is enough; a last price of 80 whose mark stays is not."""
    for bar, marks, is_over in (((100.0, 101.0, 80.0, 100.0), (), True), ((100.0, 101.0, 80.0, 100.0), (100.0,), False)):
        a = Account("XUSDT").send("a", "XUSDT", "BUY", 60.0)
        a.bars(100.0)
        a.bars(bar, marks=marks)
        assert (a.steps == [0]) is is_over
        if is_over:
            assert (a.exchange.liquidations[0].mark_price, a.exchange.liquidations[0].ts) == (80.0, HOUR + HOUR // 3)


def test_a_stop_on_the_way_saves_and_one_at_the_same_place_does_not() -> None:
    for stop, last in ((90.0, "filled a-sl"), (79.0, "bust X SELL 60 @ 78")):
        a = Account("XUSDT").send("a", "XUSDT", "BUY", 60.0, bracket=Bracket(stop_loss=stop))
        a.bars(100.0)
        a.bars((100.0, 100.0, 78.0, 100.0) if stop == 90.0 else 78.0)
        assert line(a.events[-1]) == last


def test_orders_that_hold_margin_end_first_those_of_other_symbols_without_margin_stay() -> None:
    a = Account(*SYMBOLS).send("a", "XUSDT", "BUY", 60.0, bracket=Bracket(take_profit=150.0)).send("b", "YUSDT", "BUY", 10.0, price=50.0)
    a.send("c", "YUSDT", "BUY", 10.0, trigger_price=150.0).send("d", "ZUSDT", "SELL", 1.0, price=150.0)
    a.bars(100.0, 100.0, 100.0)
    assert a.bars(80.0, 100.0, 100.0) == [
        "cancelled b CancelAllBeforeLiq", "cancelled d CancelAllBeforeLiq", "cancelled a-tp CancelAllBeforeLiq",
        "liquidation X SELL 60", "bust X SELL 60 @ 80",
    ]  # fmt: skip
    assert [list(book.orders) for book in a.books] == [[], ["c"], []]


def test_symbols_that_were_stepped_already_speak_at_the_end_of_the_bar_others_at_its_begin() -> None:
    a = Account(*SYMBOLS)
    for name, symbol in zip("abc", SYMBOLS, strict=True):
        a.send(name, symbol, "BUY", 30.0)
    a.bars(100.0, 100.0, 100.0)
    a.bars(100.0, (100.0, 100.0, 60.0, 100.0), 100.0)
    assert {event.symbol[0]: event.ts - HOUR for event in a.events if isinstance(event, Liquidation)} == {
        "Y": HOUR // 3, "X": HOUR - 1, "Z": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("long", "short", "price", "first", "last"),
    [(80.0, 20.0, 82.0, "SELL 80", "BUY 20"), (20.0, 80.0, 118.0, "BUY 80", "SELL 20")],
)
def test_the_hedged_side_goes_last(long: float, short: float, price: float, first: str, last: str) -> None:
    """The larger side goes with a loss of 1,440, the smaller one brings 360 back, and 80 are missing."""
    a = Account("XUSDT", hedge=True).send("a", "XUSDT", "BUY", long, position_idx=1).send("b", "XUSDT", "SELL", short, position_idx=2)
    a.bars(100.0)
    assert [text for text in a.bars(price) if text.startswith("liq")] == [f"liquidation X {first}", f"liquidation X {last}"]
    assert a.ledger == {"pnl": "1080", "insurance": "-80"}


def test_a_run_ends_when_a_liquidation_leaves_too_little() -> None:
    a = Account("XUSDT", capital=100.0).send("a", "XUSDT", "BUY", 9.0)
    a.bars(100.0)
    a.bars(50.0)
    reason = a.exchange.should_stop()
    assert reason is not None and reason.code == "account_blown" and "equity 0 USDT" in reason.detail


def test_an_account_without_linear_symbols_has_no_cross_margin(make_spot: Any) -> None:
    profile = RiskProfileConfig(margin_mode="cross")
    exchange = SimulatedExchange("XUSDT", 100.0, ExecutionConfig(), profile, instruments={"XUSDT": make_spot()})
    assert exchange.cross_accounts == {} and exchange.books["XUSDT"].account is None


def test_spot_spends_only_what_is_available_of_an_account_that_has_both(make_spot: Any) -> None:
    """90 X at 10x need 900 of 1,000: spot may spend 100."""
    clock, events = ReplayClock(), []
    exchange = SimulatedExchange(
        ["XUSDT", "SUSDT"], 1000.0, FREE_OF_COSTS, RiskProfileConfig(leverage=1.0, margin_mode="cross"),
        instruments={"XUSDT": contract("XUSDT"), "SUSDT": make_spot(symbol="SUSDT", base="S")}, clock=clock, emit=events.append,
    )  # fmt: skip
    flat = (100.0,) * 4
    exchange.submit_order(SubmitOrder("a", "XUSDT", "BUY", "market", 9.0, 0))
    for name, qty in (("b", 1.01), ("c", 1.0)):
        exchange.submit_order(SubmitOrder(name, "SUSDT", "BUY", "market", qty, 0))
    for book in exchange.books.values():
        exchange.step(book, 0, HOUR, *flat, 100.0, *flat, *flat)
    assert [line(event) for event in events if not isinstance(event, Fill)] == ["filled a", "rejected b 170131", "filled c"]


# --- whatever happens ------------------------------------------------------------------------------------------------


def make(hedge: bool, leverage: float, config: ExecutionConfig, emit: Any, clock: ReplayClock, interval: int) -> SimulatedExchange:
    """Three symbols with funding at every ``interval``, at times of their own."""
    bands = {"price_limit_y": to_units("0.15"), "price_limit_x": to_units("0.1")}
    exchange = SimulatedExchange(
        SYMBOLS, 1000.0, config, RiskProfileConfig(leverage=leverage, margin_mode="cross"),
        instruments={name: contract(name, **bands) for name in SYMBOLS}, clock=clock, emit=emit, hedge_mode=hedge,
    )  # fmt: skip
    for number, name in enumerate(SYMBOLS):
        stamps = list(range(number * HOUR, 200 * HOUR, interval))
        rates = [((n * 37) % 21 - 10) * 50_000 for n in range(len(stamps))]
        exchange.set_funding(name, stamps, rates, [100 * UNIT + n * 12345 for n in range(len(stamps))])
    return exchange


class CrossMachine(RuleBasedStateMachine):
    """Random orders, bars and funding against one account of three symbols."""

    @initialize(hedge=st.booleans(), leverage=st.sampled_from([1.0, 5.0, 25.0]), config=CONFIGS)
    def begin(self, hedge: bool, leverage: float, config: ExecutionConfig) -> None:
        self.clock, self.hedge = ReplayClock(), hedge
        self.last_ts, self.hole_ends = dict.fromkeys(SYMBOLS, 0), dict.fromkeys(SYMBOLS, 0)
        self.exchange = make(hedge, leverage, config, self.on_event, self.clock, HOUR * 3 // 2)
        self.account = self.exchange.cross_accounts["USDT"]
        self.books = list(self.exchange.books.values())
        self.portfolio = Portfolio([book.instrument for book in self.books], to_units("1000"))
        self.hour = self.count = 0

    def on_event(self, event: Any) -> None:
        assert not sum(self.account.accounts)
        is_of_a_hole = isinstance(event, FundingPayment) and event.ts < self.hole_ends[event.symbol]  # charged late, with its own stamp
        assert is_of_a_hole or event.ts >= self.last_ts[event.symbol]
        self.last_ts[event.symbol] = max(event.ts, self.last_ts[event.symbol])
        if isinstance(event, Fill) and not self.hedge:
            self.portfolio.on_fill(event)
        elif isinstance(event, FundingPayment) and not self.hedge:
            self.portfolio.on_funding(event)
        elif isinstance(event, Liquidation):
            assert event.loss >= 0 and event.insurance >= 0
            assert not any(order.reserve for book in self.books for order in book.orders.values())

    @rule(data=st.data(), symbol=st.sampled_from(SYMBOLS))
    def submit(self, data: st.DataObject, symbol: str) -> None:
        self.count += 1
        order = data.draw(orders(f"k-{self.count}", self.clock.now_ms, self.hedge))
        self.exchange.submit_order(msgspec.structs.replace(order, symbol=symbol))

    @rule(symbol=st.none() | st.sampled_from(SYMBOLS))
    def cancel_all(self, symbol: str | None) -> None:
        self.exchange.cancel_all(CancelAll(self.clock.now_ms, symbol))

    @rule(number=st.integers(1, 12), symbol=st.sampled_from(SYMBOLS), qty=st.none() | QTY, price=st.none() | LADDER)
    def amend(self, number: int, symbol: str, qty: float | None, price: float | None) -> None:
        self.exchange.amend_order(AmendOrder(f"k-{number}", symbol, self.clock.now_ms, qty, price))

    @rule(
        trades=st.lists(st.tuples(st.sampled_from(SYMBOLS), SIDE, st.sampled_from([2.5, 7.0, 40.0, 90.0])), max_size=4),
        bars=st.tuples(candles(), candles(), candles()),
        hole=st.sampled_from([None, None, *SYMBOLS]), volume=st.sampled_from([10.0, 200.0, 1e4]),
    )  # fmt: skip
    def hour_of_trading(self, trades: list[tuple[str, Any, float]], bars: tuple[Ohlc, ...], hole: str | None, volume: float) -> None:
        for symbol, side, qty in trades:
            self.count += 1
            idx = (1 if side == "BUY" else 2) if self.hedge else 0
            self.exchange.submit_order(SubmitOrder(f"k-{self.count}", symbol, side, "market", qty, self.clock.now_ms, position_idx=idx))
        start = self.hour * HOUR
        self.hour += 1
        self.clock.now_ms = self.hour * HOUR
        for book, last in zip(self.books, bars, strict=True):
            if book.symbol != hole:
                self.exchange.step(book, start, start + HOUR, *last, volume, *last, *last, 30.0)
                assert not self.account.is_due()
            else:
                self.hole_ends[hole] = start + HOUR

    @invariant()
    def check_the_ledger(self) -> None:
        if not hasattr(self, "account"):
            return
        accounts = self.account.accounts
        assert not sum(accounts) and accounts[1] >= 0 and accounts[2] == 0
        assert sum(order.reserve for book in self.books for order in book.orders.values()) == accounts[1]
        if not self.account.is_open():
            assert self.account.wallet >= 0
        for book in self.books:
            for position in book.positions:
                assert position.cost >= 0 and (position.steps or not position.cost) and not position.margin
                assert position.steps or not position.children

    @invariant()
    def check_the_portfolio_made_from_fills(self) -> None:
        if hasattr(self, "account") and not self.hedge:
            assert self.portfolio.cash == self.exchange.balance("USDT")
            for book in self.books:
                line_ = self.portfolio.lines[book.symbol].book
                assert (line_.steps, line_.cost) == (book.positions[0].steps, book.positions[0].cost)


TestCross = CrossMachine.TestCase
TestCross.settings = settings(
    max_examples=min(60, settings().max_examples), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.long
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(), hedge=st.booleans(), leverage=st.sampled_from([1.0, 25.0, 50.0]), config=CONFIGS,
    walked=st.lists(walks(), min_size=3, max_size=3),
)  # fmt: skip
def test_what_is_left_out_changes_nothing(data, hedge, leverage, config, walked) -> None:
    """The same orders and bars of three symbols: with every bar stepped and walked to its end, with those stepped only that the wake levels
    ask for, and with every bar stepped."""
    sides = []
    for _ in range(3):
        events: list[Any] = []
        clock = ReplayClock()
        sides.append((make(hedge, leverage, config, events.append, clock, 20 * HOUR + 1), events, clock))
    for hour in range(max(map(len, walked))):
        start, close = hour * HOUR, (hour + 1) * HOUR
        sent = []
        for symbol, walk in zip(SYMBOLS, walked, strict=True):
            if hour < len(walk) and walk[hour][2]:
                order = data.draw(orders(f"k-{symbol}-{hour}", start, hedge))
                sent.append(msgspec.structs.replace(order, symbol=symbol, qty=5.0 * order.qty))
        for number, (exchange, _, clock) in enumerate(sides):
            clock.now_ms = start
            for order in sent:
                exchange.submit_order(order)
            for symbol, walk in zip(SYMBOLS, walked, strict=True):
                if hour >= len(walk):
                    continue
                last, mark, _ = walk[hour]
                book = exchange.books[symbol]
                low, high = min(last[2], mark[2]), max(last[1], mark[1])
                if number != 1 or close > book.wake_ts or low <= book.wake_low or high >= book.wake_high:
                    with pytest.MonkeyPatch.context() as patch:
                        if number == 0:
                            patch.setattr("keel.sim.exchange.exchange.must_walk", lambda *_: True)
                        exchange.step(book, start, close, *last, 50.0, *mark, *last, 30.0)
    whole, whole_events, _ = sides[0]
    for other, events, _ in sides[1:]:
        assert events == whole_events
        assert other.ledger.coins == whole.ledger.coins
        assert other.position_log == whole.position_log
        assert other.metrics.trust() == whole.metrics.trust()
        assert other.stop_reason == whole.stop_reason
