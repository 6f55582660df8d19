"""What a perpetual has beside its last price: premium, mark, funding, open interest. The rules are the exchange's own."""

from __future__ import annotations

import math

import numpy as np

from keel.adapters.synthetic.candles import Columns
from keel.adapters.synthetic.market import HOUR_MIN, REGIMES
from keel.adapters.synthetic.profiles import FUNDING_INTERVAL_MIN
from keel.adapters.synthetic.streams import stream, unit_t
from keel.core.model.instrument import Grid
from keel.core.model.timeframe import MINUTE_MS, tf_ms

_BP = 1e-4
INTEREST = 1 * _BP
"""Per 8 hours: 0.03 % a day."""
DAMPER = 5 * _BP
CAP = 0.005
"""Bound of every funding rate."""
_HALF_SPREAD = 0.5 * _BP
_FUNDING_MS = FUNDING_INTERVAL_MIN * MINUTE_MS
_SMOOTHING_MIN = 5
_NOISE = 0.13
"""What last strays from its smooth premium within a minute, of the minute's deviation."""


def make_premium(seed: int, symbol: str, hour_regime: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """last / index - 1 per minute: tends to what the mood asks for over a day, with noise from minute to minute.

    deviation: of the minute's return, as a fraction; the noise is a part of it.
    """
    noise = stream(seed, f"{symbol} premium").standard_normal(len(hour_regime))
    targets = np.array([mood.premium_bps for mood in REGIMES])[hour_regime]
    slow, now = [], 1.0
    for target, shock in zip(targets.tolist(), noise.tolist(), strict=True):
        now += 0.03 * (target - now) + 1.0 * shock
        slow.append(now)
    minutes = len(deviation)
    level = np.interp(np.arange(minutes), HOUR_MIN * np.arange(len(slow)), slow)
    fast = _NOISE * deviation * unit_t(stream(seed, f"{symbol} premium noise"), 6, minutes)
    premium: np.ndarray = level * _BP + fast
    return premium


def make_funding(start_ms: int, premium: np.ndarray) -> Columns:
    """The rate at every 00:00, 08:00 and 16:00 UTC of the span: ts, funding_rate (fraction per 8 hours).

    F = P + clamp(I - P, -0.05 %, 0.05 %), within the cap; P: mean of the premium over the interval, minute k weighing k.
    A stamp with no minute before it takes a premium of zero. Source: the exchange's funding rules.
    """
    # what an order of some size would meet beyond the index: nothing within the spread
    beyond = np.maximum(premium - _HALF_SPREAD, 0.0) - np.maximum(-_HALF_SPREAD - premium, 0.0)
    end_ms = start_ms + MINUTE_MS * len(premium)
    stamps = np.arange(-(-start_ms // _FUNDING_MS) * _FUNDING_MS, end_ms, _FUNDING_MS, dtype=np.int64)
    rates = []
    for stamp in stamps.tolist():
        stop = (stamp - start_ms) // MINUTE_MS
        rates.append(_funding_rate(beyond[max(0, stop - FUNDING_INTERVAL_MIN) : stop].tolist()))
    return {"ts": stamps, "funding_rate": np.array(rates)}


def mark_over_index(start_ms: int, premium: np.ndarray, funding: Columns) -> np.ndarray:
    """mark / index per minute: the median of 1 + rate x share of the interval left, 1 + the mean premium of five minutes, and last / index.

    Source: the exchange's mark price rules; the rate is the one that was settled last (before the first: the interest).
    """
    ts = start_ms + MINUTE_MS * np.arange(1, len(premium) + 1, dtype=np.int64)  # the end of each minute
    settled = np.concatenate(([INTEREST], funding["funding_rate"]))[np.searchsorted(funding["ts"], ts, side="right")]
    by_funding = settled * ((_FUNDING_MS - ts % _FUNDING_MS) / _FUNDING_MS)
    smooth = _moving_mean(premium, _SMOOTHING_MIN)
    middle = np.maximum(np.minimum(by_funding, smooth), np.minimum(np.maximum(by_funding, smooth), premium))
    ratio: np.ndarray = 1.0 + middle
    return ratio


def make_open_interest(seed: int, symbol: str, start_ms: int, minutes: int, hour_regime: np.ndarray, mean: float, grid: Grid) -> Columns:
    """Open interest at every full hour of the span, on the quantity step: ts, open_interest (base units)."""
    noise = stream(seed, f"{symbol} open interest").standard_normal(len(hour_regime)).tolist()
    flows = np.array([mood.flow for mood in REGIMES])[hour_regime].tolist()
    level, levels = 1.0, []
    for flow, shock in zip(flows, noise, strict=True):
        level *= 1.0 + flow + 0.004 * shock + 0.01 * (1.0 - level)
        level = min(max(level, 0.2), 4.0)
        levels.append(level)
    hour_ms = tf_ms("1h")
    ts = np.arange(-(-start_ms // hour_ms) * hour_ms, start_ms + MINUTE_MS * minutes, hour_ms, dtype=np.int64)
    steps = np.rint(np.array(levels)[: len(ts)] * mean * grid.den / grid.num)
    return {"ts": ts, "open_interest": steps * grid.num / grid.den}


def _funding_rate(premiums: list[float]) -> float:
    count = len(premiums)
    premium = math.fsum(k * p for k, p in enumerate(premiums, 1)) / (count * (count + 1) / 2) if count else 0.0
    rate = premium + min(max(INTEREST - premium, -DAMPER), DAMPER)
    return round(min(max(rate, -CAP), CAP), 8)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last ``window`` values, of fewer at the start."""
    total = np.cumsum(values)
    total[window:] = total[window:] - total[:-window]
    mean: np.ndarray = total / np.minimum(np.arange(1, len(values) + 1), window)
    return mean
