"""The sample: for each symbol candles of last, mark and index, funding and open interest, as columns that a store takes.

The same seed, span, symbols and options give the same bytes in every process (for one version of numpy). All of it is invented:
``SOURCE`` is the label under which it goes into a store, and instruments carry it, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keel.adapters.synthetic.candles import Columns, Path, make_candles, make_volume
from keel.adapters.synthetic.derivatives import make_funding, make_open_interest, make_premium, mark_over_index
from keel.adapters.synthetic.market import SyntheticMarket, clustering, make_jumps, make_market
from keel.adapters.synthetic.profiles import Profile, instrument_of, profile_of
from keel.adapters.synthetic.streams import stream, unit_t
from keel.core.errors import ConfigError
from keel.core.model.instrument import Grid, Instrument
from keel.core.model.time_range import Moment, TimeRange
from keel.core.model.timeframe import DAY_MS, MINUTE_MS

SOURCE = "synthetic"
TIMEFRAME = "1m"
YEAR_MIN = 365 * DAY_MS // MINUTE_MS
_QUIET_SHARE = 1e-4
"""Minutes without a trade."""
_LARGEST_MOVE = 0.15
"""Bound of one minute's return, and of a jump."""


@dataclass(frozen=True, slots=True)
class SyntheticSeries:
    """One symbol. Times in ms UTC; bars are stamped by their open and cover the span without a hole."""

    instrument: Instrument
    last: Columns
    """ts, open, high, low, close, volume (1m): prices on the grid, volume on the step."""
    mark: Columns
    """Mark prices in the columns of ``bars``, with volume 0, on a grid of a tenth of a tick."""
    index: Columns
    """As ``mark``."""
    funding: Columns
    """ts, funding_rate: each 00:00, 08:00 and 16:00 UTC of the span."""
    open_interest: Columns
    """ts, open_interest: each full hour of the span."""
    source: str = SOURCE
    timeframe: str = TIMEFRAME


@dataclass(frozen=True, slots=True)
class SyntheticSample:
    """Series by symbol, and what they were made from."""

    seed: int
    span: TimeRange
    volatility: float
    size: float
    series: dict[str, SyntheticSeries]
    source: str = SOURCE


def generate_sample(
    seed: int = 7,
    start: Moment = "2024-01-01",
    end: Moment = "2025-01-01",
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
    *,
    volatility: float = 0.55,
    size: float = 1.0,
) -> SyntheticSample:
    """Invent [start, end), minute by minute.

    volatility: of a year, as a fraction, of the calmest known symbol (BTCUSDT; others are livelier by their profile).
    size: multiplies volume and open interest.
    Raises ConfigError for a span that is empty or not in full minutes, a symbol that is no perpetual's, options out of range.
    """
    span = TimeRange.from_dates(start, end)
    _check(seed, span, symbols, volatility, size)
    minutes = (span.end_ms - span.start_ms) // MINUTE_MS
    market = make_market(seed, span.start_ms, minutes)
    series = {symbol: _make_series(seed, symbol, span.start_ms, market, volatility, size) for symbol in symbols}
    return SyntheticSample(seed, span, volatility, size, series)


def _make_series(seed: int, symbol: str, start_ms: int, market: SyntheticMarket, volatility: float, size: float) -> SyntheticSeries:
    instrument, profile = instrument_of(symbol, start_ms), profile_of(symbol)
    minutes = len(market.returns)
    plain = volatility * profile.relative_volatility / math.sqrt(YEAR_MIN)
    index_path = _index_path(seed, symbol, market, profile, plain)
    premium = make_premium(seed, symbol, market.hour_regime, index_path.deviation)
    funding = make_funding(start_ms, premium)
    quiet = (stream(seed, f"{symbol} quiet").random(minutes) < _QUIET_SHARE) & (index_path.jump == 0.0)
    never = np.zeros(minutes, dtype=bool)
    finer = Grid(instrument.price_grid.num, instrument.price_grid.den * 10)
    ts = start_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)

    last = make_candles(_times(index_path, 1.0 + premium), instrument.price_grid, quiet=quiet, wick=0.7)
    noise = stream(seed, f"{symbol} volume").standard_gamma(2.0, minutes) / 2.0
    volume = make_volume(
        last,
        instrument.qty_grid,
        deviation=index_path.deviation,
        plain=plain,
        noise=noise,
        mean=profile.minute_volume * size,
        quiet=quiet,
    )
    mark = make_candles(_times(index_path, mark_over_index(start_ms, premium, funding)), finer, quiet=never, wick=0.6)
    index = make_candles(index_path, finer, quiet=never, wick=0.6)
    return SyntheticSeries(
        instrument=instrument,
        last={"ts": ts, **last, "volume": volume},
        mark={"ts": ts, **mark, "volume": np.zeros(minutes)},
        index={"ts": ts, **index, "volume": np.zeros(minutes)},
        funding=funding,
        open_interest=make_open_interest(
            seed, symbol, start_ms, minutes, market.hour_regime, profile.open_interest * size, instrument.qty_grid
        ),
    )


def _index_path(seed: int, symbol: str, market: SyntheticMarket, profile: Profile, plain: float) -> Path:
    """The index: the market's moves and the symbol's own, in the proportion that gives their correlation."""
    minutes = len(market.returns)
    common, own = profile.market_share, math.sqrt(1.0 - profile.market_share**2)
    shocks = unit_t(stream(seed, f"{symbol} shocks"), 6, minutes)
    deviation = clustering(shocks)
    returns = np.clip(plain * (common * market.returns + own * market.scale * deviation * shocks), -_LARGEST_MOVE, _LARGEST_MOVE)
    own_jumps = make_jumps(seed, f"{symbol} jumps", np.full(minutes, 0.07 * MINUTE_MS / DAY_MS))
    jump = np.clip(plain * (market.jumps + own_jumps), -_LARGEST_MOVE, _LARGEST_MOVE)
    growth = 1.0 + returns + returns * returns / 2.0  # nearly exp(returns): gains and losses of one size cancel out
    reach = stream(seed, f"{symbol} reach").standard_exponential((minutes, 2))
    return Path(
        close=profile.first_price * np.cumprod((1.0 + jump) * growth),
        jump=jump,
        deviation=plain * market.scale * np.sqrt((common * market.deviation) ** 2 + (own * deviation) ** 2),
        reach_up=reach[:, 0],
        reach_down=reach[:, 1],
        first_open=profile.first_price,
    )


def _times(path: Path, factor: np.ndarray) -> Path:
    return Path(path.close * factor, path.jump, path.deviation, path.reach_up, path.reach_down, path.first_open)


def _check(seed: int, span: TimeRange, symbols: Sequence[str], volatility: float, size: float) -> None:
    if seed < 0:
        raise ConfigError(f"seed must not be negative, and is {seed}")
    if not symbols or len(set(symbols)) != len(symbols) or isinstance(symbols, str):
        raise ConfigError(f"symbols must be a list of different names such as BTCUSDT, not {symbols!r}")
    if span.start_ms % MINUTE_MS or span.end_ms % MINUTE_MS:
        raise ConfigError(f"the span {span} must begin and end at a full minute")
    if not 0 < volatility <= 5:
        raise ConfigError(f"volatility is a fraction per year above 0 and up to 5 (0.55 is 55 %), not {volatility!r}")
    if not 0 < size <= 1000:
        raise ConfigError(f"size multiplies volume and must be above 0 and up to 1000, not {size!r}")
