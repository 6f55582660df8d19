"""Perpetuals: stop loss, take profit and trailing stop, with an order or set on the position."""

from __future__ import annotations

from typing import Final

from tests.conformance.cases import BOUGHT, BUY, FLAT_90, UNTOUCHED, UP_TO_95, Case, Then
from tests.conformance.market import Market
from tests.conformance.words import Exits, Place, SetExits, Step

EXITS: Final = (
    Case(
        "take profit, and the stop loss goes", Market((90.0, 90.0, 90.0, 96.0, 96.0)),
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits("88", "95")), Step(2), Then(open=["a-sl SELL ! 88", "a-tp SELL ! 95"]),
            Step(),
            Then(
                fills=[BOUGHT, "a-tp SELL 2 @ 94.99 taker fee 0.104489"],
                orders={"a": "filled 2", "a-sl": "cancelled 0", "a-tp": "filled 2"}, open=[], position="0", balance="100009.7565",
                lives={"a": "filled", "a-sl": "accepted cancelled", "a-tp": "accepted triggered filled"},
            ),
        ),
    ),
    Case(
        "stop loss, and the take profit goes", Market((90.0, 90.0, 90.0, 87.0, 87.0)),
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits("88", "95")), Step(3),
            Then(
                fills=[BOUGHT, "a-sl SELL 2 @ 87.99 taker fee 0.096789"],
                orders={"a": "filled 2", "a-sl": "filled 2", "a-tp": "cancelled 0"}, open=[], position="0", balance="99995.7642",
            ),
        ),
    ),
    Case(
        "a short's stop loss", Market((90.0, 90.0, 90.0, 93.0, 93.0)),
        (
            Step(), Place("a", "SELL", "2.0", exits=Exits("92", "85")), Step(3),
            # 2 x (89.99 - 92.01) = -4.04; fees 0.098989 and 0.101211
            Then(fills=["a SELL 2 @ 89.99 taker fee 0.098989", "a-sl BUY 2 @ 92.01 taker fee 0.101211"], open=[], balance="99995.7598"),
        ),
    ),
    Case(
        "exits end with their position", UP_TO_95,
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits("80", "99")), Step(2), Place("b", "SELL", "2.0"), Step(),
            Then(
                orders={"a": "filled 2", "b": "filled 2", "a-sl": "cancelled 0", "a-tp": "cancelled 0"}, open=[], position="0",
                balance="100009.7565",
            ),
        ),
    ),
    Case(
        "a second entry's full exits replace the first's, for the whole position", Market((90.0, 90.0, 90.0, 90.0, 87.0, 87.0)),
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits("80", "99")), Step(), Place("b", "BUY", "1.0", exits=Exits("88", "98")), Step(),
            Then(open=["b-sl SELL ! 88", "b-tp SELL ! 98"], position="3 @ 90.01"),
            Step(2),
            # 3 x (87.99 - 90.01) = -6.06; fees 270.03 and 263.97 x 0.00055 = 0.1485165 and 0.1451835
            Then(position="0", open=[], balance="99993.6463"),
        ),
    ),
    Case(
        "exits set on the open position", Market((90.0, 90.0, 90.0, 90.0, 87.0, 87.0)),
        (
            Step(), BUY, Step(), SetExits(Exits("85", "95")), Step(), Then(open=["a-sl SELL ! 85", "a-tp SELL ! 95"]),
            SetExits(Exits("88", "95")), Step(2),
            Then(fills=[BOUGHT, "a-sl2 SELL 2 @ 87.99 taker fee 0.096789"], position="0", open=[], balance="99995.7642"),
        ),
    ),
    Case(
        "exits taken off the position", Market((90.0, 90.0, 90.0, 80.0, 90.0, 90.0)),
        (
            Step(), Place("a", "BUY", "0.2", exits=Exits("85", "95")), Step(), SetExits(Exits()), Step(),
            Then(open=[], orders={"a": "filled 0.2", "a-sl": "cancelled 0", "a-tp": "cancelled 0"}, position="0.2 @ 90.01"),
        ),
    ),
    Case(
        "exits without a position", FLAT_90,
        (Step(), SetExits(Exits("85", "95")), Step(), Then(**UNTOUCHED, open=[], refused=["exits: no position"])),
    ),
    Case(
        "exits on the wrong side of the market", FLAT_90,
        (
            Step(), BUY, Step(), SetExits(Exits(stop_loss="95")), Step(),
            Then(open=[], position="2 @ 90.01", refused=["exits: exits on the wrong side"]).but(
                "pybit", "adapter", because="exits are refused in silence", refused=[],
            ),
        ),
    ),
    Case(
        "an entry whose exits are on the wrong side", FLAT_90,
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits(stop_loss="95")), Step(),
            Then(**UNTOUCHED, orders={}, refused=["a: exits on the wrong side"]),
        ),
    ),
    Case(
        "partial exits are sized by their own entry", Market((90.0, 90.0, 90.0, 93.0, 93.0)),
        (
            Step(), Place("a", "BUY", "1.0", exits=Exits("85", "92", mode="partial")),
            Place("b", "BUY", "2.0", exits=Exits("80", "95", mode="partial")), Step(2),
            Then(open=["a-sl SELL ! 85", "a-tp SELL ! 92", "b-sl SELL ! 80", "b-tp SELL ! 95"], position="3 @ 90.01"),
            Step(),
            # 91.99 - 90.01 = 1.98; fees 0.0495055, 0.099011 and 91.99 x 0.00055 = 0.0505945
            Then(
                fills=[
                    "a BUY 1 @ 90.01 taker fee 0.0495055", "b BUY 2 @ 90.01 taker fee 0.099011",
                    "a-tp SELL 1 @ 91.99 taker fee 0.0505945",
                ],
                open=["b-sl SELL ! 80", "b-tp SELL ! 95"], position="2 @ 90.01", balance="100001.780889",
                orders={
                    "a": "filled 1", "b": "filled 2", "a-sl": "cancelled 0", "a-tp": "filled 1", "b-sl": "accepted 0", "b-tp": "accepted 0",
                },
            ),
        ),
    ),
    Case(
        "a partial take profit by a limit is a maker", Market((90.0, 90.0, 90.0, 93.0, 93.0)),
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits("85", "92", mode="partial", take_profit_limit="92.5")), Step(3),
            # 2 x (92.5 - 90.01) = 4.98; fee 185 x 0.0002 = 0.037
            Then(fills=[BOUGHT, "a-tp SELL 2 @ 92.5 maker fee 0.037"], open=[], position="0", balance="100004.843989"),
        ),
    ),
    Case(
        "a trailing stop on the open position", Market((90.0, 90.0, 90.0, 95.0, 91.0, 91.0)),
        (
            Step(), BUY, Step(), SetExits(Exits(trailing="3")), Step(2), Then(open=["a-ts SELL"], position="2 @ 90.01"),
            Step(),
            # the best price was 95: it sells at 92; 2 x (91.99 - 90.01) = 3.96; fee 183.98 x 0.00055
            Then(fills=[BOUGHT, "a-ts SELL 2 @ 91.99 taker fee 0.101189"], open=[], position="0", balance="100003.7598"),
        ),
    ),
    Case(
        "a trailing stop that sleeps until its activation price", Market((90.0, 90.0, 90.0, 86.0, 95.0, 91.0, 91.0)),
        (
            Step(), BUY, Step(), SetExits(Exits(trailing="3", activation="94")), Step(2), Then(position="2 @ 90.01"),
            Step(2), Then(fills=[BOUGHT, "a-ts SELL 2 @ 91.99 taker fee 0.101189"], open=[], position="0", balance="100003.7598"),
        ),
    ),
    Case(
        "a trailing stop with the entry", Market((90.0, (96.0, 90.0, 94.0), 90.0, 90.0)),
        (
            # 90, 96, 94, and down to 90: trailed from the fill on it sells at 93; from the bar after the fill on, at 91
            Step(), Place("a", "BUY", "2.0", exits=Exits(trailing="3")), Step(2),
            Then(
                fills=["a BUY 2 @ 90.01 taker fee 0.099011", "a-ts SELL 2 @ 92.99 taker fee 0.102289"], position="0", balance="100005.7587",
            ).but(
                "adapter", because="an order carries no trailing stop",
                fills=["a BUY 2 @ 90.01 taker fee 0.099011", "a-ts SELL 2 @ 90.99 taker fee 0.100089"], balance="100001.7609",
            ),
        ),
        cannot={"pybit": "an order carries no trailing stop"},
    ),
)  # fmt: skip
