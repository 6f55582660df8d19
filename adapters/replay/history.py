"""What one symbol's replay is made of: plain columns, aligned to the bars of the execution timeframe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class PriceColumns:
    """Mark (or index) prices at each execution bar.

    ``open high low close`` is the path by which the exchange triggers and liquidates; ``valuation`` is what is known at the bar's
    close: the price that values positions. ``exact`` counts the bars that came from a series of the execution timeframe itself,
    ``derived`` those valued by last price x basis; at the rest nothing was known yet.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    valuation: Floats
    exact: int
    derived: int
    source: str
    completed: tuple[str, ...] = ()
    """What is said of stored series that finer ones have completed."""


@dataclass(slots=True)
class FundingColumns:
    """Funding times (ms) with rates (fractions) and the mark price at each.

    From the last one before the window, which is known when it begins, to that at its end: neither is paid.
    """

    stamps: Ints
    rates: Floats
    marks: Floats
    source: str


@dataclass(slots=True)
class SymbolHistory:
    """One symbol. ``execution`` covers the window only; ``decision`` and ``higher`` begin with their warm-up bars."""

    instrument: Instrument
    execution: Frame
    decision: Frame
    higher: dict[str, Frame] = field(default_factory=dict)
    mark: PriceColumns | None = None
    index: PriceColumns | None = None
    funding: FundingColumns | None = None
    open_interest: Frame | None = None
    volatility_bps: Floats | None = None
    """Standard deviation of log returns over a window of earlier bars, for the impact model."""
    trust: dict[str, Any] = field(default_factory=dict)
    """Where each series came from, and for how many bars."""

    @property
    def symbol(self) -> str:
        return self.instrument.symbol
