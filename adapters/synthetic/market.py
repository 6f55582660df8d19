"""The market that all symbols share: regimes, the clock's habits, clustered shocks, jumps.

Numbers are in units of the plain deviation of a minute; a symbol scales them. Only additions, multiplications, divisions and
square roots are used on the way (IEEE gives them the same bits everywhere), never an exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from keel.adapters.synthetic.streams import stream, unit_t
from keel.core.model.timeframe import DAY_MS, MINUTE_MS

HOUR_MIN = 60


@dataclass(frozen=True, slots=True)
class Regime:
    """One mood of the market; it lasts ``mean_hours`` on average."""

    deviation: float
    """Of returns, against the mean mood."""
    drift: float
    """Per hour, in plain deviations of an hour."""
    mean_hours: float
    premium_bps: float
    """Where last price / index - 1 tends to."""
    jumps_a_day: float
    flow: float
    """Open interest per hour, as a fraction."""
    following: tuple[float, float, float, float]
    """Weights of what comes next: range, up, down, turbulent."""


RANGE, UP, DOWN, TURBULENT = range(4)
REGIMES = (
    Regime(0.72, 0.0, 60.0, 1.0, 0.08, 0.0005, (0.0, 0.45, 0.35, 0.2)),
    Regime(0.92, 0.10, 72.0, 5.0, 0.12, 0.0015, (0.6, 0.0, 0.2, 0.2)),
    Regime(1.08, -0.11, 60.0, -1.0, 0.15, -0.0005, (0.5, 0.3, 0.0, 0.2)),
    Regime(2.1, -0.08, 8.0, -4.0, 1.5, -0.015, (0.4, 0.35, 0.25, 0.0)),
)

_NIGHT = (1.08, 1.08, 0.97, 0.82, 0.78, 0.75, 0.78, 0.83, 0.84, 0.82, 0.79, 0.79)
_DAY = (0.95, 1.3, 1.6, 1.42, 1.24, 1.22, 1.14, 1.1, 1.08, 1.05, 0.98, 0.9)
_HOURLY = (*_NIGHT, *_DAY)
_WEEKDAY = (1.06, 1.05, 1.03, 1.02, 1.02, 0.62, 0.76)
"""Deviation by hour of the day (UTC) and by weekday, Monday first, in the proportions of the real perpetuals."""

_PULL = 1 / 1500
"""Share of its displacement that a range takes back each minute."""
_ALPHA, _BETA, _HIGHEST = 0.045, 0.948, 30.0
"""Clustering (GARCH(1,1) with a mean of 1), and a lid on its variance."""


@dataclass(frozen=True, slots=True)
class SyntheticMarket:
    """One value per minute, but for ``hour_regime``."""

    returns: np.ndarray
    deviation: np.ndarray
    """Of the factor's clustering, mean square 1."""
    scale: np.ndarray
    """Habit of the clock x mood, mean square 1."""
    clock: np.ndarray
    """Habit of the clock alone."""
    jumps: np.ndarray
    """Zero in most minutes."""
    hour_regime: np.ndarray
    """Index into REGIMES per hour from the start on; one hour more than the span."""


def make_market(seed: int, start_ms: int, minutes: int) -> SyntheticMarket:
    """The shared factor over ``minutes`` from start_ms on."""
    hours = -(-minutes // HOUR_MIN) + 1
    regime = _moods(seed, hours)
    by_minute = np.repeat(regime, HOUR_MIN)[:minutes]
    clock = _clock(start_ms, minutes)
    scale = clock * np.array([mood.deviation for mood in REGIMES])[by_minute] / _mean_deviation()
    shocks = unit_t(stream(seed, "market shocks"), 6, minutes)
    deviation = clustering(shocks)
    drift = np.array([mood.drift for mood in REGIMES])[by_minute] / math.sqrt(HOUR_MIN)
    moves = _held_in_range(shocks * deviation * scale + drift, by_minute == RANGE)
    rates = np.array([mood.jumps_a_day for mood in REGIMES])[by_minute] / (DAY_MS / MINUTE_MS)
    return SyntheticMarket(moves, deviation, scale, clock, make_jumps(seed, "market jumps", rates), regime)


def clustering(shocks: np.ndarray) -> np.ndarray:
    """Deviations that follow the shocks: large ones raise those after them, for hours."""
    variance, deviations = 1.0, []
    rest = 1.0 - _ALPHA - _BETA
    for shock in shocks.tolist():
        deviations.append(math.sqrt(variance))
        variance = min(rest + variance * (_BETA + _ALPHA * shock * shock), _HIGHEST)
    return np.array(deviations)


def make_jumps(seed: int, purpose: str, rates: np.ndarray) -> np.ndarray:
    """Price jumps between two minutes, in plain deviations of a minute, zero where there is none; rates are per minute."""
    generator = stream(seed, purpose)
    draws = generator.random((len(rates), 2))  # by rows, so that a longer span begins with the shorter one
    sizes = stream(seed, purpose + " sizes").standard_exponential(len(rates))
    sign = np.where(draws[:, 1] < 0.5, -1.0, 1.0)
    return np.where(draws[:, 0] < rates, sign * (2.5 + 3.0 * np.minimum(sizes, 6.0)), 0.0)


def _moods(seed: int, hours: int) -> np.ndarray:
    draws = stream(seed, "regimes").random(2 * hours).tolist()
    moods, now = [], RANGE
    for leave, where in zip(draws[0::2], draws[1::2], strict=True):
        if leave < 1 / REGIMES[now].mean_hours:
            thresholds = list(accumulate(REGIMES[now].following))
            now = next(index for index, edge in enumerate(thresholds) if where * thresholds[-1] < edge)
        moods.append(now)
    return np.array(moods, dtype=np.int64)


def _mean_deviation() -> float:
    """Root of the mean square deviation over the moods, by the share of time that each has in the long run."""
    shares = [1.0, 1.0, 1.0, 1.0]  # of visits; the chain of visits is iterated to its fixed point
    for _ in range(200):
        shares = [math.fsum(shares[other] * REGIMES[other].following[mood] for other in range(4)) for mood in range(4)]
    hours = [share * mood.mean_hours for share, mood in zip(shares, REGIMES, strict=True)]
    return math.sqrt(math.fsum(h * mood.deviation**2 for h, mood in zip(hours, REGIMES, strict=True)) / math.fsum(hours))


def _clock(start_ms: int, minutes: int) -> np.ndarray:
    """Deviation by the time of the day and the week, mean square 1; between full hours it goes straight."""
    ts = start_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)
    minute_of_day = ts // MINUTE_MS % (DAY_MS // MINUTE_MS)
    weekday = (ts // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday
    by_hour = np.interp(minute_of_day / HOUR_MIN, np.arange(25), (*_HOURLY, _HOURLY[0]))
    mean_square = math.fsum(x * x for x in _HOURLY) / 24 * math.fsum(x * x for x in _WEEKDAY) / 7
    habit: np.ndarray = by_hour * np.array(_WEEKDAY)[weekday] / math.sqrt(mean_square)
    return habit


def _held_in_range(moves: np.ndarray, in_range: np.ndarray) -> np.ndarray:
    """In a range the price is pulled back to where the range began; elsewhere the moves are as they are."""
    held, away = [], 0.0
    for move, pulled in zip(moves.tolist(), in_range.tolist(), strict=True):
        if pulled:
            move -= away * _PULL
            away += move
        else:
            away = 0.0
        held.append(move)
    return np.array(held)
