"""Perpetuals: every kind of order, amended, cancelled, filled in part."""

from __future__ import annotations

from typing import Final

from keel.core.system.config import ExecutionConfig
from tests.conformance.cases import BOUGHT, BUY, FLAT_90, FLAT_100, UNTOUCHED, UP_TO_95, Case, Then
from tests.conformance.market import Market
from tests.conformance.words import Amend, Batch, Cancel, CancelAll, Exits, Place, Step

ORDERS: Final = (
    Case(
        "a limit rests until the market goes through it", Market((100.0, 100.0, 98.0, 94.0, 94.0)),
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(2), Then(**UNTOUCHED, orders={"a": "accepted 0"}, open=["a BUY 2 @ 95"]),
            Step(),
            Then(fills=["a BUY 2 @ 95 maker fee 0.038"], orders={"a": "filled 2"}, open=[], position="2 @ 95", balance="99999.962"),
        ),
    ),
    Case(
        "a limit that crosses takes at the market", FLAT_100,
        (Step(), Place("a", "BUY", "2.0", limit="100.5"), Step(), Then(fills=["a BUY 2 @ 100.01 taker fee 0.110011"])),
    ),
    Case(
        "a limit far through the market is moved to the price band", FLAT_100,
        (
            # the band of a sell ends 1 % below index and mark: 99; it takes at 99.99 anyway, and what would rest would rest there
            Step(), Place("a", "SELL", "2.0", limit="90"), Step(),
            Then(fills=["a SELL 2 @ 99.99 taker fee 0.109989"], orders={"a": "filled 2"}, position="-2 @ 99.99"),
        ),
    ),
    Case(
        "amended in price, then filled", Market((100.0, 100.0, 98.0, 98.0)),
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Amend("a", limit="98.5"), Step(),
            Then(fills=["a BUY 2 @ 98.5 maker fee 0.0394"], orders={"a": "filled 2"}, position="2 @ 98.5", balance="99999.9606"),
        ),
    ),
    Case(
        "amended in quantity, then filled", Market((100.0, 100.0, 100.0, 94.0, 94.0)),
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Amend("a", qty="3.0"), Step(),
            Then(open=["a BUY 3 @ 95"], orders={"a": "accepted 0"}),
            Step(), Then(fills=["a BUY 3 @ 95 maker fee 0.057"], lives={"a": "accepted filled"}, position="3 @ 95", balance="99999.943"),
        ),
    ),
    Case(
        "amended in price so that it crosses: it takes", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Amend("a", limit="100.5"), Step(),
            Then(fills=["a BUY 2 @ 100.01 taker fee 0.110011"], orders={"a": "filled 2"}, open=[]),
        ),
    ),
    Case(
        "an amended trigger", Market((90.0, 90.0, 90.0, 93.0, 95.0, 95.0)),
        (
            Step(), Place("a", "BUY", "2.0", stop="92"), Step(), Amend("a", stop="94"), Step(), Then(open=["a BUY 2 ! 94"]),
            Step(), Then(fills=[]),
            Step(), Then(fills=["a BUY 2 @ 94.01 taker fee 0.103411"], position="2 @ 94.01"),  # 188.02 x 0.00055
        ),
    ),
    Case(
        "cancelled", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95"), Step(), Cancel("a"), Step(),
            Then(**UNTOUCHED, orders={"a": "cancelled 0"}, lives={"a": "accepted cancelled"}, open=[], refused=[]),
        ),
    ),
    Case(
        "cancelled before the exchange has moved", FLAT_100,
        (Step(), Place("a", "BUY", "2.0", limit="95"), Cancel("a"), Step(), Then(**UNTOUCHED, orders={"a": "cancelled 0"}, open=[])),
    ),
    Case(
        "a filled order cannot be cancelled or amended", FLAT_90,
        (
            Step(), BUY, Step(), Cancel("a"), Amend("a", qty="3.0"), Step(),
            Then(fills=[BOUGHT], orders={"a": "filled 2"}, position="2 @ 90.01", refused=["a: no such order", "a: no such order"]),
        ),
    ),
    Case(
        "cancel all ends limits, stops and exits", FLAT_90,
        (
            Step(), Place("a", "BUY", "2.0", exits=Exits(stop_loss="80", take_profit="99")), Place("b", "BUY", "2.0", limit="85"),
            Place("c", "BUY", "2.0", stop="95"), Place("d", "SELL", "2.0", stop="85", limit="84.5"), Step(),
            Then(open=["a-sl SELL ! 80", "a-tp SELL ! 99", "b BUY 2 @ 85", "c BUY 2 ! 95", "d SELL 2 ! 85 @ 84.5"]),
            CancelAll(), Step(),
            Then(
                open=[], fills=[BOUGHT], position="2 @ 90.01",
                orders={"a": "filled 2", **dict.fromkeys(("a-sl", "a-tp", "b", "c", "d"), "cancelled 0")},
            ),
        ),
    ),
    Case(
        "post-only that would take ends", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5", tif="POST_ONLY"), Step(),
            Then(**UNTOUCHED, lives={"a": "accepted expired"}, orders={"a": "expired 0"}, open=[], refused=["a: would take liquidity"]),
        ),
    ),
    Case(
        "post-only that rests is a maker", Market((100.0, 100.0, 98.0, 94.0)),
        (
            Step(), Place("a", "BUY", "2.0", limit="95", tif="POST_ONLY"), Step(2), Then(open=["a BUY 2 @ 95"]),
            Step(), Then(fills=["a BUY 2 @ 95 maker fee 0.038"], orders={"a": "filled 2"}),
        ),
    ),
    Case(
        "post-only amended so that it would take ends", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95", tif="POST_ONLY"), Step(), Amend("a", limit="100.5"), Step(),
            Then(**UNTOUCHED, orders={"a": "expired 0"}, open=[], refused=["a: would take liquidity"]),
        ),
    ),
    Case(
        "immediate-or-cancel without liquidity at its price", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="95", tif="IOC"), Step(),
            Then(**UNTOUCHED, orders={"a": "expired 0"}, refused=["a: no liquidity at its price"]),
        ),
    ),
    Case(
        "immediate-or-cancel takes what there is", Market((100.0,) * 4, execution=ExecutionConfig(max_volume_share=0.01)),
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5", tif="IOC"), Step(),  # 1 % of a volume of 100
            Then(
                fills=["a BUY 1 @ 100.01 taker fee 0.0550055"], orders={"a": "expired 1"}, open=[], position="1 @ 100.01",
                refused=["a: no liquidity at its price"],
            ),
        ),
    ),
    Case(
        "fill-or-kill, filled", FLAT_100,
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5", tif="FOK"), Step(),
            Then(fills=["a BUY 2 @ 100.01 taker fee 0.110011"], orders={"a": "filled 2"}, refused=[]),
        ),
    ),
    Case(
        "fill-or-kill that cannot be whole", Market((100.0,) * 4, execution=ExecutionConfig(max_volume_share=0.01)),
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5", tif="FOK"), Place("b", "BUY", "0.5", limit="99", tif="FOK"), Step(),
            Then(
                **UNTOUCHED, orders={"a": "expired 0", "b": "expired 0"},
                refused=["a: not fillable as a whole", "b: not fillable as a whole"],
            ),
        ),
    ),
    Case(
        "partial fills over two bars: a taker, then a maker", Market((100.0,) * 5, execution=ExecutionConfig(max_volume_share=0.01)),
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5"), Step(),
            Then(
                fills=["a BUY 1 @ 100.01 taker fee 0.0550055"], orders={"a": "partially_filled 1"}, open=["a BUY 2 @ 100.5"],
                position="1 @ 100.01",
            ),
            Step(),
            Then(
                fills=["a BUY 1 @ 100.01 taker fee 0.0550055", "a BUY 1 @ 100.5 maker fee 0.0201"], orders={"a": "filled 2"}, open=[],
                position="2 @ 100.255", balance="99999.9248945", lives={"a": "accepted partially_filled filled"},
            ),
        ),
    ),
    Case(
        "what is partly filled can be cancelled", Market((100.0,) * 5, execution=ExecutionConfig(max_volume_share=0.01)),
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5"), Step(), Cancel("a"), Step(),
            Then(
                fills=["a BUY 1 @ 100.01 taker fee 0.0550055"], orders={"a": "cancelled 1"}, open=[], position="1 @ 100.01",
                balance="99999.9449945", refused=[],
            ),
        ),
    ),
    Case(
        "reduce-only without a position", FLAT_100,
        (
            Step(), Place("a", "SELL", "1.0", reduce_only=True), Step(),
            Then(**UNTOUCHED, orders={}, open=[], refused=["a: nothing to reduce"]),
        ),
    ),
    Case(
        "reduce-only is cut to the position", UP_TO_95,
        (
            Step(), BUY, Step(2), Place("b", "SELL", "5.0", reduce_only=True), Step(),
            Then(fills=[BOUGHT, "b SELL 2 @ 94.99 taker fee 0.104489"], orders={"a": "filled 2", "b": "filled 2"}, position="0", open=[]),
        ),
    ),
    Case(
        "what is partly filled cannot be amended to that", Market((100.0,) * 5, execution=ExecutionConfig(max_volume_share=0.01)),
        (
            Step(), Place("a", "BUY", "2.0", limit="100.5"), Step(), Amend("a", qty="1.0"), Step(),
            Then(orders={"a": "filled 2"}, position="2 @ 100.255", refused=["a: not more than what is filled"]),
        ),
    ),
    Case(
        "a resting reduce-only order shrinks with the position", UP_TO_95,
        (
            Step(), BUY, Step(), Place("b", "SELL", "2.0", limit="99", reduce_only=True), Step(), Place("c", "SELL", "0.5"), Step(),
            # 0.5 x (94.99 - 90.01) = 2.49; fee 47.495 x 0.00055 = 0.02612225
            Then(open=["b SELL 1.5 @ 99"], orders={"a": "filled 2", "b": "accepted 0", "c": "filled 0.5"}, balance="100002.36486675"),
        ),
    ),
    Case(
        "a resting reduce-only order ends with the position", UP_TO_95,
        (
            Step(), BUY, Step(), Place("b", "SELL", "2.0", limit="99", reduce_only=True), Step(), Then(open=["b SELL 2 @ 99"]),
            Place("c", "SELL", "2.0"), Step(),
            Then(orders={"a": "filled 2", "b": "cancelled 0", "c": "filled 2"}, open=[], position="0", balance="100009.7565"),
        ),
    ),
    Case(
        "a stop is met by rising", Market((90.0, 90.0, 90.0, 93.0, 93.0)),
        (
            Step(), Place("a", "BUY", "2.0", stop="92"), Step(2), Then(**UNTOUCHED, orders={"a": "accepted 0"}, open=["a BUY 2 ! 92"]),
            Step(),
            Then(  # 184.02
                fills=["a BUY 2 @ 92.01 taker fee 0.101211"],
                orders={"a": "filled 2"},
                lives={"a": "accepted triggered filled"},
                open=[],
                position="2 @ 92.01",
            ),
        ),
    ),
    Case(
        "a stop is met by falling", Market((90.0, 90.0, 87.0, 87.0)),
        (
            Step(), Place("a", "SELL", "2.0", stop="88"), Step(2),
            Then(fills=["a SELL 2 @ 87.99 taker fee 0.096789"], orders={"a": "filled 2"}, position="-2 @ 87.99"),  # 175.98
        ),
    ),
    Case(
        "a buy that waits below the market", Market((90.0, 90.0, 87.0, 87.0)),
        (Step(), Place("a", "BUY", "2.0", stop="88"), Step(2), Then(fills=["a BUY 2 @ 88.01 taker fee 0.096811"], position="2 @ 88.01")),
    ),
    Case(
        "a reduce-only stop protects a position", Market((90.0, 90.0, 90.0, 87.0, 87.0)),
        (
            Step(), BUY, Place("b", "SELL", "5.0", stop="88", reduce_only=True), Step(2), Then(open=["b SELL 5 ! 88"]),
            Step(),
            # 2 x (87.99 - 90.01) = -4.04
            Then(fills=[BOUGHT, "b SELL 2 @ 87.99 taker fee 0.096789"], position="0", open=[], balance="99995.7642"),
        ),
    ),
    Case(
        "a stop-limit that crosses takes", Market((90.0, 90.0, 93.0, 93.0)),
        (
            Step(), Place("a", "BUY", "2.0", limit="92.5", stop="92"), Step(2),
            Then(fills=["a BUY 2 @ 92.01 taker fee 0.101211"], orders={"a": "filled 2"}, open=[]),
        ),
    ),
    Case(
        "a stop-limit that does not cross rests", Market((90.0, 90.0, 87.0, 89.0, 89.0)),
        (
            Step(), Place("a", "SELL", "2.0", limit="88.5", stop="88"), Step(2), Then(fills=[], position="0"),
            Step(),
            Then(
                fills=["a SELL 2 @ 88.5 maker fee 0.0354"], orders={"a": "filled 2"}, open=[], position="-2 @ 88.5",
                lives={"a": "accepted triggered accepted filled"},
            ).but("exchange", because="a stop-limit is new again", lives={"a": "accepted triggered filled"}),
        ),
    ),
    Case(
        "a batch: each order has its own fate", FLAT_100,
        (
            Step(),
            Batch((Place("a", "BUY", "2.0", limit="95"), Place("b", "BUY", "0.1", limit="95"), Place("c", "SELL", "1.0", limit="105"))),
            Step(), Then(open=["a BUY 2 @ 95", "c SELL 1 @ 105"], refused=["b: below the minimum quantity"], balance="100000"),
        ),
    ),
)  # fmt: skip
