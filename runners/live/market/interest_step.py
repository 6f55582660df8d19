"""At which of the exchange's intervals a session reads open interest: the one at which the store holds it, as a backtest sees it."""

from __future__ import annotations

import numpy as np

from keel.adapters.bybit.market.market_data import INTEREST_STEPS
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
from keel.core.model.instrument import Category
from keel.core.model.timeframe import NEVER


def interest_step(store: HistoricalDataStore | None, symbol: str, category: Category) -> str:
    """The interval's name. Raises DataError where the store has none, or at a distance that the exchange has not."""
    stored = store.find(symbol, "", 0, NEVER, kind="open_interest", category=category) if store is not None else None
    if stored is None or len(stored) < 2:
        raise DataError(
            f"{symbol}: open_interest is read, and the store has none: import it (`keel data import FILE --kind open_interest`):"
            " for a session reads it at the times at which a backtest did, or leave it out"
        )
    distance = int(np.diff(stored.ts[-100:]).min())
    for step, duration in sorted(INTEREST_STEPS.items(), key=lambda item: -item[1]):
        if distance % duration == 0:
            return step
    raise DataError(f"{symbol}: open interest every {distance} ms is in the store; the exchange has {', '.join(INTEREST_STEPS)}")
