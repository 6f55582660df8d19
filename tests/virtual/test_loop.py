"""Virtual time: no second passes while anybody has something to do, and then the next timer is due at once; the same each time."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import pytest

from keel.adapters import machine
from tests.virtual import loop as virtual
from tests.virtual.loop import START_MS, Busy, Stuck, World, run_virtual

DAY_S = 86_400.0


def test_a_month_passes_at_once_on_every_clock() -> None:
    async def month() -> tuple[float, int, float]:
        steady, wall, timers = machine.monotonic_s(), machine.wall_ms(), asyncio.get_running_loop().time()
        await asyncio.sleep(30 * DAY_S)
        return machine.monotonic_s() - steady, machine.wall_ms() - wall, asyncio.get_running_loop().time() - timers

    assert run_virtual(month()) == (30 * DAY_S, 30 * 86_400_000, 30 * DAY_S)


def test_timers_come_in_their_order_whoever_set_them() -> None:
    async def after(seconds: float, heard: list[float]) -> None:
        await asyncio.sleep(seconds)
        heard.append(seconds)

    async def all_of_them() -> list[float]:
        heard: list[float] = []
        await asyncio.gather(*(after(seconds, heard) for seconds in (5.0, 0.1, 3_600.0, 2.5)))
        return heard

    assert run_virtual(all_of_them()) == [0.1, 2.5, 5.0, 3_600.0]


def test_a_timeout_is_kept_to_the_moment() -> None:
    async def waits() -> float:
        with suppress(TimeoutError):
            async with asyncio.timeout(7.25):
                await asyncio.Event().wait()
        return machine.monotonic_s()

    assert run_virtual(waits()) == 1_007.25


def test_who_waits_for_nobody_is_told() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        run_virtual(waits())


def test_who_waits_for_time_without_letting_it_pass_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "ROUNDS_AT_ONCE", 1_000)

    async def asks() -> None:
        while machine.monotonic_s() < 1_001.0:
            await asyncio.sleep(0)

    with pytest.raises(Busy):
        run_virtual(asks())


def test_what_goes_to_a_thread_is_done_here_and_heard_of_later() -> None:
    def here() -> float:
        asyncio.get_running_loop()  # raises in any other thread
        return machine.monotonic_s()

    def breaks() -> None:
        raise ValueError("it does")

    async def asks() -> tuple[float, float]:
        done = await asyncio.to_thread(here)
        with pytest.raises(ValueError, match="it does"):
            await asyncio.to_thread(breaks)
        return done, machine.monotonic_s()

    done, heard = run_virtual(asks())
    assert done == 1_000.0 < heard < 1_001.0


def test_outside_of_it_the_machine_is_the_computer() -> None:
    async def nothing() -> int:
        return machine.wall_ms()

    assert run_virtual(nothing()) == START_MS
    assert machine.present() is machine.MACHINE
    assert abs(machine.wall_ms() - time.time_ns() // 1_000_000) < 60_000


def test_between_two_runs_time_stands_still_and_tasks_go_on_with_the_next() -> None:
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)
            ticks.append(machine.wall_ms() - START_MS)

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(tick())

    with World() as world:
        task = world.run(begin())
        assert ticks == [] and world.loop.wall_ms() == START_MS
        world.run(asyncio.sleep(2.5))
        assert ticks == [1_000, 2_000]
        world.run(asyncio.sleep(1.0))
        assert ticks == [1_000, 2_000, 3_000]
    assert task.cancelled()


def test_chance_is_the_seed_s() -> None:
    async def draws() -> list[float]:
        first, second = machine.rng(), machine.rng()
        assert isinstance(first, random.Random)
        return [first.random(), second.random()]

    once = run_virtual(draws(), seed=5)
    assert once == run_virtual(draws(), seed=5) and once[0] != once[1]
    assert once != run_virtual(draws(), seed=6)
