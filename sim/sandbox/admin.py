"""The admin endpoints: steps, faults, what happens to an account, the truth, the end. For this machine (``http/guard.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from keel.core.errors import ConfigError
from keel.sim.sandbox.account.oracle import truth
from keel.sim.sandbox.account.out_of_band import change
from keel.sim.sandbox.http.guard import BodyRefused, Guard, body_of
from keel.sim.sandbox.http.routing import Handler

if TYPE_CHECKING:
    from keel.sim.sandbox.server import SandboxServer

MAX_STEP: Final = 1_000_000


class Admin:
    """Of one server."""

    def __init__(self, server: SandboxServer) -> None:
        self._server = server
        self.guard = Guard(asyncio.get_running_loop().time)

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Its endpoints by method and path."""
        return {
            ("GET", "/admin/about"): self._about,
            ("POST", "/admin/step"): self._step,
            ("POST", "/admin/faults"): self._put_faults,
            ("GET", "/admin/faults"): self._show_faults,
            ("POST", "/admin/account"): self._account,
            ("GET", "/admin/truth"): self._truth,
            ("GET", "/admin/wire"): self._wire,
            ("POST", "/admin/stop"): self._stop,
        }

    async def _about(self, request: web.BaseRequest) -> web.Response:
        """What a client has to know of this sandbox that the exchange has not: how its market moves, and which one it is."""
        refusal = await self.guard.refusal(request)
        if refusal is not None:
            return refusal
        engine, settings = self._server.engine, self._server.settings
        return web.json_response({
            "instance": self._server.instance, "profile": settings.profile, "pace": settings.pace, "factor": settings.factor,
            "is_now": engine.feed.is_now and settings.pace == "real" and settings.factor == 1.0, "bar_ms": engine.feed.duration_ms,
            "market_time": engine.now_ms, "bars_left": engine.feed.bars_left(),
            "is_synthetic": engine.feed.is_synthetic, "has_ended": engine.has_ended, "played_to": engine.played_to,
            "refused": self.guard.refused,
        })  # fmt: skip

    async def _step(self, request: web.BaseRequest) -> web.Response:
        """``{"bars": n}``: so many bars, in lock-step only."""
        refusal = await self.guard.refusal(request)
        if refusal is not None:
            return refusal
        if self._server.settings.pace != "lockstep":
            return _admin_error("the market moves by itself; start with --speed lockstep")
        try:
            body = await body_of(request)
        except BodyRefused as error:
            return await self.guard.refuse(error.why, status=error.status)
        given = _object(body)
        bars = given.get("bars", 1) if given is not None else None
        if not isinstance(bars, int) or isinstance(bars, bool) or not 1 <= bars <= MAX_STEP:
            return _admin_error(f'give {{"bars": n}} with n from 1 to {MAX_STEP}')
        done = await self._server.step(bars)
        engine, frames = self._server.engine, self._server.private.frames
        return web.json_response({
            "bars": done, "bars_left": engine.feed.bars_left(), "market_time": engine.now_ms,
            "private_frames": {key: frames.get(account.uid, 0) for key, account in engine.accounts.items()},
        })  # fmt: skip

    async def _put_faults(self, request: web.BaseRequest) -> web.Response:
        refusal = await self._do(request, lambda body: self._server.put_faults(body, request.remote or ""))
        return refusal or web.json_response({"rules": self._server.faults.state()})

    async def _account(self, request: web.BaseRequest) -> web.Response:
        """What happens to an account without a request of its own (``keel.sim.sandbox.account.out_of_band``)."""
        refusal = await self._do(request, lambda body: change(self._server.engine, body))
        if refusal is not None:
            return refusal
        self._server.flush()
        return web.json_response({"market_time": self._server.engine.now_ms})

    async def _do(self, request: web.BaseRequest, what: Callable[[bytes], object]) -> web.Response | None:
        """Do what the body of a request says; the answer to one that may not, or cannot be done."""
        refusal = await self.guard.refusal(request)
        if refusal is not None:
            return refusal
        try:
            body = await body_of(request)
        except BodyRefused as error:
            return await self.guard.refuse(error.why, status=error.status)
        try:
            what(body)
        except ConfigError as error:
            return _admin_error(str(error))
        return None

    async def _show_faults(self, request: web.BaseRequest) -> web.Response:
        return await self.guard.refusal(request) or web.json_response({"rules": self._server.faults.state()})

    async def _truth(self, request: web.BaseRequest) -> web.Response:
        refusal = await self.guard.refusal(request)
        if refusal is not None:
            return refusal
        known = truth(self._server.engine, self._server.private.frames)
        return web.Response(body=msgspec.json.encode(known), content_type="application/json")

    async def _wire(self, request: web.BaseRequest) -> web.Response:
        """What came in: requests as they were sent, and connections."""
        return await self.guard.refusal(request) or web.json_response(self._server.wire.state())

    async def _stop(self, request: web.BaseRequest) -> web.Response:
        refusal = await self.guard.refusal(request)
        if refusal is not None:
            return refusal
        asyncio.get_running_loop().call_soon(self._server.request_stop)
        return web.json_response({"stopping": True})


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _admin_error(text: str) -> web.Response:
    return web.json_response({"error": text}, status=400)
