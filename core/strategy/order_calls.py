"""Orders by hand, the same on every venue: ``market_buy(symbol, usd)`` and its kin, and batches of which each item has its own fate.

They make the commands that actors send, and nothing else: what becomes of one is told by the venue's events under its
``client_order_id``, as ever. No risk policy stands before them; a session's orders go through its actors.
What is wrong with a call is told at once (ConfigError), and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from keel.core.errors import ConfigError, FieldError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, Side, SubmitOrder, TimeInForce
from keel.core.model.money import UNIT, to_text
from keel.core.model.words import check_number

Command = TypeVar("Command", SubmitOrder, AmendOrder, CancelOrder)


class ItemFate(msgspec.Struct, frozen=True):
    """What became of one item of a batch: handed to the venue, whose answer comes as an OrderUpdate, or refused here, and why."""

    client_order_id: str
    accepted: bool
    reason: str = ""


class OrderCalls:
    """The calls. A venue tells what it trades, the latest price, what is held and what time it is (the methods that raise here)."""

    _hand_count = 0

    # --- one order ---

    def market_buy(
        self, symbol: str, usd: float, *, reduce_only: bool = False, position_idx: int = 0, client_order_id: str | None = None
    ) -> SubmitOrder:
        """Buy for so many quote coins at the latest price, rounded down to the quantity step; returns the order that was sent."""
        return self._send("BUY", symbol, usd, None, "GTC", reduce_only, position_idx, client_order_id)

    def market_sell(
        self, symbol: str, usd: float, *, reduce_only: bool = False, position_idx: int = 0, client_order_id: str | None = None
    ) -> SubmitOrder:
        """Sell for so many quote coins, as ``market_buy``."""
        return self._send("SELL", symbol, usd, None, "GTC", reduce_only, position_idx, client_order_id)

    def limit_buy(
        self, symbol: str, usd: float, price: float, *, time_in_force: TimeInForce = "GTC", reduce_only: bool = False,
        position_idx: int = 0, client_order_id: str | None = None,
    ) -> SubmitOrder:  # fmt: skip
        """Bid so many quote coins at a price, which is on the tick; the quantity is rounded down to its step."""
        return self._send("BUY", symbol, usd, _number(price, "price"), time_in_force, reduce_only, position_idx, client_order_id)

    def limit_sell(
        self, symbol: str, usd: float, price: float, *, time_in_force: TimeInForce = "GTC", reduce_only: bool = False,
        position_idx: int = 0, client_order_id: str | None = None,
    ) -> SubmitOrder:  # fmt: skip
        """Ask so many quote coins at a price, as ``limit_buy``."""
        return self._send("SELL", symbol, usd, _number(price, "price"), time_in_force, reduce_only, position_idx, client_order_id)

    def close_position(self, symbol: str, *, position_idx: int = 0, client_order_id: str | None = None) -> SubmitOrder | None:
        """Close what is held at market, reduce-only (on spot: sell the whole steps of it); None where nothing is held, and nothing sent."""
        instrument = self._traded(_text(symbol, "symbol"))
        steps = self._held(symbol, position_idx)
        if not steps:
            return None
        self._check_new(client_order_id)
        side: Side = "SELL" if steps > 0 else "BUY"
        command = SubmitOrder(
            client_order_id or self._new_id(), symbol, side, "market", instrument.qty_grid.value(abs(steps)), self._stamp(),
            reduce_only=instrument.category == "linear", position_idx=position_idx, reason="hand",
        )  # fmt: skip
        self.submit_order(command)
        return command

    def cancel_all(self, command: CancelAll | str | None = None) -> None:
        """Cancel every resting order of a symbol, or of all (None)."""
        if not isinstance(command, CancelAll):
            if command is not None:
                self._traded(_text(command, "symbol"))
            command = CancelAll(self._stamp(), command)
        self._cancel_all(command)

    # --- batches ---

    def submit_orders(self, commands: Iterable[SubmitOrder]) -> list[ItemFate]:
        """Place several orders; one that is refused keeps no other from being placed."""
        return self._each(commands, SubmitOrder, self.submit_order)

    def amend_orders(self, commands: Iterable[AmendOrder]) -> list[ItemFate]:
        """Amend several orders, each for itself."""
        return self._each(commands, AmendOrder, self.amend_order)

    def cancel_orders(self, commands: Iterable[CancelOrder]) -> list[ItemFate]:
        """Cancel several orders, each for itself."""
        return self._each(commands, CancelOrder, self.cancel_order)

    # --- inside ---

    def _send(
        self, side: Side, symbol: str, usd: float, price: float | None, time_in_force: TimeInForce, reduce_only: bool, position_idx: int,
        client_order_id: str | None,
    ) -> SubmitOrder:  # fmt: skip
        instrument = self._traded(_text(symbol, "symbol"))
        if price is not None:
            _check_on_tick(instrument, price)
        usd, at = _number(usd, "usd"), self._price_for(symbol) if price is None else price
        qty = quantity_of(instrument, usd, at, is_market=price is None, may_be_tiny=reduce_only and instrument.category == "linear")
        self._check_new(client_order_id)
        command = SubmitOrder(
            client_order_id or self._new_id(), symbol, side, "market" if price is None else "limit", qty, self._stamp(), price,
            time_in_force=time_in_force, reduce_only=reduce_only, position_idx=position_idx, reason="hand",
        )  # fmt: skip
        self.submit_order(command)
        return command

    def _price_for(self, symbol: str) -> float:
        price = self._latest_price(symbol)
        if price is None or not price > 0.0:
            raise ConfigError(
                f"{symbol}: no price is known yet, so no quantity follows from an amount: wait for the first bar, or place a limit order"
            )
        return price

    def _new_id(self) -> str:
        """A name that no order had: time and a count, so that a later session does not give it again."""
        self._hand_count += 1
        return f"hand-{self._stamp()}-{self._hand_count}"

    def _check_new(self, client_order_id: str | None) -> None:
        if client_order_id is not None and self._has_order(_text(client_order_id, "client_order_id")):
            raise ConfigError(f"client_order_id {client_order_id!r} names an order already: give a name that none had, or leave it out")

    def _each(self, commands: Iterable[Any], kind: type[Command], send: Callable[[Command], None]) -> list[ItemFate]:
        fates: list[ItemFate] = []
        names: set[str] = set()
        for command in commands:
            name = str(getattr(command, "client_order_id", ""))
            try:
                if not isinstance(command, kind):
                    raise ConfigError(f"an item of this batch is a {kind.__name__}, not {type(command).__name__}")
                _check_on_grid(self._traded(command.symbol), command)
                if name in names:
                    raise ConfigError(f"client_order_id {name!r} stands twice in the batch: the first one was taken")
                if kind is SubmitOrder:
                    self._check_new(name)
                send(command)
            except ConfigError as error:
                fates.append(ItemFate(name, False, str(error)))
            else:
                names.add(name)
                fates.append(ItemFate(name, True))
        return fates

    # --- what a venue is ---

    def submit_order(self, command: SubmitOrder) -> None:
        """Place an order."""
        raise NotImplementedError

    def amend_order(self, command: AmendOrder) -> None:
        """Change a resting order."""
        raise NotImplementedError

    def cancel_order(self, command: CancelOrder) -> None:
        """Cancel one order."""
        raise NotImplementedError

    def _cancel_all(self, command: CancelAll) -> None:
        raise NotImplementedError

    def _traded(self, symbol: str) -> Instrument:
        """The instrument. Raises ConfigError for a symbol that the venue does not trade."""
        raise NotImplementedError

    def _latest_price(self, symbol: str) -> float | None:
        raise NotImplementedError

    def _held(self, symbol: str, position_idx: int) -> int:
        """Signed quantity steps."""
        raise NotImplementedError

    def _has_order(self, client_order_id: str) -> bool:
        """Whether an order of this name is known here."""
        raise NotImplementedError

    def _stamp(self) -> int:
        """The time of commands, ms UTC."""
        raise NotImplementedError


def quantity_of(instrument: Instrument, usd: float, price: float, *, is_market: bool, may_be_tiny: bool = False) -> float:
    """The quantity for so many quote coins, rounded down to the step. may_be_tiny: it only reduces, so no smallest value holds.

    Raises ConfigError for one outside the instrument's limits.
    """
    steps = instrument.qty_grid.floor(usd / price)
    qty = instrument.qty_grid.value(steps)
    most = instrument.max_market_qty if is_market else instrument.max_qty
    told = f"{instrument.symbol}: {usd:g} {instrument.quote} at {price:g} is a quantity of {qty:g}"
    if not steps or qty < instrument.min_qty:
        least = max(instrument.min_qty, instrument.qty_grid.value(1))
        raise ConfigError(f"{told}, and the smallest is {least:g}: give at least {least * price:.2f}")
    if not may_be_tiny and round(qty * price * UNIT) < instrument.min_notional:
        raise ConfigError(f"{told}, worth {qty * price:.2f}, and the smallest value is {to_text(instrument.min_notional)}: give more")
    if qty > most:
        raise ConfigError(f"{told}, and the largest is {most:g}: give at most {most * price:.2f}, or several orders")
    return qty


def _check_on_tick(instrument: Instrument, price: float) -> None:
    grid = instrument.price_grid
    if not grid.is_on(price):
        nearest = grid.text(max(1, grid.floor(price)))
        raise ConfigError(f"{instrument.symbol}: a price of {price!r} is not a multiple of its tick {grid.text(1)}; below it is {nearest}")


def _check_on_grid(instrument: Instrument, command: SubmitOrder | AmendOrder | CancelOrder) -> None:
    """What a venue could only round: quantity and prices off the grid. Raises ConfigError."""
    if isinstance(command, CancelOrder):
        return
    closes_all = isinstance(command, SubmitOrder) and command.close_on_trigger and command.qty == 0
    if command.qty is not None and not closes_all and not instrument.qty_grid.is_on(_number(command.qty, f"{instrument.symbol}: qty")):
        step = instrument.qty_grid.text(1)
        raise ConfigError(f"{instrument.symbol}: a quantity of {command.qty!r} is not a multiple of its step {step}")
    for name in ("price", "trigger_price"):
        price = getattr(command, name)
        if price is not None:
            _check_on_tick(instrument, _number(price, f"{instrument.symbol}: {name}"))


def _number(value: Any, name: str) -> float:
    """A positive, finite number, as it was given. Raises FieldError for anything else."""
    return check_number(value, name, above=0.0)


def _text(value: Any, name: str) -> str:
    """A text that says something. Raises FieldError for anything else."""
    if not isinstance(value, str) or not value:
        raise FieldError(f"{name}: must be a text, not {value!r}")
    return value
