"""Neither a request nor the handshake of a stream is led to another host."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from keel.adapters.bybit.transport.redirects import RedirectedError, refuse_redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    async def work() -> list[str]:
        came: list[str] = []

        async def elsewhere(request: web.Request) -> web.Response:
            came.append(request.path)
            return web.Response()

        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{ports[1]}/stolen"})

        ports: list[int] = []
        runners = []
        for handler in (answer, elsewhere):
            app = web.Application()
            app.router.add_route("*", "/{any:.*}", handler)
            runners.append(web.AppRunner(app))
            await runners[-1].setup()
            await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
            ports.append(runners[-1].addresses[0][1])
        async with aiohttp.ClientSession() as session:
            refuse_redirects(session)
            refuse_redirects(session)
            assert len(session.trace_configs) == 1
            url = f"http://127.0.0.1:{ports[0]}/v5/private"
            with pytest.raises(RedirectedError, match="not followed"):
                await session.ws_connect(url)
            with pytest.raises(RedirectedError, match="stolen"):
                await session.get(url)
        for runner in runners:
            await runner.cleanup()
        return came

    assert asyncio.run(work()) == []
