"""Perpetuals: positions, money, funding, leverage and liquidation."""

from __future__ import annotations

from typing import Final

from tests.conformance.cases import BOUGHT, BUY, FLAT_100, SMALL, UP_TO_95, Case, Then
from tests.conformance.market import Funding, Market
from tests.conformance.words import Account, Place, Step

POSITIONS: Final = (
    Case(
        "long from zero", FLAT_100,
        (
            Step(), BUY, Step(),
            Then(
                fills=["a BUY 2 @ 100.01 taker fee 0.110011"], orders={"a": "filled 2"}, lives={"a": "filled"}, open=[],
                position="2 @ 100.01", balance="99999.889989", funding=[], refused=[], closes=["100", "100"],
            ),
        ),
    ),
    Case(
        "short from zero", FLAT_100,
        (
            Step(), Place("a", "SELL", "2.0"), Step(),
            Then(fills=["a SELL 2 @ 99.99 taker fee 0.109989"], position="-2 @ 99.99", balance="99999.890011"),
        ),
    ),
    Case(
        "close from long", UP_TO_95,
        (
            Step(), BUY, Step(2), Place("b", "SELL", "2.0", reduce_only=True), Step(),
            # 2 x (94.99 - 90.01) = 9.96; fees 0.099011 and 189.98 x 0.00055 = 0.104489
            Then(
                fills=[BOUGHT, "b SELL 2 @ 94.99 taker fee 0.104489"], orders={"a": "filled 2", "b": "filled 2"}, position="0",
                balance="100009.7565", closes=["90", "90", "95", "95"],
            ),
        ),
    ),
    Case(
        "short from long, by one order", UP_TO_95,
        (
            Step(), BUY, Step(2), Place("b", "SELL", "5.0"), Step(),
            # 474.95 x 0.00055 = 0.2612225
            Then(fills=[BOUGHT, "b SELL 5 @ 94.99 taker fee 0.2612225"], position="-3 @ 94.99", balance="100009.5997665"),
        ),
    ),
    Case(
        "long from short, by one order", UP_TO_95,
        (
            Step(), Place("a", "SELL", "2.0"), Step(2), Place("b", "BUY", "3.0"), Step(),
            # 2 x (89.99 - 95.01) = -10.04; fees 179.98 and 285.03 x 0.00055 = 0.098989 and 0.1567665
            Then(
                fills=["a SELL 2 @ 89.99 taker fee 0.098989", "b BUY 3 @ 95.01 taker fee 0.1567665"], position="1 @ 95.01",
                balance="99989.7042445",
            ),
        ),
    ),
    Case(
        "add, then reduce", Market((90.0, 90.0, 95.0, 95.0, 100.0, 100.0)),
        (
            Step(), Place("a", "BUY", "1.0"), Step(2), Place("b", "BUY", "1.0"), Step(),
            Then(position="2 @ 92.51", balance="99999.898239"),  # fees 0.0495055 + 0.0522555
            Step(), Place("c", "SELL", "1.0"), Step(),
            # 99.99 - 92.51 = 7.48; fee 0.0549945; what is left keeps its entry price
            Then(
                fills=[
                    "a BUY 1 @ 90.01 taker fee 0.0495055", "b BUY 1 @ 95.01 taker fee 0.0522555",
                    "c SELL 1 @ 99.99 taker fee 0.0549945",
                ],
                position="1 @ 92.51", balance="100007.3232445",
            ),
        ),
    ),
    Case(
        "funding at its stamp, paid by a long", Market((90.0,) * 5, (Funding(2, "0.0001", "90"), Funding(3, "-0.0002", "91"))),
        (
            Step(), BUY, Step(), Then(funding=[]),
            Step(), Then(funding=["0.018"], balance="99999.882989"),  # 2 x 90 x 0.0001; 100000 - 0.099011 - 0.018
            Step(), Then(funding=["0.018", "-0.0364"], balance="99999.919389", position="2 @ 90.01"),  # 2 x 91 x 0.0002 is received
        ),
    ),
    Case(
        "funding is received by a short", Market((90.0,) * 4, (Funding(2, "0.0001", "90"),)),
        (
            Step(), Place("a", "SELL", "2.0"), Step(2), Then(funding=["-0.018"], balance="99999.919011"),  # 100000 - 0.098989 + 0.018
        ),
    ),
    Case(
        "who opens at the stamp does not pay", Market((90.0,) * 3, (Funding(1, "0.0001", "90"),)),
        (Step(), BUY, Step(2), Then(fills=[BOUGHT], funding=[], balance="99999.900989")),
    ),
    Case(
        "liquidation of a long at ten times leverage", Market((90.0, 90.0, 82.0, 80.0, 80.0)),
        (
            # margin 18.002 and fee to close (180.02 - 18.002) x 0.00055 = 0.0891099; it goes at a mark of
            # 162.018 / (2 x 0.995) = 81.416, at its bankruptcy price 162.018 / 2 = 81.009
            Step(), BUY, Step(2), Then(position="2 @ 90.01"),
            Step(),
            Then(
                fills=[BOUGHT, "liquidation SELL 2 @ 81.01 taker fee 0.0891099"], position="0", open=[], balance="99981.8098791",
                orders={"a": "filled 2"},
            ),
        ),
    ),
    Case(
        "liquidation ends the orders of its symbol", Market((90.0, 90.0, 90.0, 80.0, 80.0)),
        (
            Step(), BUY, Place("b", "BUY", "1.0", stop="99"), Place("c", "SELL", "1.0", limit="98"), Step(2),
            Then(open=["b BUY 1 ! 99", "c SELL 1 @ 98"]),
            Step(),
            Then(orders={"a": "filled 2", "b": "cancelled 0", "c": "cancelled 0"}, open=[], position="0", balance="99981.8098791"),
        ),
    ),
    Case(
        "leverage five holds twice the margin: the account cannot", FLAT_100,
        (
            Step(), Place("a", "BUY", "90.0"), Step(),
            Then(fills=[], orders={}, position="0", balance="1000", refused=["a: not enough margin"]),
        ),
        Account(usdt="1000", leverage="5"),
    ),
    Case(
        "leverage ten: the account can", FLAT_100,
        (
            Step(), Place("a", "BUY", "90.0"), Step(),  # 9000.9 x 0.00055
            Then(fills=["a BUY 90 @ 100.01 taker fee 4.950495"], position="90 @ 100.01", balance="995.049505", refused=[]),
        ),
        SMALL,
    ),
    Case(
        "a resting limit holds margin: the next one finds none", FLAT_100,
        (
            Step(), Place("a", "BUY", "95.0", limit="95"), Place("b", "BUY", "95.0", limit="94"), Step(),
            Then(open=["a BUY 95 @ 95"], refused=["b: not enough margin"], balance="1000"),
        ),
        SMALL,
    ),
)  # fmt: skip
