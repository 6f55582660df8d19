"""The door of REST: what a request must pass before it is applied, and what the faults leave of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from keel.core.errors import InvariantError
from keel.sim.sandbox.account import Account
from keel.sim.sandbox.auth import authenticate
from keel.sim.sandbox.connection import Server
from keel.sim.sandbox.errors import NOT_ON_DEMO, ApiError
from keel.sim.sandbox.faults import AT_ONCE, Action, Event, Faults, When, patched
from keel.sim.sandbox.gateway import Gateway
from keel.sim.sandbox.params import Params
from keel.sim.sandbox.routes import NOT_SIMULATED, ROUTES
from keel.sim.sandbox.wire_log import WireLog

_FOREVER_S: Final = 3600.0
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}


class RestDoor:
    """``flush`` sends what a request has caused in private, before its answer or after it."""

    def __init__(self, gateway: Gateway, faults: Faults, server: Server, flush: Callable[[], Awaitable[None]], wire: WireLog) -> None:
        self._gateway, self._faults, self._server, self._flush, self._wire = gateway, faults, server, flush, wire

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request: in through the faults, through signature and budget to its handler, and out through the faults."""
        address = request.remote or ""
        body = await request.read() if request.body_exists else b""
        self._note(request, body)
        if self._gateway.budgets.is_banned(address, self._gateway.wall_ms()):
            return web.Response(status=403, text="access too frequent")
        if request.method == "GET" and body:
            return web.Response(status=403, text="GET with a body")
        params = _params(request, body)
        before = self._fired(request, params, "before_apply")
        answer = await self._misbehave_before(request, before)
        if answer is not None:
            return answer
        times = 1 + sum(action.n or 1 for action in before if action.kind == "dup")
        try:
            envelope, headers = self._apply(request, params, body)
            for _ in range(times - 1):
                self._apply(request, params, body)
        except InvariantError as error:
            self._server.fail(error)
            raise
        response = await self._misbehave_after(request, params, envelope, headers)
        await self._flush()
        return response

    def _note(self, request: web.Request, body: bytes) -> None:
        sent = request.rel_url.raw_query_string if request.method == "GET" else body.decode("utf-8", "replace")
        key = request.headers.get("X-BAPI-API-KEY", "")
        self._wire.request(self._gateway.wall_ms(), key, request.method, request.path, sent)

    def _apply(self, request: web.Request, params: Params | None, body: bytes) -> tuple[dict[str, Any], dict[str, str]]:
        route = ROUTES.get((request.method, request.path))
        gateway = self._gateway
        if route is None and request.path in NOT_SIMULATED and gateway.engine.settings.profile == "demo":
            return gateway.refused(ApiError(*NOT_ON_DEMO)), {}
        if route is None:
            return gateway.refused(ApiError(10017, "request path not found or request method is invalid", status=404)), {"_status": "404"}
        if params is None:
            return gateway.refused(ApiError(10001, "Invalid request body")), {"_status": "400"}  # ASSUMED words
        account: Account | None = None
        if route.needs_key:
            payload = request.rel_url.raw_query_string if request.method == "GET" else body.decode("utf-8", "replace")
            try:
                account = authenticate(request.headers, payload, self._gateway.engine.accounts, gateway.wall_ms())
            except ApiError as error:
                return gateway.refused(error), {}
        return gateway.apply(route, request.path, params, account)

    def _fired(self, request: web.Request, params: Params | None, when: When) -> list[Action]:
        if self._faults.is_quiet:
            return []
        given = params or {}
        key = request.headers.get("X-BAPI-API-KEY", "")
        account = self._gateway.engine.accounts.get(key)
        state = ""
        if account is not None:
            record = account.by_order_id.get(str(given.get("orderId", ""))) or account.by_link_id.get(
                (str(given.get("category", "")), str(given.get("orderLinkId", "")))
            )
            state = record.status if record is not None else ""
        symbol = str(given.get("symbol", ""))
        return self._faults.fire(Event(side="http", name=request.path, when=when, symbol=symbol, account=key, state=state))

    async def _misbehave_before(self, request: web.Request, actions: list[Action]) -> web.StreamResponse | None:
        """What keeps a request from being applied; None lets it through."""
        for action in actions:
            if action.kind == "delay":
                await asyncio.sleep((action.ms or 0) / 1000)
            elif action.kind == "dup":
                continue
            elif action.kind == "error":
                return self._error_response(action)
            elif action.kind in AT_ONCE:
                self._server.act(action, request.remote or "")
                if action.kind == "ban":
                    return web.Response(status=403, text="access too frequent")
            elif action.kind == "freeze":
                await asyncio.sleep(_FOREVER_S)
            else:
                return _cut(request)
        return None

    async def _misbehave_after(
        self, request: web.Request, params: Params | None, envelope: dict[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        """The answer of a request that was applied, as the rules leave it."""
        status = int(headers.pop("_status", "200"))
        cut: int | None = None
        for action in self._fired(request, params, "after_apply"):
            kind = action.kind
            if kind == "delay":
                await asyncio.sleep((action.ms or 0) / 1000)
            elif kind == "error":
                return self._error_response(action)
            elif kind == "mutate":
                envelope = patched(envelope, action.patch or ())
            elif kind == "truncate":
                cut = action.bytes or 0
            elif kind in AT_ONCE:
                self._server.act(action, request.remote or "")
            elif kind == "freeze":
                await asyncio.sleep(_FOREVER_S)
            elif kind in ("drop", "abort"):
                await self._flush()
                return _cut(request)
        body = msgspec.json.encode(envelope)
        return web.Response(status=status, body=body if cut is None else body[:cut], headers={**headers, **_JSON})

    def _error_response(self, action: Action) -> web.Response:
        now = self._gateway.wall_ms()
        resets = {"future": now + 1000, "past": now - 1000}
        headers = {} if action.reset in (None, "absent") else {"X-Bapi-Limit-Reset-Timestamp": str(resets[action.reset])}
        if action.ret_code is None:
            return web.Response(status=action.http or 503, text=action.ret_msg or "Service Unavailable", headers=headers)
        envelope = self._gateway.envelope(action.ret_code, action.ret_msg or "sandbox fault", {})
        return web.Response(
            status=action.http or 200, body=msgspec.json.encode(envelope), headers=headers, content_type="application/json", charset="utf-8"
        )


def _params(request: web.Request, body: bytes) -> Params | None:
    """Query or JSON body; None for a body that is no JSON object."""
    if request.method == "GET":
        return dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
    try:
        decoded = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _cut(request: web.Request) -> web.Response:
    """No answer: the line is cut."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
