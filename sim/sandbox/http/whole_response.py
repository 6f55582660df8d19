"""An answer whose head and body are written in one go: what nearly every answer of REST is.

``web.Response`` keeps headers in a multidict, goes through them for what is still missing, and serializes them in steps of their own. Here
the same bytes are put together at once; a test holds both against each other. Whatever is not the plain case stays with ``web.Response``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

_JSON: Final = "application/json; charset=utf-8"


def json_answer(request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes) -> web.StreamResponse:
    """JSON that was encoded, with these headers before those of every answer."""
    if status == 200 and request.version == HttpVersion11 and request.keep_alive:
        return _WholeAnswer(request, headers, body)
    return web.Response(status=status, body=body, headers={**headers, "Content-Type": _JSON})


class _WholeAnswer(web.StreamResponse):
    """200 over HTTP/1.1, on a connection that stays open."""

    keep_alive = True

    def __init__(self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes) -> None:
        self._writer, self._given, self._json = request.writer, headers, body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is sent before the body is."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it."""
        given = "".join([f"{name}: {value}\r\n" for name, value in self._given.items()])
        head = (
            f"HTTP/1.1 200 OK\r\n{given}Content-Type: {_JSON}\r\nContent-Length: {len(self._json)}\r\n"
            f"Date: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        )
        await self._writer.write_eof(head.encode() + self._json)
