"""The three WebSocket channels: their control frames, dialects and exact words ("Connect", "Websocket Trade Guideline")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.faults import Action
from keel.sim.sandbox.http.auth import check_socket, check_time
from keel.sim.sandbox.http.errors import ApiError, is_count
from keel.sim.sandbox.http.gateway import Gateway
from keel.sim.sandbox.http.routes import ROUTES, TRADE_OPS
from keel.sim.sandbox.wire_log import WireLog
from keel.sim.sandbox.ws.private_hub import CATEGORISED, PLAIN, PrivateHub
from keel.sim.sandbox.ws.public_hub import PublicHub
from keel.sim.sandbox.ws.push_order import Races
from keel.sim.sandbox.ws.websocket import WebSocketConnection

MAX_ARGS_TEXT: Final = 21_000
SPOT_ARGS: Final = 10
TRADE_FRAMES: Final = 3000
"""Requests of an address within a second."""
_MISSING: Final = object()


class PublicChannel:
    """Answers control frames of a public socket."""

    def __init__(self, category: str, hub: PublicHub, ack_ms: int) -> None:
        self._category, self._hub, self._ack_s = category, hub, ack_ms / 1000

    async def on_text(self, connection: WebSocketConnection, text: str) -> None:
        """One frame of the client."""
        frame = _understood(connection, text)
        if frame is None:
            return
        op = str(frame.get("op", ""))
        actions = connection.before(f"op:{op}", "")
        if not await connection.is_let_through(actions):
            return
        if op == "ping":
            connection.last_ping = connection.now()
            is_option = self._category == "option"
            pong = {"args": [str(self._hub.now_ms())], "op": "pong"} if is_option else self._reply(connection, frame, True, "pong", "ping")
            connection.send(pong, "op:ping", is_pong=True)
        elif op in ("subscribe", "unsubscribe"):
            await asyncio.sleep(self._ack_s)
            self._subscribe(connection, frame, op)
        else:
            connection.send(self._reply(connection, frame, False, "error:invalid op", op), f"op:{op}")

    def _reply(self, connection: WebSocketConnection, frame: dict[str, Any], success: bool, text: str, op: str) -> dict[str, Any]:
        return {"success": success, "ret_msg": text, "conn_id": connection.conn_id, "req_id": frame.get("req_id", ""), "op": op}

    def _subscribe(self, connection: WebSocketConnection, frame: dict[str, Any], op: str) -> None:
        """One answer per request; topics before the first bad one are taken."""
        topics = frame.get("args")
        refusal = self._bad_args(topics)
        taken: list[tuple[Any, str]] = []
        for topic in topics if isinstance(topics, list) and not refusal else []:
            market = self._hub.market_of(self._category, topic) if isinstance(topic, str) else None
            if market is None:
                refusal = f"error:handler not found,topic:{topic}"
            elif op == "subscribe" and (topic in connection.topics or topic in [name for _, name in taken]):
                refusal = f"error:already subscribed,topic:{topic}"
            if refusal:
                break
            taken.append((market, topic))
        good = "subscribe" if self._category == "spot" and op == "subscribe" else ""
        connection.send(self._reply(connection, frame, not refusal, refusal or good, op), f"op:{op}")
        for market, topic in taken:
            if op == "subscribe":
                self._hub.add(connection, market, topic)
            else:
                self._hub.remove(connection, topic)

    def _bad_args(self, topics: Any) -> str:
        if not isinstance(topics, list) or not topics:
            return "error:request is invalid"  # ASSUMED words
        if self._category == "spot" and len(topics) > SPOT_ARGS:
            return "args size >10"
        if len(msgspec.json.encode(topics)) > MAX_ARGS_TEXT:
            return f"args size >{MAX_ARGS_TEXT}"  # ASSUMED words
        return ""


class PrivateChannel:
    """Answers control frames of a private socket."""

    def __init__(self, gateway: Gateway, hub: PrivateHub) -> None:
        self._gateway, self._hub = gateway, hub

    async def on_text(self, connection: WebSocketConnection, text: str) -> None:
        """One frame of the client."""
        frame = _understood(connection, text)
        if frame is None:
            return
        op = str(frame.get("op", ""))
        if not await connection.is_let_through(connection.before(f"op:{op}", "")):
            return
        if op == "ping":
            connection.last_ping = connection.now()
            pong = {"op": "pong", "args": [str(self._gateway.wall_ms())], "conn_id": connection.conn_id}
            connection.send(_with_id(frame, pong), "op:ping", is_pong=True)
        elif op == "auth":
            self._auth(connection, frame)
        elif op in ("subscribe", "unsubscribe"):
            await asyncio.sleep(self._gateway.engine.settings.ack_ms / 1000)
            self._subscribe(connection, frame, op)
        else:
            self._reply(connection, frame, False, "error:invalid op", op)

    def _reply(self, connection: WebSocketConnection, frame: dict[str, Any], success: bool, text: str, op: str) -> None:
        answer = {"success": success, "ret_msg": text, "op": op, "conn_id": connection.conn_id}
        connection.send(_with_id(frame, answer), f"op:{op}")

    def _auth(self, connection: WebSocketConnection, frame: dict[str, Any]) -> None:
        try:
            account = check_socket(frame.get("args"), self._gateway.engine.accounts, self._gateway.wall_ms())
        except ApiError as error:
            self._reply(connection, frame, False, error.text, "auth")
            return
        answer = {"success": True, "ret_msg": "", "op": "auth", "conn_id": connection.conn_id}
        is_new = connection.account is None
        connection.account = account
        if is_new:
            self._hub.add(connection, account)
        connection.send(_with_id(frame, answer), "op:auth")

    def _subscribe(self, connection: WebSocketConnection, frame: dict[str, Any], op: str) -> None:
        topics = frame.get("args")
        refusal = ""
        if not isinstance(topics, list) or not topics:
            refusal = "error:request is invalid"  # ASSUMED words
        elif connection.account is None:
            refusal = "Request not authorized"  # ASSUMED words
        elif {topic in PLAIN for topic in topics if topic in PLAIN or topic in CATEGORISED} == {True, False}:
            refusal = "error:all-in-one and categorised topics must not be mixed"  # ASSUMED words
        else:
            is_demo = self._gateway.engine.settings.profile == "demo"
            for topic in topics:
                is_missing = is_demo and str(topic).startswith("execution.fast")  # not among the topics that demo is listed with
                if is_missing or (topic not in PLAIN and topic not in CATEGORISED):
                    refusal = f"error:handler not found,topic:{topic}"
                if refusal:
                    break
        self._reply(connection, frame, not refusal, refusal, op)
        for topic in topics if isinstance(topics, list) and not refusal else []:
            if op == "subscribe":
                connection.topics[topic] = None
            else:
                connection.topics.pop(topic, None)


class TradeChannel:
    """Order entry by WebSocket. A restart of the service refuses what comes on the sockets of before with 10019."""

    def __init__(self, gateway: Gateway, on_applied: Callable[[SimulatedAccount], None], races: Races, wire: WireLog) -> None:
        self._gateway, self._on_applied, self._races, self._wire = gateway, on_applied, races, wire

    async def on_text(self, connection: WebSocketConnection, text: str) -> None:
        """One frame of the client."""
        frame = _decode(text)
        if frame is None:
            self._answer(connection, {}, "", 10001, "Failed to decode incoming data")  # ASSUMED words
            return
        op = str(frame.get("op", ""))
        args = frame.get("args")
        params = args[0] if isinstance(args, list) and args and isinstance(args[0], dict) else {}
        is_request = op in TRADE_OPS
        if is_request:
            key = connection.account.settings.key if connection.account is not None else ""
            self._wire.request(self._gateway.wall_ms(), key, "WS", TRADE_OPS[op], msgspec.json.encode(params).decode())
        actions = connection.before(op if is_request else f"op:{op}", str(params.get("symbol", "")))
        if not await connection.is_let_through(actions):
            return
        if op == "ping":
            connection.last_ping = connection.now()
            pong = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(self._gateway.wall_ms())], "connId": connection.conn_id}
            connection.send(_with_id(frame, pong, "reqId"), "op:ping", is_pong=True)
        elif op == "auth":
            self._auth(connection, frame)
        elif is_request:
            self._request(connection, frame, op, params, actions)
        else:
            self._answer(connection, frame, op, 10404, "op type is not found")  # ASSUMED words

    def _auth(self, connection: WebSocketConnection, frame: dict[str, Any]) -> None:
        code, text = 0, "OK"
        if connection.account is not None:
            code, text = 20001, "Repeat auth"  # ASSUMED words
        else:
            try:
                connection.account = check_socket(frame.get("args"), self._gateway.engine.accounts, self._gateway.wall_ms())
            except ApiError as error:
                code, text = error.code, error.text
        answer = {"retCode": code, "retMsg": text, "op": "auth", "connId": connection.conn_id}
        connection.send(_with_id(frame, answer, "reqId"), "op:auth")

    def _request(
        self, connection: WebSocketConnection, frame: dict[str, Any], op: str, params: dict[str, Any], actions: list[Action]
    ) -> None:
        account = connection.account
        refusal = self._refusal(connection, frame)
        for action in actions:
            if action.kind == "error":
                refusal = (action.ret_code or 10016, action.ret_msg or "sandbox fault")
        if account is None or refusal is not None:
            code, text = refusal or (10005, "Permission denied")  # ASSUMED words
            self._answer(connection, frame, op, code, text)
            return
        path = TRADE_OPS[op]
        frames = self._gateway.budgets.of(0, "trade stream", connection.address, TRADE_FRAMES)
        now = self._gateway.wall_ms()
        if not frames.take(1, now):
            self._answer(connection, frame, op, 10403, "Exceed IP rate limit.")  # ASSUMED words
            return
        envelope, headers = self._gateway.apply(ROUTES["POST", path], path, params, account, now)
        answer = {
            "retCode": envelope["retCode"], "retMsg": envelope["retMsg"], "op": op, "data": envelope["result"],
            "retExtInfo": envelope["retExtInfo"], "header": headers, "connId": connection.conn_id,
        }  # fmt: skip
        symbol = str(params.get("symbol", ""))
        connection.send(_with_id(frame, answer, "reqId"), op, symbol=symbol, delay_ms=self._races.ack_ms())
        self._on_applied(account)

    def _refusal(self, connection: WebSocketConnection, frame: dict[str, Any]) -> tuple[int, str] | None:
        if connection.is_stale:
            return 10019, "trade service is restarting, please reconnect"  # ASSUMED words
        req_id = frame.get("reqId")
        if req_id is not None:
            if len(str(req_id)) > 36:
                return 10001, "reqId is too long"  # ASSUMED words
            if str(req_id) in connection.req_ids:
                return 20006, "duplicate reqId"  # ASSUMED words
            connection.req_ids.add(str(req_id))
        header = frame.get("header")
        stamp = str(header.get("X-BAPI-TIMESTAMP", "")) if isinstance(header, dict) else ""
        window = str(header.get("X-BAPI-RECV-WINDOW", "5000")) if isinstance(header, dict) else ""
        if not is_count(stamp) or not is_count(window):
            return 10001, "header X-BAPI-TIMESTAMP is required"  # ASSUMED words
        try:
            check_time(int(stamp), int(window), self._gateway.wall_ms())
        except ApiError as error:
            return error.code, error.text
        return None

    def _answer(self, connection: WebSocketConnection, frame: dict[str, Any], op: str, code: int, text: str) -> None:
        answer = {"retCode": code, "retMsg": text, "op": op, "data": {}, "retExtInfo": {}, "header": {}, "connId": connection.conn_id}
        connection.send(_with_id(frame, answer, "reqId"), op or "op:error")


def _understood(connection: WebSocketConnection, text: str) -> dict[str, Any] | None:
    """A frame of a stream's client; what is none is answered."""
    frame = _decode(text)
    if frame is None:
        answer = {"success": False, "ret_msg": f"Failed to decode incoming data:{text[:200]}", "conn_id": connection.conn_id}
        connection.send(answer, "op:error")
    return frame


def _decode(text: str) -> dict[str, Any] | None:
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None


def _with_id(frame: dict[str, Any], answer: dict[str, Any], name: str = "req_id") -> dict[str, Any]:
    """The answer with the request's id as it came (text, number, anything); none where none was sent."""
    given = frame.get(name, _MISSING)
    return answer if given is _MISSING else {name: given, **answer}
