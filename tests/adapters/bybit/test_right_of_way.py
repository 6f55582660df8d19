"""Orders go first: while a command is on its way to the socket a stream of prices hands on nothing; then all of it, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from keel.adapters.bybit.execution.sending.command_queue import CommandQueue, Kind, QueuedCommand
from keel.adapters.bybit.transport.right_of_way import PATIENCE_S, RightOfWay
from keel.adapters.bybit.transport.streams import Stream
from keel.adapters.bybit.wire import shapes as wire
from keel.core.model.messages import CancelAll, SubmitOrder
from tests.adapters.bybit.test_rest import envelope, server
from tests.virtual.loop import run_virtual

FRAMES = 50


def order(name: str, symbol: str = "BTCUSDT") -> SubmitOrder:
    return SubmitOrder(name, symbol, "BUY", "market", 1.0, 0)


async def listening(
    act: Callable[[RightOfWay, list[str], Callable[[], Any]], Any],
    on_heard: Callable[[RightOfWay, list[str]], None] = lambda right_of_way, heard: None,
) -> list[str]:
    """A stream that gives way, from a server that pushes FRAMES at once each time it is told to; returns what the stream handed on."""
    heard: list[str] = []
    sockets: list[web.WebSocketResponse] = []
    right_of_way = RightOfWay()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sockets.append(socket)
        async for message in socket:
            ask = message.json()
            await socket.send_json({"op": ask["op"], "success": True, "req_id": ask["req_id"], "ret_msg": ""})
        return socket

    async def push() -> None:
        for number in range(FRAMES):
            await sockets[0].send_json({"topic": "tickers.X", "type": "delta", "data": {"number": number}, "ts": number})
        await asyncio.sleep(0.01)

    def on_data(topic: str, frame: wire.WebSocketFrame) -> None:
        heard.append(str(frame.ts))
        on_heard(right_of_way, heard)

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 8080).start()
    async with aiohttp.ClientSession() as session:
        stream = Stream(
            "public", "http://127.0.0.1:8080/", session, ["tickers.X"], on_data, notify=lambda notice: None, gives_way_to=right_of_way
        )
        running = asyncio.create_task(stream.run())
        await stream.wait_ready()
        await act(right_of_way, heard, push)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await runner.cleanup()
    return heard


def test_prices_wait_until_nobody_goes_first_and_none_is_lost() -> None:
    async def act(right_of_way: RightOfWay, heard: list[str], push: Callable[[], Any]) -> None:
        right_of_way.take("o1")
        right_of_way.take("o2")
        await push()
        assert heard == []
        right_of_way.give_back("o1")
        await asyncio.sleep(0.01)
        assert heard == []
        right_of_way.give_back("o2")
        await asyncio.sleep(0.001)

    assert run_virtual(listening(act)) == [str(number) for number in range(FRAMES)]


def test_prices_wait_for_so_long_at_most_though_it_is_never_given_back() -> None:
    async def act(right_of_way: RightOfWay, heard: list[str], push: Callable[[], Any]) -> None:
        right_of_way.take("o1")
        await push()
        await asyncio.sleep(PATIENCE_S - 0.011)
        assert heard == []
        await asyncio.sleep(0.002)
        assert len(heard) == FRAMES and not right_of_way.is_taken

    run_virtual(listening(act))


def test_frames_that_are_in_the_buffer_wait_when_one_of_them_makes_somebody_go_first() -> None:
    """What stands behind the candle that completes an instant is heard after the instant is closed."""
    heard_by_then: list[int] = []

    def on_heard(right_of_way: RightOfWay, heard: list[str]) -> None:
        def close() -> None:
            heard_by_then.append(len(heard))
            right_of_way.give_back("instant")

        if len(heard) == 4:
            right_of_way.take("instant")
            asyncio.get_running_loop().call_soon(close)

    async def act(right_of_way: RightOfWay, heard: list[str], push: Callable[[], Any]) -> None:
        await push()

    assert len(run_virtual(listening(act, on_heard))) == FRAMES
    assert heard_by_then == [4]


def test_a_command_goes_first_from_the_moment_on_in_which_it_is_put_in_until_it_is_answered() -> None:
    async def put() -> None:
        right_of_way, answer, tasks = RightOfWay(), asyncio.Event(), list[asyncio.Task[None]]()

        async def send(kind: Kind, commands: list[QueuedCommand]) -> None:
            await answer.wait()

        queue = CommandQueue(send, lambda work: tasks.append(asyncio.create_task(work)), lambda kind: 1, right_of_way)
        queue.put(CancelAll(0))
        assert not right_of_way.is_taken, "what is no single order's may wait for many answers"
        queue.put(order("o1"))
        assert right_of_way.is_taken
        answer.set()
        await asyncio.gather(*tasks)
        assert not right_of_way.is_taken

    run_virtual(put())


async def test_it_is_told_when_the_bytes_are_written_and_not_when_they_are_answered() -> None:
    told: list[int] = []
    async with server([envelope()]) as (rest, heard):
        await rest.command("/v5/order/create", {"qty": "1"}, written=lambda: told.append(len(heard)))
        assert told == [0]
        rest.stop = lambda: "latched"
        await rest.command("/v5/order/create", {"qty": "1"}, written=lambda: told.append(len(heard)))
        assert told == [0]


def test_what_can_wait_is_done_when_nobody_goes_first_in_its_order() -> None:
    async def wait() -> list[int]:
        right_of_way, done = RightOfWay(), list[int]()
        right_of_way.then(lambda: done.append(1))
        assert done == [1]
        right_of_way.take("o1")
        for number in (2, 3):
            right_of_way.then(lambda number=number: done.append(number))  # type: ignore[misc]  # bound to each number
        await asyncio.sleep(0)
        assert done == [1]
        right_of_way.give_back("o1")
        assert done == [1], "not in the step in which an order is written"
        right_of_way.then(lambda: done.append(4))
        await asyncio.sleep(0)
        assert done == [1, 2, 3, 4]
        right_of_way.take("o2")
        right_of_way.then(lambda: done.append(5))
        await asyncio.sleep(PATIENCE_S + 0.001)
        assert done == [1, 2, 3, 4, 5], "it is never given back"
        right_of_way.take("o3")
        right_of_way.then(lambda: done.append(6))
        right_of_way.catch_up()
        return done

    assert run_virtual(wait()) == [1, 2, 3, 4, 5, 6]
