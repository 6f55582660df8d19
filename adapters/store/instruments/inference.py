"""Instruments read off a series: the grids of price and quantity that its own numbers lie on.

A step is 1, 2 or 5 times a power of ten; the largest on which 99.9 % of the numbers lie is taken (a few odd ones are counted by
``verify``, not obeyed). A quantity step that is worth more than 200 dollars comes of rounded volumes: a finer one is taken, and said.
Fees are Bybit's at VIP 0, the risk tiers are generic, there is no price band, the smallest order value is 5 of the quote coin (0.0001 BTC,
0.002 ETH), and the largest order is 1 billion of it at the highest price seen: the exchange's own limits are known only from its answers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from keel.core.errors import DataError
from keel.core.model.instrument import (
    LARGE_COINS,
    PERPETUAL_MAKER,
    PERPETUAL_TAKER,
    SPOT_FEE,
    Category,
    Grid,
    Instrument,
    RiskTier,
    generic_tiers,
)
from keel.core.model.money import UNIT, to_units

SHARE_ON_GRID = 0.999
_MIN_NOTIONAL = {"BTC": to_units("0.0001"), "ETH": to_units("0.002")}
_OTHER_MIN_NOTIONAL = to_units("5")
_DOLLARS_OF = {"BTC": 100_000.0, "ETH": 3_000.0}
"""Roughly, to tell what a step is worth; other quote coins count as dollars."""
_LARGEST_STEP, _CAPPED_STEP = 200.0, 100.0
"""A step worth more dollars is not believed, and becomes the largest power of ten worth at most so many."""
_FEW = 30
_COARSE_TICK = 0.005
_LARGEST_ORDER = 1e9
_SAMPLE = 20_000
_COUNTABLE = 1e11
"""Beyond so many steps a double no longer shows whether it is a multiple of one: there the smaller half of the numbers decides."""
_QUOTES = re.compile(r"^(?P<base>.+?)(?P<quote>USDT|USDC|USDE|USD1|USD|EUR|BRL|BTC|ETH|PERP)$")
_STEPS = [Grid.from_text(f"{digit}e{exponent}") for exponent in range(6, -13, -1) for digit in (5, 2, 1)]
"""Candidates, the largest first."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """An instrument, what of it was assumed, and what is doubtful, in sentences; both empty for what the exchange said itself."""

    instrument: Instrument
    assumed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def infer_instrument(
    symbol: str,
    category: Category,
    prices: np.ndarray,
    volumes: np.ndarray,
    *,
    tiers: tuple[RiskTier, ...] = (),
    funding_interval_min: int = 480,
) -> Inferred:
    """The instrument that a series' prices and volumes show, and what of it is doubtful. Raises DataError when no step fits."""
    base, quote = split_symbol(symbol)
    price_grid = infer_grid(prices, f"{symbol} {category}: prices")
    price = float(np.nanmedian(prices))
    qty_grid, doubts = _quantity_grid(symbol, category, volumes[volumes > 0], price)
    if price_grid.value(1) > _COARSE_TICK * price:
        doubts.append(f"the prices show a tick of {price_grid.text(1)}, {price_grid.value(1) / price:.1%} of the price")
    if not _QUOTES.match(_plain(symbol)):
        doubts.append(f"the symbol does not say its quote coin: {quote} was taken")
    linear = category == "linear"
    used = (tiers or generic_tiers(base)) if linear else ()
    largest = qty_grid.value(max(1, qty_grid.floor(_LARGEST_ORDER / float(np.nanmax(prices)))))
    instrument = Instrument(
        symbol=symbol,
        category=category,
        base=base,
        quote=quote,
        price_grid=price_grid,
        qty_grid=qty_grid,
        min_qty=qty_grid.value(1),
        max_qty=largest,
        max_market_qty=largest,
        min_notional=min_notional_of(quote),
        taker_fee=PERPETUAL_TAKER if linear else SPOT_FEE,
        maker_fee=PERPETUAL_MAKER if linear else SPOT_FEE,
        max_leverage=used[0].max_leverage if used else UNIT,
        tiers=used,
        funding_interval_min=funding_interval_min,
        base_unit=base_unit(qty_grid),
    )
    return Inferred(instrument, _assumed(instrument, price, tiers_known=bool(tiers)), tuple(doubts))


def _quantity_grid(symbol: str, category: Category, traded: np.ndarray, price: float) -> tuple[Grid, list[str]]:
    """The step that volumes show, or a finer one where theirs is worth too much; and what is doubtful about it."""
    if not len(traded):
        return Grid(1, 1000), ["there are no volumes to read the quantity step from: 0.001 was taken"]
    grid = infer_grid(traded, f"{symbol} {category}: volumes")
    base, quote = split_symbol(symbol)
    step, dollars = grid.value(1), price * _DOLLARS_OF.get(quote, 1.0)
    why = "whole numbers" if grid.den == 1 else f"multiples of {grid.text(1)}"
    seen = f"the volumes are {why}, which would make {grid.text(1)} {base} ({step * price:,.6g} {quote}) the smallest order"
    if step * dollars > _LARGEST_STEP:
        capped = Grid.from_text(f"1e{math.floor(math.log10(_CAPPED_STEP / dollars))}")
        return capped, [f"{seen}: that is not believed, {capped.text(1)} {base} ({capped.value(1) * price:,.6g} {quote}) was taken"]
    few = len(np.unique(traded)) < _FEW
    if (grid.den == 1 or few) and to_units(f"{step * price:.8f}") > min_notional_of(quote):
        return grid, [f"{seen}{', read from a few volumes only' if few else ''}: it was taken"]
    return grid, []


def _assumed(instrument: Instrument, price: float, *, tiers_known: bool) -> tuple[str, ...]:
    """What stands in for the exchange's own answers, in words."""
    grid, value = instrument.qty_grid, instrument.min_notional / UNIT
    steps = max(1, grid.ceil(value / price)) if price > 0 else 1
    said = [
        f"tick {instrument.price_grid.text(1)}, step {grid.text(1)}, smallest order value {value:g} {instrument.quote}: orders from"
        f" {grid.text(steps)} {instrument.base} ({grid.value(steps) * price:,.6g} {instrument.quote}) on",
        "fees of VIP 0, no price band",
    ]
    if instrument.category == "linear" and not tiers_known:
        said.append(tiers_in_words(instrument))
    return tuple(said)


def tiers_in_words(instrument: Instrument) -> str:
    """Whose generic risk tiers stand in for the symbol's own."""
    lowest = instrument.tiers[0]
    whose = "BTC's and ETH's" if instrument.base in LARGE_COINS else "a small coin's"
    return (
        f"generic risk tiers ({whose}): {lowest.maintenance_rate / UNIT:.2%} maintenance margin and leverage up to"
        f" {lowest.max_leverage / UNIT:g} to a position of {lowest.limit / UNIT:,.0f} {instrument.quote}, less beyond"
    )


def min_notional_of(quote: str) -> int:
    """The smallest order value where the exchange's own is not known, in 1e-8 of the quote coin."""
    return _MIN_NOTIONAL.get(quote, _OTHER_MIN_NOTIONAL)


def infer_grid(values: np.ndarray, what: str) -> Grid:
    """The largest candidate step on which 99.9 % of the positive, finite values lie. Raises DataError when none does, or none is left."""
    usable = values[np.isfinite(values) & (values > 0)]
    sample = np.unique(usable[:: max(1, len(usable) // _SAMPLE)])
    middle = float(np.median(sample)) if len(sample) else 0.0
    for grid in _STEPS:
        largest = _COUNTABLE * grid.num / grid.den
        if middle > largest:
            break
        shown = sample[sample <= largest]
        if len(shown) and np.count_nonzero(_is_on(shown, grid)) >= SHARE_ON_GRID * len(shown):
            return grid
    raise DataError(
        f"{what} lie on no grid of 1, 2 or 5 times a power of ten: import the instrument (keel data import-instruments FILE.json)"
    )


def off_grid_rows(prices: np.ndarray, grid: Grid) -> np.ndarray:
    """The columns of a (k, rows) array of prices in which one is not on the grid."""
    return np.flatnonzero(~_is_on(prices, grid).all(axis=0))


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote coin of a symbol such as BTCUSDT; BTCPERP is quoted in USDC, an unknown form in USDT."""
    match = _QUOTES.match(_plain(symbol))
    if match is None:
        return symbol, "USDT"
    return match["base"], "USDC" if match["quote"] == "PERP" else match["quote"]


def _plain(symbol: str) -> str:
    return symbol.replace("-", "").replace("/", "").replace("_", "")


def base_unit(qty_grid: Grid) -> int:
    """Units of the base coin's ledger in one coin: 1e-8, or as fine as the step."""
    return max(UNIT, int(10**qty_grid.decimals))


def _is_on(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Which values are multiples of the step, at least one of it, within the rounding of a double (sums of volumes are not exact)."""
    counts = values * grid.den / grid.num
    with np.errstate(invalid="ignore"):
        return (np.rint(counts) >= 1) & (np.abs(counts - np.rint(counts)) <= np.maximum(1e-13 * np.abs(counts), 1e-9))
