"""The network in memory carries what aiohttp says as a machine's sockets do: in order, whole, and it ends as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from io import BytesIO

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.virtual.loop import run_virtual

Work = Callable[[aiohttp.ClientSession, str], Awaitable[object]]


async def served(work: Work) -> object:
    """A server that echoes, says its caller, hangs, cuts; and the work over it."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"caller": request.remote or ""})

    async def hangs(request: web.Request) -> web.Response:
        await asyncio.sleep(3_600)
        return web.Response()

    async def cuts(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def socket(request: web.Request) -> web.WebSocketResponse:
        made = web.WebSocketResponse(max_msg_size=8 << 20)
        await made.prepare(request)
        async for message in made:
            if message.data == "close":
                await made.close(code=4_001)
            elif message.data == "cut":
                assert request.transport is not None
                request.transport.abort()
            else:
                await made.send_str(message.data)
        return made

    app = web.Application(client_max_size=16 << 20)
    for path, handler in {"/echo": echo, "/hangs": hangs, "/cuts": cuts, "/socket": socket}.items():
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            return await work(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def test_bodies_of_every_size_come_whole() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for size in (0, 1, 1_000, 70_000, 5_000_000):
            body = bytes(number % 251 for number in range(1_000)) * (size // 1_000 + 1)
            async with session.post(f"{url}/echo", data=BytesIO(body[:size])) as answer:
                assert sha256(await answer.read()).digest() == sha256(body[:size]).digest()
                assert answer.headers["caller"] == "127.0.0.1"

    run_virtual(served(work))


def test_many_at_once_do_not_mix() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async def one(number: int) -> None:
            async with session.post(f"{url}/echo", data=str(number)) as answer:
                assert await answer.text() == str(number)

        await asyncio.gather(*map(one, range(300)))

    run_virtual(served(work))


def test_frames_come_in_order_until_the_other_side_closes() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(f"{url}/socket", max_msg_size=8 << 20) as socket:
            texts = [*map(str, range(500)), "x" * 3_000_000]
            for text in texts:
                await socket.send_str(text)
            assert [(await socket.receive()).data for _ in texts] == texts
            await socket.send_str("close")
            assert (await socket.receive()).type is WSMsgType.CLOSE and socket.close_code == 4_001

    run_virtual(served(work))


def test_a_line_that_is_cut_ends_without_a_word() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(f"{url}/cuts")
        async with session.ws_connect(f"{url}/socket") as socket:
            await socket.send_str("cut")
            assert (await socket.receive()).type is WSMsgType.CLOSED and socket.close_code == 1_006

    run_virtual(served(work))


def test_a_request_times_out_in_virtual_seconds() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            await session.get(f"{url}/hangs", timeout=aiohttp.ClientTimeout(total=20))
        assert 20.0 <= loop.time() - began < 22.0

    run_virtual(served(work))


def test_where_nobody_listens_nobody_answers() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(aiohttp.ClientConnectorError, match="nobody listens"):
            await session.get("http://127.0.0.1:9/")

    run_virtual(served(work))


def test_what_overtakes_what_is_the_seed_s() -> None:
    async def work(session: aiohttp.ClientSession, url: str) -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            async with session.post(f"{url}/echo", data=str(number)) as answer:
                order.append(int(await answer.text()))

        await asyncio.gather(*map(one, range(30)))
        return order

    first = run_virtual(served(work), seed=1)
    assert first == run_virtual(served(work), seed=1) and first != run_virtual(served(work), seed=2)
    assert isinstance(first, list) and sorted(first) == [*range(30)] != first
