"""Whatever is asked, an answer comes or a refusal, and the books hold."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.account.oracle import problems
from keel.sim.sandbox.account.order_entry import SOURCE_OF
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.errors import ApiError
from keel.sim.sandbox.http.routes import ROUTES
from tests.sim.sandbox.conftest import START
from tests.sim.sandbox.test_ledger import make_engine

NAMES = [
    *("category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "positionIdx", "orderLinkId", "orderId", "reduceOnly"),
    *(
        "closeOnTrigger",
        "triggerPrice",
        "triggerDirection",
        "triggerBy",
        "takeProfit",
        "stopLoss",
        "tpTriggerBy",
        "slTriggerBy",
        "tpslMode",
    ),
    *(
        "tpOrderType",
        "tpLimitPrice",
        "slLimitPrice",
        "trailingStop",
        "activePrice",
        "tpSize",
        "marketUnit",
        "orderFilter",
        "limit",
        "cursor",
    ),
    *(
        "slippageToleranceType",
        "slippageTolerance",
        "settleCoin",
        "baseCoin",
        "openOnly",
        "startTime",
        "endTime",
        "start",
        "end",
        "interval",
    ),
    *("intervalTime", "buyLeverage", "sellLeverage", "mode", "coin", "margin", "setMarginMode", "accountType", "request", "stopOrderType"),
    *("execType", "type"),
]
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
LIKELY: st.SearchStrategy[Any] = st.sampled_from([
    "linear", "spot", "BTCUSDT", "ETHUSDT", "Buy", "Sell", "Market", "Limit", "0.1", "1", "0", "60000", "59000.5", "-1", "1e9", "NaN",
    "PostOnly", "IOC", "Full", "Partial", "TickSize", "Percent", "USDT", "5", "60", "D", "1h", "5min", "UNIFIED", *SOURCE_OF,
])  # fmt: skip
ASKED = st.dictionaries(st.sampled_from(NAMES), st.one_of(LIKELY, LIKELY, ODD), max_size=14)
ENGINE = make_engine(1, "max", ExecutionConfig())
PLAUSIBLE = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "59000"}


@settings(max_examples=400)
@given(st.sampled_from(sorted(ROUTES)), ASKED, st.booleans(), st.sampled_from(["a", "b", "h"]))
def test_any_request_is_answered_or_refused(where: tuple[str, str], asked: dict[str, Any], is_plausible: bool, key: str) -> None:
    params = {**PLAUSIBLE, **asked} if is_plausible else asked
    account = ENGINE.accounts[key]
    try:
        ROUTES[where].handler(Call(ENGINE, params, START, owner=account, budget_left=20))
    except ApiError as error:
        assert error.code > 0 and error.text
    ENGINE.step_bar()
    assert problems(account) == []
