"""Sets the exits of a position that the exchange keeps. Setting the same twice changes nothing, so that what was lost is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keel.adapters.bybit.execution.sending.road import TRIES, Road
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire.return_codes import MAY_BE_SENT_AGAIN, NOT_EXECUTED, SUCCESS, Outcome

_TRADING_STOP: Final = "/v5/position/trading-stop"
_REFUSALS: Final = 3
_REFUSED_S: Final = 0.5
"""How often, and how far apart, exits that are refused are asked for: a position must be known to be unprotected within five seconds."""


class PositionExits:
    """current_price: last price of a symbol.  unprotected: takes (symbol, why) of a position whose exits were not set."""

    def __init__(
        self,
        tracker: OrderTracker,
        road: Road,
        around: Surroundings,
        current_price: Callable[[str], float | None],
        unprotected: Callable[[str, str], None],
    ) -> None:
        self._tracker, self._road, self._around = tracker, road, around
        self._current_price, self._unprotected = current_price, unprotected

    async def set_trailing(self, order: TrackedOrder) -> None:
        """The trailing stop of an order's bracket, once its fill has opened a position."""
        bracket = order.command.bracket if order.command is not None else None
        if bracket is not None and bracket.trailing is not None:
            await self.set(order.symbol, requests.trailing_body(order.symbol, bracket, order.instrument, order.position_idx))

    async def set(self, symbol: str, body: requests.Body) -> None:
        """Set exits; setting the same twice changes nothing, so that an unknown outcome is simply repeated. A partial pair is an order and
        not repeated: whether it came is seen when it is told."""
        answer, refusals = Answer(Outcome.NOT_SENT), 0
        for attempt in range(TRIES + 2):
            answer = await self._road.command(_TRADING_STOP, self._within_limits(symbol, body))
            if answer.outcome in SUCCESS:
                return
            if (
                answer.outcome is Outcome.REFUSED
                and refusals + 1 < _REFUSALS
                and self._tracker.books.held(symbol, int(body["positionIdx"]))
            ):
                refusals += 1
                await self._around.sleep(_REFUSED_S)
                continue
            is_repeatable = answer.outcome in MAY_BE_SENT_AGAIN or answer.outcome is Outcome.NOT_SENT
            if not is_repeatable and (answer.outcome is not Outcome.UNKNOWN or body.get("tpslMode") == "Partial"):
                break
            await self._road.before_again([answer])
            await self._around.sleep(0.2 * 2**attempt)
        is_refused = answer.outcome in NOT_EXECUTED
        if is_refused:
            self._tracker.exits_refused(symbol, answer.reason, self._around.moment())
        if is_refused and not self._tracker.books.held(symbol, int(body["positionIdx"])):
            text = f"{symbol}: the exits were not set ({answer.reason}); there is no position that needs them"
            self._around.notify(Notice(self._around.exchange_ms, "exits_not_set", text, symbol))
            return
        self._unprotected(symbol, answer.reason)

    def _within_limits(self, symbol: str, body: requests.Body) -> requests.Body:
        """Without what is refused for certain: an activation price that the market has passed (the stop trails at once then)."""
        price, held = self._current_price(symbol), self._tracker.books.held(symbol, int(body["positionIdx"]))
        if "activePrice" not in body or price is None or not held:
            return body
        activation = float(body["activePrice"])
        has_passed = price >= activation if held > 0 else price <= activation
        return {name: value for name, value in body.items() if name != "activePrice"} if has_passed else body
