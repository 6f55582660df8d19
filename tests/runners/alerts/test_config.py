"""alerts.yaml: what it takes, what it refuses, and where."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from keel.core.errors import ConfigError, SafetyError
from keel.runners.home import Home
from keel.runners.live.alerts.config import AlertsConfig, TelegramConfig, decode_alerts, load_alerts

ENVIRON = {
    "TOKEN": "123456789:abcdefghijklmnopqrstuvwxyzabcdefghij",
    "HOOK": "https://discord.com/api/webhooks/1/secretsecret",
    "PW": "pw",
    "LINES": "abc\n",
}
GOOD = """
targets:
  phone: {type: telegram, token: "${TOKEN}", chat: 1234, severity: error}
  team: {type: discord, url: "${HOOK}"}
  hook:
    type: webhook
    url: https://example.org/hooks/${PW}
    headers: {Authorization: "Bearer ${PW}"}
  mail: {type: email, host: mail.example.org, user: me, password: "${PW}", from: me@example.org, to: [you@example.org]}
  pager: {type: command, command: [/usr/local/bin/page], timeout_s: 5}
mute: [stream_lost]
limits: {per_code: 2, window_minutes: 5}
daily: "23:55"
"""


def decode(text: str) -> AlertsConfig:
    return decode_alerts(text, "alerts.yaml", ENVIRON)


def test_a_whole_file() -> None:
    config = decode(GOOD)
    assert list(config.targets) == ["phone", "team", "hook", "mail", "pager"]
    phone = config.targets["phone"]
    assert isinstance(phone, TelegramConfig)
    assert (phone.chat, phone.severity, phone.daily) == (1234, "error", True)
    assert (config.limits.per_code, config.daily_minute, config.patience_s) == (2, 23 * 60 + 55, 8.0)
    assert decode(GOOD.replace("timeout_s: 5", "timeout_s: 20")).patience_s == 20.0, "the end waits for a command, too"
    assert not any(secret in repr(config) for secret in ENVIRON.values() if len(secret) > 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targets: {}", "alerts.yaml:1: targets: name at least one target"),
        ("[]", "alerts.yaml:1: alerts.yaml is a mapping of keys"),
        ("targets:\n  a: {type: telegraf}", "alerts.yaml:2: targets.a.type: there is no 'telegraf': did you mean telegram?"),
        ("targets:\n  a: {url: x}", "alerts.yaml:2: targets.a: needs a type: webhook, telegram"),
        ("targets:\n  a:\n    type: command\n    comand: [x]", "alerts.yaml:4: targets.a.comand: unknown key: did you mean command?"),
        ("targets:\n  a: {type: command, command: []}", "targets.a.command: must not be an empty list"),
        ("targets:\n  a: {type: command, command: [x, '${PW}']}", "the words of a command can be read by others"),
        ("targets:\n  a: {type: command, command: [x], timeout_s: 0}", "must be a number above 0"),
        ("targets:\n  a: {type: command, command: [x]}\nmuted: []", "alerts.yaml:3: muted: unknown key: did you mean mute?"),
        ("targets:\n  a: {type: command, command: [x]}\nmute: [gap]", "alerts.yaml:3: mute[0]: nothing is told under the code 'gap'"),
        (
            "targets:\n  a: {type: command, command: [x]}\nmute: [order_rate]",
            "alerts.yaml:3: mute[0]: 'order_rate' is called max_orders_per_minute now: write that",
        ),
        ("targets:\n  a: {type: command, command: [x]}\ndaily: '25:00'", "alerts.yaml:3: daily: '25:00' is no time of the day"),
        ("targets:\n  a: {type: telegram, token: 'abc', chat: 1}", "targets.a.token: a secret does not stand in the file"),
        ("targets:\n  a: {type: webhook, url: 'http://127.example.org/x'}", "targets.a.url: must be https"),
        ("targets:\n  a: {type: webhook, url: 'https://exa mple.org/x'}", "targets.a.url: is no URL"),
        ("targets:\n  a: {type: webhook, url: 'https://example.org/x?token=abc'}", "targets.a.url: a secret does not stand in the file"),
        ('targets:\n  a: {type: webhook, url: "https://e.org", headers: {X: "a\\r\\nB: c"}}', "targets.a.headers.X: holds a line break"),
        ('targets:\n  a: {type: command, command: ["a\\0b"]}', "targets.a.command[0]: holds a line break or another control character"),
        ('targets:\n  "a\\e[31m": {type: command, command: [x]}', "targets: 'a\\x1b[31m' is no name of a target"),
        ("targets:\n  a: {type: email, host: '', from: a@b.c, to: [a@b.c]}", "targets.a.host: '' is no name of a mail server"),
        ("targets:\n  a: {type: telegram, token: '${LINES}', chat: 1}", "the environment's LINES holds a line break"),
        ("targets:\n  a: {type: telegram, token: '${NOPE}', chat: 1}", "targets.a.token: the environment has no NOPE"),
        ("targets:\n  a: {type: discord, url: 'https://discord.com/api/webhooks/1/x'}", "a secret does not stand in the file"),
        ("targets:\n  a: {type: webhook, url: 'http://example.org'}", "must be https"),
        ("targets:\n  a: {type: webhook, url: 'ftp://example.org'}", "is no URL"),
        ("targets:\n  a: {type: webhook, url: 'https://u:p@example.org'}", "a secret does not stand in the file"),
        ("targets:\n  a: {type: webhook, url: 'https://x.org', headers: {X-Token: abc}}", "headers.X-Token: a secret does not stand"),
        ("targets:\n  a: {type: email, host: h, from: me, to: [a@b.c]}", "targets.a.from: 'me' is no mail address"),
        ("targets:\n  a: {type: email, host: h, from: a@b.c, to: [a@b.c], user: x}", "user and password belong together"),
        (
            "targets:\n  a: {type: email, host: h, from: a@b.c, to: [a@b.c], user: x, password: '${PW}', security: none}",
            "a password does not go over a line that is not encrypted",
        ),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text)
    assert told in str(caught.value)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert load_alerts(home, {}) is None
    path = tmp_path / "alerts.yaml"
    path.write_text("targets: {a: {type: command, command: [x]}}")
    path.chmod(0o640)
    with pytest.raises(SafetyError, match=f"chmod 600 {path}"):
        load_alerts(home, {})
    path.chmod(0o600)
    assert load_alerts(home, {}) is not None


def test_what_belongs_to_another_user_is_given_to_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """chmod does not help there: the command that does is named, and a name with a blank can be pasted."""
    folder = tmp_path / "my home"
    folder.mkdir()
    path = folder / "alerts.yaml"
    path.write_text("targets: {a: {type: command, command: [x]}}")
    path.chmod(0o644)
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(SafetyError, match=re.escape(f"run sudo chown {me + 1} '{path}' && sudo chmod 600 '{path}'")):
        load_alerts(Home(folder), {})

    def denied(*given: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ConfigError, match=re.escape(f"Permission denied; it belongs to another user (uid {me}): run sudo chown {me + 1}")):
        load_alerts(Home(folder), {})


def test_what_is_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_bytes(b"targets: \xff")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no UTF-8"):
        load_alerts(Home(tmp_path), {})
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(SafetyError, match="plain file"):
        load_alerts(Home(tmp_path), {})
