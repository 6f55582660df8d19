"""Spot: what is bought is held, its fee (0.1 %) is taken in the coin that is received, and nothing is sold that is not there."""

from __future__ import annotations

from typing import Final

from tests.conformance.cases import Case, Then
from tests.conformance.market import Market
from tests.conformance.words import Account, Cancel, Place, Step

ACCOUNT: Final = Account(usdt="1000", category="spot")
BUY: Final = Place("a", "BUY", "2.0")
BOUGHT: Final = "a BUY 2 @ 90.01 taker fee 0.002 XYZ"

SPOT: Final = (
    Case(
        "bought and sold, with each fee in what is received", Market((90.0, 90.0, 95.0, 95.0, 95.0)),
        (
            Step(), BUY, Step(), Then(fills=[BOUGHT], position="1.998", balance="819.98", orders={"a": "filled 2"}),
            Step(),
            # 1.998 x 94.99 = 189.79002; x 0.001 = 0.18979002
            Place("b", "SELL", "1.998"), Step(),
            Then(fills=[BOUGHT, "b SELL 1.998 @ 94.99 taker fee 0.18979002"], position="0", balance="1009.58022998"),
        ),
        ACCOUNT,
    ),
    Case(
        "a resting buy holds its money, and is filled as a maker", Market((90.0, 90.0, 84.0, 84.0)),
        (
            Step(), Place("a", "BUY", "10.0", limit="85"), Place("b", "BUY", "2.0", limit="80"), Step(),
            Then(open=["a BUY 10 @ 85"], balance="1000", refused=["b: not enough balance"]),
            Step(), Then(fills=["a BUY 10 @ 85 maker fee 0.01 XYZ"], position="9.99", balance="150", open=[]),
        ),
        ACCOUNT,
    ),
    Case(
        "dust stays when less than a step is left", Market((90.0, 90.0, 90.0, 90.0)),
        (
            Step(), Place("a", "BUY", "0.5555"), Step(),  # fee 0.0005555: 0.5549445 is held, and 0.5549 of it can be sold
            Place("b", "SELL", "0.5549"), Step(),
            # 0.5555 x 90.01 = 50.000555; 0.5549 x 89.99 = 49.935451; fee 0.04993546 (rounded up)
            Then(
                fills=["a BUY 0.5555 @ 90.01 taker fee 0.0005555 XYZ", "b SELL 0.5549 @ 89.99 taker fee 0.04993546"],
                position="0.0000445", balance="999.88496054",
            ),
        ),
        ACCOUNT,
    ),
    Case(
        "nothing is sold that is not held", Market((90.0,) * 4),
        (
            Step(), Place("a", "SELL", "1.0"), Step(), Then(fills=[], position="0", balance="1000", refused=["a: not enough balance"]),
        ),
        ACCOUNT,
    ),
    Case(
        "below the minimum value", Market((90.0,) * 4),
        (
            Step(), Place("a", "BUY", "0.05", limit="80"), Step(), Then(fills=[], balance="1000", refused=["a: below the minimum value"]),
        ),
        ACCOUNT,
    ),
    Case(
        "a cancelled buy gives its money back", Market((90.0,) * 5),
        (
            Step(), Place("a", "BUY", "10.0", limit="85"), Step(), Cancel("a"), Step(), Then(orders={"a": "cancelled 0"}, open=[]),
            Place("b", "BUY", "11.0"), Step(),  # 990.11
            Then(fills=["b BUY 11 @ 90.01 taker fee 0.011 XYZ"], balance="9.89", position="10.989"),
        ),
        ACCOUNT,
    ),
)  # fmt: skip
