"""One session's alerts: takes notices from any thread, at once; limits, queues and sends them from threads of its own.

Nothing here waits for a network in the caller's thread. A target that does not take alerts is said once, on the screen and through the
other targets, and tried again until it does. At the end what waits is given one attempt's time.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from keel.adapters.bybit.notices import Notice, Notify, Severity
from keel.runners.home import Home
from keel.runners.live.alerts.backlog import Backlog
from keel.runners.live.alerts.config import AlertsConfig, load_alerts
from keel.runners.live.alerts.events import EVENTS
from keel.runners.live.alerts.limits import Limits
from keel.runners.live.alerts.message import RANKS, Message, cleaned
from keel.runners.live.alerts.outcome import Outcome, Sender
from keel.runners.live.alerts.scrub import Scrub, scrubber, secrets_for
from keel.runners.live.alerts.targets import build_senders

_END_MARGIN_S: Final = 0.5


class Alerts:
    """Made by ``open_alerts``; ``notify`` is given every notice; ``close`` at the end.

    on_screen: told what became of targets (alert_failed, alert_delivered, alerts_dropped); called from a thread of ours.
    """

    def __init__(self, config: AlertsConfig, senders: list[Sender], about: str, on_screen: Notify, scrub: Scrub) -> None:
        self._config, self._about, self._on_screen, self._scrub = config, about, on_screen, scrub
        self._muted = frozenset(config.mute)
        self._lock = threading.Lock()
        self._limits = Limits(config.limits.per_code, config.limits.window_minutes * 60)
        self._end_by_s: float | None = None
        self._wake = threading.Event()
        self.told: Counter[str] = Counter()
        """Notices by code, since the daily summary last took them."""
        self._couriers = [_Target(self, sender, Backlog(config.queue)) for sender in senders]
        self._clock = threading.Thread(target=self._sum_up, name="keel-alerts", daemon=True)
        for each in self._couriers:
            each.start()
        self._clock.start()

    @property
    def config(self) -> AlertsConfig:
        """What the file says."""
        return self._config

    def notify(self, notice: Notice) -> None:
        """Take a notice. Never blocks, never raises for what it holds."""
        with self._lock:
            self.told[notice.code] += 1
        if notice.code not in self._muted:
            self._take(self._message(notice))

    def send_daily(self, ts: int, text: str) -> None:
        """The daily summary, to the targets that want it, past limits and severities."""
        message = self._safe(Message(ts, "daily_summary", "info", text, "", self._about))
        for each in self._couriers:
            if each.sender.daily and "daily_summary" not in self._muted:
                each.put(message)

    def take_told(self) -> Counter[str]:
        """Notices by code since this was last asked."""
        with self._lock:
            taken, self.told = self.told, Counter()
        return taken

    def waiting(self) -> dict[str, int]:
        """Target -> alerts that wait for it."""
        return {each.sender.name: each.count() for each in self._couriers}

    def close(self) -> dict[str, int]:
        """Give what waits the time of one attempt, and end; returns what was not sent, by target. A thread that still waits for a server
        is left behind: it keeps no process alive."""
        with self._lock:
            sums = self._limits.rest()
        for message in sums:
            self._put(message)
        self._end_by_s = time.monotonic() + self._config.patience_s + _END_MARGIN_S
        self._wake.set()
        for each in self._couriers:
            each.end()
        for each in self._couriers:
            each.join(max(0.0, self._end_by_s - time.monotonic()))
        for each in self._couriers:
            each.sender.close()
        return {name: count for name, count in self.waiting().items() if count}

    # --- inside ---

    def _message(self, notice: Notice) -> Message:
        event = EVENTS.get(notice.code)
        severity: Severity = notice.severity
        if event is not None and RANKS[event.severity] > RANKS[severity]:
            severity = event.severity
        return Message(notice.ts, notice.code, severity, notice.text, notice.symbol or "", self._about)

    def _safe(self, message: Message) -> Message:
        """Without secrets, and so that every target takes it. Done once for what goes out: a flood costs its caller next to nothing."""
        text, symbol = cleaned(self._scrub(message.text)), cleaned(self._scrub(message.symbol))
        return msgspec.structs.replace(message, text=text, symbol=symbol[:40])

    def _take(self, message: Message) -> None:
        with self._lock:
            admitted = self._limits.admits(message, time.monotonic())
        if admitted:
            self._put(message)
        else:
            self._wake.set()

    def _put(self, message: Message, but: str = "") -> None:
        message = self._safe(message)
        for each in self._couriers:
            if each.sender.name != but and RANKS[message.severity] >= RANKS[each.sender.severity]:
                each.put(message)

    def _sum_up(self) -> None:
        """The thread that waits for windows to be over."""
        while self._end_by_s is None:
            with self._lock:
                due = self._limits.due_s()
                sums = self._limits.over(time.monotonic()) if due is not None and due <= time.monotonic() else []
            for message in sums:
                self._put(message)
            self._wake.wait(1.0 if due is None else max(0.05, min(1.0, due - time.monotonic())))
            self._wake.clear()

    def of_target(self, name: str, code: str, severity: Severity, text: str) -> None:
        """What became of a target: for the screen, and for the other targets."""
        notice = Notice(time.time_ns() // 1_000_000, code, cleaned(self._scrub(text)), severity=severity)
        self._on_screen(notice)
        if code not in self._muted:
            self._put(self._message(notice), but=name)

    @property
    def end_by_s(self) -> float | None:
        """By when (monotonic) all must be over; None while nothing has ended."""
        return self._end_by_s


class _Target:
    """A target with its queue and its thread."""

    def __init__(self, alerts: Alerts, sender: Sender, backlog: Backlog) -> None:
        self.sender = sender
        self._alerts, self._backlog = alerts, backlog
        self._turn = threading.Condition()
        self._is_ending = False
        self._is_failing = False
        self._failed_at_end = 0
        self._thread = threading.Thread(target=self._run, name=f"keel-alerts-{sender.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, message: Message) -> None:
        with self._turn:
            self._backlog.put(message)
            self._turn.notify()

    def count(self) -> int:
        with self._turn:
            return len(self._backlog)

    def end(self) -> None:
        with self._turn:
            self._is_ending = True
            self._turn.notify()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (message := self._next()) is not None:
            try:
                outcome = self.sender.send(message)
            except Exception as error:  # noqa: BLE001  # a library that breaks must not end what sends alerts
                outcome = Outcome(False, f"{type(error).__name__} while sending")
            self._keep(message, outcome)
            if self._is_ending and not outcome.is_sent and not self._passes():
                return

    def _passes(self) -> bool:
        """At the end: whether another is tried after one that failed. One alone may be what the target does not like; two are a target that
        is not there."""
        self._failed_at_end += 1
        with self._turn:
            return self._failed_at_end < 2 and self._backlog.pass_by()

    def _next(self) -> Message | None:
        """What is to be sent next, once it is due; at the end each is tried once more, without a pause, until two in a row fail."""
        with self._turn:
            while True:
                now = time.monotonic()
                end_by = self._alerts.end_by_s
                if self._is_ending:
                    return None if end_by is not None and now >= end_by else self._backlog.first()
                message = self._backlog.due(now)
                if message is not None:
                    return message
                self._turn.wait(self._backlog.wait_s(now))

    def _keep(self, message: Message, outcome: Outcome) -> None:
        name = self.sender.name
        with self._turn:
            if outcome.is_sent:
                self._backlog.sent(message)
                pause, dropped, self._failed_at_end = 0.0, self._backlog.dropped, 0
                self._backlog.dropped = 0
            else:
                pause, dropped = self._backlog.failed(time.monotonic(), outcome.retry_after_s), 0
        if not outcome.is_sent and not self._is_failing:
            self._is_failing = True
            self._alerts.of_target(name, "alert_failed", "error", f"{name} does not take alerts ({outcome.why}): again in {pause:.0f} s")
        elif outcome.is_sent and self._is_failing:
            self._is_failing = False
            self._alerts.of_target(name, "alert_delivered", "info", f"{name} takes alerts again")
        if dropped:
            self._alerts.of_target(name, "alerts_dropped", "warning", f"{dropped} alerts for {name} had no room and were lost")


def open_alerts(home: Home, about: str, on_screen: Notify, *, environ: Mapping[str, str] = os.environ) -> Alerts | None:
    """The alerts of this home, ready; None where it has no alerts.yaml. Raises ConfigError and SafetyError as ``load_alerts`` does."""
    config = load_alerts(home, environ)
    if config is None:
        return None
    scrub = scrubber(secrets_for(config, environ))
    return Alerts(config, build_senders(config, environ, scrub, home.root), about, on_screen, scrub)


class Tried(msgspec.Struct, frozen=True):
    """What became of a target's test."""

    target: str
    type: str
    is_sent: bool
    why: str
    seconds: float


def try_targets(home: Home, *, environ: Mapping[str, str] = os.environ) -> list[Tried] | None:
    """Send one alert to every target, one after the other; None where there is no alerts.yaml."""
    config = load_alerts(home, environ)
    if config is None:
        return None
    scrub = scrubber(secrets_for(config, environ))
    message = Message(time.time_ns() // 1_000_000, "test", "info", "a test of this target by keel alerts test", "", "alerts test")
    tried = []
    for sender in build_senders(config, environ, scrub, home.root):
        began = time.monotonic()
        outcome = sender.send(message)
        tried.append(
            Tried(sender.name, config.targets[sender.name].kind, outcome.is_sent, cleaned(outcome.why), round(time.monotonic() - began, 2))
        )
    return tried
