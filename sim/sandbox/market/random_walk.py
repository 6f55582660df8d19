"""An invented market that never ends: a seeded random walk of index, mark and last price per symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from keel.core.model.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, SPOT_FEE, Category, Grid, Instrument, generic_tiers
from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS
from keel.sim.sandbox.market.bar_source import Floats, SymbolSeries

HISTORY_BARS: Final = 10_080
"""How much past a walk begins with: of minutes, seven days."""
FUNDING_MS: Final = 8 * HOUR_MS
INTEREST_RATE: Final = to_units("0.0001")
_CLAMP: Final = to_units("0.0005")
_CAP: Final = to_units("0.005")
_YEARLY: Final = 0.6  # deviation of a year's log return
_YEAR_MS: Final = 365.0 * DAY_MS
_KNOWN: Final = {
    "BTC": (60_000.0, "0.1", "0.001", "0.000001", 0.8),
    "ETH": (3_000.0, "0.01", "0.01", "0.00001", 12.0),
    "SOL": (150.0, "0.01", "0.1", "0.0001", 160.0),
    "XRP": (0.5, "0.0001", "1", "0.01", 40_000.0),
}
"""First price, tick, step of the perpetual, step of the spot pair, mean volume of a second in base units."""


def coins_of(symbol: str) -> tuple[str, str]:
    """(base, quote) of a symbol: BTCPERP and BTCUSDC are BTC in USDC, all others are in USDT."""
    for end in ("PERP", "USDC"):
        if symbol.endswith(end) and symbol != end:
            return symbol.removesuffix(end), "USDC"
    return symbol.removesuffix("USDT"), "USDT"


def is_traded(symbol: str, category: Category) -> bool:
    """Whether a category has it: BTCPERP is a perpetual only, BTCUSDC a spot pair only, BTCUSDT is both."""
    _, quote = coins_of(symbol)
    return quote == "USDT" or (category == "linear") == symbol.endswith("PERP")


def walk_instrument(symbol: str, category: Category) -> Instrument:
    """An invented instrument with Bybit's fees and limits; an unknown symbol begins at 100 with a tick of 0.01."""
    base, quote = coins_of(symbol)
    _, tick, step, spot_step, _ = _KNOWN.get(base, (100.0, "0.01", "0.1", "0.0001", 100.0))
    is_spot = category == "spot"
    steps = Grid.from_text(spot_step if is_spot else step)
    return Instrument(
        symbol, category, base, quote, Grid.from_text(tick), steps, steps.value(1), steps.value(10_000_000),
        steps.value(4_000_000), to_units("5"), SPOT_FEE if is_spot else PERPETUAL_TAKER, SPOT_FEE if is_spot else PERPETUAL_MAKER,
        100 * UNIT, () if is_spot else generic_tiers(), 480, to_units("0.05" if is_spot else "0.01"),
        to_units("0.1" if is_spot else "0.02"), base_unit=10**10 if is_spot else UNIT, source="synthetic",
    )  # fmt: skip


@dataclass(slots=True)
class Piece:
    """What the market did for a while: open, high, low, close of last, mark and index (twelve floats), and volume in base units."""

    prices: tuple[float, ...]
    volume: float


class RandomWalk:
    """One symbol. The index is a geometric walk; last follows it with a premium that comes back to zero; mark lies between."""

    def __init__(self, instrument: Instrument, seed: int, number: int) -> None:
        self.instrument = instrument
        self._rng = np.random.Generator(np.random.PCG64([seed, number]))
        first, _, _, _, self._volume = _KNOWN.get(instrument.base, (100.0, "", "", "", 100.0))
        self._index = first * float(np.exp(self._rng.normal(0.0, 0.02)))
        self._premium = self._smooth = 0.0
        self._last = self._on_tick(self._index)

    @property
    def premium(self) -> float:
        """(mark - index) / index, as funding looks at it."""
        return self._smooth

    def funding_rate(self) -> int:
        """P + clamp(I - P, -0.05 %, 0.05 %) within the cap ("Introduction to Funding Rate") in 1e-8; P: smoothed premium (ASSUMED)."""
        premium = to_units(f"{self.premium:.8f}")
        return max(-_CAP, min(_CAP, premium + max(-_CLAMP, min(_CLAMP, INTEREST_RATE - premium))))

    @property
    def mark(self) -> float:
        """The mark price now."""
        return self._index * (1.0 + self._smooth)

    def history(self, end_ms: int, bars: int = HISTORY_BARS, duration_ms: int = MINUTE_MS) -> SymbolSeries:
        """Bars that end where the walk begins."""
        begin = end_ms - duration_ms * bars
        pieces, stamps, rates = [], [], []
        for row in range(bars):
            if (begin + row * duration_ms) % FUNDING_MS == 0:
                stamps.append(begin + row * duration_ms)
                rates.append(self.funding_rate())
            pieces.append(self.advance(duration_ms))
        table = np.array([(*piece.prices, piece.volume) for piece in pieces]).T
        ts = end_ms - duration_ms * np.arange(bars, 0, -1, dtype=np.int64)

        def prices(at: int) -> tuple[Floats, Floats, Floats, Floats]:
            return table[at], table[at + 1], table[at + 2], table[at + 3]

        return SymbolSeries(self.instrument, ts, prices(0), table[12], bars, prices(4), prices(8), past_funding=(stamps, rates))

    def advance(self, duration_ms: int) -> Piece:
        """The next while of the market."""
        rng = self._rng
        deviation = _YEARLY * float(np.sqrt(duration_ms / _YEAR_MS))
        last, index, mark = self._last, self._index, self._index * (1.0 + self._smooth)
        self._index *= float(np.exp(rng.normal(0.0, deviation)))
        keep = float(np.exp(-duration_ms / (5.0 * MINUTE_MS)))
        self._premium = self._premium * keep + float(rng.normal(0.0, 2e-4)) * float(np.sqrt(1.0 - keep * keep))
        self._smooth = self._smooth * keep + self._premium * (1.0 - keep)
        self._last = self._on_tick(self._index * (1.0 + self._premium))
        reach = self._index * deviation * float(rng.exponential(0.4))
        volume = self._volume * duration_ms / 1000.0 * float(rng.gamma(2.0, 0.5))
        steps = max(1, round(volume * self.instrument.qty_grid.den / self.instrument.qty_grid.num))
        return Piece(
            (
                *_candle(last, self._last, self._on_tick(max(last, self._last) + reach), self._on_tick(min(last, self._last) - reach)),
                *_candle(mark, self._index * (1.0 + self._smooth)),
                *_candle(index, self._index),
            ),
            self.instrument.qty_grid.value(steps),
        )

    def _on_tick(self, value: float) -> float:
        grid = self.instrument.price_grid
        return grid.value(max(1, grid.count(value)))


def _candle(open_: float, close: float, high: float | None = None, low: float | None = None) -> tuple[float, float, float, float]:
    return open_, max(open_, close, high or 0.0), min(open_, close, low or open_), close
