"""The checker can fail: every rule is broken on purpose, in a true story and its true journal, and is named."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.execution.tracking.order_query_records import OrderNotFound
from keel.adapters.journal import Record, read
from keel.core.engine.instant import InstantClosed
from keel.core.model.messages import Bar, Fill, FundingPayment, Message, OrderUpdate, SubmitOrder
from keel.runners.live.memory.records import TYPES, CauseRaised, GateChanged
from tests.faults.checker import Limits, Seen, check, findings
from tests.faults.conftest import http, playing
from tests.faults.seen_of import candles_of

Truth = dict[str, Any]
Story = list[Record]


@dataclass
class Told:
    """What the exchange and the journal say of one session, to be changed at will."""

    truth: Truth
    story: Story
    seen: Seen = field(default_factory=Seen)

    def rules(self) -> set[str]:
        """The rules that are broken."""
        return {each.partition(":")[0] for each in findings(self.truth, self.story, seen=self.seen)}

    def saw(self, **changes: Any) -> None:
        """The harness saw something else."""
        self.seen = dataclasses.replace(self.seen, **changes)

    def places(self, kind: type[Message], fits: Callable[[Any], bool] = lambda message: True) -> list[int]:
        """Where the journal has such messages."""
        return [place for place, record in enumerate(self.story) if isinstance(record.message, kind) and fits(record.message)]

    def change(self, place: int, **changes: Any) -> None:
        """Another message at this place."""
        record = self.story[place]
        self.story[place] = msgspec.structs.replace(record, message=msgspec.structs.replace(record.message, **changes))

    def add(self, place: int, message: Message) -> None:
        """One more message, of the time of the record that is there."""
        self.story.insert(place, Record(0, self.story[place].ts, type(message).__name__, message))

    def stamp(self, place: int, ts: int) -> None:
        """Another time of writing."""
        self.story[place] = msgspec.structs.replace(self.story[place], ts=ts)


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A session of which one entry was never placed, and one answer was lost."""
    with playing(tmp_path_factory.mktemp("checker")) as stage:
        lost = http("drop", "/v5/order/create", "before_apply", nth=2), http("drop", "/v5/order/create", nth=4)
        played = stage.play(*lost).check()
        seen = Seen(
            wire=stage.sandbox.get("/admin/wire"), rate_factor=100.0, grids={"BTCUSDT": ("0.1", "0.001")},
            limits=Limits(max_position_usd=1_100, max_gross_usd=1_100, leverage=1.0), candles=candles_of(stage.sandbox.server),
            memories={"the session": "a", "its journal": "a"}, before={"tasks": 1}, after={"tasks": 1},
        )  # fmt: skip
        yield Told(played.truth, list(read(played.folder, types=TYPES)), seen)


@pytest.fixture
def told(true: Told) -> Told:
    return Told(copy.deepcopy(true.truth), list(true.story), dataclasses.replace(true.seen, wire=copy.deepcopy(true.seen.wire)))


def first(told: Told, kind: type[Message], fits: Callable[[Any], bool] = lambda message: True) -> int:
    return told.places(kind, fits)[0]


def fill_gone(told: Told) -> None:
    del told.story[told.places(Fill)[-1]]


def fill_invented(told: Told) -> None:
    told.change(told.places(Fill)[-1], fill_id="of nowhere")


def fill_twice(told: Told) -> None:
    place = first(told, Fill)
    told.story.insert(place, told.story[place])


def fill_of_another_size(told: Told) -> None:
    told.change(told.places(Fill)[-1], qty=0.001)


def position_elsewhere(told: Told) -> None:
    told.truth["positions"][0].update(side="Buy", size="0.001")


def fee_off_by_one(told: Told) -> None:
    place = first(told, Fill)
    told.change(place, fee=told.story[place].message.fee + 1)


def funding_gone(told: Told) -> None:
    del told.story[first(told, FundingPayment)]


def funding_twice(told: Told) -> None:
    place = first(told, FundingPayment)
    told.story.insert(place, told.story[place])


def ledger_off(told: Told) -> None:
    coins = told.truth["ledger"]["USDT"]
    coins[next(iter(coins))] += 1


def exchange_in_doubt(told: Told) -> None:
    told.truth["problems"] = ["order x: filled 1 steps, executions 2"]


def named(told: Told) -> list[Any]:
    return [row for row in told.truth["orders"] if row["orderLinkId"]]


def name_twice(told: Told) -> None:
    told.truth["orders"].append(dict(named(told)[0]))


def applied_twice(told: Told) -> None:
    told.truth["creates"].append(dict(told.truth["creates"][0]))


def intent_gone(told: Told) -> None:
    del told.story[first(told, SubmitOrder)]


def intent_later(told: Told) -> None:
    place = first(told, SubmitOrder)
    told.stamp(place, told.truth["creates"][0]["received"] + 400)


def intent_of_the_other_side(told: Told) -> None:
    place = first(told, SubmitOrder)
    told.change(place, side="SELL" if told.story[place].message.side == "BUY" else "BUY")


def order_without_a_name(told: Told) -> None:
    told.truth["orders"].append({**named(told)[0], "orderLinkId": "", "stopOrderType": ""})


def is_lost(update: Any) -> bool:
    return bool(update.reason.startswith("not placed"))


def given_up_at_once(told: Told) -> None:
    del told.story[told.places(OrderNotFound)[-1]]


def searched_too_fast(told: Told) -> None:
    told.change(told.places(OrderNotFound)[-1], waited_ms=9_000)


def searched_too_close(told: Told) -> None:
    for place in told.places(OrderNotFound)[:-1]:
        told.change(place, waited_ms=told.story[told.places(OrderNotFound)[-1]].message.waited_ms - 5_000)


def ended_on_a_timeout(told: Told) -> None:
    told.change(first(told, OrderUpdate, is_lost), reason="no answer: TimeoutError")


def ended_on_10016(told: Told) -> None:
    told.change(first(told, OrderUpdate, is_lost), reason="10016 server error")


def lost_without_a_search(told: Told) -> None:
    told.change(first(told, OrderUpdate, is_lost), status="cancelled")


def rejected_and_filled(told: Told) -> None:
    name = next(row["orderLinkId"] for row in named(told) if row["orderStatus"] == "Filled")
    told.change(first(told, OrderUpdate, lambda update: update.client_order_id == name and update.status == "filled"), status="cancelled")


def end_not_heard(told: Told) -> None:
    del told.story[told.places(OrderUpdate, lambda update: update.status == "filled" and update.parent_id is None)[-1]]


def exit_ended_alone(told: Told) -> None:
    for row in told.truth["orders"]:
        if not row["orderLinkId"] and row["orderStatus"] == "Deactivated":
            row["orderStatus"] = "Untriggered"


def back_to_life(told: Told) -> None:
    place = told.places(OrderUpdate, lambda update: update.status == "filled")[-1]
    told.add(place + 1, msgspec.structs.replace(told.story[place].message, status="accepted"))


def filled_backwards(told: Told) -> None:
    told.change(told.places(OrderUpdate, lambda update: update.status == "filled")[-1], filled_qty=0.001)


def filled_beyond(told: Told) -> None:
    told.change(first(told, SubmitOrder, lambda order: order.order_type == "market"), qty=0.01)


def filled_otherwise_there(told: Told) -> None:
    next(row for row in named(told) if row["orderStatus"] == "Filled")["cumExecQty"] = "0.001"


def received_while_halted(told: Told) -> None:
    """The gate is said to have been shut from the first second on, until the end."""
    for place in reversed(told.places(GateChanged)):
        del told.story[place]


def received_while_reducing(told: Told) -> None:
    _, begin, *between, end = told.places(GateChanged)
    told.change(begin, state="REDUCING")
    told.stamp(begin, told.story[begin].ts - 1_000)
    told.stamp(end, told.story[end].ts + 1_000)
    for place in reversed(between):
        del told.story[place]


def latched_before_all(told: Told) -> None:
    told.saw(latched_ms=told.truth["creates"][0]["received"] - 1_000)


def panic_in_the_journal(told: Told) -> None:
    told.add(first(told, GateChanged), CauseRaised(0, "panic", "", "", "the latch is set"))


def latched_and_armed_again_too_late(told: Told) -> None:
    begin = told.truth["creates"][0]["received"] - 1_000
    told.saw(latched_ms=begin, rearmed_ms=told.truth["creates"][-1]["received"] + 1)


def order_of_twice_the_size(told: Told) -> None:
    row = next(row for row in told.truth["story"] if row[1] == "order" and row[7] == "New" and not row[6])
    row[8] *= 2


def more_than_one_may_rest(told: Told) -> None:
    told.saw(limits=Limits(max_open_orders=0))


def more_than_the_account_bears(told: Told) -> None:
    told.saw(limits=Limits(leverage=0.001))


def more_than_gross(told: Told) -> None:
    told.saw(limits=Limits(max_gross_usd=500))


def state_of_another(told: Told) -> None:
    told.saw(memories={"the session": "a", "another process": "b"})


def candle_twice(told: Told) -> None:
    place = first(told, Bar)
    told.story.insert(place, told.story[place])


def candle_altered(told: Told) -> None:
    place = first(told, Bar)
    told.change(place, high=told.story[place].message.high + 1)


def candle_of_tomorrow(told: Told) -> None:
    place = told.places(Bar)[-1]
    later = told.story[place].message.ts_close + 86_400_000
    told.add(place, msgspec.structs.replace(told.story[place].message, ts_open=later, ts_close=later + 60_000))


def instant_backwards(told: Told) -> None:
    one, other = told.places(InstantClosed)[:2]
    told.story[one], told.story[other] = told.story[other], told.story[one]


def decision_before_its_candle(told: Told) -> None:
    place = told.places(InstantClosed)[-1]
    told.add(place + 1, InstantClosed(told.story[place].message.ts + 60_000, decides=True))


def two_entries_of_one_candle(told: Told) -> None:
    place = first(told, SubmitOrder, lambda order: not order.reduce_only)
    told.add(place, msgspec.structs.replace(told.story[place].message, client_order_id="another"))


def entry_of_an_old_decision(told: Told) -> None:
    place = told.places(SubmitOrder, lambda order: not order.reduce_only)[-1]
    told.change(place, ts=told.story[place].message.ts - 60_000)


def exit_too_large(told: Told) -> None:
    next(row for row in told.truth["story"] if row[1] == "trade" and row[6])[7] += 1_000


def exit_not_reduce_only(told: Told) -> None:
    for row in told.truth["story"]:
        row[6] = False


def requests(told: Told, path: str) -> list[Any]:
    return [row for row in told.seen.wire["requests"] if row["path"] == path]  # type: ignore[index]  # it is there


def sent(told: Told, **changes: Any) -> None:
    row = requests(told, "/v5/order/create")[0]
    row["sent"] = json.dumps(json.loads(row["sent"]) | changes)


def qty_in_exponents(told: Told) -> None:
    sent(told, qty="1e-05")


def qty_as_a_number(told: Told) -> None:
    sent(told, qty=0.01)


def stop_off_the_tick(told: Told) -> None:
    sent(told, stopLoss="29000.05")


def qty_off_the_step(told: Told) -> None:
    sent(told, qty="0.0105")


def creates_in_a_burst(told: Told) -> None:
    told.saw(rate_factor=0.1)


def requests_of_others_in_a_burst(told: Told) -> None:
    row = requests(told, "/v5/order/create")[0]
    told.seen.wire["requests"].extend({**row, "path": "/v5/market/time", "account": ""} for _ in range(60_001))  # type: ignore[index]


def connected_too_often(told: Told) -> None:
    told.seen.wire["connects"].extend(dict(told.seen.wire["connects"][0]) for _ in range(20))  # type: ignore[index]


def task_left_behind(told: Told) -> None:
    told.saw(after={"tasks": 2})


def file_left_behind_while_others_closed(told: Told) -> None:
    told.saw(before={"file socket:[1]": 1, "file socket:[2]": 1}, after={"file socket:[3]": 1})


def halted_without_a_reason(told: Told) -> None:
    told.story[:] = [record for record in told.story if not isinstance(record.message, CauseRaised)]
    told.change(told.places(GateChanged)[1], state="HALTED", why="")


def active_under_a_cause(told: Told) -> None:
    told.add(told.places(InstantClosed)[3], CauseRaised(0, "daily_loss_percent", "", "", "made up"))


def active_with_every_symbol_frozen(told: Told) -> None:
    told.add(told.places(InstantClosed)[3], CauseRaised(0, "external_order", "BTCUSDT", "x", "made up"))


def idle_after_the_faults(told: Told) -> None:
    last = told.story[told.places(InstantClosed)[-1]].ts
    told.saw(faults_over_ms=last, ended_ms=last + 200_000, bar_ms=10_000)


BROKEN: list[tuple[Callable[[Told], None], str]] = [
    (fill_gone, "I-1"), (fill_invented, "I-1"), (fill_twice, "I-2"), (fill_of_another_size, "I-3"), (position_elsewhere, "I-3"),
    (fee_off_by_one, "I-4"), (funding_gone, "I-4"), (funding_twice, "I-4"), (ledger_off, "I-4"), (exchange_in_doubt, "I-4"),
    (name_twice, "I-5"), (applied_twice, "I-5"), (intent_gone, "I-6"), (intent_later, "I-6"), (intent_of_the_other_side, "I-6"),
    (order_without_a_name, "I-6"), (given_up_at_once, "I-7"), (searched_too_fast, "I-7"), (searched_too_close, "I-7"),
    (ended_on_a_timeout, "I-7"), (ended_on_10016, "I-7"), (lost_without_a_search, "I-7"), (rejected_and_filled, "I-7"),
    (end_not_heard, "I-7"), (exit_ended_alone, "I-7"), (back_to_life, "I-8"), (filled_backwards, "I-8"), (filled_beyond, "I-8"),
    (filled_otherwise_there, "I-8"), (received_while_halted, "I-11"), (received_while_reducing, "I-11"),
    (latched_before_all, "I-9"), (latched_and_armed_again_too_late, "I-9"), (panic_in_the_journal, "I-9"),
    (order_of_twice_the_size, "I-10"), (more_than_one_may_rest, "I-10"), (more_than_the_account_bears, "I-10"), (more_than_gross, "I-10"),
    (state_of_another, "I-12"),
    (candle_twice, "I-13"), (candle_altered, "I-13"), (candle_of_tomorrow, "I-13"), (instant_backwards, "I-13"),
    (decision_before_its_candle, "I-13"), (two_entries_of_one_candle, "I-13"), (entry_of_an_old_decision, "I-13"),
    (exit_too_large, "I-14"), (exit_not_reduce_only, "I-14"),
    (qty_in_exponents, "I-15"), (qty_as_a_number, "I-15"), (stop_off_the_tick, "I-15"), (qty_off_the_step, "I-15"),
    (creates_in_a_burst, "I-17"), (requests_of_others_in_a_burst, "I-17"), (connected_too_often, "I-17"), (task_left_behind, "I-17"),
    (file_left_behind_while_others_closed, "I-17"),
    (halted_without_a_reason, "I-18"), (active_under_a_cause, "I-18"), (active_with_every_symbol_frozen, "I-18"),
    (idle_after_the_faults, "I-18"),
]  # fmt: skip


def test_what_is_true_is_not_complained_of(told: Told) -> None:
    assert told.rules() == set()
    assert told.places(OrderNotFound) and told.places(FundingPayment)


def test_what_is_ordered_after_a_person_armed_again_is_no_breach(told: Told) -> None:
    begin = told.truth["creates"][0]["received"] - 1_000
    told.saw(latched_ms=begin - 60_000, rearmed_ms=begin)
    assert told.rules() == set()


@pytest.mark.parametrize(("break_it", "rule"), BROKEN, ids=lambda each: getattr(each, "__name__", each))
def test_a_broken_rule_is_named(break_it: Callable[[Told], None], rule: str, told: Told) -> None:
    break_it(told)
    assert rule in told.rules()


def test_every_rule_has_been_broken() -> None:
    assert {rule for _, rule in BROKEN} == {f"I-{number}" for number in range(1, 19) if number != 16}
    # I-16 is about files, too: test_a_secret_is_found


def test_a_folder_is_read(tmp_path: Path) -> None:
    """The whole way, from files."""
    with playing(tmp_path) as stage:
        stage.play(bars=6).check(settled=False)


def test_a_secret_is_found(told: Told, tmp_path: Path) -> None:
    """In a file of the run, and in what was said."""
    with playing(tmp_path) as stage:
        played = stage.play(bars=6)
        quiet = Seen(words=("hidden-81f2",), texts={"a notice": "a key is refused"})
        assert check(played.truth, played.folder, settled=False, seen=quiet) == []
        (played.folder / "note").write_bytes(b"\0\1hidden-81f2\2")
        loud = dataclasses.replace(quiet, texts={"a notice": "the key hidden-81f2 is refused"})
        assert check(played.truth, played.folder, settled=False, seen=loud) == [
            "I-16: a secret is in note", "I-16: a secret is in a notice",
        ]  # fmt: skip
