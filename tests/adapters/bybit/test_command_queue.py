"""In which order commands leave: a create waits for the cancels before it, a cancel for its own order alone, and nothing waits for ever."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.execution.sending.command_queue import Command, CommandQueue, Kind, QueuedCommand
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, SubmitOrder


class Road:
    """CommandQueue whose sends end when the test says so."""

    def __init__(self, batch: int = 10) -> None:
        self.begun: list[list[str]] = []
        self.open: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.queue = CommandQueue(self.send, lambda work: self.tasks.append(asyncio.create_task(work)), lambda kind: batch, RightOfWay())

    async def send(self, kind: Kind, waiting_commands: list[QueuedCommand]) -> None:
        gate = asyncio.Event()
        self.begun.append([f"{kind}:{queued.order_key or '*'}" for queued in waiting_commands])
        self.open.append(gate)
        await gate.wait()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def create(number: int) -> SubmitOrder:
    return SubmitOrder(f"o{number}", "BTCUSDT", "BUY", "limit", 1.0, 0, 1.0)


def cancel(number: int) -> CancelOrder:
    return CancelOrder(f"o{number}", "BTCUSDT", 0)


async def test_creates_that_wait_leave_together_and_behind_the_one_under_way() -> None:
    road = Road()
    road.queue.put(create(1))
    await road.settle()
    for number in (2, 3, 4):
        road.queue.put(create(number))
    await road.settle()
    assert road.begun == [["create:o1"]]
    road.open[0].set()
    await road.settle()
    assert road.begun[1:] == [["create:o2", "create:o3", "create:o4"]]


async def test_a_cancel_passes_a_create_that_is_not_its_own() -> None:
    road = Road()
    road.queue.put(create(1))
    await road.settle()
    road.queue.put(cancel(1))
    road.queue.put(cancel(7))
    await road.settle()
    assert road.begun == [["create:o1"], ["cancel:o7"]]
    road.open[1].set()
    road.open[0].set()
    await road.settle()
    assert road.begun[2:] == [["cancel:o1"]]


async def test_a_create_waits_for_the_cancels_asked_before_it() -> None:
    road = Road()
    road.queue.put(cancel(1))
    road.queue.put(create(2))
    await road.settle()
    assert road.begun == [["cancel:o1"]]
    road.open[0].set()
    await road.settle()
    assert road.begun[1:] == [["create:o2"]]


async def test_cancel_all_waits_for_everything_before_it() -> None:
    road = Road()
    road.queue.put(create(1))
    road.queue.put(CancelAll(0))
    await road.settle()
    assert road.begun == [["create:o1"]]
    road.open[0].set()
    await road.settle()
    assert road.begun[1:] == [["cancel_all:*"]]


async def test_an_error_of_ours_lets_nobody_wait() -> None:
    class Broken(Road):
        async def send(self, kind: Kind, waiting_commands: list[QueuedCommand]) -> None:
            raise RuntimeError("ours")

    road = Broken()
    road.queue.put(create(1))
    await road.settle()
    assert isinstance(road.tasks[0].exception(), RuntimeError)
    await asyncio.wait_for(road.queue.idle(), 1)


@given(st.lists(st.tuples(st.sampled_from(["create", "amend", "cancel", "cancel_all"]), st.integers(0, 3)), max_size=30), st.integers(1, 4))
def test_everything_is_answered_and_one_order_s_commands_keep_their_order(asked: list[tuple[str, int]], batch: int) -> None:
    begun: list[Command] = []

    async def run() -> None:
        async def send(kind: Kind, waiting_commands: list[QueuedCommand]) -> None:
            begun.extend(queued.command for queued in waiting_commands)
            await asyncio.sleep(0)

        tasks: list[asyncio.Task[None]] = []
        queue = CommandQueue(send, lambda work: tasks.append(asyncio.create_task(work)), lambda kind: batch, RightOfWay())
        for number, (kind, order) in enumerate(asked):
            name = f"o{order}"
            queue.put({
                "create": SubmitOrder(name, "BTCUSDT", "BUY", "limit", 1.0, number, 1.0), "amend": AmendOrder(name, "BTCUSDT", number),
                "cancel": CancelOrder(name, "BTCUSDT", number), "cancel_all": CancelAll(number),
            }[kind])  # fmt: skip
            if number % 3 == 0:
                await asyncio.sleep(0)
        await asyncio.wait_for(queue.idle(), 5)
        assert queue.pending == 0
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sorted(command.ts for command in begun) == list(range(len(asked)))
    for order in range(4):
        own = [c for c in begun if not isinstance(c, CancelAll) and c.client_order_id == f"o{order}"]
        first = [command.ts for command in own if not isinstance(command, CancelOrder)]
        assert first == sorted(first)
        for at, command in enumerate(own):
            if isinstance(command, CancelOrder):
                assert not [other for other in own[at + 1 :] if other.ts < command.ts and not isinstance(other, CancelOrder)]
