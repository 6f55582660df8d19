"""Instruments read off a series: the grids of price and quantity that its own numbers lie on.

A step is 1, 2 or 5 times a power of ten; the largest on which 99.9 % of the numbers lie is taken (a few odd ones are counted by
``verify``, not obeyed). Fees are Bybit's at VIP 0, the risk tiers are generic, there is no price band, the smallest order value is 5
of the quote coin, and the largest order is 1 billion of it at the highest price seen: the exchange's own limits are known only from its
answers.
"""

from __future__ import annotations

import re

import numpy as np

from core.errors import DataError
from core.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, SPOT_FEE, Category, Grid, Instrument, RiskTier, generic_tiers
from core.money import UNIT, to_units

SHARE_ON_GRID = 0.999
MIN_NOTIONAL = to_units("5")
_LARGEST_ORDER = 1e9
_SAMPLE = 20_000
_COUNTABLE = 1e11
"""Beyond so many steps a double no longer shows whether it is a multiple of one: there the smaller half of the numbers decides."""
_QUOTES = re.compile(r"^(?P<base>.+?)(?P<quote>USDT|USDC|USDE|USD1|USD|EUR|BRL|BTC|ETH|PERP)$")
_STEPS = [Grid.from_text(f"{digit}e{exponent}") for exponent in range(6, -13, -1) for digit in (5, 2, 1)]
"""Candidates, the largest first."""


def infer_instrument(
    symbol: str,
    category: Category,
    prices: np.ndarray,
    volumes: np.ndarray,
    *,
    tiers: tuple[RiskTier, ...] = (),
    funding_interval_min: int = 480,
) -> Instrument:
    """The instrument that a series' prices and volumes show. Raises DataError when no step fits."""
    base, quote = split_symbol(symbol)
    price_grid = infer_grid(prices, f"{symbol} {category}: prices")
    traded = volumes[volumes > 0]
    qty_grid = infer_grid(traded, f"{symbol} {category}: volumes") if len(traded) else Grid(1, 1000)
    linear = category == "linear"
    used = (tiers or generic_tiers()) if linear else ()
    largest = qty_grid.value(max(1, qty_grid.floor(_LARGEST_ORDER / float(np.nanmax(prices)))))
    return Instrument(
        symbol=symbol,
        category=category,
        base=base,
        quote=quote,
        price_grid=price_grid,
        qty_grid=qty_grid,
        min_qty=qty_grid.value(1),
        max_qty=largest,
        max_market_qty=largest,
        min_notional=MIN_NOTIONAL,
        taker_fee=PERPETUAL_TAKER if linear else SPOT_FEE,
        maker_fee=PERPETUAL_MAKER if linear else SPOT_FEE,
        max_leverage=used[0].max_leverage if used else UNIT,
        tiers=used,
        funding_interval_min=funding_interval_min,
        base_unit=base_unit(qty_grid),
    )


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
    match = _QUOTES.match(symbol.replace("-", "").replace("/", "").replace("_", ""))
    if match is None:
        return symbol, "USDT"
    return match["base"], "USDC" if match["quote"] == "PERP" else match["quote"]


def base_unit(qty_grid: Grid) -> int:
    """Units of the base coin's ledger in one coin: 1e-8, or as fine as the step."""
    return max(UNIT, int(10**qty_grid.decimals))


def _is_on(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Which values are multiples of the step, within the rounding of a double (sums of volumes are not exact)."""
    counts = values * grid.den / grid.num
    with np.errstate(invalid="ignore"):
        return np.abs(counts - np.rint(counts)) <= np.maximum(1e-13 * np.abs(counts), 1e-9)
