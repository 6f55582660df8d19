"""Perpetuals: orders that cannot be, and what each no means."""

from __future__ import annotations

from typing import Final

from tests.conformance.cases import FLAT_100, UNTOUCHED, Case, Then
from tests.conformance.words import Again, Amend, Place, Step

REFUSALS: Final = (
    Case(
        "the same client id twice", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Again("a"), Step(), Again("a"), Step(),
            Then(**UNTOUCHED, open=["a BUY 2 @ 95"], refused=["a: duplicate client id"] * 2),
        ),
        cannot=dict.fromkeys(("adapter", "exchange"), "names are counted"),
    ),
    Case(
        "below the minimum quantity", FLAT_100,
        (Step(), Place("a", "BUY", "0.1"), Step(), Then(**UNTOUCHED, orders={}, refused=["a: below the minimum quantity"])),
    ),
    Case(
        "off the quantity step", FLAT_100,
        (Step(), Place("a", "BUY", "1.05"), Then(**UNTOUCHED, orders={}, refused=["a: off the quantity step"])),
    ),
    Case(
        "amended off the quantity step", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Amend("a", qty="1.05"), Step(),
            Then(**UNTOUCHED, open=["a BUY 2 @ 95"], refused=["a: off the quantity step"]),
        ),
    ),
    Case(
        "off the price tick", FLAT_100,
        (Step(), Place("a", "BUY", "2.0", limit="95.005"), Step(), Then(**UNTOUCHED, orders={}, refused=["a: off the price tick"])),
    ),
    Case(
        "amended off the price tick", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Amend("a", limit="94.005"), Step(),
            Then(**UNTOUCHED, open=["a BUY 2 @ 95"], refused=["a: off the price tick"]),
        ),
    ),
    Case(
        "below the minimum value", FLAT_100,
        (Step(), Place("a", "BUY", "0.2", limit="10"), Step(), Then(**UNTOUCHED, orders={}, refused=["a: below the minimum value"])),
    ),
    Case(
        "an unknown symbol", FLAT_100,
        (Step(), Place("a", "BUY", "2.0", symbol="NOPEUSDT"), Step(), Then(**UNTOUCHED, orders={}, refused=["a: unknown symbol"])),
    ),
)  # fmt: skip
