"""Where a request goes by its method and path: to a socket, to the admin endpoints, or through the middleware of REST.

The server is aiohttp's low-level one. An ``Application`` would look for a route in its tables and wrap each request for middlewares and
signals, of which there are none here: a seventh of what a bare answer costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import HttpVersion11, web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

PUBLIC: Final = "/v5/public"
"""Before the category, in the path of a public socket."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a request's body; a larger one is answered with 413."""


def serve_by_path(own: Mapping[tuple[str, str], Handler], public: Handler, rest: Handler) -> web.Server:
    """A server whose requests go to ``own`` by (method, path), to ``public`` for a GET of /v5/public/ and a category, and else to ``rest``.
    A HEAD goes where a GET does."""
    handlers = {**own, **{("HEAD", path): handler for (method, path), handler in own.items() if method == "GET"}}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await _let_body_come(request)
        path = request.path
        handler = handlers.get((request.method, path))
        if handler is None:
            room, _, category = path.rpartition("/")
            is_public = room == PUBLIC and category and request.method in ("GET", "HEAD")
            handler = public if is_public else rest
        return await handler(request)

    loop = asyncio.get_running_loop()

    def request_of(message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MOST_BYTES)

    return web.Server(answer, request_factory=request_of, access_log=None)


async def body_of(request: web.BaseRequest) -> bytes:
    """The whole body. One that has come with its head, as small ones do, need not be waited for."""
    content = request.content
    return content.read_nowait() if content.is_eof() else await request.read()


async def _let_body_come(request: web.BaseRequest) -> None:
    """A client that asks before it sends its body is told to go on; raises HTTPExpectationFailed for anything else that it expects."""
    expected = request.headers["Expect"]
    if request.version != HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected}")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
