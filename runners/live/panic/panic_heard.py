"""A panic that was pressed where another latch counts (another machine, user or state folder): it reaches a session by what it closes.

It counts here, too: its latch is laid in this state folder, so that the session halts, no arming survives and nothing starts until a person
has re-armed. A panic that was over when somebody re-armed here is not heard again, whenever its executions come to be read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keel.adapters.bybit.notices import Notice
from keel.runners import safety
from keel.runners.live.panic.latch import is_latched, latch_of
from keel.runners.live.panic.rearm import rearmed_ms

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live
    from keel.runners.live.startup.plan import Plan

CODE: Final = "execution_panic"
BY: Final = "a panic of this account that was pressed elsewhere: on another machine, by another user, or with another KEEL_STATE"
_NAME: Final = re.compile(r"panic-([0-9a-f]{10,})[0-9a-f]{3}-[0-9]+")


class PanicHeard:
    """Of one session: it lays the latch once, and never again after a person has taken it away."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._live: Live | None = None
        self._began_ms = 0
        self._is_heard = False
        self._unlatched = ""
        """Why nothing may leave where no latch could be laid."""

    def begin(self, live: Live) -> None:
        """The start is through: executions of a later time are of a panic that is under way now."""
        self._live, self._began_ms = live, live.connection.market_ms
        if self._unlatched:
            live.connection.latch.press(self._unlatched)

    def hear(self, notice: Notice) -> None:
        """A notice of the session's; ``key`` of one of a panic's execution: the client order id of the panic."""
        if notice.code != CODE or self._is_heard or self._is_known(notice):
            return
        self._is_heard = True
        environment, by = self._plan.environment, f"{BY} ({notice.text})"
        is_dry = self._plan.dry is not None  # it sends nothing, and changes nothing for others
        problem = "this is a dry run" if is_dry else safety.latch(self._path, environment.value, by)
        if problem:
            self._unlatched = f"{by}, and no latch is laid here ({problem}): look at the account before you start again"
        if self._live is not None:
            if problem:
                self._live.connection.latch.press(self._unlatched)
            self._live.connection.latch.why()  # seen once, it counts for good

    @property
    def _path(self) -> Path:
        return latch_of(self._plan.environment, self._plan.sandbox_url)

    def _is_known(self, notice: Notice) -> bool:
        """Whether a latch stands or stood for it: here and now, or in this session, or when a person re-armed after it had begun."""
        if is_latched(self._path) or (self._live is not None and self._live.connection.latch.why()):
            return True
        is_under_way = self._live is not None and notice.ts > self._began_ms
        return not is_under_way and begun_ms(notice) <= rearmed_ms(self._path)


def begun_ms(notice: Notice) -> int:
    """When a panic began, by the clock of the machine where it was pressed, as the names of its orders say; else when it executed."""
    found = _NAME.fullmatch(notice.key)
    return int(found[1], 16) // 1_000 if found else notice.ts
