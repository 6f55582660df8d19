"""Never more than the limit in any rolling window, whatever is asked and answered; cancels keep their part; a ban stops everything."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.transport.rate_budget import BAN_MS, CANCEL_RESERVE, IP_LIMIT, Budget, CircuitOpen, RollingWindow


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += max(1, round(seconds * 1000))
        await asyncio.sleep(0)


def most_in_window(sent: list[tuple[int, int]], window_ms: int) -> int:
    """The largest sum of amounts in any half-open window of this length; by brute force."""
    return max((sum(n for at, n in sent if start <= at < start + window_ms) for start, _ in sent), default=0)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 10)), max_size=60), st.integers(1, 12))
def test_no_rolling_window_ever_holds_more_than_the_limit(asked: list[tuple[int, int]], limit: int) -> None:
    window, now, sent = RollingWindow(limit, 1000), 0, list[tuple[int, int]]()
    for pause, amount in asked:
        amount = min(amount, limit)
        now += pause
        while wait := window.wait_ms(now, amount):
            now += wait
        window.take(now, amount)
        sent.append((now, amount))
    assert most_in_window(sent, 1000) <= limit


@given(
    st.lists(st.tuples(st.sampled_from(["/v5/order/create", "/v5/order/cancel", "/v5/market/kline"]), st.integers(0, 300)), max_size=120)
)
def test_the_budget_keeps_every_window_of_the_exchange(asked: list[tuple[str, int]]) -> None:
    time = Time()
    budget, sent = Budget(time.ms, time.sleep), list[tuple[str, int]]()

    async def run() -> None:
        for path, pause in asked:
            time.now += pause
            await budget.take(path)
            sent.append((path, time.now))

    asyncio.run(run())
    for path, limit in (("/v5/order/create", 10), ("/v5/order/cancel", 10)):
        assert most_in_window([(at, 1) for name, at in sent if name == path], 1000) <= limit
    assert most_in_window([(at, 1) for _, at in sent], 5000) <= 600


async def test_concurrent_takers_share_one_window() -> None:
    time = Time()
    budget, sent = Budget(time.ms, time.sleep), list[tuple[int, int]]()

    async def take() -> None:
        await budget.take("/v5/order/create")
        sent.append((time.now, 1))

    await asyncio.gather(*(take() for _ in range(60)))
    assert len(sent) == 60
    assert most_in_window(sent, 1000) <= 10


def test_cancels_have_a_reserve_of_the_address() -> None:
    time = Time()
    budget = Budget(time.ms, time.sleep)
    taken = 0
    while not budget.wait_ms("/v5/market/kline"):
        budget._address.take(time.now, 1)
        taken += 1
    assert taken == IP_LIMIT - CANCEL_RESERVE
    assert budget.wait_ms("/v5/order/create") > 0
    assert budget.wait_ms("/v5/order/cancel") == 0
    assert budget.wait_ms("/v5/order/cancel-all") == 0


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(700, 700), (-5_000, 100), (None, 1_000), (3_600_000, 10_000), (0, 100)],
    ids=["future", "past", "absent", "absurd", "now"],
)
def test_a_refusal_for_the_rate_pauses_this_endpoint_alone(offset: int | None, expected: int) -> None:
    time = Time()
    budget = Budget(time.ms, time.sleep)
    server = 1_700_000_000_000
    assert budget.on_limited("/v5/order/create", None if offset is None else server + offset, server) == expected
    assert budget.wait_ms("/v5/order/create") == expected
    assert budget.wait_ms("/v5/order/cancel") == 0
    assert budget.wait_ms("/v5/market/kline") == 0


def test_repeated_refusals_wait_longer_and_a_good_answer_forgets_them() -> None:
    time = Time()
    budget = Budget(time.ms, time.sleep)
    pauses = [budget.on_limited("/v5/order/create", None, 0) for _ in range(6)]
    assert pauses == [1000, 2000, 4000, 8000, 10000, 10000]
    budget.on_answer("/v5/order/create", {})
    assert budget.on_limited("/v5/order/create", None, 0) == 1000


def test_what_the_exchange_says_of_the_rest_is_believed() -> None:
    time = Time()
    budget = Budget(time.ms, time.sleep)
    budget.on_answer("/v5/order/create", {"X-Bapi-Limit": "20", "X-Bapi-Limit-Status": "0"})
    assert budget.rest("/v5/order/create") == (0, 20)
    assert budget.wait_ms("/v5/order/create") > 0
    time.now += 1_100
    assert budget.rest("/v5/order/create") == (20, 20)
    budget.on_answer("/v5/order/create", {"X-Bapi-Limit": "none", "X-Bapi-Limit-Status": "-3"})
    assert budget.rest("/v5/order/create") == (20, 20)


async def test_a_ban_opens_the_circuit_for_ten_minutes() -> None:
    time = Time()
    budget = Budget(time.ms, time.sleep)
    budget.ban()
    for path in ("/v5/order/create", "/v5/order/cancel", "/v5/market/time"):
        with pytest.raises(CircuitOpen):
            await budget.take(path)
    time.now += BAN_MS
    await budget.take("/v5/order/create")


def test_the_sum_of_amounts_is_what_counts() -> None:
    """A batch of ten fills the second by itself."""
    window = RollingWindow(10, 1000)
    window.take(0, 10)
    assert [window.wait_ms(at, 1) for at in (0, 500, 999, 1000)] == [1000, 500, 1, 0]
