"""What a supervisor does, and in which order: pure, time is given. Findings, signals and ends come in; steps to take come out.

An end is asked for first (SIGTERM: entries are cancelled, exits stay, the books are compared). A trader that has not ended ``stop_s`` later
is killed. Then, where the system says so, the account is flattened by the panic path: after the trader is gone, so that nobody works
against it. Positions that are not flattened stay as they are, with the stops that rest at the exchange where the system sets them.
"""

from __future__ import annotations

import signal
from collections import deque
from typing import Final, Literal

import msgspec

from keel.core.system.config import SupervisionConfig
from keel.runners.live.supervisor.rules import Finding

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
ENDED_BY_SUPERVISOR: Final = 4
CRASHED: Final = 1
NOT_FLAT: Final = 5
_STAY: Final = "positions stay, with the stops that rest at the exchange where the system sets them"
_MAY_PASS: Final = (1, 5)
"""Exit codes after which a restart may help: something broke, or the exchange was not there. What is refused for configuration, data or
safety is refused again."""


class Step(msgspec.Struct, frozen=True):
    """One thing to do. signal: of ``ask``; code: of ``leave``, the exit code; text: why."""

    do: Literal["ask", "kill", "flatten", "start", "leave"]
    text: str = ""
    signal: int = 0
    code: int = 0


class Decider:
    """Of one supervisor, over all the traders that it starts."""

    def __init__(self, policy: SupervisionConfig) -> None:
        self._policy = policy
        self._asked_s: float | None = None
        self._killed = False
        self._why = ""
        """Why the supervisor ends the trader; "" while it does not."""
        self._is_hang = False
        self._is_flat = True
        self._by_user = ""
        self._flattens = False
        self._has_ended = False
        """The trader has said how it ended; its process may still be there."""
        self._start_s: float | None = None
        self._crashes: deque[float] = deque()
        self.restarts = 0

    @property
    def is_stopping(self) -> bool:
        """Whether an end was asked for."""
        return self._asked_s is not None

    def on_signal_sent(self, number: int, *, has_trader_heard: bool, now_s: float) -> list[Step]:
        """Somebody asks the whole to end. has_trader_heard: a terminal's Ctrl-C reaches the trader by itself; one signal is enough."""
        name = signal.Signals(number).name
        first = not self._by_user
        self._by_user = self._by_user or name
        if self._start_s is not None:
            self._start_s = None
            return [Step("leave", f"{name} while a restart was due", code=CRASHED)]
        if self.is_stopping and first:
            return []  # it is on its way already
        self._asked_s = self._asked_s or now_s
        return [] if has_trader_heard else [Step("ask", name, signal=number)]

    def on_panic(self, now_s: float) -> list[Step]:
        """Somebody asks for the panic path (SIGUSR1): at once, whatever the trader does; then the trader is to end."""
        self._flattens = True
        self._why = self._why or "panic was asked for"
        if self._start_s is not None:  # nobody trades: there is nobody to ask, and nobody is started any more
            self._start_s = None
            return [Step("flatten", "SIGUSR1")]
        return [Step("flatten", "SIGUSR1"), *self._ask("panic was asked for", now_s)]

    def found(self, finding: Finding, now_s: float) -> list[Step]:
        """A rule has found something."""
        if finding.is_over or finding.act == "tell":
            return []
        if finding.act == "kill":
            return self._kill(finding.text)
        self._why = self._why or finding.text
        self._is_hang = self._is_hang or finding.act == "hang"
        return self._ask(finding.text, now_s)

    def on_end(self) -> None:
        """The trader has said how it ended. What its process still does is to send alerts: that is no hang, and gets its time."""
        self._has_ended = True

    def slept(self, gap_s: float) -> None:
        """The supervisor itself was stopped for so long: nobody's patience ran meanwhile."""
        self._asked_s = None if self._asked_s is None else self._asked_s + gap_s

    def passed(self, now_s: float) -> list[Step]:
        """Time has passed."""
        if self._start_s is not None and now_s >= self._start_s:
            self._start_s = None
            return [Step("start", f"restart {self.restarts} of at most {self._policy.max_restarts}")]
        is_due = self._asked_s is not None and now_s - self._asked_s >= self._policy.stop_s
        if is_due and not self._killed and not self._may_linger:
            self._is_hang = True
            self._why = self._why or f"it did not end within {self._policy.stop_s:g} s"
            return self._kill(f"it was asked to end {self._policy.stop_s:g} s ago, and is still there")
        return []

    @property
    def _may_linger(self) -> bool:
        """The trader has said how it ended and sends its alerts; an account that is to be flattened after a hang does not wait for them."""
        return self._has_ended and not (self._is_hang and self._policy.on_hang == "flatten")

    def ended(self, code: int | None, *, in_order: bool, now_s: float) -> list[Step]:
        """The trader's process is gone. code: its exit code, negative: the signal that ended it; None: not to be known."""
        was_asked = self._asked_s is not None
        self._asked_s, self._killed, self._has_ended = None, False, False
        if code == -signal.SIGUSR1 and not self._flattens:
            self._flattens = True
            self._why = "panic was pressed before the session could hear it"
            return [Step("flatten", f"SIGUSR1 to the trader: {self._why}")]
        if self._why:
            return self._end_of_hung()
        if was_asked or in_order:
            return [Step("leave", "the trader has ended", code=_shown(code))]
        if code is not None and code >= 0 and code not in _MAY_PASS:
            return [Step("leave", f"the trader ended with {code}: a restart would not help", code=code)]
        return self._crash(_shown(code), now_s)

    def flattened(self, is_flat: bool) -> list[Step]:
        """The panic path has done what it can."""
        self._is_flat = is_flat
        if self._asked_s is not None:
            return []  # the trader is still to end
        text = "ended after the panic path; `keel session rearm` comes before the next start"
        return [
            Step(
                "leave",
                text if is_flat else f"{text}; NOT flat: look at the exchange now",
                code=ENDED_BY_SUPERVISOR if is_flat else NOT_FLAT,
            )
        ]

    def _kill(self, text: str) -> list[Step]:
        if self._killed:
            return []
        self._killed = True
        return [Step("kill", text)]

    def _ask(self, text: str, now_s: float) -> list[Step]:
        if self._asked_s is not None:
            return []
        self._asked_s = now_s
        return [Step("ask", text, signal=signal.SIGTERM)]

    def _end_of_hung(self) -> list[Step]:
        if self._is_hang and self._policy.on_hang == "flatten" and not self._flattens:
            self._flattens = True
            return [Step("flatten", self._why)]
        if not self._is_flat:
            return [Step("leave", "the account is NOT flat, or was not seen to be", code=NOT_FLAT)]
        text = "the account is flat" if self._flattens else _STAY
        return [Step("leave", f"the trader was ended ({self._why}); {text}", code=ENDED_BY_SUPERVISOR)]

    def _crash(self, code: int, now_s: float) -> list[Step]:
        if self._policy.on_crash == "flatten":
            self._flattens = True
            return [Step("flatten", f"the trader crashed ({code})")]
        if self._policy.on_crash == "stop":
            return [Step("leave", f"the trader crashed ({code}); {_STAY}", code=code)]
        window_s = self._policy.restart_window_minutes * 60
        while self._crashes and now_s - self._crashes[0] >= window_s:
            self._crashes.popleft()
        if len(self._crashes) >= self._policy.max_restarts:
            told = f"{len(self._crashes) + 1} crashes in {self._policy.restart_window_minutes:g} min"
            return [Step("leave", f"{told}: it is not started again; {_STAY}", code=code)]
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * (1 << min(len(self._crashes), 10)))
        self._crashes.append(now_s)
        self.restarts += 1
        self._start_s = now_s + pause
        return []


def _shown(code: int | None) -> int:
    """As a shell shows it."""
    return CRASHED if code is None else 128 - code if code < 0 else code
