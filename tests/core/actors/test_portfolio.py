"""The account that our own fills tell: cash to the last unit, positions, marks, equity; and the same account that the exchange keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.actors.portfolio import Portfolio
from keel.core.engine.clock import ReplayClock
from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, FundingPayment, FundingRate, MarkPrice, Message, SubmitOrder
from keel.core.model.money import UNIT, to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from tests.builders import HOUR, START, Fills, bar, perpetual, spot_pair

BTC = "BTCUSDT"


def account(*instruments: Instrument, equity: str = "10000") -> Portfolio:
    return Portfolio(instruments or [perpetual()], to_units(equity))


def funding(amount: str, symbol: str = BTC) -> FundingPayment:
    return FundingPayment(symbol, START + HOUR, to_units(amount), 10_000, 100.0, 1.0)


make = Fills()
CASES: list[tuple[str, list[Message], str, float, float]] = [
    # what happens: the messages, then cash, quantity, entry price
    ("an entry costs its fee", [make("BUY", 2.0, 100.0, fee="0.11")], "9999.89", 2.0, 100.0),
    ("an addition averages", [make("BUY", 1.0, 100.0), make("BUY", 3.0, 104.0)], "10000", 4.0, 103.0),
    ("a reduction realises its share", [make("BUY", 4.0, 100.0), make("SELL", 1.0, 110.0, pnl="10")], "10010", 3.0, 100.0),
    ("a close realises the rest", [make("SELL", 4.0, 100.0), make("BUY", 4.0, 101.5, pnl="-6")], "9994", 0.0, 0.0),
    ("a flip closes, then opens", [make("BUY", 1.0, 100.0), make("SELL", 3.0, 90.0, pnl="-10")], "9990", -2.0, 90.0),
    ("a rebate is earned", [make("BUY", 1.0, 100.0, fee="-0.02")], "10000.02", 1.0, 100.0),
    ("funding is paid", [make("BUY", 1.0, 100.0), funding("0.25")], "9999.75", 1.0, 100.0),
    ("funding is received", [make("SELL", 1.0, 100.0), funding("-0.25")], "10000.25", -1.0, 100.0),
    (
        "a third of the cost is released, rounded down",  # 100.00000001 of 3 steps: 33.33333333 leave, 66.66666668 stay
        [make("BUY", 0.003, 33333.4), make("SELL", 0.001, 33333.4, pnl="0"), make("SELL", 0.002, 33333.4, pnl="0")],
        "10000",
        0.0,
        0.0,
    ),
]


@pytest.mark.parametrize(("rule", "messages", "cash", "qty", "entry"), CASES, ids=[case[0] for case in CASES])
def test_what_a_fill_does(rule: str, messages: list[Message], cash: str, qty: float, entry: float) -> None:
    portfolio = account()
    for message in messages:
        if isinstance(message, Fill):
            portfolio.on_fill(message)
        else:
            portfolio.on_funding(message)  # type: ignore[arg-type]  # there are two kinds in the table
    assert portfolio.cash == to_units(cash)
    assert (portfolio.position_qty(BTC), portfolio.entry_price(BTC)) == (qty, pytest.approx(entry))
    assert portfolio.steps(BTC) == round(qty * 1000)
    assert portfolio.cash == portfolio.initial_equity + portfolio.realized - portfolio.fees - portfolio.funding
    assert portfolio.open_positions() == (1 if qty else 0)


def test_another_realised_pnl_at_the_venue_stops_the_run() -> None:
    portfolio, fill = account(), Fills()
    portfolio.on_fill(fill("BUY", 1.0, 100.0))
    with pytest.raises(InvariantError, match=r"BTCUSDT f2: the venue realised 1000000001, our book 1000000000 \(in 1e-8\)"):
        portfolio.on_fill(fill("SELL", 1.0, 110.0, pnl="10.00000001"))


def test_a_takeover_is_booked_as_the_venue_states_it() -> None:
    """The venue keeps what is left of the margin: its PnL and fee stand, and what they take beyond our book's is the liquidation's loss."""
    portfolio, fill = account(), Fills()
    portfolio.on_fill(fill("BUY", 1.0, 100.0, fee="0.055"))
    portfolio.on_fill(fill("SELL", 1.0, 91.0, fee="0", pnl="-10", kind="bust"))
    assert portfolio.cash == to_units("9989.945")
    assert (portfolio.realized, portfolio.liquidation_loss) == (to_units("-10"), to_units("1"))
    assert portfolio.open_positions() == 0 and portfolio.equity == 9989.945


def test_slippage_is_what_the_price_lost_against_its_reference() -> None:
    portfolio, fill = account(), Fills()
    portfolio.on_fill(fill("BUY", 2.0, 100.5, reference=100.0))
    portfolio.on_fill(fill("SELL", 2.0, 99.9, reference=100.0, pnl="-1.2"))
    assert portfolio.slippage == to_units("1.2")


def test_the_mark_values_a_position_and_the_last_price_where_there_is_none() -> None:
    portfolio, fill = account(perpetual(), perpetual("ETHUSDT")), Fills()
    line = portfolio.lines[BTC]
    line.on_bar(bar(0, 100.0))
    portfolio.on_fill(fill("BUY", 2.0, 100.0))
    line.on_bar(bar(1, 103.0))
    assert portfolio.on_instant(START) == portfolio.equity == 10_006.0
    line.on_mark(MarkPrice(BTC, START, 102.25))
    line.on_bar(bar(2, 110.0))  # from the first mark on it is the mark that counts
    assert portfolio.on_instant(START + HOUR) == 10_004.5
    assert (portfolio.mark(BTC), portfolio.last(BTC)) == (102.25, 110.0)
    assert portfolio.notional(BTC) == portfolio.gross_notional() == 204.5
    assert portfolio.notional("ETHUSDT") == 0.0
    view = portfolio.position_view(BTC)
    assert (view.side, view.qty, view.entry_price, view.mark_price, view.unrealized_pnl, view.notional) == (
        "LONG", 2.0, 100.0, 102.25, 4.5, 204.5,
    )  # fmt: skip
    assert portfolio.position_view("ETHUSDT").side == "FLAT"
    assert portfolio.funding_rate(BTC) is None
    line.on_funding_rate(FundingRate(BTC, START, 0.0001))
    assert portfolio.funding_rate(BTC) == 0.0001


def test_a_point_of_equity_for_each_instant() -> None:
    """Also while nothing is open; several positions add up; a fill moves equity at once, but makes no point."""
    portfolio, fill = account(perpetual(), perpetual("ETHUSDT")), Fills()
    other = Fills("ETHUSDT")
    portfolio.on_instant(1)
    for symbol, price in ((BTC, 100.0), ("ETHUSDT", 10.0)):
        portfolio.lines[symbol].on_bar(bar(0, price, symbol=symbol))
    portfolio.on_fill(fill("BUY", 1.0, 100.0, fee="1"))
    portfolio.on_fill(other("SELL", 5.0, 10.0))
    assert portfolio.equity == 9_999.0
    portfolio.lines[BTC].on_bar(bar(1, 101.0))
    portfolio.lines["ETHUSDT"].on_bar(bar(1, 9.0, symbol="ETHUSDT"))
    portfolio.on_instant(2)
    portfolio.on_fill(other("BUY", 5.0, 9.0, pnl="5"))
    portfolio.on_instant(3)
    portfolio.on_fill(fill("SELL", 1.0, 101.0, pnl="1"))
    portfolio.on_instant(4)
    assert portfolio.equity_values.tolist() == [10_000.0, 10_005.0, 10_005.0, 10_005.0]


# --- spot ---


def test_spot_pays_the_whole_price_and_its_fee_in_base() -> None:
    """1.000 bought at 100, 0.001 of it kept by the exchange: 0.999 is held, cash is 100 less, and equity has lost the fee."""
    portfolio, fill = account(spot_pair()), Fills()
    portfolio.lines[BTC].on_bar(bar(0, 100.0))
    portfolio.on_fill(fill("BUY", 1.0, 100.0, fee="0.001", fee_coin="BTC"))
    assert (portfolio.cash, portfolio.position_qty(BTC), portfolio.fees) == (to_units("9900"), 0.999, to_units("0.1"))
    assert portfolio.equity == pytest.approx(9_999.9)
    portfolio.on_fill(fill("SELL", 0.999, 110.0, fee="0.10989"))
    assert portfolio.cash == portfolio.initial_equity + portfolio.realized - portfolio.fees == to_units("10009.78011")
    assert portfolio.open_positions() == 0 and portfolio.equity == 10_009.78011


def test_what_is_too_small_to_sell_is_dust() -> None:
    """0.999 held, steps of 0.01: 0.99 can be sold. The rest counts in equity, and not as a position; the trade is over."""
    portfolio, fill = account(spot_pair(step="0.01")), Fills()
    portfolio.lines[BTC].on_bar(bar(0, 100.0))
    portfolio.on_fill(fill("BUY", 1.0, 100.0, fee="0.001", fee_coin="BTC"))
    assert portfolio.steps(BTC) == 99
    portfolio.on_fill(fill("SELL", 0.99, 100.0))
    assert (portfolio.steps(BTC), portfolio.open_positions()) == (0, 0)
    assert portfolio.position_qty(BTC) == 0.009
    assert portfolio.equity == pytest.approx(9_999.9)
    assert [trade.exit_price for trade in portfolio.trade_log.closed] == [100.0] and not portfolio.trade_log.open
    portfolio.on_fill(fill("BUY", 1.0, 200.0, fee="0.001", fee_coin="BTC"))
    portfolio.on_fill(fill("SELL", 1.0, 200.0))  # the dust goes with it: 0.009 + 0.999 = 1.008
    assert len(portfolio.trade_log.closed) == 2 and portfolio.position_qty(BTC) == 0.008
    assert_trades_add_up(portfolio)


# --- the exchange's account ---


def assert_trades_add_up(portfolio: Portfolio) -> None:
    """What the trades say, closed and open together, is what the account says."""
    trades = [*portfolio.trade_log.closed, *portfolio.trade_log.open]
    assert sum(trade.gross_pnl for trade in trades) == portfolio.realized
    assert sum(trade.fees for trade in trades) == portfolio.fees
    assert sum(trade.slippage for trade in trades) == portfolio.slippage
    assert sum(trade.funding for trade in trades) == portfolio.funding


@st.composite
def grids(draw: st.DrawFn) -> Instrument:
    """An instrument of either category, with plain and with awkward grids."""
    tick, step = draw(st.sampled_from([("0.1", "0.001"), ("5", "10"), ("0.00001", "1"), ("0.25", "0.3"), ("0.01", "0.00001")]))
    category = draw(st.sampled_from([perpetual, perpetual, spot_pair]))
    return category(tick=tick, step=step, maker_fee=draw(st.sampled_from([20_000, -10_000])))


@given(seed=st.integers(0, 2**32), instrument=grids(), leverage=st.sampled_from([1.0, 20.0]))
def test_rebuilt_from_the_fills_it_is_the_exchanges_account(seed: int, instrument: Instrument, leverage: float) -> None:
    """Random orders over random bars: cash, position and cost, from what was published alone."""
    is_spot = instrument.category == "spot"
    price, step = instrument.price_grid.value, instrument.qty_grid.value
    out: list[Any] = []
    clock = ReplayClock(START)
    equity = 1000 * price(4000) * step(1)
    venue = SimulatedExchange(
        BTC, equity, ExecutionConfig(slippage_bps=2.0), RiskProfileConfig(leverage=1.0 if is_spot else leverage),
        instruments={BTC: instrument}, clock=clock, emit=out.append,
    )  # fmt: skip
    if not is_spot:
        stamps = list(range(START, START + 40 * HOUR, 3 * HOUR))
        rates = [((number * 7) % 5 - 2) * 30_000 for number in range(len(stamps))]
        venue.set_funding(BTC, stamps, rates, [round(price(4000) * UNIT)] * len(stamps))
    book, generator, now = venue.books[BTC], np.random.default_rng(seed), 4000
    for number in range(40):
        ts = START + number * HOUR
        for place in range(generator.integers(0, 3)):
            is_limit = generator.random() < 0.3
            limit = price(now + int(generator.integers(-20, 21))) if is_limit else None
            side: Any = generator.choice(["BUY", "SELL"])
            qty = step(int(generator.integers(1, 800)))
            venue.submit_order(SubmitOrder(f"t-{number}-{place}", BTC, side, "limit" if is_limit else "market", qty, ts, limit))
        move, up, down = (int(generator.integers(low, 200)) for low in (-200, 0, 0))
        prices = tuple(map(price, (now, max(now, now + move) + up, min(now, now + move) - down, now + move)))
        venue.step(book, ts, ts + HOUR, *prices, 1e6, *prices, *prices)
        clock.now_ms = ts + HOUR
        now = max(now + move, 1000)
    portfolio = Portfolio([instrument], to_units(equity))
    for message in out:
        if isinstance(message, Fill):
            portfolio.on_fill(message)
        elif isinstance(message, FundingPayment):
            portfolio.on_funding(message)
    assert portfolio.cash == venue.balance("USDT")
    mine, theirs = portfolio.lines[BTC].book, book.positions[0]
    assert (mine.steps, mine.cost) == (theirs.steps, theirs.cost)
    assert_trades_add_up(portfolio)
    if not is_spot:
        assert portfolio.cash == portfolio.initial_equity + portfolio.realized - portfolio.fees - portfolio.funding
