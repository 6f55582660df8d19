"""Where the market's prices come from: plain columns of one series per symbol, handed in by whoever starts the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from keel.core.model.instrument import Instrument

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Prices = tuple[Floats, Floats, Floats, Floats]
"""open, high, low, close"""


@dataclass(slots=True)
class SymbolSeries:
    """The bars of one symbol, oldest first: ``ts`` opens in ms, prices in quote, volume in base units.

    ``first``: the row with which play begins; what lies before is history that a client may ask for. ``funding``: stamps (ms), rates and
    marks (1e-8), as ``SimulatedExchange.set_funding`` takes them; ``past_funding``: stamps and rates that were settled before those, which
    a client may ask for. Without mark or index the last price stands for them. ``mark_closes``:
    the mark that is published at each bar's close, where that is another than the end of the path by which orders trigger.
    ``is_synthetic``: whether the bars were invented.
    """

    instrument: Instrument
    ts: Ints
    last: Prices
    volume: Floats
    first: int = 0
    mark: Prices | None = None
    index: Prices | None = None
    volatility_bps: Floats | None = None
    funding: tuple[list[int], list[int], list[int]] = field(default_factory=lambda: ([], [], []))
    past_funding: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    open_interest: tuple[Ints, Floats] | None = None
    mark_closes: Floats | None = None
    is_synthetic: bool = False


class BarSource(Protocol):
    """A market's past: the length of its bars, and a series per symbol."""

    @property
    def duration_ms(self) -> int: ...
    def series(self) -> Sequence[SymbolSeries]: ...
