"""The way of a command to the exchange: by stream or by REST, alone or in a batch; and what is to be done before it is sent again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.adapters.bybit.transport.send_stop import Durable, Written, durable_already, untold
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import Outcome, PayloadError, of_code

TRIES: Final = 3
"""How often a command is sent at most, after answers that prove that it was not executed."""
_BUSY_S: Final = 0.5


class Sender(Protocol):
    """REST or the trade stream."""

    async def command(
        self, path: str, body: Mapping[str, Any], *, amount: int = 1, written: Written = untold, durable: Durable = durable_already
    ) -> Answer: ...


class Road:
    """choose: the sender of the moment for a path.  right_of_way: given back for an order when its bytes are written.  measure_clock:
    awaited where a timestamp was refused."""

    def __init__(
        self,
        choose: Callable[[str], Sender],
        around: Surroundings,
        right_of_way: RightOfWay,
        measure_clock: Callable[[], Awaitable[object]],
    ) -> None:
        self._choose, self._around, self._right_of_way, self._measure_clock = choose, around, right_of_way, measure_clock

    async def command(self, path: str, body: requests.Body) -> Answer:
        """Send one that is about no order."""
        return await self._choose(path).command(path, body)

    async def send(self, path: str, bodies: list[requests.Body], names: list[str], durable: Durable = durable_already) -> list[Answer]:
        """One answer per body. A batch has a fate per item; an answer that does not say them leaves each unknown. names: the orders'."""

        def written() -> None:
            self._right_of_way.give_back(*names)

        if len(bodies) == 1:
            return [await self._choose(path).command(path, bodies[0], written=written, durable=durable)]
        path += "-batch"
        items = [{name: value for name, value in body.items() if name != "category"} for body in bodies]
        body = {"category": bodies[0]["category"], "request": items}
        answer = await self._choose(path).command(path, body, amount=len(items), written=written, durable=durable)
        if answer.outcome is not Outcome.OK:
            return [answer] * len(bodies)
        try:
            fates = wire.decode(wire.ItemResults, answer.extra).rows
            raws = wire.decode(wire.Listing, answer.result).rows
        except PayloadError:
            fates, raws = [], []
        if len(fates) != len(bodies) or len(raws) != len(bodies):
            return [Answer(Outcome.UNKNOWN, message="a batch answer without the fates of its items")] * len(bodies)
        return [Answer(of_code(fate.code), fate.code, fate.msg, raw) for fate, raw in zip(fates, raws, strict=True)]

    async def before_again(self, answers: Sequence[Answer]) -> None:
        """What these answers want done before their commands are sent again."""
        outcomes = {answer.outcome for answer in answers}
        if Outcome.CLOCK in outcomes:
            await self._measure_clock()
        if Outcome.BUSY in outcomes:
            await self._around.sleep(_BUSY_S)
