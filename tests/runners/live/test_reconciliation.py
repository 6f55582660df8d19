"""From any difference that can come about, a session converges or halts with a reason: a property over random lives.

A life is a list of events (our orders, somebody else's, the exchange's own, settings, money, kill -9 with a journal that lost its end):
each of them the private stream tells as it comes, not at all, twice, or late and backwards. All the while:

- no entry reaches the exchange for a symbol of which something stands in the way;
- whatever differs for longer than FOUND_S keeps entries out.

And when it is over: within BOUND_S the books are the exchange's, to the last unit, or the gate says what stands. Once a person has taken
away what is theirs (strange orders, settings, lies of the exchange) and lifted what a person must, the session trades again, every
execution is booked once, and the transaction log has nothing that our books have not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.core.model.messages import Bracket, CancelOrder, Fill
from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.memory.records import Adjusted
from tests.runners.live.socketless.exchange import OTHER, START_MS, Exchange, Hearing, S
from tests.runners.live.socketless.trader import Trader, pass_time
from tests.virtual.loop import run_virtual

FOUND_S: Final = 35
"""Readings come every 30 s; what they find is known after at most so long."""
BOUND_S: Final = 60
"""Everything is decided so long after the last event: two readings of 30 s each, and the search for an order that was lost."""

Event = tuple[str, Any]
SIDES: Final = ("BUY", "SELL")
VALUES: Final[dict[str, Callable[[Random], Any]]] = {
    "market": lambda rng: (rng.choice(SIDES), rng.randint(1, 30)),
    "protected": lambda rng: (rng.choice(SIDES), rng.randint(1, 30)),
    "rests": lambda rng: rng.randint(1, 30),
    "cancels": lambda rng: None,
    "stranger": lambda rng: (rng.choice(SIDES), rng.randint(1, 30)),
    "strange order": lambda rng: rng.randint(1, 30),
    "closed by hand": lambda rng: rng.randint(1, 3),
    "flipped by hand": lambda rng: None,
    "ours cancelled by hand": lambda rng: rng.random() < 0.5,
    "adl": lambda rng: rng.randint(1, 3),
    "money": lambda rng: rng.choice(["250", "-100.00000001", "0.00000001"]),
    "row": lambda rng: rng.choice(["FEE_REFUND", "BONUS", "INTEREST", "AIRDROP", "AUTO_DEDUCTION", "NEVER_HEARD_OF"]),
    "other symbol": lambda rng: None,
    "leverage": lambda rng: rng.choice(["3", "20"]),
    "adds margin": lambda rng: None,
    "fee coin": lambda rng: None,
    "lies": lambda rng: rng.choice([("position", -40), ("position", 1), ("wallet", -1000), ("wallet", 7000)]),  # beyond rounding
    "truth": lambda rng: None,
    "killed": lambda rng: rng.randint(0, 12),
    "time": lambda rng: rng.randint(1, 45),
}
"""Event -> what it is drawn with."""
HEARINGS: Final = ("heard", "heard", "heard", "lost", "doubled", "late")
Step = tuple[Event, Hearing, int]
"""An event, how the stream tells of it, and how many seconds pass after it."""


def random_life(seed: int) -> list[Step]:
    """Six to twelve events."""
    rng = Random(seed)
    found: list[Step] = []
    for _ in range(rng.randint(6, 12)):
        name = rng.choice(list(VALUES))
        found.append(((name, VALUES[name](rng)), rng.choice(HEARINGS), rng.choice((0, 1, 5, 12))))
    return found


@st.composite
def lives(draw: st.DrawFn) -> list[Step]:
    """One to eight events, to be made fewer where they break something."""
    steps = st.tuples(st.sampled_from(list(VALUES)), st.integers(0, 1_000), st.sampled_from(HEARINGS), st.integers(0, 4))
    chosen = draw(st.lists(steps, min_size=1, max_size=8))
    return [((name, VALUES[name](Random(number))), hearing, pause) for name, number, hearing, pause in chosen]


class Life:
    """One example: an exchange, the present session over it, and what is true all the while."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.exchange.move()
        self.trader = Trader(self.exchange, [], 1)
        self._differed_s = 0

    async def run(self, events: Sequence[Step]) -> None:
        await self.trader.start()
        try:
            self._protected(("BUY", 20))
            await self.go_on(2)
            for (name, value), hearing, pause in events:
                self.exchange.hearing = hearing
                await self._happen(name, value)
                await self.go_on(2)
                self.exchange.hearing = "heard"
                self.exchange.tell_late()
                await self.go_on(pause)
            await self.settle()
        finally:
            await self.trader.stop()

    async def go_on(self, seconds: float) -> None:
        await pass_time(self.exchange, seconds, self._each_second)

    def _each_second(self) -> None:
        trader = self.trader
        trader.check_alive()
        if trader.differences() or self._is_lied_to():
            self._differed_s += 1
            if self._differed_s > FOUND_S:
                assert trader.gate.against(S), f"differs, and nobody says so: {trader.differences()}"
        else:
            self._differed_s = 0

    def _is_lied_to(self) -> bool:
        return bool(self.exchange.lies)

    async def settle(self) -> None:
        """What must be so at the end."""
        exchange = self.exchange
        await self.go_on(BOUND_S)
        trader = self.trader
        stands = [entry.cause for entry in trader.gate.entries()]
        if trader.differences() or trader.stated_differences():
            assert self._is_lied_to(), (trader.differences(), trader.gate.frozen)
        if not stands:
            assert trader.differences() == [] and trader.stated_differences() == []
        exchange.lies.clear()
        await self._a_person_clears_up()
        assert trader.differences() == [], trader.differences()
        assert trader.gate.entries() == [], trader.gate.frozen
        self._check_executions()
        stated = await trader.statement.make(exchange.now_ms)
        assert stated is None or (stated.difference, stated.items) == (0, ()), stated
        before = len(exchange.entries)
        trader.order("BUY", 5)
        await self.go_on(2)
        assert len(exchange.entries) == before + 1, trader.notices[-3:]

    async def _a_person_clears_up(self) -> None:
        exchange, trader = self.exchange, self.trader
        exchange.happen("fee_coin")
        exchange.happen("auto_add_margin", symbol=S, on=False)
        exchange.by_hand("/v5/position/set-leverage", buyLeverage="10", sellLeverage="10")
        for row in exchange.truth()["orders"]:
            is_open = row["orderStatus"] in ("New", "PartiallyFilled", "Untriggered")
            if (
                is_open
                and row["symbol"] == S
                and not row["stopOrderType"]
                and trader.venue.tracker.orders.find(None, row["orderId"]) is None
            ):
                exchange.by_hand("/v5/order/cancel", orderId=row["orderId"])
        await self.go_on(BOUND_S)
        for entry in trader.gate.entries():
            if CAUSES[entry.cause].lifted_by == "person":
                trader.gate.open(entry.cause, entry.symbol, entry.key, by="a person")
        await self.go_on(BOUND_S)

    def _check_executions(self) -> None:
        there = [row["execId"] for row in self.exchange.truth()["executions"] if row["symbol"] == S and row["execType"] != "Funding"]
        here = [message.fill_id for message in self.trader.journal if isinstance(message, Fill)]
        assert Counter(there) == Counter(here)
        money = sum(int(row["change"] != "0") for row in self.exchange.truth()["log"] if row["type"] not in ("TRADE", "SETTLEMENT", "ADL"))
        taken = [key for message in self.trader.journal if isinstance(message, Adjusted) for key in message.log_rows]
        assert len(taken) == len(set(taken)) and (taken or money <= 1), "money from outside is named by an Adjusted"

    async def _happen(self, name: str, value: Any) -> None:
        act: Callable[[Any], Any] = getattr(self, "_" + name.replace(" ", "_"))
        done = act(value)
        if done is not None:
            await done

    # --- events ---

    def _market(self, value: Any) -> None:
        self.trader.order(*value)

    def _protected(self, value: Any) -> None:
        side, steps = value
        near = 0.97 if side == "BUY" else 1.03
        bracket = Bracket(stop_loss=self.trader.price(near), take_profit=self.trader.price(2 - near))
        self.trader.order(side, steps, bracket=bracket)

    def _rests(self, steps: int) -> None:
        self.trader.order("BUY", steps, order_type="limit", price=self.trader.price(0.98))

    def _cancels(self, _: Any) -> None:
        for order in list(self.trader.venue.tracker.orders):
            if order.command is not None and order.command.order_type == "limit":
                self.trader.venue.cancel_order(CancelOrder(order.client_order_id, S, self.exchange.now_ms))

    def _stranger(self, value: Any) -> None:
        side, steps = value
        self.exchange.by_hand("/v5/order/create", side=side.capitalize(), orderType="Market", qty=_qty(steps))

    def _strange_order(self, steps: int) -> None:
        price = str(self.trader.price(0.97))
        self.exchange.by_hand("/v5/order/create", side="Buy", orderType="Limit", qty=_qty(steps), price=price, orderLinkId="")

    def _closed_by_hand(self, part: int) -> None:
        held = self.exchange.held()
        if held:
            steps = max(1, abs(held) // part)
            side = "Sell" if held > 0 else "Buy"
            self.exchange.by_hand("/v5/order/create", side=side, orderType="Market", qty=_qty(steps), reduceOnly=True)

    def _flipped_by_hand(self, _: Any) -> None:
        held = self.exchange.held()
        if held:
            self._stranger(("SELL" if held > 0 else "BUY", 2 * abs(held)))

    def _ours_cancelled_by_hand(self, exits: bool) -> None:
        for row in self.exchange.truth()["orders"]:
            if row["orderStatus"] in ("New", "Untriggered") and bool(row["stopOrderType"]) is exits:
                self.exchange.by_hand("/v5/order/cancel", orderId=row["orderId"])

    def _adl(self, part: int) -> None:
        if self.exchange.held():
            self.exchange.happen("adl", symbol=S, qty=_qty(max(1, abs(self.exchange.held()) // part)))

    def _money(self, amount: str) -> None:
        self.exchange.happen("transfer", amount=amount)

    def _row(self, kind: str) -> None:
        self.exchange.happen("transfer", amount="-1.5" if kind in ("INTEREST", "AUTO_DEDUCTION") else "2.25", type=kind)

    def _other_symbol(self, _: Any) -> None:
        self.exchange.by_hand("/v5/order/create", symbol=OTHER, side="Buy", orderType="Market", qty="0.1")

    def _leverage(self, value: str) -> None:
        self.exchange.by_hand("/v5/position/set-leverage", buyLeverage=value, sellLeverage=value)

    def _adds_margin(self, _: Any) -> None:
        self.exchange.happen("auto_add_margin", symbol=S)

    def _fee_coin(self, _: Any) -> None:
        self.exchange.happen("fee_coin", coin="MNT", price=0.5)

    def _lies(self, value: Any) -> None:
        what, amount = value
        self.exchange.lies[what] = amount

    def _truth(self, _: Any) -> None:
        self.exchange.lies.clear()

    async def _killed(self, lost: int) -> None:
        before = self.trader
        await before.stop()
        kept = before.journal[: max(1, len(before.journal) - lost)]
        self.trader = Trader(self.exchange, kept, before.session + 1)
        await self.trader.start()

    async def _time(self, seconds: int) -> None:
        await self.go_on(seconds)


def _qty(steps: int) -> str:
    return f"{steps / 1000:.3f}"


def live(events: Sequence[Step]) -> None:
    async def work() -> None:
        await Life().run(events)

    run_virtual(work(), start_ms=START_MS)


def shrunk(events: list[Step]) -> list[Step]:
    """As few of these events as still break something."""
    for place in reversed(range(len(events))):
        fewer = events[:place] + events[place + 1 :]
        try:
            live(fewer)
        except Exception:  # noqa: BLE001  # whichever way it breaks
            return shrunk(fewer)
    return events


NO_SHORTCUTS = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=max(5, settings().max_examples // 10), suppress_health_check=NO_SHORTCUTS)
@given(lives())
def test_it_converges_or_halts_with_a_reason(events: list[Step]) -> None:
    live(events)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_many_lives_converge_or_halt_with_a_reason(part: int) -> None:
    for seed in range(part * 40, part * 40 + 40):
        events = random_life(seed)
        try:
            live(events)
        except Exception as error:
            error.add_note(f"seed {seed}: {shrunk(events)}")
            raise
