"""The executor: intents in, commands out; venue events in, the life of each order. Only risk makes what it takes."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.actors.executor import Executor
from keel.core.engine.clock import ReplayClock
from keel.core.errors import ConfigError, InvariantError
from keel.core.model.messages import (
    Bracket,
    CancelOrder,
    Fill,
    Halt,
    Message,
    OrderDenied,
    OrderIntent,
    OrderUpdate,
    SignalDenied,
    SubmitOrder,
)  # fmt: skip
from keel.core.model.orders import CLOSED, TRANSITIONS, trading_stop_id
from keel.core.results.funnel import MOST_WORDS, Tally, count_words
from tests.core.risk.account import DAY, instrument

ROOT = Path(__file__).resolve().parents[3]
INSTRUMENTS = {name: instrument(name) for name in ("BTCUSDT", "ETHUSDT")}


def executor(prefix: str = "ab12cd34", **more: Any) -> tuple[Executor, list[Message], ReplayClock]:
    out: list[Message] = []
    clock = ReplayClock(DAY)
    return Executor(prefix, INSTRUMENTS, clock, out.append, **more), out, clock


def intent(qty: float = 1.0, symbol: str = "BTCUSDT", **more: Any) -> OrderIntent:
    return OrderIntent(symbol, "BUY", qty, DAY, **more)


def update(number: int | str, status: Any, **more: Any) -> OrderUpdate:
    client_order_id = f"ab12cd34-{number}" if isinstance(number, int) else number
    return OrderUpdate(client_order_id, "BTCUSDT", DAY + 1, status, **more)


def fill(number: int | str, qty: float, **more: Any) -> Fill:
    client_order_id = f"ab12cd34-{number}" if isinstance(number, int) else number
    return Fill("f", client_order_id, "BTCUSDT", DAY + 1, "BUY", qty, 100.0, 0, 0, False, 100.0, **more)


def test_an_intent_becomes_a_command() -> None:
    actor, out, clock = executor()
    clock.now_ms = DAY + 7
    bracket = Bracket(stop_loss=95.0)
    given_ = OrderIntent(
        "BTCUSDT", "SELL", 1.5, DAY, "stop_limit", 99.0, 99.5, "mark", "IOC", True, bracket, True, "max_bars", "s", 100.0
    )  # fmt: skip
    actor.on_intent(given_)
    assert out == [
        SubmitOrder(
            client_order_id="ab12cd34-1", symbol="BTCUSDT", side="SELL", order_type="stop_limit", qty=1.5, ts=DAY + 7, price=99.0,
            trigger_price=99.5, trigger_by="mark", time_in_force="IOC", reduce_only=True, bracket=bracket, reason="max_bars",
        )
    ]  # fmt: skip


def test_ids_are_counted_and_short_enough() -> None:
    actor, out, _ = executor("A-z_9" * 4 + "abcd")
    for _ in range(12):
        actor.on_intent(intent())
    ids = [command.client_order_id for command in out if isinstance(command, SubmitOrder)]
    assert [actor.order_number(each) for each in ids] == list(range(1, 13))
    assert len(ids[-1]) + len("99999999999") - 2 <= 36


@pytest.mark.parametrize("prefix", ["", "a" * 25, "a b", "é", "a/b"])
def test_a_prefix_that_the_exchange_would_not_take_is_an_error(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        executor(prefix)


@pytest.mark.parametrize("qty", [-1.0, 0.0005])
def test_a_quantity_off_the_grid_is_our_mistake(qty: float) -> None:
    actor, out, _ = executor()
    with pytest.raises(InvariantError, match="BTCUSDT"):
        actor.on_intent(intent(qty))
    assert out == []


# --- the life of an order ---

LIVES: list[tuple[list[str], str]] = [
    (["filled"], "filled"),
    (["rejected"], "rejected"),
    (["accepted", "partially_filled", "partially_filled", "filled"], "filled"),
    (["accepted", "amended", "amend_rejected", "cancelled"], "cancelled"),
    (["accepted", "triggered", "accepted", "filled"], "filled"),
    (["accepted", "cancel_rejected", "expired"], "expired"),
    (["partially_filled", "cancelled"], "cancelled"),
]


@pytest.mark.parametrize(("statuses", "end"), LIVES)
def test_lives_that_the_table_allows(statuses: list[Any], end: Any) -> None:
    actor, _, _ = executor()
    actor.on_intent(intent())
    for status in statuses:
        assert actor.own_open == 1
        actor.on_order_update(update(1, status))
    assert (actor.own_open, actor.open_orders(), actor.memory.closed_counts[end]) == (0, [], 1)


@pytest.mark.parametrize("status", ["accepted", "filled", "cancelled", "triggered", "amended", "partially_filled"])
def test_nothing_happens_to_an_order_after_its_end(status: Any) -> None:
    actor, _, _ = executor()
    actor.on_intent(intent())
    actor.on_order_update(update(1, "filled"))
    with pytest.raises(InvariantError, match="ab12cd34-1"):
        actor.on_order_update(update(1, status))


def test_a_refused_cancellation_of_what_has_ended_is_no_news() -> None:
    actor, _, _ = executor()
    actor.on_intent(intent())
    actor.on_order_update(update(1, "filled"))
    actor.on_order_update(update(1, "cancel_rejected"))
    actor.on_order_update(update(1, "amend_rejected"))
    with pytest.raises(InvariantError):
        actor.on_order_update(update(2, "cancel_rejected"))


def test_an_order_that_nobody_knows_is_our_mistake() -> None:
    actor, _, _ = executor()
    with pytest.raises(InvariantError, match="elsewhere"):
        actor.on_order_update(update("elsewhere", "accepted"))


def test_fills_are_counted_on_the_grid() -> None:
    actor, _, _ = executor()
    actor.on_intent(intent(0.3))
    for _ in range(3):
        actor.on_fill(fill(1, 0.1))
    assert actor.open_orders()[0].filled_qty == 0.3
    with pytest.raises(InvariantError, match="filled of"):
        actor.on_fill(fill(1, 0.001))


def test_an_amended_order_is_the_one_that_rests() -> None:
    actor, _, _ = executor()
    actor.on_intent(intent(2.0, order_type="limit", price=95.0))
    actor.on_order_update(update(1, "accepted", leaves_qty=2.0))
    actor.on_fill(fill(1, 0.5))
    actor.on_order_update(update(1, "partially_filled", filled_qty=0.5, leaves_qty=1.5))
    actor.on_order_update(update(1, "amended", filled_qty=0.5, leaves_qty=2.5, price=94.0))
    (record,) = actor.open_orders()
    assert record.command is not None and (record.command.qty, record.command.price, record.command.side) == (3.0, 94.0, "BUY")
    actor.on_fill(fill(1, 2.5))
    with pytest.raises(InvariantError, match="filled of 3"):
        actor.on_fill(fill(1, 0.5))


def test_a_takeover_belongs_to_no_order() -> None:
    actor, _, _ = executor()
    actor.on_fill(fill("liquidation-1", 1.0, kind="bust"))
    assert actor.order_number("liquidation-1") == 0


# --- brackets ---


def test_bracket_orders_are_adopted_and_take_the_next_number() -> None:
    actor, _, _ = executor()
    actor.on_intent(intent(bracket=Bracket(stop_loss=95.0, take_profit=105.0)))
    actor.on_order_update(update(1, "filled"))
    actor.on_order_update(update("ab12cd34-1-sl", "accepted", parent_id="ab12cd34-1"))
    actor.on_order_update(update("ab12cd34-1-tp", "triggered", parent_id="ab12cd34-1", reason="take_profit"))
    assert [record.number for record in actor.bracket_orders("BTCUSDT")] == [2, 3]
    assert (actor.own_open, actor.open_orders()) == (0, [])
    actor.on_fill(fill("ab12cd34-1-tp", 1.0))
    actor.on_order_update(update("ab12cd34-1-tp", "filled", parent_id="ab12cd34-1"))
    actor.on_order_update(update("ab12cd34-1-sl", "cancelled", parent_id="ab12cd34-1"))
    assert actor.bracket_orders() == []
    actor.on_intent(intent(reason="signal"))
    assert [actor.order_number(f"ab12cd34-{each}") for each in ("1", "1-sl", "1-tp", "4", "5", "2x", "")] == [1, 2, 3, 4, 0, 0, 0]
    assert actor.orders_by_reason == {"signal": 2, "bracket": 2}
    assert actor.orders_made == 4
    with pytest.raises(InvariantError):
        actor.on_order_update(update("ab12cd34-1-sl", "filled", parent_id="ab12cd34-1"))


# --- cancelling ---


def test_cancel_first_cancels_what_rests_of_the_symbol_but_no_bracket() -> None:
    actor, out, _ = executor()
    actor.on_intent(intent(order_type="limit", price=99.0))
    actor.on_intent(intent(symbol="ETHUSDT", order_type="limit", price=99.0))
    actor.on_order_update(update(1, "accepted"))
    actor.on_order_update(update("ab12cd34-1-sl", "accepted", parent_id="ab12cd34-1"))
    out.clear()
    actor.on_intent(intent(2.0, cancel_first=True))
    assert [(type(c).__name__, getattr(c, "client_order_id", "")) for c in out] == [
        ("CancelOrder", "ab12cd34-1"),
        ("SubmitOrder", "ab12cd34-4"),
    ]


def test_an_intent_that_does_not_say_so_cancels_nothing() -> None:
    actor, out, _ = executor()
    actor.on_intent(intent(order_type="limit", price=99.0))
    actor.on_intent(intent())
    assert [type(command) for command in out] == [SubmitOrder, SubmitOrder]


def test_an_intent_of_nothing_only_cancels() -> None:
    actor, out, _ = executor()
    actor.on_intent(intent(order_type="limit", price=99.0))
    out.clear()
    actor.on_intent(intent(0.0, cancel_first=True))
    assert out == [CancelOrder("ab12cd34-1", "BTCUSDT", DAY)]
    assert (actor.received, actor.orders_made) == (2, 1)


def test_halt_cancels_entries_and_leaves_exits() -> None:
    actor, out, _ = executor()
    actor.on_intent(intent(order_type="limit", price=99.0))
    actor.on_intent(intent(order_type="limit", price=101.0, reduce_only=True))
    actor.on_order_update(update("ab12cd34-1-sl", "accepted", parent_id="ab12cd34-1"))
    out.clear()
    actor.on_halt(Halt(DAY, "panic"))
    assert out == [CancelOrder("ab12cd34-1", "BTCUSDT", DAY)]


# --- what did not become a trade ---


def test_the_order_log_keeps_noes_with_their_numbers() -> None:
    actor, _, _ = executor(log_capacity=3)
    actor.on_denied(SignalDenied("BTCUSDT", DAY, "max_gross_usd", 5.0, 4.0))
    actor.on_denied(OrderDenied("BTCUSDT", DAY, "trading_reducing"))
    for status in ("rejected", "expired", "cancelled"):
        actor.on_intent(intent())
        actor.on_order_update(update(actor.orders_made, status, reason="110007 not enough"))
    log = actor.memory.order_log
    assert log.entries == [
        {"ts": DAY, "symbol": "BTCUSDT", "kind": "signal_denied", "reason": "max_gross_usd", "value": 5.0, "limit": 4.0, "order": 0},
        {"ts": DAY, "symbol": "BTCUSDT", "kind": "order_denied", "reason": "trading_reducing", "value": 0.0, "limit": 0.0, "order": 0},
        {"ts": DAY + 1, "symbol": "BTCUSDT", "kind": "rejected", "reason": "110007 not enough", "value": 0.0, "limit": 0.0, "order": 1},
    ]
    assert sum(log.counts.values()) == len(log.entries) + 1 and log.counts["expired", "110007 not enough"] == 1


# --- for any life ---


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=60))
def test_only_open_orders_are_kept_and_every_end_is_counted(choices: list[tuple[int, int]]) -> None:
    """Orders are submitted and moved along the table at random; what is open is what has not ended."""
    actor, _, _ = executor()
    states: dict[int, Any] = {}
    for which, step in choices:
        open_numbers = [number for number, state in states.items() if state not in CLOSED]
        if not open_numbers or which == 0:
            actor.on_intent(intent())
            states[actor.orders_made] = "pending_submit"
            continue
        number = open_numbers[which % len(open_numbers)]
        ways = [state for state in TRANSITIONS[states[number]] if state != "unknown" and not state.startswith("pending_")]
        status = ways[step % len(ways)]
        if (states[number], status) != ("partially_filled", "accepted"):  # an amendment: it stays partly filled
            states[number] = status
        actor.on_order_update(update(number, status))
    still_open = [number for number, state in states.items() if state not in CLOSED]
    assert [record.number for record in actor.open_orders()] == still_open
    assert actor.own_open == len(still_open)
    assert sum(actor.memory.closed_counts.values()) == len(states) - len(still_open)


# --- the bypass ---

FOLDERS = ("core", "sim", "strategies", "adapters", "runners")


def test_ends_are_counted_by_the_venues_words_and_a_refused_exit_is_no_order() -> None:
    """Numbers that differ from order to order are left out; after a restart the counts go on."""
    actor, _, _ = executor()
    for number, reason in enumerate(("10001 StopLoss:95 is above 90.5", "10001 StopLoss:-7 is above 3e-05", "110007 no"), start=1):
        actor.on_intent(intent())
        actor.on_order_update(update(number, "rejected", reason=reason))
    actor.on_order_update(update(trading_stop_id("BTCUSDT"), "rejected", reason="10001 zero position"))
    again, _, _ = executor()
    again.restore(actor.state())
    again.on_intent(intent())
    again.on_order_update(update(4, "rejected", reason="110007 no"))
    assert [(each.reason, each.count, each.detail) for each in again.memory.ended["rejected"].values()] == [
        ("10001 StopLoss:… is above …", 2, "10001 StopLoss:95 is above 90.5"), ("110007 no", 2, ""),
    ]  # fmt: skip
    assert [each.count for each in actor.memory.ended["rejected"].values()] == [2, 1]
    assert [(each.reason, each.count) for each in again.memory.exits_refused.values()] == [("10001 zero position", 1)]
    assert again.orders_made == 4 and again.orders_by_reason == {"signal": 4}


def test_a_venue_that_never_says_the_same_twice_does_not_fill_the_memory() -> None:
    tally: Tally = {}
    for number in range(3 * MOST_WORDS):
        count_words(tally, f"order {chr(0x4E00 + number)} is gone", DAY, "BTCUSDT")
    assert len(tally) == MOST_WORDS + 1 and sum(each.count for each in tally.values()) == 3 * MOST_WORDS


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Every node of a file, read once."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def makers(name: str) -> set[str]:
    """Files of ours in which something of this name is called."""
    found = set()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in nodes_of(path) if name in path.read_text(encoding="utf-8") else ():
                if isinstance(node, ast.Call):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if called == name:
                        found.add(path.relative_to(ROOT).as_posix())
    return found


def test_only_risk_makes_intents_and_only_the_executor_makes_orders() -> None:
    assert makers("OrderIntent") == {"core/actors/risk.py", "core/actors/portfolio_risk.py"}
    assert {path for path in makers("SubmitOrder") if path.startswith(("core/", "strategies/"))} == {
        "core/actors/executor.py",
        "core/strategy/order_calls.py",
    }
