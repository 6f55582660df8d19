"""A crash loop faster than the resolution of an unknown order: what was found in vain is kept, so that the loop ends."""

from __future__ import annotations

import asyncio

import pytest

from keel.adapters.bybit.execution.tracking.order_query_records import OrderDoubted, OrderNotFound
from keel.adapters.journal import read
from keel.core.actors.memory import take_over
from keel.core.model.messages import OrderUpdate, SubmitOrder
from keel.runners.live.memory.history import JournalHistory
from keel.runners.live.memory.records import TYPES, Opened
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from tests.faults.conftest import Stage, _with, http

TRY_S = 7.0
"""Shorter than the ten that lie between two looks."""


def opened() -> Opened:
    return Opened(1_000, 1_000, "sandbox", "ab12cd34", 1)


def test_what_was_looked_for_in_vain_is_remembered_from_the_first_time_on() -> None:
    history = JournalHistory.begun(opened())
    history.note(SubmitOrder("a", "BTCUSDT", "BUY", "market", 0.1, 1_000))
    history.note(OrderNotFound(5_000, "a", "BTCUSDT", 3_000))
    history.note(OrderNotFound(9_000, "a", "BTCUSDT", 500))  # of a later session, which counts from its own beginning
    assert history.absent == {"a": (5_000, 2_000)}
    again = JournalHistory.begun(opened())
    take_over(again, history)
    assert again.absent == history.absent
    again.note(OrderUpdate("a", "BTCUSDT", 10_000, "accepted"))
    assert again.absent == {}
    history.note(SubmitOrder("a", "BTCUSDT", "BUY", "market", 0.1, 11_000))  # an exit that was sent once more: all begins anew
    assert history.absent == {}


@pytest.mark.long
def test_a_loop_of_short_lives_comes_to_an_end(stage: Stage) -> None:
    """The entry of the seventh bar is lost on its way; each process then lives for less time than two looks take."""
    lives = 0

    async def live_shortly() -> bool:
        async def before(number: int, live: Live) -> None:
            if lives == 0 and number == 6:
                await asyncio.to_thread(stage.sandbox.faults, http("drop", "/v5/order/create", "before_apply", nth=1))

        session = Session(stage.plan(), lambda notice: None, max_bars=12)
        try:
            async with asyncio.timeout(TRY_S):
                _, ending = await session.run(_with(before))
        except TimeoutError:
            return False
        return ending.failure is None

    while not stage.run(live_shortly()):
        lives += 1
        assert lives < 40
    assert lives >= 1  # the premise: the first life was too short
    (folder,) = [path.parent for path in stage.plan().journals.glob("*/*/lock")]
    messages = [record.message for record in read(folder, types=TYPES)]
    (doubted,) = {each.client_order_id for each in messages if isinstance(each, OrderDoubted)}
    ends = [each.status for each in messages if isinstance(each, OrderUpdate) and each.client_order_id == doubted]
    assert ends == ["rejected"]
    searches = [each.ts for each in messages if isinstance(each, OrderNotFound)]
    assert max(searches) - min(searches) >= 10_000
