"""The words of trading by pybit: requests over REST (or the trade stream), the private stream for what became of them.

What is seen is told twice, by the stream and by the lists, and both must agree: order states and executions; position and wallet are the
lists'. Candles come by the public stream.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from tests.conformance.market import Market
from tests.conformance.pybit_client import Pybit, RequestRefused
from tests.conformance.sandboxed import check_truth, sandbox_of, why
from tests.conformance.words import (
    SYMBOL,
    Account,
    Act,
    Again,
    Amend,
    Batch,
    Cancel,
    CancelAll,
    Exits,
    Place,
    Question,
    Refused,
    Seen,
    SetExits,
    Step,
    candle_text,
    fill_text,
    life_text,
    meaning,
    open_text,
    plain,
    position_text,
)
from tests.sim.sandbox.conftest import START, Sandbox, until

_OPEN: Final = {
    "New": "accepted", "Untriggered": "accepted", "Triggered": "triggered", "PartiallyFilled": "partially_filled", "Filled": "filled"
}  # fmt: skip
_NOBODY_ASKED: Final = ("EC_PostOnlyWillTakeLiquidity", "EC_NoImmediateQtyToFill", "EC_CancelForNoFullFill")
_ROLES: Final = {"StopLoss": "sl", "TakeProfit": "tp", "TrailingStop": "ts"}
_TIF: Final = {"POST_ONLY": "PostOnly"}


class PybitClient:
    """Implements ``Client``. Orders by REST."""

    by_trade_stream = False

    def __init__(self, market: Market, account: Account) -> None:
        self._account = account
        self._place_of = {"category": account.category, "symbol": SYMBOL}
        self._last = market.series(account.category).last[3]  # of the bar before the first, then of each bar
        self._bars = 0
        self._requests: dict[str, dict[str, Any]] = {}
        self._refused: list[str] = []
        self._told: set[str] = set()
        self._stack = ExitStack()
        self._sandbox: Sandbox = self._stack.enter_context(sandbox_of(market, account))
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        self._pybit = Pybit(self._sandbox)
        self._stack.callback(self._pybit.close)
        if self._account.category == "linear" and self._account.leverage != "10":
            leverage = self._account.leverage
            try:
                self._pybit.call("set_leverage", **self._place_of, buyLeverage=leverage, sellLeverage=leverage)
            except RequestRefused as error:
                raise Refused(str(error)) from error
        self._pybit.listen()
        self._pybit.watch(self._account.category, "kline", SYMBOL, 1)
        until(lambda: len(self._sandbox.heard_topics()) == 4, "the private subscriptions")
        until(self._is_watching, "the public subscription")

    def _is_watching(self) -> bool:
        return any(f"kline.1.{SYMBOL}" in one.topics for one in list(self._sandbox.server._connections))

    # --- acts ---

    def act(self, act: Act) -> None:
        if isinstance(act, Step):
            self._step(act.bars)
        elif isinstance(act, Place):
            self._requests[act.order] = request = self._request(act)
            self._send("place_order", act.order, **request)
        elif isinstance(act, Again):
            self._send("place_order", act.order, **self._requests[act.order])
        elif isinstance(act, Batch):
            self._batch(act)
        elif isinstance(act, Amend):
            changes = {"qty": act.qty, "price": act.limit, "triggerPrice": act.stop}
            given = {name: value for name, value in changes.items() if value is not None}
            self._send("amend_order", act.order, **self._place_of, **self._id_of(act.order), **given)
        elif isinstance(act, Cancel):
            self._send("cancel_order", act.order, **self._place_of, **self._id_of(act.order))
        elif isinstance(act, CancelAll):
            self._pybit.call("cancel_all_orders", **self._place_of)
        elif isinstance(act, SetExits):
            self._set_exits(act.exits)

    def _step(self, bars: int) -> None:
        answer = self._sandbox.step(bars)
        self._bars += bars
        made = next(iter(answer["private_frames"].values()))
        until(lambda: self._pybit.frames == made, "the private stream")
        until(lambda: len(self._closes()) == self._bars, "the candles")

    def _send(self, method: str, order: str, **params: Any) -> None:
        try:
            if self.by_trade_stream:
                answer = self._pybit.trade(method, **params)
                if answer["retCode"]:
                    raise RequestRefused(answer["retCode"], answer["retMsg"])
            else:
                self._pybit.call(method, **params)
        except RequestRefused as error:
            self._refused.append(f"{order}: {meaning(str(error))}")

    def _batch(self, batch: Batch) -> None:
        items = [{name: value for name, value in self._request(place).items() if name != "category"} for place in batch.orders]
        category = self._account.category
        if self.by_trade_stream:
            answer = self._pybit.trade("place_batch_order", category=category, request=items)
        else:
            answer = self._pybit.http.place_batch_order(category=category, request=items)
        for place, fate in zip(batch.orders, answer["retExtInfo"]["list"], strict=True):
            if fate["code"]:
                reason = meaning(f"{fate['code']} {fate['msg']}")
                self._refused.append(f"{place.order}: {reason}")

    def _set_exits(self, exits: Exits) -> None:
        given = {"takeProfit": exits.take_profit, "stopLoss": exits.stop_loss, "trailingStop": exits.trailing}
        body = {name: value or "0" for name, value in given.items()}
        if exits.activation is not None:
            body["activePrice"] = exits.activation
        try:
            self._pybit.call("set_trading_stop", **self._place_of, positionIdx=0, tpslMode=exits.mode.capitalize(), **body)
        except RequestRefused as error:
            self._refused.append(f"exits: {meaning(str(error))}")

    def _request(self, place: Place) -> dict[str, Any]:
        body: dict[str, Any] = {
            "category": self._account.category, "symbol": place.symbol, "side": place.side.capitalize(), "qty": place.qty,
            "orderType": "Market" if place.limit is None else "Limit", "timeInForce": _TIF.get(place.tif, place.tif),
            "orderLinkId": place.order,
        }  # fmt: skip
        if place.limit is not None:
            body["price"] = place.limit
        if place.reduce_only:
            body["reduceOnly"] = True
        if self._account.category == "spot" and place.limit is None:
            body["marketUnit"] = "baseCoin"
        if place.stop is not None:
            body["triggerPrice"] = place.stop
            if self._account.category == "linear":
                body["triggerDirection"] = 1 if float(place.stop) > self._last[self._bars] else 2
            else:
                body["orderFilter"] = "StopOrder"
        return body | (_exits_of(place.exits) if place.exits is not None else {})

    def _id_of(self, order: str) -> dict[str, str]:
        """Our own id, or for an exit the exchange's."""
        own = next((order_id for order_id, name in self._names().items() if name == order), None)
        return {"orderId": own} if own is not None and order not in self._requests else {"orderLinkId": order}

    # --- what is seen ---

    def look(self) -> Seen:
        names, last = self._names(), {row["orderId"]: row for row in self._pybit.of("order")}
        self._check_lists(last)
        self._hear_refusals(last)
        taken = {names[order_id]: f"{_state(row)} {plain(row['cumExecQty'])}" for order_id, row in last.items() if order_id in names}
        opened = self._pybit.call("get_open_orders", **self._place_of, limit=50)["list"]
        return Seen(
            fills=[self._fill(row, names) for row in self._pybit.of("execution") if row["execType"] != "Funding"],
            orders={name: text for name, text in taken.items() if not text.startswith("rejected ")},
            lives=self._lives(names),
            open=sorted(_open(names[row["orderId"]], row) for row in opened),
            position=self._position(),
            balance=self._wallet("USDT"),
            funding=[plain(row["execFee"]) for row in self._pybit.of("execution", execType="Funding")],
            refused=list(self._refused),
            closes=self._closes(),
        )

    def _names(self) -> dict[str, str]:
        """Order id -> name, for orders of ours and for those that the exchange made out of their exits."""
        names: dict[str, str] = {}
        for row in self._pybit.of("order"):
            if row["orderId"] in names or row["createType"].startswith("CreateByTakeOver"):
                continue
            role = _ROLES.get(row["stopOrderType"].removeprefix("Partial"))
            name = f"{row['parentOrderLinkId']}-{role}" if role else row["orderLinkId"]
            same = sum(1 for known in names.values() if known.rstrip("0123456789") == name) if role else 0
            names[row["orderId"]] = f"{name}{same + 1}" if same else name
        return names

    def _lives(self, names: dict[str, str]) -> dict[str, str]:
        lives: dict[str, list[str]] = {}
        for row in self._pybit.of("order"):
            if row["orderId"] in names:
                lives.setdefault(names[row["orderId"]], []).append(_state(row))
        return {name: life_text(states) for name, states in lives.items() if states[-1] != "rejected"}

    def _check_lists(self, last: dict[str, dict[str, Any]]) -> None:
        """REST says of every order and execution what the stream has said."""
        rows = self._pybit.call("get_order_history", **self._place_of, limit=50)["list"]
        rows += self._pybit.call("get_open_orders", **self._place_of, limit=50)["list"]
        for row in rows:
            if row["orderId"] in last:
                told = last[row["orderId"]]
                assert (_state(row), row["cumExecQty"]) == (_state(told), told["cumExecQty"])
        listed = self._pybit.call("get_executions", **self._place_of, limit=100)["list"]
        assert {row["execId"] for row in listed} == {row["execId"] for row in self._pybit.of("execution")}

    def _hear_refusals(self, last: dict[str, dict[str, Any]]) -> None:
        for order_id, row in last.items():
            is_no = row["orderStatus"] == "Rejected" or row["rejectReason"] in _NOBODY_ASKED
            if is_no and order_id not in self._told:
                self._told.add(order_id)
                reason = why(self._sandbox, row["orderLinkId"], row["rejectReason"])
                self._refused.append(f"{row['orderLinkId']}: {meaning(reason)}")

    def _fill(self, row: dict[str, Any], names: dict[str, str]) -> str:
        name = "liquidation" if row["execType"] == "BustTrade" else names[row["orderId"]]
        coin = row["feeCurrency"]
        return fill_text(name, row["side"], row["execQty"], row["execPrice"], maker=row["isMaker"], fee=row["execFee"], coin=coin)

    def _position(self) -> str:
        if self._account.category == "spot":
            return self._wallet(SYMBOL.removesuffix("USDT"))
        row = self._pybit.call("get_positions", **self._place_of)["list"][0]
        sign = "-" if row["side"] == "Sell" else ""
        return position_text(f"{sign}{row['size']}", row["avgPrice"] or "0")

    def _wallet(self, coin: str) -> str:
        rows = self._pybit.call("get_wallet_balance", accountType="UNIFIED", coin=coin)["list"][0]["coin"]
        return plain(rows[0]["walletBalance"]) if rows else "0"

    def _closes(self) -> list[str]:
        frames = self._pybit.public[f"{self._account.category}.kline.{SYMBOL}"]
        return [plain(row["close"]) for frame in list(frames) for row in frame["data"] if row["confirm"]]

    def ask(self, question: Question) -> list[str]:
        if question == "instrument":
            return [self._terms()]
        if question == "orders":
            rows = self._pybit.call("get_order_history", **self._place_of)["list"]
            return [f"{row['orderLinkId']} {_state(row)} {plain(row['cumExecQty'])}" for row in reversed(rows)]
        if question == "funding rates":
            rows = self._pybit.call("get_funding_rate_history", **self._place_of)["list"]
            return [plain(row["fundingRate"]) for row in reversed(rows)]
        rows = self._pybit.call("get_kline", **self._place_of, interval="1", start=START, limit=1000)["list"]
        return [candle_text(row[1:6]) for row in reversed(rows)]

    def _terms(self) -> str:
        row = self._pybit.call("get_instruments_info", **self._place_of)["list"][0]
        fees = self._pybit.call("get_fee_rates", **self._place_of)["list"][0]
        lots = row["lotSizeFilter"]
        step = lots.get("qtyStep") or lots["basePrecision"]
        least = lots.get("minNotionalValue") or lots["minOrderAmt"]
        numbers = (row["priceFilter"]["tickSize"], step, lots["minOrderQty"], least, fees["takerFeeRate"], fees["makerFeeRate"])
        return " ".join(plain(number) for number in numbers)

    def close(self) -> None:
        """The sandbox's ledger says what the wallet says."""
        try:
            check_truth(self._sandbox, self._wallet("USDT"))
        finally:
            self._stack.close()


class TradeStreamPybitClient(PybitClient):
    """The same with order entry by the trade WebSocket."""

    by_trade_stream = True


def _exits_of(exits: Exits) -> dict[str, str]:
    body = {"takeProfit": exits.take_profit, "stopLoss": exits.stop_loss, "tpLimitPrice": exits.take_profit_limit}
    given = {name: value for name, value in body.items() if value is not None}
    if exits.take_profit_limit is not None:
        given["tpOrderType"] = "Limit"
    assert exits.trailing is None, "an order carries no trailing stop in Bybit's protocol"
    return given | {"tpslMode": exits.mode.capitalize()}


def _state(row: dict[str, Any]) -> str:
    status = row["orderStatus"]
    if status == "Rejected":
        return "rejected"
    if status in _OPEN:
        return _OPEN[status]
    return "expired" if row["rejectReason"] in _NOBODY_ASKED else "cancelled"


def _open(name: str, row: dict[str, Any]) -> str:
    limit = row["price"] if row["orderType"] == "Limit" else None
    return open_text(name, row["side"], row["qty"], limit, row["triggerPrice"] or None)
