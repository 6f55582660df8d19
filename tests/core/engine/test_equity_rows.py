"""Equity in columns: the bits of an account that hears every price, at every row, however the account changes in between."""

from __future__ import annotations

import numpy as np
import pytest

from keel.core.actors.portfolio import Portfolio
from keel.core.engine.known_prices import KnownPrices
from keel.core.errors import InvariantError
from keel.core.model.messages import Side
from keel.core.model.money import to_units
from tests.builders import Fills, bar, perpetual

ROWS = 120


def names(width: int) -> list[str]:
    return [f"C{place}USDT" for place in range(width)]


def account(width: int) -> Portfolio:
    return Portfolio([perpetual(name) for name in names(width)], to_units("10000"))


def drawn(width: int, seed: int) -> tuple[list[np.ndarray], list[tuple[int, int, Side, float]]]:
    """Closes by symbol, and fills (row, place, side, quantity) at the close of the row before; opens only, so that no PnL is realised."""
    rng = np.random.default_rng(seed)
    closes = [np.round(100 + np.cumsum(rng.normal(0, 1, ROWS)) * 0.3, 1) for _ in range(width)]
    sides: list[Side] = ["BUY" if rng.random() < 0.5 else "SELL" for _ in range(width)]
    fills = [
        (row, place, sides[place], round(float(rng.uniform(0.1, 3)), 3))
        for row in range(1, ROWS)
        for place in range(width)
        if rng.random() < 0.1
    ]
    return closes, fills


@pytest.mark.parametrize("width", [1, 2, 7, 20])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_bits_as_bar_by_bar(width: int, seed: int) -> None:
    """Points of equity, what is asked for between them (after the fills, at the prices before), the notional of all, and bounds."""
    closes, fills = drawn(width, seed)
    told, followed = account(width), account(width)
    prices = KnownPrices(closes, closes)
    rows = followed.follow(prices, is_bounded=True)
    makers = {name: (Fills(name), Fills(name)) for name in names(width)}
    block = 17
    ahead = np.empty(0)
    for row in range(ROWS):
        if row % block == 0:
            followed.keep_until(row)
            rows.begin(row, min(row + block, ROWS))
        prices.row = row - 1
        for at, place, side, qty in fills:
            if at == row:
                name = names(width)[place]
                for portfolio, maker in zip((told, followed), makers[name], strict=True):
                    portfolio.on_fill(maker(side, qty, float(closes[place][row - 1]), fee="0.01"))
                ahead = np.empty(0)
        assert followed.equity == told.equity
        for place, name in enumerate(names(width)):
            told.lines[name].on_bar(bar(row, float(closes[place][row]), symbol=name))
        prices.row = row
        low, high = rows.bounds()
        point = told.on_instant(row)
        assert followed.equity == point and low <= point <= high
        assert followed.gross_notional() == told.gross_notional()
        if len(ahead):
            assert ahead[0] == point
            ahead = ahead[1:]
        else:
            end = min((row // block + 1) * block, ROWS)
            ahead = rows.ahead(row, end)[1:]
    followed.stop_following()
    assert followed.equity_values.tobytes() == told.equity_values.tobytes()
    assert followed.state() == told.state()


def test_it_is_written_up_to_any_row_and_then_goes_on() -> None:
    closes, fills = drawn(3, 9)
    whole: list[float] = []
    parts: list[float] = []
    cuts: tuple[tuple[list[float], list[int]], ...] = ((whole, []), (parts, [1, 2, 40, 41, 77]))
    for kept, stops in cuts:
        portfolio, maker = account(3), {name: Fills(name) for name in names(3)}
        prices = KnownPrices(closes, closes)
        portfolio.follow(prices, is_bounded=False).begin(0, ROWS)
        for row in range(ROWS):
            prices.row = row - 1
            for at, place, side, qty in fills:
                if at == row:
                    portfolio.on_fill(maker[names(3)[place]](side, qty, float(closes[place][row - 1])))
            prices.row = row
            if row in stops:
                portfolio.keep_until(row)
        portfolio.stop_following()
        kept += portfolio.equity_values.tolist()
    assert len(whole) == ROWS and parts == whole


def test_what_is_known_when_it_stops_following_stays_known() -> None:
    last, mark = np.array([100.0, 101.0, 102.0]), np.array([100.5, 101.5, 102.5])
    portfolio = account(1)
    prices = KnownPrices([last], [mark])
    portfolio.follow(prices, is_bounded=False).begin(0, 3)
    assert (portfolio.last("C0USDT"), portfolio.mark("C0USDT")) == (0.0, 0.0)
    prices.row = 1
    assert (portfolio.last("C0USDT"), portfolio.mark("C0USDT")) == (101.0, 101.5)
    portfolio.stop_following()
    prices.row = 2
    assert (portfolio.last("C0USDT"), portfolio.mark("C0USDT")) == (101.0, 101.5)
    portfolio.lines["C0USDT"].on_bar(bar(3, 110.0, symbol="C0USDT"))
    assert (portfolio.last("C0USDT"), portfolio.mark("C0USDT")) == (110.0, 101.5)  # there is a mark, so that it is not the last price
    assert portfolio.equity_values.tolist() == [10_000.0, 10_000.0]


def test_columns_that_do_not_fit_the_account_are_refused() -> None:
    with pytest.raises(InvariantError, match="prices of 1 symbols for an account of 2"):
        account(2).follow(KnownPrices([np.ones(3)], [np.ones(3)]), is_bounded=False)
    with pytest.raises(InvariantError, match="follows no columns"):
        account(2).keep_until(1)
