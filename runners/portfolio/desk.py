"""What a run of a portfolio strategy needs beside its prepared history, and how it is put together with the actors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from keel.core.actors.portfolio import Portfolio
from keel.core.actors.portfolio_risk import OrderFilter
from keel.core.actors.portfolio_strategy import StepSchedule
from keel.core.engine.clock import Clock
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category
from keel.core.model.messages import Message
from keel.core.model.timeframe import tf_ms
from keel.runners.portfolio.archive import Archive
from keel.runners.portfolio.data_collector import HistoricalDataCollector
from keel.runners.portfolio.oms_client import OMSClient


@dataclass(slots=True)
class PortfolioSetup:
    """Names are the strategy's own; ``since`` is where the history that it is shown begins; times in ms.

    position_manager: None: the strategy's own, if it has one.  left_out: symbols that the strategy may still name, and that are not traded.
    """

    archive: Archive
    names: Sequence[str]
    category: Category
    timeframe: str
    since: int
    start: int
    step_ms: int
    position_manager: OrderFilter | None = None
    left_out: Sequence[str] = ()

    def steps(self, decision: Frame) -> list[int]:
        """Opens of the decision bars at whose close a step is taken: the first that closes at or after each step's time."""
        duration = tf_ms(decision.timeframe)
        closes = decision.ts + duration
        if not len(closes):
            return []
        due = np.arange(self.start + self.step_ms, int(closes[-1]) + 1, self.step_ms, dtype=np.int64)
        rows = np.unique(np.searchsorted(closes, due))
        opens: list[int] = decision.ts[rows].tolist()
        return opens


@dataclass(slots=True)
class PortfolioDesk:
    """The parts of one wired run."""

    oms: OMSClient
    data: HistoricalDataCollector
    schedule: StepSchedule
    category: Category
    position_manager: OrderFilter | None
    left_out: frozenset[str] = frozenset()


def open_desk(setup: PortfolioSetup, strategy: Any, portfolio: Portfolio, clock: Clock, emit: Callable[[Message], None]) -> PortfolioDesk:
    """The account's and history's faces over the actors of a run. A strategy that names no symbols is given those of the run."""
    if not strategy.symbols:
        strategy.symbols = tuple(setup.names)
    data = HistoricalDataCollector(setup.archive, clock, setup.names, setup.category, setup.timeframe, setup.since)
    oms = OMSClient(portfolio, clock, setup.names, setup.category, timedelta(milliseconds=setup.step_ms), emit, data)
    schedule = StepSchedule(setup.start, setup.step_ms)
    return PortfolioDesk(oms, data, schedule, setup.category, setup.position_manager, frozenset(setup.left_out))
