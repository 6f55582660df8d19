"""Who may use the admin endpoints: this machine, by its own name, and no page in a browser that somebody else has written.

A page elsewhere can make a browser of this machine send requests here (its ``Origin`` tells), and can have a name of its own resolved to
this machine (the ``Host`` tells). What is refused is counted; one that is refused again and again is answered later and later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

LOOPBACK: Final = ("127.0.0.1", "::1")
NAMES: Final = ("127.0.0.1", "localhost", "::1")
MOST_BYTES: Final = 1 << 20
DEEPEST: Final = 64
_FREE: Final = 3
"""So many refusals within a minute are answered at once."""
_LONGEST_S: Final = 2.0
_MINUTE_S: Final = 60.0


class Guard:
    """Looks at each admin request. now_s: a monotonic clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._recent: list[float] = []
        self.refused = 0
        """Requests so far that were not let in."""

    async def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why a request is not let in, as its answer; None when it is."""
        why = _reason(request)
        if not why:
            return None
        return await self.refuse(why, status=403)

    async def refuse(self, why: str, *, status: int) -> web.Response:
        """Count a refusal, and answer it: at once, or later where there were some within the last minute."""
        now = self._now_s()
        self.refused += 1
        self._recent = [*(at for at in self._recent if now - at < _MINUTE_S), now][-100:]
        over = len(self._recent) - _FREE
        if over > 0:
            await asyncio.sleep(min(_LONGEST_S, 0.05 * 2 ** min(over, 10)))
        return web.json_response({"error": why}, status=status)


class BodyRefused(Exception):
    """Why a body is not read, and the HTTP status that says so."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.why, self.status = why, status


async def body_of(request: web.BaseRequest) -> bytes:
    """The request's body. Raises BodyRefused for one that is too large (413), or nested too deeply to be meant (400)."""
    too_large = BodyRefused(f"the body is larger than {MOST_BYTES} bytes", 413)
    if (request.content_length or 0) > MOST_BYTES:
        raise too_large
    raw = b""
    async for chunk in request.content.iter_chunked(1 << 16):
        raw += chunk
        if len(raw) > MOST_BYTES:
            raise too_large
    if depth(raw) > DEEPEST:
        raise BodyRefused(f"the body is nested more than {DEEPEST} deep", 400)
    return raw


def depth(raw: bytes) -> int:
    """How deeply lists and objects of a JSON text are nested; brackets inside of texts do not count."""
    deepest = level = 0
    in_text = is_escaped = False
    for letter in raw:
        if in_text:
            in_text = is_escaped or letter != 0x22
            is_escaped = not is_escaped and letter == 0x5C
        elif letter == 0x22:
            in_text = True
        elif letter in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif letter in b"]}":
            level -= 1
    return deepest


def _reason(request: web.BaseRequest) -> str:
    if request.remote not in LOOPBACK:
        return "admin endpoints are for this machine only"
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if not _is_ours(f"http://{host}", request):
        return f"admin endpoints answer to 127.0.0.1 and localhost by their own port, not to the host {host[:100]!r}"
    if origin is not None and not _is_ours(origin, request):
        return f"admin endpoints take no requests from pages elsewhere (origin {origin[:100]!r})"
    return ""


def _is_ours(url: str, request: web.BaseRequest) -> bool:
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        return False
    own = request.transport.get_extra_info("sockname")[1] if request.transport is not None else None
    return found.scheme == "http" and found.hostname in NAMES and port == own and found.path in ("", "/")
