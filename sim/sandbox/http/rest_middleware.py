"""The middleware of REST: what a request must pass before it is applied, and what the faults leave of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from keel.core.errors import InvariantError
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.faults import AT_ONCE, Action, Event, Faults, When, patched
from keel.sim.sandbox.http.auth import authenticate
from keel.sim.sandbox.http.errors import NOT_ON_DEMO, ApiError
from keel.sim.sandbox.http.gateway import Gateway
from keel.sim.sandbox.http.parameters import Params
from keel.sim.sandbox.http.routes import NOT_SIMULATED, ROUTES
from keel.sim.sandbox.http.routing import body_of
from keel.sim.sandbox.http.whole_response import json_answer
from keel.sim.sandbox.wire_log import WireLog
from keel.sim.sandbox.ws.websocket import Server

_FOREVER_S: Final = 3600.0
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder()


class RestMiddleware:
    """``flush`` sends what a request has caused in private, before its answer or after it."""

    def __init__(self, gateway: Gateway, faults: Faults, server: Server, flush: Callable[[], Awaitable[None]], wire: WireLog) -> None:
        self._gateway, self._faults, self._server, self._flush, self._wire = gateway, faults, server, flush, wire

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request: in through the faults, through signature and budget to its handler, and out through the faults."""
        body = await body_of(request)
        gateway, is_get = self._gateway, request.method == "GET"
        sent = request.rel_url.raw_query_string if is_get else body.decode("utf-8", "replace")
        now = gateway.wall_ms()
        self._wire.request(now, request.headers.get("X-BAPI-API-KEY", ""), request.method, request.path, sent)
        if gateway.budgets.is_banned(request.remote or "", now):
            return web.Response(status=403, text="access too frequent")
        if is_get and body:
            return web.Response(status=403, text="GET with a body")
        params = dict(parse_qsl(sent, keep_blank_values=True)) if is_get else _from_json(body)
        if self._faults.is_quiet:
            envelope, headers = self._apply(request, params, sent, now)
            response = _response(request, envelope, headers)
        else:
            response = await self._answer_with_faults(request, params, sent)
        await self._flush()
        return response

    async def _answer_with_faults(self, request: web.BaseRequest, params: Params | None, sent: str) -> web.StreamResponse:
        before = self._fired(request, params, "before_apply")
        answer = await self._misbehave_before(request, before)
        if answer is not None:
            return answer
        times = 1 + sum(action.n or 1 for action in before if action.kind == "dup")
        envelope, headers = self._apply(request, params, sent, self._gateway.wall_ms())
        for _ in range(times - 1):
            self._apply(request, params, sent, self._gateway.wall_ms())
        return await self._misbehave_after(request, params, envelope, headers)

    def _apply(self, request: web.BaseRequest, params: Params | None, sent: str, now: int) -> tuple[dict[str, Any], dict[str, str]]:
        """(envelope, headers) of a request; ``sent``: its query or body, which is what was signed."""
        gateway, path = self._gateway, request.path
        route = ROUTES.get((request.method, path))
        if route is None and path in NOT_SIMULATED and gateway.engine.settings.profile == "demo":
            return gateway.refused(ApiError(*NOT_ON_DEMO), now), {}
        if route is None:
            refusal = ApiError(10017, "request path not found or request method is invalid", status=404)
            return gateway.refused(refusal, now), {"_status": "404"}
        if params is None:
            return gateway.refused(ApiError(10001, "Invalid request body"), now), {"_status": "400"}  # ASSUMED words
        account: SimulatedAccount | None = None
        if route.needs_key:
            try:
                account = authenticate(request.headers, sent, gateway.engine.accounts, now)
            except ApiError as error:
                return gateway.refused(error, now), {}
        try:
            return gateway.apply(route, path, params, account, now)
        except InvariantError as error:
            self._server.fail(error)
            raise

    def _fired(self, request: web.BaseRequest, params: Params | None, when: When) -> list[Action]:
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

    async def _misbehave_before(self, request: web.BaseRequest, actions: list[Action]) -> web.StreamResponse | None:
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
        self, request: web.BaseRequest, params: Params | None, envelope: dict[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        """The answer of a request that was applied, as the rules leave it."""
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
        return _response(request, envelope, headers, cut)

    def _error_response(self, action: Action) -> web.Response:
        now = self._gateway.wall_ms()
        resets = {"future": now + 1000, "past": now - 1000}
        headers = {} if action.reset in (None, "absent") else {"X-Bapi-Limit-Reset-Timestamp": str(resets[action.reset])}
        if action.ret_code is None:
            return web.Response(status=action.http or 503, text=action.ret_msg or "Service Unavailable", headers=headers)
        envelope = self._gateway.envelope(now, action.ret_code, action.ret_msg or "sandbox fault", {})
        return web.Response(
            status=action.http or 200, body=msgspec.json.encode(envelope), headers=headers, content_type="application/json", charset="utf-8"
        )


def _response(request: web.BaseRequest, envelope: dict[str, Any], headers: dict[str, str], cut: int | None = None) -> web.StreamResponse:
    """``cut``: after so many bytes of the body."""
    status = int(headers.pop("_status", "200"))
    return json_answer(request, status, headers, _ENCODER.encode(envelope)[:cut])


def _from_json(body: bytes) -> Params | None:
    """None for a body that is no JSON object."""
    try:
        decoded = _DECODER.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _cut(request: web.BaseRequest) -> web.Response:
    """No answer: the line is cut."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
