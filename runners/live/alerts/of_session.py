"""The alerts of one session: fed with its notices, told of its start and its end, with the daily summary running beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from keel.adapters.bybit.notices import Notice, Notify
from keel.runners.home import Home
from keel.runners.live.alerts.alerts import Alerts, open_alerts
from keel.runners.live.alerts.daily import send_daily

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live


class SessionAlerts:
    """What a session calls; without an alerts.yaml nothing comes of it."""

    def __init__(self, alerts: Alerts | None) -> None:
        self._alerts = alerts

    def notify(self, notice: Notice) -> None:
        """A notice of the session; from any thread."""
        if self._alerts is not None:
            self._alerts.notify(notice)

    def tell(self, code: str, text: str, *, is_error: bool = False) -> None:
        """Something that is no notice of the session: its start, its end, a loop that hangs."""
        self.notify(Notice(time.time_ns() // 1_000_000, code, text, severity="error" if is_error else "info"))

    @asynccontextmanager
    async def beside(self, live: Live) -> AsyncIterator[None]:
        """While it trades: the daily summary. A summary that cannot be made is told, and ends nothing."""
        if self._alerts is None or not live.connection.pace.judges_loop:
            yield
            return
        self.tell("started", f"{live.account}: gate {live.gate.state.name}, {', '.join(live.instruments)}")
        task = asyncio.create_task(send_daily(live, self._alerts))
        task.add_done_callback(self._daily_ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _daily_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (broke := task.exception()) is not None:
            self.tell("check_failed", f"the daily summary broke and is not made any more: {type(broke).__name__}: {broke}", is_error=True)


@contextmanager
def session_alerts(home: Home, about: str, on_screen: Notify, say: Callable[[str], None]) -> Iterator[SessionAlerts]:
    """Open, and at the end give what waits the time of one attempt; what was not sent then is said. Raises ConfigError and SafetyError for
    an alerts.yaml that cannot be used."""
    alerts = open_alerts(home, about, on_screen)
    try:
        yield SessionAlerts(alerts)
    finally:
        if alerts is not None:
            for name, count in alerts.close().items():
                say(f"{count} alert{'s' if count > 1 else ''} for {name} could not be sent before the end")
