"""The proof, step by step: one symbol, the smallest order that the exchange takes, flat before and flat after.

Each step is a sentence that holds or does not, with what was seen. The first that does not ends the proof; what it opened is closed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import SUCCESS, Outcome, PayloadError
from keel.core.errors import KeelError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, CancelOrder, Side, SubmitOrder
from keel.core.model.money import UNIT, to_text
from keel.runners.live.arming.account import key_missing
from keel.runners.live.checks.transaction_log import log_rows
from keel.runners.live.startup.connection import Connection

PATIENCE_S = 15.0
FAR = Fraction(95, 100)
"""Where the order that is to rest lies, of the last price: far enough to rest, near enough for the exchange's price band."""
STEPS = (
    "the clock is within 500 ms of the exchange's",
    "the key may trade, and may not move funds",
    "the account is the one that was named",
    "nothing rests and nothing is held in the symbol; positions are one-way",
    "the smallest order is affordable",
    "an order below the smallest value is refused",
    "a limit order far away rests, under our name",
    "the same name twice makes no second order",
    "an amendment of the price is seen",
    "a cancel ends it, with nothing filled",
    "a second cancel is told that it is gone",
    "the smallest market order is filled, and its executions add up to it",
    "the position is what was filled",
    "a reduce-only order closes it",
    "the wallet changed by exactly what the transaction log says",
)


class NotSo(Exception):
    """A step does not hold."""


@dataclass
class Proof:
    """Of one connection and symbol. say: one line a step. most_usd: what the smallest order may be worth at most."""

    to: Connection
    symbol: str
    uid: int
    is_live: bool
    most_usd: float
    say: Callable[[str], None]
    done: list[str] = field(default_factory=list)
    failed: str = ""

    async def run(self) -> bool:
        """All steps; what was not reached is said to be NOT RUN. Whatever happens, the symbol is flat afterwards, or it is said."""
        try:
            await self._run()
        except (NotSo, KeelError, PayloadError) as error:
            self.failed = str(error)
            self.say(f"FAILED   {STEPS[len(self.done)]}: {error}")
        finally:
            await self._tidy()
        for step in STEPS[len(self.done) + bool(self.failed) :]:
            self.say(f"NOT RUN  {step}")
        return not self.failed and len(self.done) == len(STEPS)

    async def _run(self) -> None:
        to = self.to
        off = abs(to.clock.offset_ms)
        self._step(max(0, off - to.clock.uncertainty_ms) <= 500, f"{to.clock.offset_ms} ms, give or take {to.clock.uncertainty_ms}")
        key = await to.account.key_info()
        wrong = [each.text for each in key_missing(key, "linear") if self.is_live or each.code != "key_address"]
        self._step(not wrong, "; ".join(wrong) or f"permissions {key.permissions}")
        self._step(key.userID == self.uid, f"account {key.userID}")
        self.instrument = await to.reader.instrument(self.symbol)
        rows = await to.account.position_rows(self.symbol)
        resting = [row for row in await to.account.open_orders() if row.symbol == self.symbol]
        is_flat = not any(translate.number(row.size) for row in rows) and not any(row.positionIdx for row in rows)
        self._step(not resting and is_flat, f"{len(resting)} orders, {[str(row.size) for row in rows]}; tick {self._tick}")
        await self._orders()

    async def _orders(self) -> None:
        to, instrument, name = self.to, self.instrument, f"proof-{secrets.token_hex(6)}"
        last = await self._last()
        steps = smallest_steps(instrument, last)
        qty = instrument.qty_grid.value(steps)
        worth = qty * last
        self._step(worth <= self.most_usd, f"{qty:g} {self.symbol} at {last:g}: {worth:.2f} USDT (at most {self.most_usd:g})")
        since, wallet = to.market_ms, await self._wallet()
        far = instrument.price_grid.value(int(Fraction(last).limit_denominator(10**8) * FAR / Fraction(self._tick)))
        await self._refuses_too_small(name, far)
        rest = self._order(f"{name}-rest", "BUY", steps + 1, price=far)
        answer = await self._send("create", requests.create_body(rest, instrument))
        seen = await self._until(lambda: self._resting(rest.client_order_id), "it is listed")
        self._step(answer.outcome in SUCCESS and seen.orderStatus == "New", f"{answer.reason}; {seen.orderStatus} at {seen.price}")
        again = await self._send("create", requests.create_body(rest, instrument))
        count = sum(row.orderLinkId == rest.client_order_id for row in await to.account.open_orders())
        self._step(again.outcome is Outcome.DUPLICATE and count == 1, f"{again.reason}; {count} rests")
        lower = instrument.price_grid.value(instrument.price_grid.count(far) - 1)
        await self._send("amend", requests.amend_body(AmendOrder(rest.client_order_id, self.symbol, to.market_ms, price=lower), instrument))
        seen = await self._until(lambda: self._resting(rest.client_order_id, lower), "the new price is listed")
        self._step(True, f"now at {seen.price}")
        cancel = requests.cancel_body(CancelOrder(rest.client_order_id, self.symbol, to.market_ms), instrument)
        await self._send("cancel", cancel)
        ended = await self._until(lambda: self._ended(rest.client_order_id), "it has ended")
        filled = translate.number(ended.cumExecQty) or 0
        self._step(ended.orderStatus == "Cancelled" and not filled, f"{ended.orderStatus}, {filled} filled")
        gone = await self._send("cancel", cancel)
        self._step(gone.outcome is Outcome.GONE, gone.reason)
        await self._round_trip(name, steps, since, wallet)

    async def _round_trip(self, name: str, steps: int, since: int, wallet: int) -> None:
        to, instrument = self.to, self.instrument
        entry = self._order(f"{name}-in", "BUY", steps)
        answer = await self._send("create", requests.create_body(entry, instrument))
        fills = await self._until(lambda: self._fills(entry.client_order_id, steps), "it is filled")
        total = sum(translate.steps(instrument, row.execQty, "execQty") for row in fills)
        price = ", ".join(str(row.execPrice) for row in fills)
        self._step(answer.outcome in SUCCESS and total == steps, f"{len(fills)} executions at {price}")
        held = await self._until(lambda: self._held(steps), "the position is listed")
        self._step(True, f"{held.size} {held.side} at {held.avgPrice}, leverage {held.leverage}")
        out = self._order(f"{name}-out", "SELL", steps, reduce_only=True)
        answer = await self._send("create", requests.create_body(out, instrument))
        await self._until(lambda: self._fills(out.client_order_id, steps), "the exit is filled")
        await self._until(lambda: self._held(0), "the position is gone")
        self._step(answer.outcome in SUCCESS, answer.reason)
        change, logged = 0, 0
        for _ in range(10):  # lists come late
            change = await self._wallet() - wallet
            logged = sum(row.units for row in await log_rows(to.rest, instrument.quote, since - 1000, to.clock.now_ms + 1000))
            if change == logged and change:
                break
            await asyncio.sleep(1.0)
        self._step(change == logged and change != 0, f"wallet {to_text(change)}, transaction log {to_text(logged)} {instrument.quote}")

    async def _refuses_too_small(self, name: str, price: float) -> None:
        instrument = self.instrument
        least = -(-round(instrument.min_qty * instrument.qty_grid.den) // instrument.qty_grid.num) or 1
        is_small = instrument.qty_grid.value(least) * price < instrument.min_notional / UNIT
        steps = least if is_small else least - 1
        if steps < 1:  # one step of the grid is worth enough: nothing smaller can be written down
            self._step(True, "nothing smaller can be ordered")
            return
        small = self._order(f"{name}-small", "BUY", steps, price=price)
        answer = await self._send("create", requests.create_body(small, instrument))
        self._step(answer.outcome is Outcome.REFUSED, answer.reason)

    # --- parts ---

    def _step(self, holds: bool, seen: str) -> None:
        if not holds:
            raise NotSo(seen)
        self.say(f"ok       {STEPS[len(self.done)]}  ({seen})")
        self.done.append(STEPS[len(self.done)])

    @property
    def _tick(self) -> Fraction:
        return Fraction(self.instrument.price_grid.num, self.instrument.price_grid.den)

    def _order(self, name: str, side: Side, steps: int, price: float | None = None, reduce_only: bool = False) -> SubmitOrder:
        kind: Any = "market" if price is None else "limit"
        force: Any = "GTC" if price is None else "POST_ONLY"
        qty = self.instrument.qty_grid.value(steps)
        return SubmitOrder(name, self.symbol, side, kind, qty, self.to.market_ms, price, time_in_force=force, reduce_only=reduce_only)

    async def _send(self, kind: str, body: dict[str, Any]) -> Answer:
        return await self.to.rest.command(f"/v5/order/{kind}", body)

    async def _last(self) -> float:
        now = self.to.market_ms
        bars = await self.to.reader.bars(self.symbol, "1m", now - 600_000, now + 60_000)
        if not bars:
            raise NotSo("no bar of the last ten minutes")
        return bars[-1].close

    async def _wallet(self) -> int:
        wallet = await self.to.account.wallet()
        row = next((row for row in wallet.coin if row.coin == self.instrument.quote), None)
        if row is None:
            raise NotSo(f"the wallet has no {self.instrument.quote}")
        return round(translate.required(row.walletBalance, "walletBalance") * UNIT)

    async def _resting(self, name: str, price: float | None = None) -> wire.OrderRow | None:
        rows = await self.to.account.open_orders()
        return next((row for row in rows if row.orderLinkId == name and (price is None or float(str(row.price)) == price)), None)

    async def _ended(self, name: str) -> wire.OrderRow | None:
        row = (await self.to.account.order(self.symbol, name)).row
        return row if row is not None and row.orderStatus in ("Cancelled", "Filled", "Rejected", "PartiallyFilledCanceled") else None

    async def _fills(self, name: str, steps: int) -> list[wire.ExecutionRow] | None:
        found = (await self.to.account.order(self.symbol, name)).executions
        return found if sum(translate.steps(self.instrument, row.execQty, "execQty") for row in found) >= steps else None

    async def _held(self, steps: int) -> wire.PositionRow | None:
        rows = await self.to.account.position_rows(self.symbol)
        sizes = [translate.steps(self.instrument, row.size, "size") if translate.number(row.size) else 0 for row in rows]
        return rows[0] if rows and sum(sizes) == steps else None

    async def _until(self, look: Callable[[], Any], what: str) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await look()) is None:
                    await asyncio.sleep(0.2)
                return found
        except TimeoutError:
            raise NotSo(f"waited {PATIENCE_S:g} s in vain until {what}") from None

    async def _tidy(self) -> None:
        """Nothing of ours rests, nothing is held: else it is closed, and said."""
        if not hasattr(self, "instrument") or len(self.done) < 4:
            return  # nothing was sent
        try:
            for order in await self.to.account.open_orders():
                if order.symbol == self.symbol and (order.orderLinkId or "").startswith("proof-"):
                    name = str(order.orderLinkId)
                    await self._send("cancel", requests.cancel_body(CancelOrder(name, self.symbol, self.to.market_ms), self.instrument))
                    self.say(f"tidied   {name} was cancelled")
            for row in await self.to.account.position_rows(self.symbol):
                if translate.number(row.size):
                    steps = translate.steps(self.instrument, row.size, "size")
                    out = self._order(f"proof-{secrets.token_hex(6)}-tidy", "SELL" if row.side == "Buy" else "BUY", steps, reduce_only=True)
                    answer = await self._send("create", requests.create_body(out, self.instrument))
                    self.say(f"tidied   a position of {row.size} ({row.side}) was closed: {answer.reason}")
        except Exception as error:  # noqa: BLE001 (whatever broke: what may be left is said)
            self.say(f"LEFT     {self.symbol} could not be tidied ({error}): look at the account, or press keel panic")


def smallest_steps(instrument: Instrument, price: float) -> int:
    """The fewest steps that the exchange takes at this price, with a tenth to spare for what the price moves."""
    grid = instrument.qty_grid
    by_value = Fraction(instrument.min_notional, UNIT) * Fraction(11, 10) / Fraction(price).limit_denominator(10**8) * grid.den / grid.num
    by_qty = Fraction(instrument.min_qty).limit_denominator(10**10) * grid.den / grid.num
    return max(1, -(-by_value.numerator // by_value.denominator), -(-by_qty.numerator // by_qty.denominator))
