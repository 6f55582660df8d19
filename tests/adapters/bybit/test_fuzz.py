"""Mutated payloads: no exception but the one that quarantines, no hang, no order from any of them, and a message that is refused has
changed nothing. The same bytes go through the doors of REST and of the streams, which raise nothing at all."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.tracking.queries import Moment
from keel.adapters.bybit.market import instruments
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import Answer, RestClient
from keel.adapters.bybit.transport.streams import Stream
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.core.model.messages import AmendOrder, CancelOrder, Fill, Message, SetTradingStop, SubmitOrder
from tests.builders import perpetual

VALUES: list[Any] = [
    None, "", "NaN", "Infinity", "-1", "1e999", "-0", "1e-40", 0, -1, 1.5, 1e300, True, [], {}, "Buy", "x" * 5000, 10**30, "０", "Filled",
    "1" * 400, [[]], "Funding", "\ud7ff", 9007199254740993,
]  # fmt: skip
LONGEST_S = 2.0
NOW = Moment(0, 1_700_000_000_000, 1_700_000_000_000)
"""A message takes far less than a millisecond; a busy machine may be elsewhere for a while."""
COMMANDS = (SubmitOrder, AmendOrder, CancelOrder, SetTradingStop)


def mutated(rng: random.Random, document: Any) -> bytes:
    """One change: a value replaced, dropped, added or swapped; or the bytes cut, flipped or nested."""
    raw: bytes = msgspec.json.encode(document)
    way = rng.randrange(10)
    if way == 0:
        return raw[: rng.randrange(len(raw))]
    if way == 1:
        at = rng.randrange(len(raw))
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if way == 2:
        return b"[" * 2000 + raw + b"]" * 2000
    if way == 3:
        return raw.replace(b'"', b'"a":1,"', 1)
    copy = msgspec.json.decode(raw)
    holders = list(containers(copy))
    holder = rng.choice(holders)
    if isinstance(holder, dict) and holder:
        key = rng.choice(list(holder))
        if way == 4:
            del holder[key]
        elif way == 5:
            holder["surprise"] = rng.choice(VALUES)
        elif way == 6:
            other = rng.choice(list(holder))
            holder[key], holder[other] = holder[other], holder[key]
        else:
            holder[key] = rng.choice(VALUES)
    elif isinstance(holder, list) and holder:
        holder[rng.randrange(len(holder))] = rng.choice(VALUES)
    return msgspec.json.encode(copy)


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


class Everything:
    """Reads any payload in every way that the adapter reads that kind."""

    def __init__(self) -> None:
        self.out: list[Message] = []
        known = {
            one.symbol: one for one in (perpetual("BTCUSDT"), perpetual("XRPUSDT", "0.0001", "1"), perpetual("ETHUSDT", "0.01", "0.01"))
        }
        self.tracker = OrderTracker(known, lambda one: self.out.append(one) if isinstance(one, Message) else None, Past(), NOW)
        self.tracker.submitted(SubmitOrder("test-000005", "ETHUSDT", "BUY", "limit", 0.1, 0, 1600.0))
        self.quarantined = 0
        where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")
        nobody: Any = None  # no request is made
        self.rest = RestClient(nobody, where, None, ServerClock(), Budget(lambda: 0, asyncio.sleep))
        self.stream = Stream("fuzzed", "", nobody, ("order", "execution", "position", "wallet"), lambda *_: None, notify=lambda n: None)

    def take(self, raw: bytes, name: str) -> None:
        assert isinstance(self.rest._understand("/v5/any", 200, {}, raw), Answer)
        self.stream._receive(raw)
        try:
            self._take(raw, name)
        except PayloadError:
            self.quarantined += 1

    def _take(self, raw: bytes, name: str) -> None:
        inner: Any
        if name.startswith("ws/"):
            frame = wire.decode(wire.WebSocketFrame, raw)
            inner = frame.data
        else:
            envelope = wire.decode(wire.Envelope, raw) if b"retCode" in raw else None
            source = raw if envelope is None else envelope.result
            if "kline" in name:
                for row in wire.decode(wire.Listing, source).rows:
                    self._each(lambda row=row: translate.bar_of_list("BTCUSDT", "1h", wire.decode(list[wire.Number], row)))
                return
            inner = msgspec.Raw(b"[" + b",".join(bytes(row) for row in wire.decode(wire.Listing, source).rows) + b"]")
        self._rows(inner, name)

    def _rows(self, inner: msgspec.Raw, name: str) -> None:
        def rows(shape: type[Any]) -> list[Any]:
            return wire.decode_rows(shape, inner, lambda error: None)

        if "ticker" in name:
            ticker = wire.decode(wire.TickerRow, inner)
            self._each(lambda: translate.mark_price(ticker.symbol, 1, ticker.markPrice))
        elif "execution" in name:
            for row in rows(wire.ExecutionRow):
                self._each(lambda row=row: self.tracker.on_execution(row, NOW))
                self.tracker.give_up_on(row.orderId)
        elif "order" in name:
            for row in rows(wire.OrderRow):
                self._each(lambda row=row: self.tracker.on_order(row, NOW))
        elif "position" in name:
            for row in rows(wire.PositionRow):
                self._each(lambda row=row: self.tracker.stated.on_position(row, 1))
        elif "wallet" in name:
            for row in rows(wire.WalletRow):
                self._each(lambda row=row: self.tracker.stated.on_wallet(row, 1))
        elif "instruments" in name:
            for row in rows(wire.InstrumentRow):
                self._each(lambda row=row: instruments.instrument(row, "linear", 0, [], None))
                self._each(lambda row=row: instruments.instrument(row, "spot", 0, [], None))
        elif "risk-limit" in name:
            self._each(lambda: instruments.risk_tiers("BTCUSDT", rows(wire.TierRow)))
        elif "kline" in name:
            for row in rows(wire.KlineRow):
                self._each(lambda row=row: translate.bar_of_push("BTCUSDT", "5m", row))
        elif "funding" in name:
            for row in rows(wire.FundingRow):
                self._each(lambda row=row: translate.funding_rate(row))

    def _each(self, read: Any) -> None:
        before = self._state()
        try:
            read()
        except PayloadError:
            self.quarantined += 1
            assert self._state() == before, "a message that was refused has changed something"

    def _state(self) -> tuple[Any, ...]:
        """What the account's tracker knows, as far as a row could change it."""
        tracker = self.tracker
        orders = [(one.client_order_id, one.order_id, one.state, one.filled, one.qty, one.told, one.last_ms) for one in tracker.orders]
        waiting = sum(map(len, tracker._waiting.values())), sum(map(len, tracker._orphans.values()))
        books = [(key, book.steps, book.cost) for key, book in tracker.books._books.items()]
        return (
            len(self.out),
            orders,
            len(tracker._seen),
            waiting,
            books,
            len(tracker.stated.positions),
            len(tracker.stated.balances),
            len(tracker.foreign),
        )


def run(payloads: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    samples = [
        (str(file.relative_to(payloads)), msgspec.json.decode(file.read_bytes()))
        for file in sorted(payloads.rglob("*.json"))
        if "trade_guideline" not in file.name and "observed" not in file.name
    ]
    everything = Everything()
    for number in range(count):
        name, document = rng.choice(samples)
        raw = mutated(rng, document)
        began = time.perf_counter()
        try:
            everything.take(raw, name)
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutant {number} of {name}: {type(error).__name__}: {error}: {raw[:300]!r}") from error
        assert time.perf_counter() - began < LONGEST_S, f"seed {seed}, mutant {number} of {name}: {raw[:300]!r}"
    assert everything.quarantined > count // 20
    assert not [one for one in everything.out if isinstance(one, COMMANDS)]
    for fill in everything.out:
        if isinstance(fill, Fill):
            assert 0 < fill.price < 1e15 and 0 < fill.qty < 1e15


def test_two_thousand_mutants(payloads: Path) -> None:
    run(payloads, 2_000, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_twenty_thousand_mutants(payloads: Path, seed: int) -> None:
    run(payloads, 2_000, seed)
