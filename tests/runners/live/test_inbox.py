"""One consumer hears everything, in order; others have their turns meanwhile; the end hears what is left."""

from __future__ import annotations

import asyncio

import pytest

from keel.core.errors import InvariantError
from keel.core.model.messages import MarkPrice, Message
from keel.runners.live.session.inbox import TURN_S, Inbox


def mark(number: int) -> MarkPrice:
    return MarkPrice("BTCUSDT", number, 1.0)


class Consumer:
    """Hears, and takes so long for each."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.now_s, self.takes_s = 0.0, takes_s
        self.inbox = Inbox(lambda: self.now_s)
        self.heard: list[int] = []

    async def run(self) -> None:
        async for each in self.inbox:
            assert isinstance(each, MarkPrice)
            self.heard.append(each.ts)
            self.now_s += self.takes_s


async def turns_until(done: list[int], count: int) -> int:
    turns = 0
    while len(done) < count:
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_all_that_is_here_is_heard_in_one_turn() -> None:
    consumer = Consumer()
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)
    for number in range(1_000):
        consumer.inbox.put(mark(number))
    assert consumer.heard == [] and await turns_until(consumer.heard, 1_000) <= 2
    assert consumer.heard == list(range(1_000))
    consumer.inbox.close()
    await task


async def test_what_takes_long_lets_others_have_their_turn() -> None:
    consumer = Consumer(takes_s=TURN_S / 4)
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)
    for number in range(40):
        consumer.inbox.put(mark(number))
    assert 8 <= await turns_until(consumer.heard, 40) <= 13
    consumer.inbox.close()
    await task


async def test_settled_means_that_nothing_waits_however_much_came_meanwhile() -> None:
    consumer = Consumer()
    task = asyncio.create_task(consumer.run())
    consumer.inbox.put(mark(0))

    async def later() -> None:
        for number in range(1, 4):
            consumer.inbox.put(mark(number))
            await asyncio.sleep(0)

    putting = asyncio.create_task(later())
    await consumer.inbox.settled()
    assert len(consumer.heard) >= 1 and consumer.heard == list(range(len(consumer.heard)))
    await putting
    await consumer.inbox.settled()
    assert consumer.heard == [0, 1, 2, 3]
    consumer.inbox.close()
    await task


async def test_the_end_hears_what_is_left_and_what_comes_later_is_refused() -> None:
    consumer = Consumer()
    for number in range(3):
        consumer.inbox.put(mark(number))
    consumer.inbox.close()
    await consumer.run()
    assert consumer.heard == [0, 1, 2]
    late: Message = mark(3)
    with pytest.raises(InvariantError, match="after the end"):
        consumer.inbox.put(late)
