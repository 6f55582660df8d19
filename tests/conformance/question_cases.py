"""What lists tell: terms of the symbol, candles, settled funding rates, and what became of orders."""

from __future__ import annotations

from typing import Final

from tests.conformance.cases import FLAT_100, Ask, Case
from tests.conformance.market import Funding, Market
from tests.conformance.words import Account, Batch, Cancel, Place, Step

SPOT: Final = Account(usdt="1000", category="spot")
NO_LISTS: Final = {"exchange": "history is its own"}

QUESTIONS: Final = (
    # tick, step, least quantity, least value, taker fee, maker fee
    Case("the terms of a perpetual", FLAT_100, (Ask("instrument", ["0.01 0.1 0.2 5 0.00055 0.0002"]),)),
    Case("the terms of a spot pair", FLAT_100, (Ask("instrument", ["0.01 0.0001 0.0001 5 0.001 0.001"]),), SPOT),
    Case(
        "only closed candles, oldest first", Market((90.0, (96.0, 89.0, 94.0), 95.0, 91.0)),
        (
            Step(), Ask("candles", ["90 90 90 90 100"]), Step(2),
            Ask("candles", ["90 90 90 90 100", "90 96 89 94 100", "94 95 94 95 100"]),
        ),
        cannot=NO_LISTS,
    ),
    Case(
        "closed candles of spot", Market((90.0, 95.0, 91.0)),
        (Step(2), Ask("candles", ["90 90 90 90 100", "90 95 90 95 100"])), SPOT, NO_LISTS,
    ),
    Case(
        "settled funding rates, oldest first", Market((90.0,) * 6, (Funding(1, "0.0001", "90"), Funding(3, "-0.0002", "90"))),
        (Step(2), Ask("funding rates", ["0.0001"]), Step(2), Ask("funding rates", ["0.0001", "-0.0002"])), cannot=NO_LISTS,
    ),
    Case(
        "what became of orders", FLAT_100,
        (
            Step(),
            Batch((Place("a", "BUY", "2.0"), Place("b", "BUY", "1.0", limit="95"), Place("c", "BUY", "1.0", limit="95", tif="IOC"))),
            Step(), Cancel("b"), Step(), Ask("orders", ["a filled 2", "b cancelled 0", "c expired 0"]),
        ),
        cannot=NO_LISTS,
    ),
)  # fmt: skip
