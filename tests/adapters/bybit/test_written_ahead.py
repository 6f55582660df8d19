"""An order's request is made while its intent is put on the medium, and not a byte of it leaves before it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from keel.adapters.journal import JournalError
from keel.core.model.messages import Message, OrderUpdate, SubmitOrder
from tests.adapters.bybit.conftest import Desk, desk_over


class Medium:
    """A journal whose disk is done when the test says so."""

    def __init__(self) -> None:
        self.written: list[Message] = []
        self.done = asyncio.Event()
        self.error: Exception | None = None

    def __call__(self, command: Message) -> Awaitable[None]:
        self.written.append(command)
        return self._wait()

    async def _wait(self) -> None:
        await self.done.wait()
        if self.error is not None:
            raise self.error


def listen(desk: Desk) -> list[str]:
    """Names of the orders, as soon as a create comes to the exchange."""
    names: list[str] = []
    entry, create = desk.server.engine.order_requests, desk.server.engine.order_requests.create

    def received(account: Any, params: Any) -> Any:
        names.append(params["orderLinkId"])
        return create(account, params)

    entry.create = received  # type: ignore[method-assign]  # the exchange's ear
    return names


async def test_nothing_leaves_before_the_intent_is_on_the_medium_and_the_request_is_made_meanwhile() -> None:
    medium = Medium()
    async with desk_over(journal=medium) as desk:
        names, looks = listen(desk), list[int]()
        desk.rest.stop = lambda: looks.append(1) or ""  # type: ignore[func-returns-value]  # counts
        desk.venue.submit_order(desk.order(1))
        await asyncio.sleep(0.1)
        assert [one.client_order_id for one in medium.written if isinstance(one, SubmitOrder)] == ["t-1"]
        assert names == [] and len(looks) == 1, "the request is made, and its last look is still to come"
        medium.done.set()
        await desk.until(lambda: names == ["t-1"])
        assert len(looks) == 2


async def test_a_disk_that_takes_longer_than_a_request_may_delays_the_order_and_it_leaves_once() -> None:
    medium = Medium()
    async with desk_over(journal=medium) as desk:
        names = listen(desk)
        desk.venue.submit_order(desk.order(1))
        await asyncio.sleep(0.7)  # the desk's requests may take half a second
        assert names == [] and desk.updates("t-1") == []
        medium.done.set()
        await desk.until(lambda: desk.venue.in_flight == 0)
        assert names == ["t-1"]
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])


async def test_an_order_that_the_medium_refuses_is_rejected_and_never_heard_of() -> None:
    medium = Medium()
    medium.error = JournalError("the disk is full")
    async with desk_over(journal=medium) as desk:
        names = listen(desk)
        desk.venue.submit_order(desk.order(1))
        await asyncio.sleep(0.05)
        medium.done.set()
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        (update,) = [one for one in desk.published if isinstance(one, OrderUpdate)]
        assert update.reason == "denied: not journalled, so not sent (JournalError)"
        assert names == [] and desk.venue.in_flight == 0


async def test_a_mistake_of_ours_in_the_journal_ends_the_venue() -> None:
    medium = Medium()
    medium.error = ZeroDivisionError("ours")
    medium.done.set()
    with pytest.raises(ExceptionGroup):
        async with desk_over(journal=medium) as desk:
            names = listen(desk)
            desk.venue.submit_order(desk.order(1))
            await desk.until(lambda: False, timeout_s=5.0)
    assert names == []
