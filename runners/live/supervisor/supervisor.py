"""The supervisor's loop: signals, heartbeats, rules, decisions, steps; ten times a second, in one thread.

It knows a trader by its heartbeats and its process alone. Killed and started anew, it finds the trader of the one before it and goes on
watching; the trader meanwhile trades on, or ends, as its system says.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from keel.adapters.bybit.notices import Severity
from keel.core.system.config import SupervisionConfig
from keel.runners.live.arming import supervised
from keel.runners.live.supervisor import bar_count, systemd
from keel.runners.live.supervisor.address import Place, TraderCard
from keel.runners.live.supervisor.decisions import Decider, Step
from keel.runners.live.supervisor.flatten import Flattener
from keel.runners.live.supervisor.heartbeat import Beat
from keel.runners.live.supervisor.listening import Listener
from keel.runners.live.supervisor.rules import Watch
from keel.runners.live.supervisor.signals import PANIC, Heard, Signals
from keel.runners.live.supervisor.trader import Trader, began, process_of, start_trader

TICK_S: Final = 0.1
WARM_EVERY_S: Final = 5.0
SLEPT_S: Final = 1.5
"""A turn that comes so much later says that this process was stopped (Ctrl-Z), or the machine had no time for it."""
Tell = Callable[[str, str, Severity], None]
"""(code, words, severity): for the log, the screen and the alerts."""


class Supervisor:
    """Of one session. arguments: of the trader's command line. tell: told what it finds and does."""

    def __init__(self, place: Place, policy: SupervisionConfig, arguments: Sequence[str], flattener: Flattener, tell: Tell) -> None:
        self._place, self._policy, self._arguments, self._flattener, self._report = place, policy, list(arguments), flattener, tell
        self._decider = Decider(policy)
        self._keeps_warm = "flatten" in (policy.on_hang, policy.on_crash)
        self._trader: Trader | None = None
        self._watch = Watch(policy, time.monotonic())
        self._run = ""
        self._code: int | None = None
        self._last_end, self._same_ends = "", 0
        self._signals: Signals | None = None
        self._is_ready = False
        self._next_alive_s = self._next_warm_s = 0.0
        self._alive_every_s = systemd.watchdog_s()

    def run(self, signals: Signals) -> int:
        """Until the trader has ended for good; the exit code. Raises SafetyError where somebody else supervises this session."""
        self._signals = signals
        listener = Listener(self._place.take())
        try:
            self._begin()
            turned = time.monotonic()
            while self._code is None:
                heard = signals.wait(TICK_S)
                now = time.monotonic()
                if now - turned >= SLEPT_S:
                    self._watch.slept(now - turned)
                    self._decider.slept(now - turned)
                turned = now
                if heard is not None:
                    self._receive(heard, now)
                self._receive_beats(listener, now)
                self._judge(now)
                self._look_after_trader(listener, now)
                self._do(self._decider.passed(now))
                self._keep_ready(now)
        finally:
            systemd.notify("STOPPING=1")
            self._notify_ignored(listener, math.inf)
            self._flattener.close()
            listener.close()
            if self._trader is None or not self._trader.is_alive():
                self._place.leave()
                for left in (supervised.of_run(self._run), bar_count.of_run(self._run)):
                    if left is not None:
                        left.unlink(missing_ok=True)
        return self._code

    # --- the trader ---

    def _begin(self) -> None:
        """Take over a trader that runs already, else start one."""
        card = self._running()
        if card is not None:
            self._trader, self._run = Trader(card, None), card.run
            self._decider.restarts = card.restarts
            words = f"process {card.process} trades already, and is watched from here on"
            self._report("supervisor_adopted", f"{self._place.about}: {words}", "warning")
            return
        self._run = uuid.uuid4().hex
        self._start("started")

    def _running(self) -> TraderCard | None:
        """The trader of the supervisor before, if there was one and it runs."""
        try:
            card = self._place.read_card()
        except (OSError, ValueError) as error:
            words = f"which process traded for the supervisor before cannot be read ({error}): one that still runs keeps a second one out"
            self._report("supervisor_card", f"{self._place.about}: {words}", "error")
            return None
        if card is not None and not card.process and (process := process_of(card.run)) is not None:  # ended while it started it
            card = TraderCard(process, began(process), card.run, card.restarts)
            self._put_card(card)
        return card if card is not None and card.began and began(card.process) == card.began else None

    def _put_card(self, card: TraderCard) -> None:
        try:
            self._place.put_card(card)
        except OSError as error:  # a full disk: what trades is watched all the same
            if card.process:
                words = f"process {card.process} trades, which could not be written down ({error.strerror})"
                self._report(
                    "supervisor_card", f"{self._place.about}: {words}: a supervisor that is started anew would not find it", "error"
                )

    def _start(self, why: str) -> None:
        restarts = self._decider.restarts
        arguments = [word for word in self._arguments if word != "--fresh" or not restarts]  # a restart goes on with its journal
        self._put_card(TraderCard(0, "", self._run, restarts))
        self._trader = start_trader(arguments, self._place.socket_path, self._run, restarts)
        self._put_card(self._trader.card)
        self._watch = Watch(self._policy, time.monotonic())
        if restarts:
            self._report("trader_restarted", f"{self._place.about}: {why}, as process {self._trader.pid}", "warning")

    def _look_after_trader(self, listener: Listener, now: float) -> None:
        trader = self._trader
        if trader is None or trader.is_alive():
            return
        self._receive_beats(listener, now)  # its last words
        last, self._trader = self._watch.last, None
        said = last if last is not None and last.process == trader.pid and last.phase == "ended" else None
        code = trader.exit_code()
        if said is not None and (code is None or (code < 0 and code != -PANIC)):  # what struck it after its end is not how it ended
            code = said.code
        in_order = said is not None and said.in_order
        if not in_order:
            self._notify_unordered(trader, code, said)
        self._do(self._decider.ended(code, in_order=in_order, now_s=now))

    def _notify_unordered(self, trader: Trader, code: int | None, said: Beat | None) -> None:
        how = "and nobody can say how" if code is None else f"by signal {-code}" if code < 0 else f"with exit code {code}"
        words = f"; it said: {said.reason.partition(chr(10))[0]}" if said is not None and said.reason else ""
        self._same_ends = self._same_ends + 1 if how + words == self._last_end else 1
        self._last_end = how + words
        if self._same_ends > 1 and words:
            words = f", and said the same again: {self._same_ends} times by now"
        self._report("trader_ended", f"{self._place.about}: process {trader.pid} ended {how}{words}", "error")

    # --- what comes, and what is done ---

    def _receive_beats(self, listener: Listener, now: float) -> None:
        for beat in listener.beats(None if self._trader is None else self._trader.card):
            self._watch.beat(beat, now)
            if beat.phase == "ended":
                self._decider.on_end()
        self._notify_ignored(listener, now)

    def _notify_ignored(self, listener: Listener, now: float) -> None:
        if (words := listener.ignored.told(now)) is not None:
            self._report("supervisor_ignored", f"{self._place.about}: left out, as it was no heartbeat of the trader: {words}", "warning")

    def _receive(self, heard: Heard, now: float) -> None:
        if heard.number == PANIC:
            self._do(self._decider.on_panic(now))
        else:
            self._do(self._decider.on_signal_sent(heard.number, has_trader_heard=heard.is_shared, now_s=now))

    def _judge(self, now: float) -> None:
        if self._trader is None:
            return
        for finding in self._watch.look(now, self._journal_bytes()):
            self._report(finding.code, f"{self._place.about}: {finding.text}", finding.severity)
            self._do(self._decider.found(finding, now))

    def _journal_bytes(self) -> int | None:
        last = self._watch.last
        if last is None or not last.vitals.journal:
            return None
        try:
            return Path(last.vitals.journal).stat().st_size
        except OSError:
            return 0

    def _do(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.do == "leave":
                self._report("supervisor_ends", f"{self._place.about}: {step.text}", "info" if step.code in (0, 130) else "error")
                self._code = step.code
            elif step.do == "start":
                self._start(step.text)
            elif step.do == "flatten":
                self._flatten(step.text)
            elif self._trader is not None and step.do == "ask":
                self._report("trader_asked", f"{self._place.about}: asked to end ({step.text})", "info")
                self._trader.send(step.signal)
            elif self._trader is not None:
                self._report("trader_killed", f"{self._place.about}: killed: {step.text}", "error")
                self._trader.kill()

    def _flatten(self, why: str) -> None:
        told = f"{self._place.about}: everything is cancelled and closed now ({why})"
        is_flat = self._flattener.run(self._goes_on, lambda: self._report("supervisor_flattens", told, "error"))
        said = "the account is flat" if is_flat else "the account is NOT flat, or was not seen to be: look at the exchange now"
        self._report("supervisor_flattened", f"{self._place.about}: {said}", "error")
        self._do(self._decider.flattened(is_flat))

    def _goes_on(self) -> bool:
        """While the panic path works: whether it is to go on. A signal that asks for an end breaks it off; what is left is told then."""
        self._write_alive()
        heard = None if self._signals is None else self._signals.wait(0.0)
        return heard is None or heard.number == PANIC

    # --- the machine's own supervisor ---

    def _keep_ready(self, now: float) -> None:
        last = self._watch.last
        if not self._is_ready and self._watch.is_up:
            self._is_ready = systemd.notify("READY=1") or not systemd.is_asked()
        if last is not None and now >= self._next_alive_s:
            systemd.notify(f"STATUS={last.phase}, gate {last.vitals.state or 'unknown'}, {last.rss_bytes >> 20} MB")
        if now >= self._next_alive_s:
            self._write_alive()
            self._next_alive_s = now + (self._alive_every_s or WARM_EVERY_S)
        if self._keeps_warm and now >= self._next_warm_s:
            self._flattener.warm()
            self._next_warm_s = now + WARM_EVERY_S

    def _write_alive(self) -> None:
        """Only from the loop, after its own looks: who calls this is at work."""
        if self._alive_every_s is not None:
            systemd.notify("WATCHDOG=1")
