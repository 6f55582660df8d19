"""What an ``Adjusted`` record does to the account: the same while it is written, heard again, and valued without its session."""

from __future__ import annotations

from keel.core.actors.portfolio import Portfolio
from keel.runners.live.memory.records import Adjusted


def adjust(portfolio: Portfolio, change: Adjusted) -> None:
    """Take the exchange's position and cash over, as the record has them."""
    if change.symbol:
        portfolio.seed(change.symbol, change.steps, change.cost)
    if change.cash_change:
        portfolio.transfer(change.cash_change)
