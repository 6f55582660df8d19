"""What a supervisor makes of heartbeats: pure, time is given. Each rule is told when it begins to hold, and once more when it ends.

The trader has its own watchdogs for most of this, and acts sooner; these are for a trader that cannot. Thresholds are the system's
(``supervision``), or stand here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from keel.adapters.bybit.notices import Severity
from keel.core.system.config import SupervisionConfig
from keel.runners.live.supervisor.heartbeat import Beat

LATE_MS: Final = 100.0
HALTED_MS: Final = 2_000.0
"""From here on the trader itself lets no order leave."""
START_S: Final = 180.0
"""A start reads the account and the bars before it."""
JOURNAL_S: Final = 30.0
JUMP_MS: Final = 1_000.0
SETTLED_S: Final = 60.0
"""A trader's memory is compared with what it had so long after it began to trade."""
GROWTH: Final = 2.0
GROWTH_BYTES: Final = 256 << 20
GONE_S: Final = 90.0
"""A trader that has said how it ended still sends its alerts (a command may take a minute); then its process is to be gone."""
_MB: Final = 1 << 20

Act = Literal["tell", "stop", "hang", "kill"]
"""Only told; the trader is asked to end; it is taken to hang, and what the system names for that is done; it has ended, and what is left of
it is killed."""


class Finding(msgspec.Struct, frozen=True):
    """Something that a rule found. is_over: it was so, and is not any more."""

    code: str
    severity: Severity
    text: str
    act: Act = "tell"
    is_over: bool = False


class Watch:
    """Of one trader process, from ``began_s`` on."""

    def __init__(self, policy: SupervisionConfig, began_s: float) -> None:
        self._policy, self._began_s = policy, began_s
        self.last: Beat | None = None
        self._heard_s = began_s
        self._trading_s: float | None = None
        self._base_rss: int | None = None
        self._grown_s = began_s
        self._grown: tuple[int, int] = (0, 0)
        self._short_s: float | None = None
        self._jump_ms = 0
        self._standing: dict[tuple[str, Act], Finding] = {}

    @property
    def is_up(self) -> bool:
        """Whether it has begun to trade."""
        return self._trading_s is not None

    def beat(self, beat: Beat, now_s: float) -> None:
        """A heartbeat has come."""
        before = self.last
        if before is not None and before.process == beat.process:
            self._jump_ms = (beat.wall_ms - beat.mono_ms) - (before.wall_ms - before.mono_ms)
        if beat.phase == "trading":
            if self._trading_s is None:
                self._trading_s = self._grown_s = now_s
            if self._base_rss is None and now_s - self._trading_s >= SETTLED_S:
                self._base_rss = beat.rss_bytes
        records, instants = self._grown
        if beat.vitals.records != records or beat.vitals.instants <= instants or beat.phase != "trading":
            self._grown, self._grown_s = (beat.vitals.records, beat.vitals.instants), now_s
        self.last, self._heard_s = beat, now_s

    def slept(self, gap_s: float) -> None:
        """The supervisor itself was stopped, or had no time, for so long: nothing of that is the trader's."""
        self._began_s += gap_s
        self._heard_s += gap_s
        self._grown_s += gap_s
        self._short_s = None

    def look(self, now_s: float, journal_bytes: int | None) -> list[Finding]:
        """What has begun or ended since the last look. journal_bytes: what the journal's folder holds, seen from here; None: not looked."""
        found = {(each.code, each.act): each for each in self._found(now_s, journal_bytes)}
        begun = [each for key, each in found.items() if key not in self._standing or each.severity != self._standing[key].severity]
        over = [
            Finding(each.code, "info", f"over: {each.text}", is_over=True)
            for key, each in self._standing.items()
            if key not in found and key[0] not in {code for code, _ in found}
        ]
        self._standing = found
        return [*over, *begun]

    def _found(self, now_s: float, journal_bytes: int | None) -> Iterator[Finding]:
        last = self.last
        if last is None:
            if now_s - self._began_s >= START_S:
                yield Finding("trader_silent", "error", f"the trader has said nothing for {START_S:.0f} s since it was started", "hang")
            return
        if last.phase == "ended":  # it says no more, and hangs for nobody: an account is not flattened because an alert takes its time
            if now_s - self._heard_s >= GONE_S:
                yield Finding("trader_lingers", "warning", f"it said {GONE_S:.0f} s ago how it ended, and is still there", "kill")
            return
        silent_s = now_s - self._heard_s
        if silent_s >= self._policy.silent_s:
            what = "it is stopped, hangs past help, or the machine has no time for it"
            yield Finding("trader_silent", "error", f"no heartbeat for {self._policy.silent_s:g} s: {what}", "hang")
            return
        if last.phase == "starting" and now_s - self._began_s >= START_S:
            yield Finding("trader_slow_start", "error", f"the trader has been starting for {START_S:.0f} s")
        if abs(self._jump_ms) >= JUMP_MS:
            yield Finding("clock_jump", "warning", f"the wall clock jumped by {self._jump_ms / 1000:+.1f} s: set, or the machine slept")
            self._jump_ms = 0
        if last.phase == "trading":
            yield from self._of_trading(last, now_s, journal_bytes)

    def _of_trading(self, last: Beat, now_s: float, journal_bytes: int | None) -> Iterator[Finding]:
        yield from self._of_loop(last)
        if not last.vitals.is_lockstep:
            age = last.vitals.data_age_ms
            if age is not None and age >= self._policy.data_age_s * 1000:
                yield Finding("trader_data_old", "error", f"no price of one of the symbols for {self._policy.data_age_s:g} s")
        yield from self._of_memory(last)
        yield from self._of_journal(last, now_s, journal_bytes)

    def _of_loop(self, last: Beat) -> Iterator[Finding]:
        if last.late_ms >= self._policy.hang_s * 1000:
            yield Finding("trader_hangs", "error", f"the trader's event loop has not returned for {self._policy.hang_s:g} s", "hang")
        elif last.vitals.is_lockstep:  # the market waits for it
            return
        elif last.late_ms >= HALTED_MS:
            yield Finding("trader_late", "error", f"the trader's event loop is {last.late_ms / 1000:.1f} s late: no order leaves")
        elif last.late_ms >= LATE_MS:
            yield Finding("trader_late", "info", f"the trader's event loop was {last.late_ms:.0f} ms late")

    def _of_memory(self, last: Beat) -> Iterator[Finding]:
        most, now = self._policy.max_memory_mb, last.rss_bytes
        if most is not None and now > most * _MB:
            yield Finding("trader_memory", "error", f"the trader has {now // _MB:,} MB of memory, and may have {most:,}", "stop")
        elif self._base_rss is not None and now > max(GROWTH * self._base_rss, self._base_rss + GROWTH_BYTES):
            grown = f"{now // _MB:,} MB of memory; soon after it began it had {self._base_rss // _MB:,}"
            yield Finding("trader_memory", "warning", f"the trader has {grown}")

    def _of_journal(self, last: Beat, now_s: float, journal_bytes: int | None) -> Iterator[Finding]:
        if last.vitals.instants > self._grown[1] and now_s - self._grown_s >= JOURNAL_S:
            yield Finding("trader_journal", "error", f"instants close, and the journal has not grown for {JOURNAL_S:.0f} s", "stop")
            return
        is_short = journal_bytes is not None and journal_bytes < last.vitals.journal_bytes
        self._short_s = (self._short_s or now_s) if is_short else None
        if self._short_s is not None and now_s - self._short_s >= JOURNAL_S:
            has = f"{last.vitals.journal} holds {journal_bytes:,} bytes, and the trader has written {last.vitals.journal_bytes:,}"
            yield Finding("trader_journal", "error", f"the journal is not whole: {has}", "stop")
