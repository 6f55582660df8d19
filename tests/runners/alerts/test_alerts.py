"""The whole way: notices in, alerts out, what fails is said and tried again, and nobody is kept waiting."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keel.adapters.bybit.notices import Notice, Severity
from keel.runners.home import Home
from keel.runners.live.alerts.alerts import Alerts, open_alerts, try_targets
from keel.runners.live.alerts.config import AlertsConfig, CommandConfig, LimitsConfig
from keel.runners.live.alerts.message import Message
from keel.runners.live.alerts.outcome import Outcome
from keel.runners.live.alerts.scrub import scrubber
from tests.runners.alerts.servers import http_server

SECRET = "canaryCANARYcanary0123456789"


class Box:
    """A target in memory. ``outcomes``: of the next attempts; then all are taken."""

    def __init__(self, name: str = "box", severity: Severity = "warning", outcomes: tuple[Outcome, ...] = ()) -> None:
        self.name, self.severity, self.daily = name, severity, True
        self.took: list[Message] = []
        self._outcomes = list(outcomes)
        self.came = threading.Condition()
        self.holds = threading.Event()
        self.holds.set()

    def send(self, message: Message) -> Outcome:
        self.holds.wait(20)
        outcome = self._outcomes.pop(0) if self._outcomes else Outcome(True)
        with self.came:
            if outcome.is_sent:
                self.took.append(message)
            self.came.notify_all()
        return outcome

    def close(self) -> None:
        pass

    def wait(self, count: int) -> list[Message]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.took) >= count, 10), [each.text for each in self.took]
        return self.took


Make = Callable[..., Alerts]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Alerts] = []

    def build(*boxes: Box, shown: list[Notice] | None = None, **keys: object) -> Alerts:
        config = AlertsConfig(
            targets={box.name: CommandConfig(command=["x"], timeout_s=0.4) for box in boxes}, connect_s=0.2, read_s=0.2, **keys
        )  # type: ignore[arg-type]
        alerts = Alerts(config, list(boxes), "demo ema", (shown if shown is not None else []).append, scrubber([SECRET]))
        made.append(alerts)
        return alerts

    yield build
    for alerts in made:
        alerts.close()


def notice(code: str = "feed_gap", text: str = "bars are missing", severity: Severity = "error") -> Notice:
    return Notice(1_700_000_000_000, code, text, "BTCUSDT", severity)


def test_by_severity_and_what_is_muted(make: Make) -> None:
    all_of_it, grave = Box("all", "info"), Box("grave", "error")
    alerts = make(all_of_it, grave, mute=["stream_lost"])
    for code, severity in (("stream_lost", "error"), ("resolved", "info"), ("elsewhere", "info"), ("feed_gap", "info")):
        alerts.notify(notice(code, severity=severity))  # type: ignore[arg-type]
    assert [(each.code, each.severity) for each in all_of_it.wait(3)] == [
        ("resolved", "info"),
        ("elsewhere", "warning"),
        ("feed_gap", "error"),
    ]
    assert [each.code for each in grave.wait(1)] == ["feed_gap"]
    assert dict(alerts.take_told()) == {"stream_lost": 1, "resolved": 1, "elsewhere": 1, "feed_gap": 1}
    assert not alerts.take_told()


def test_no_secret_in_a_text(make: Make) -> None:
    box = Box()
    make(box).notify(notice(text=f"the exchange quotes {SECRET}"))
    assert box.wait(1)[0].text == "the exchange quotes ***"


def test_a_storm_is_summed_up(make: Make) -> None:
    box = Box()
    alerts = make(box, limits=LimitsConfig(per_code=2, window_minutes=0.005))
    for number in range(14):
        alerts.notify(notice(text=f"number {number}"))
    assert [each.text for each in box.wait(3)] == ["number 0", "number 1", "12 more of the same in 0.005 min, the last: number 13"]


def test_the_end_sends_the_sum_of_what_is_still_counted(make: Make) -> None:
    box = Box()
    alerts = make(box, limits=LimitsConfig(per_code=1))
    alerts.notify(notice())
    alerts.notify(notice(text="again"))
    assert alerts.close() == {}
    assert [each.text for each in box.took] == ["bars are missing", "1 more of the same in 10 min, the last: again"]


def test_what_is_not_taken_is_said_on_the_screen_and_elsewhere_and_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.alerts.backlog.FIRST_PAUSE_S", 0.01)
    shown: list[Notice] = []
    moody, other = Box("moody", outcomes=(Outcome(False, f"error=500 {SECRET}\x1b[2J"), Outcome(False, "error=500"))), Box("other", "info")
    make(moody, other, shown=shown).notify(notice())
    assert [each.code for each in moody.wait(1)] == ["feed_gap"]
    assert [each.code for each in other.wait(3)] == ["feed_gap", "alert_failed", "alert_delivered"]
    assert [(each.code, each.severity) for each in shown] == [("alert_failed", "error"), ("alert_delivered", "info")]
    assert shown[0].text.startswith("moody does not take alerts (error=500 ***<1b>[2J): again in")


def test_a_queue_without_room_says_what_it_lost(make: Make) -> None:
    shown: list[Notice] = []
    box = Box()
    box.holds.clear()
    alerts = make(box, shown=shown, queue=10, limits=LimitsConfig(per_code=100))
    for number in range(25):
        alerts.notify(notice(text=str(number)))
    assert alerts.waiting() == {"box": 10}
    box.holds.set()
    box.wait(10)
    alerts.close()
    assert [each.text for each in shown] == ["15 alerts for box had no room and were lost"]


def test_nobody_waits_and_the_end_takes_one_attempts_time(make: Make) -> None:
    box = Box()
    box.holds.clear()
    alerts = make(box, limits=LimitsConfig(per_code=1000))
    began = time.perf_counter()
    for _ in range(500):
        alerts.notify(notice())
    assert time.perf_counter() - began < 2.0
    began = time.perf_counter()
    assert sum(alerts.close().values()) == 200
    assert time.perf_counter() - began < alerts.config.patience_s + 3.0
    box.holds.set()


def test_a_sender_that_breaks_breaks_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.alerts.backlog.FIRST_PAUSE_S", 0.01)
    shown: list[Notice] = []
    box, send = Box(), Box.send
    broken = [ValueError(SECRET)]

    def breaks(message: Message) -> Outcome:
        if broken:
            raise broken.pop()
        return send(box, message)

    monkeypatch.setattr(box, "send", breaks)
    make(box, shown=shown).notify(notice())
    box.wait(1)
    assert "ValueError while sending" in shown[0].text
    assert SECRET not in shown[0].text


def test_the_daily_summary_goes_past_limits_and_severities(make: Make) -> None:
    box = Box(severity="error")
    make(box).send_daily(1_700_000_000_000, "equity 1,000.00")
    assert (box.wait(1)[0].code, box.took[0].text) == ("daily_summary", "equity 1,000.00")


def test_from_the_file_to_the_server(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    with http_server() as server:
        path = tmp_path / "alerts.yaml"
        path.write_text(f"connect_s: 1\ntargets: {{hook: {{type: webhook, url: '{server.url}/${{HOOK}}'}}}}")
        path.chmod(0o600)
        environ = {"HOOK": SECRET, "BYBIT_DEMO_SECRET": "demo-secret-of-mine"}
        alerts = open_alerts(Home(tmp_path), "demo ema", lambda told: None, environ=environ)
        assert alerts is not None
        alerts.notify(notice(text=f"{SECRET} and demo-secret-of-mine"))
        (body,) = server.wait(1)
        assert body["message"].startswith("*** and ***\nsymbol: BTCUSDT")
        assert alerts.close() == {}
        tried = try_targets(Home(tmp_path), environ=environ)
        assert tried is not None
        assert [(each.target, each.type, each.is_sent) for each in tried] == [("hook", "webhook", True)]
        server.mood = 500
        tried = try_targets(Home(tmp_path), environ=environ)
        assert tried is not None
        assert (tried[0].is_sent, "error=500" in tried[0].why) == (False, True)


def test_an_answer_that_never_ends_holds_its_own_thread_only(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    with http_server() as server:
        server.mood = "drips"
        path = tmp_path / "alerts.yaml"
        path.write_text(f"connect_s: 0.2\nread_s: 0.2\ntargets: {{hook: {{type: webhook, url: '{server.url}'}}}}")
        path.chmod(0o600)
        alerts = open_alerts(Home(tmp_path), "demo ema", lambda told: None, environ={})
        assert alerts is not None
        alerts.notify(notice())
        server.wait(1)
        began = time.monotonic()
        assert alerts.close() == {"hook": 1}
        assert time.monotonic() - began < 5.0


def exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_that_hangs_is_ended_with_the_session_that_started_it(tmp_path: Path) -> None:
    """Also where it was started in the last moment: nobody would end it later."""
    path = tmp_path / "alerts.yaml"
    path.write_text("targets: {pager: {type: command, command: [sh, -c, 'echo $$ >> pids; while :; do sleep 60; done'], timeout_s: 0.4}}")
    path.chmod(0o600)
    alerts = open_alerts(Home(tmp_path), "demo ema", lambda told: None, environ={"PATH": "/usr/bin:/bin"})
    assert alerts is not None
    for number in range(3):
        alerts.notify(notice(text=str(number)))
    assert alerts.close() == {"pager": 3}
    (sender,) = [each.sender for each in alerts._couriers]
    assert sender.send(Message(1, "test", "info", "", "", "")) == Outcome(False, "the end came first")
    groups = [int(word) for word in (tmp_path / "pids").read_text().split()]
    end = time.monotonic() + 10
    while left := [group for group in groups if exists(group)]:
        assert time.monotonic() < end, left
        time.sleep(0.02)


def test_no_file_no_alerts(tmp_path: Path) -> None:
    assert open_alerts(Home(tmp_path), "demo ema", lambda told: None, environ={}) is None
    assert try_targets(Home(tmp_path), environ={}) is None


def test_words_from_outside_reach_every_target_whole_and_harmless(make: Make) -> None:
    box = Box()
    alerts = make(box)
    hostile = f"NUL \0 half \ud800 paint \x1b[2J bell \x07 turned \u202e key {SECRET}\n**<b>@everyone</b>**"
    alerts.notify(Notice(1, "elsewhere", hostile, f"BTC\0{SECRET}USDT", "error"))
    alerts.notify(Notice(1, "bad_message", "x" * 1_000_000, None, "error"))
    first, second = box.wait(2)
    assert first.text == "NUL <0> half <d800> paint <1b>[2J bell <7> turned <202e> key ***\n**<b>@everyone</b>**"
    assert first.symbol == "BTC<0>***USDT" and first.plain.decode() and len(second.plain) < 25_000 and len(second.body) <= 1_800


class _Fussy(Box):
    """Does not take one message, ever."""

    def send(self, message: Message) -> Outcome:
        outcome = super().send(message) if message.text != "refused" else Outcome(False, "HTTP 400")
        with self.came:
            self.came.notify_all()
        return outcome


def test_at_the_end_one_that_is_refused_does_not_hold_back_the_rest(make: Make) -> None:
    box, shown = _Fussy(), []  # type: ignore[var-annotated]
    alerts = make(box, shown=shown)
    for text in ("refused", "second", "third"):
        alerts.notify(notice(text=text))
    with box.came:
        assert box.came.wait_for(lambda: bool(shown), 10)
    assert alerts.close() == {"box": 1} and [each.text for each in box.took] == ["second", "third"]


def test_ten_thousand_notices_cost_their_caller_next_to_nothing(make: Make) -> None:
    """What is summed up is neither scrubbed nor kept."""
    seen: list[str] = []
    alerts = make(Box())
    scrub = alerts._scrub
    alerts._scrub = lambda text: seen.append(text) or scrub(text)  # type: ignore[func-returns-value]
    for number in range(10_000):
        alerts.notify(notice(text=f"{number} {SECRET}"))
    assert len(seen) <= 6 and alerts.told["feed_gap"] == 10_000
