"""Decision bars wait here until what features read beside them is known; then both go on together, in the order of the bars."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import VenueError
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.runners.live.market.input_reader import InputReader
from keel.runners.live.memory.records import InputsKnown

RETRY_S: Final = 0.5
PATIENCE_MS: Final = 120_000
"""How long a bar waits before the session gives up: a series with a hole in it decides nothing that a backtest would."""


class InputWait:
    """One queue per symbol. give: takes a bar with its inputs.  fail: hears what ends the session."""

    def __init__(
        self,
        reader: InputReader,
        give: Callable[[Bar, InputsKnown], None],
        *,
        fail: Callable[[BaseException], None],
        notify: Notify,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._reader, self._give, self._fail, self._notify, self._sleep, self._now_ms = reader, give, fail, notify, sleep, now_ms
        self._waiting: dict[str, list[Bar]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def put(self, bar: Bar) -> None:
        """A decision bar has come."""
        waiting = self._waiting.setdefault(bar.symbol, [])
        waiting.append(bar)
        if len(waiting) == 1:
            self._tasks[bar.symbol] = asyncio.create_task(self._work(bar.symbol))

    async def settle(self) -> None:
        """Wait until every bar that came has gone on."""
        while any(self._waiting.values()):
            await asyncio.wait([task for task in self._tasks.values() if not task.done()])

    async def close(self) -> None:
        """Stop waiting."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _work(self, symbol: str) -> None:
        waiting = self._waiting[symbol]
        try:
            while waiting:
                known = await self._known(waiting[0])
                self._give(waiting[0], known)
                del waiting[0]
        except Exception as error:  # noqa: BLE001  # told: the session stops for it
            waiting.clear()
            self._fail(error)

    async def _known(self, bar: Bar) -> InputsKnown:
        begun, told = self._now_ms(), ""
        while True:
            try:
                known = await self._reader.at(bar)
                if known is not None:
                    return known
                problem = "not published yet"
            except (ExchangeRefusal, PayloadError) as error:
                problem = str(error)
            text = f"{bar.symbol} {bar.tf}: {', '.join(self._reader.waited_for)} at {to_iso(bar.ts_close)}: {problem}"
            if self._now_ms() - begun >= PATIENCE_MS:
                raise VenueError(f"{text}; this system decides nothing without it")
            if problem != told:
                told = problem
                self._notify(Notice(bar.ts_close, "inputs_late", text, bar.symbol))
            await self._sleep(RETRY_S)
