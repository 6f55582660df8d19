"""Every kind of target against servers of this machine, in good and bad moods; and no secret anywhere."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.core.errors import ConfigError
from keel.runners.live.alerts.config import AlertsConfig, decode_alerts
from keel.runners.live.alerts.message import Message
from keel.runners.live.alerts.outcome import Outcome, Sender
from keel.runners.live.alerts.scrub import scrubber, secrets_for
from keel.runners.live.alerts.targets import build_senders
from tests.runners.alerts.servers import HttpServer, MailServer, http_server, mail_server, unused_port

CANARY = "canaryCANARYcanary0123456789abcdef012345"
KEY = "BYBITKEYcanary01"
ENVIRON = {
    "CANARY": CANARY, "TOKEN": f"123456789:{CANARY[:35]}", "BYBIT_LIVE_KEY": KEY, "BYBIT_LIVE_SECRET": f"{KEY}secret",
    "PATH": "/usr/bin:/bin", "KEEL_SUPERVISOR": "/run/s.sock", "KEEL_SUPERVISOR_RUN": "ab" * 16, "NOTIFY_SOCKET": "/run/n",
}  # fmt: skip
MESSAGE = Message(1_700_000_000_000, "unprotected", "error", "a stop was refused; 'quoted'\nsecond line", "BTCUSDT", "live ema")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    pytest.importorskip("apprise")
    with http_server() as made:
        yield made


@pytest.fixture
def mails() -> Iterator[MailServer]:
    pytest.importorskip("apprise")
    with mail_server() as made:
        yield made


def built(text: str, folder: Path, head: str = "connect_s: 0.5\nread_s: 0.5\n") -> Sender:
    config: AlertsConfig = decode_alerts(f"{head}targets:\n  a: {text}", "alerts.yaml", ENVIRON)
    scrub = scrubber(secrets_for(config, ENVIRON))
    (sender,) = build_senders(config, ENVIRON, scrub, folder)
    return sender


def webhook(server: HttpServer, folder: Path) -> Sender:
    return built(f"{{type: webhook, url: '{server.url}/hook/${{CANARY}}?a=b c', headers: {{X-Token: '${{CANARY}}'}}}}", folder)


def test_a_webhook_gets_the_alert_as_json(server: HttpServer, tmp_path: Path) -> None:
    assert webhook(server, tmp_path).send(MESSAGE) == Outcome(True)
    ((method, path),) = server.requests
    assert (method, path) == ("POST", f"/hook/{CANARY}?a=b+c")
    assert server.bodies[0]["title"] == "ERROR keel live ema: unprotected"
    assert "second line\nsymbol: BTCUSDT\nat 2023-11-14T22:13:20Z\nwhat to do:" in server.bodies[0]["message"]
    assert server.headers[0]["X-Token"] == CANARY


@pytest.mark.parametrize(
    ("mood", "why"),
    [(500, "error=500"), (429, "error=429"), (404, "error=404"), ("redirects", "error=302"), ("stalled", "onnection error"),
     ],
)  # fmt: skip
def test_whatever_is_not_taken_is_a_failure_in_time(server: HttpServer, tmp_path: Path, mood: Any, why: str) -> None:
    """One request each, no retries of the library's own, no redirect followed."""
    sender, server.mood = webhook(server, tmp_path), mood
    began = time.monotonic()
    outcome = sender.send(MESSAGE)
    assert not outcome.is_sent
    assert why in outcome.why
    assert len(server.requests) == 1
    assert time.monotonic() - began < 5.0


def test_nobody_listens(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    outcome = built(f"{{type: webhook, url: 'http://127.0.0.1:{unused_port()}/${{CANARY}}'}}", tmp_path).send(MESSAGE)
    assert not outcome.is_sent
    assert "onnection error" in outcome.why


@pytest.fixture
def telegram(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> HttpServer:
    from apprise.plugins.telegram import NotifyTelegram

    monkeypatch.setattr(NotifyTelegram, "notify_url", f"{server.url}/bot")
    server.body = b'{"ok":true,"result":{}}'
    return server


TELEGRAM = "{type: telegram, token: '${TOKEN}', chat: -100123}"


def test_telegram(telegram: HttpServer, tmp_path: Path) -> None:
    assert built(TELEGRAM, tmp_path).send(MESSAGE) == Outcome(True)
    assert telegram.requests[-1][1].startswith(f"/bot{ENVIRON['TOKEN']}/")
    assert telegram.bodies[-1]["chat_id"] == -100123
    assert "a stop was refused" in telegram.bodies[-1]["text"]


def test_telegram_says_how_long_to_wait(telegram: HttpServer, tmp_path: Path) -> None:
    telegram.mood, telegram.body = 429, b'{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":37}}'
    outcome = built(TELEGRAM, tmp_path).send(MESSAGE)
    assert (outcome.is_sent, outcome.retry_after_s) == (False, 37.0)


def test_discord(server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.discord import NotifyDiscord

    monkeypatch.setattr(NotifyDiscord, "notify_url", f"{server.url}/api/webhooks")
    server.mood = 204
    server.body = b""
    sender = built("{type: discord, url: 'https://discord.com/api/webhooks/42/${CANARY}'}", tmp_path)
    assert sender.send(MESSAGE) == Outcome(True)
    assert server.requests[-1][1].startswith(f"/api/webhooks/42/{CANARY}")
    server.mood = 401
    assert not sender.send(MESSAGE).is_sent


def test_a_mail(mails: MailServer, tmp_path: Path) -> None:
    text = f"{{type: email, host: 127.0.0.1, port: {mails.port}, security: none, from: me@example.org, to: [a@example.org, b@example.org]}}"
    assert built(text, tmp_path).send(MESSAGE) == Outcome(True)
    assert sorted(name for to, _ in mails.mails for name in to) == ["a@example.org", "b@example.org"]
    assert "ERROR keel live ema: unprotected" in mails.mails[0][1]
    mails.refuses = True
    refused = built(text.replace("me@", "you@"), tmp_path).send(MESSAGE)
    assert not refused.is_sent


def command(script: str, folder: Path, more: str = "") -> Sender:
    path = folder / "page"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return built(f"{{type: command, command: ['./page', 'x; touch hacked', '$HOME'] {more}}}", folder)


def test_a_command_gets_it_on_stdin_without_a_shell_and_without_the_keys_of_accounts(tmp_path: Path) -> None:
    sender = command('cat > told; echo "$1|$2|$KEEL_ALERT_CODE" > words; env > environ', tmp_path)
    assert sender.send(MESSAGE) == Outcome(True)
    assert (tmp_path / "told").read_text().startswith('{"ts":1700000000000,"code":"unprotected","severity":"error"')
    assert (tmp_path / "words").read_text() == "x; touch hacked|$HOME|unprotected\n"
    assert not (tmp_path / "hacked").exists()
    environ = (tmp_path / "environ").read_text()
    assert KEY not in environ and "KEEL_SUPERVISOR" not in environ and "NOTIFY_SOCKET" not in environ, "it is no trader, and no service"


@pytest.mark.parametrize(
    ("script", "why"),
    [("exit 3", "ended with 3"), (f"echo failed with {CANARY} >&2; exit 1", "ended with 1: failed with"),
     ("sleep 30 & sleep 30", "did not end within 0.3 s"), ("echo waiting >&2; cat; sleep 30", "and was ended: waiting"),
     ("exec cat /dev/zero >&2", "did not end within 0.3 s"), ("while :; do sleep 30 & done", "did not end within 0.3 s")],
)  # fmt: skip
def test_a_command_that_fails(tmp_path: Path, script: str, why: str) -> None:
    outcome = command(script, tmp_path, ", timeout_s: 0.3").send(MESSAGE)
    assert not outcome.is_sent
    assert why in outcome.why


def test_what_a_command_leaves_running_does_not_make_it_a_failure(tmp_path: Path) -> None:
    """One in a session of its own holds its stderr for as long as it likes: the exit code has said that the alert was taken."""
    sender = command('python3 -c "import os, time; os.setsid(); time.sleep(3)" & exit 0', tmp_path, ", timeout_s: 2")
    assert sender.send(MESSAGE) == Outcome(True)


def test_a_command_that_does_not_read_gets_more_than_a_pipe_holds(tmp_path: Path) -> None:
    whole = msgspec.structs.replace(MESSAGE, text="\u4e00" * 60_000)
    assert command("exit 0", tmp_path).send(whole) == Outcome(True)
    assert command("cat > told", tmp_path).send(whole) == Outcome(True)
    assert (tmp_path / "told").read_bytes() == whole.plain + b"\n"


@pytest.mark.parametrize(
    ("environ", "said", "heard"),
    [
        ({"PW": "pw"}, "pw pwd (pw) pw=pw", "*** pwd (***) ***=***"),
        ({"CHAT": "42", "ME": "keel"}, "42 orders; keel session rearm", "42 orders; keel session rearm"),
        ({"CHAT": "-100123456"}, "chat -100123456", "chat ***"),
        ({"DB_PASSWORD": "abc", "USE_TOKEN": "1", "AUTH": "no"}, "abc abcd 1 no", "*** abcd 1 no"),
        ({"BYBIT_DEMO_SECRET": "s1"}, "s1 s12", "*** s12"),
        ({"PW": "pw", "LONG_SECRET": "pw-and-more"}, "xpw-and-morex pw-and-mor", "x***x ***-and-mor"),
    ],
)
def test_a_secret_is_taken_out_of_a_text_however_short_it_is(environ: dict[str, str], said: str, heard: str) -> None:
    """A short one as a word of its own; what is no secret (a chat, a user) only where it is long."""
    environ = {"PW": "unused-password", "CHAT": "unused-chat", "ME": "unused-user", **environ}
    text = "targets:\n  m: {type: email, host: h, from: a@b.cd, to: [a@b.cd], user: '${ME}', password: '${PW}'}\n"
    text += "  t: {type: telegram, token: '${PW}', chat: '${CHAT}'}"
    assert scrubber(secrets_for(decode_alerts(text, "alerts.yaml", environ), environ))(said) == heard


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    outcome = built("{type: command, command: [/nowhere/page]}", tmp_path).send(MESSAGE)
    assert "/nowhere/page cannot be started" in outcome.why


def test_a_missing_apprise_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.alerts.targets.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf'{sys.executable} -m pip install "keel-trader\[alerts\]"'):
        built(TELEGRAM, tmp_path)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What a program prints that logs everything."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


def test_no_secret_in_an_outcome_a_log_or_a_repr(
    telegram: HttpServer, tmp_path: Path, logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every kind of target in every mood, with everything logged that can be."""
    logging.getLogger("keel.test").debug("this one is seen")
    kinds: list[Callable[[], Sender]] = [
        lambda: webhook(telegram, tmp_path),
        lambda: built(TELEGRAM, tmp_path),
        lambda: built(f"{{type: webhook, url: 'http://127.0.0.1:{unused_port()}/${{CANARY}}'}}", tmp_path),
        lambda: command(f"echo {KEY} >&2; exit 1", tmp_path),
        lambda: built("{type: email, host: 127.0.0.1, port: 1, user: me, password: '${CANARY}', from: a@b.cd, to: [a@b.cd]}", tmp_path),
    ]
    shown = []
    for mood in ("ok", 500, 429, "redirects", "stalled"):
        telegram.mood, telegram.body = mood, f'{{"ok":false,"echo":"{CANARY}"}}'.encode()
        for make in kinds if mood != "stalled" else kinds[:2]:
            sender = make()
            shown += [repr(sender.send(MESSAGE)), repr(sender), str(vars(sender))]
    printed = capfd.readouterr()
    assert "this one is seen" in logged.getvalue()
    for secret in (CANARY, KEY, ENVIRON["TOKEN"]):
        assert secret not in logged.getvalue()
        assert secret not in printed.out + printed.err
        assert not [text for text in shown if secret in text and "_environ" not in text]
