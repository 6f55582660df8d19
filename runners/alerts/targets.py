"""Where alerts go: through apprise, or to a program of the user's own. One attempt, its outcome, and no secret in what is said of it.

apprise is an extra (``pip install "keel-trader[alerts]"``) and imported only here. It is asked for one attempt without its own retries
(these ignore Retry-After), follows no redirect, and its log lines, which hold whole URLs, are read for the reason and thrown away.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from yarl import URL

from adapters.bybit.notices import Severity
from adapters.logging import is_secret
from core.errors import ConfigError
from runners.alerts.config import (
    FILE_NAME,
    AlertsConfig,
    CommandConfig,
    DiscordConfig,
    EmailConfig,
    Target,
    TelegramConfig,
    WebhookConfig,
    fill,
)
from runners.alerts.message import Message
from runners.signal_mask import nothing_blocked

INSTALL: Final = 'pip install "keel-trader[alerts]"'
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 6
_RETRY_AFTER: Final = re.compile(r"retry[_-]after\D{0,6}?(\d+(?:\.\d+)?)", re.IGNORECASE)
_STATUS: Final = re.compile(r"error=(\d{3})")
_OWN_KEYS: Final = re.compile(r"BYBIT_\w*(KEY|SECRET)")


class Outcome(msgspec.Struct, frozen=True):
    """Of one attempt. why: what went wrong, "" where nothing did; retry_after_s: what the server asked for, where it can be seen."""

    is_sent: bool
    why: str = ""
    retry_after_s: float | None = None


class Sender(Protocol):
    """One target, ready to send. Blocks: call it from a thread of its own."""

    name: str
    severity: Severity
    daily: bool

    def send(self, message: Message) -> Outcome:
        """One attempt."""
        ...


Scrub = Callable[[str], str]


def scrubber(secrets: Iterable[str]) -> Scrub:
    """A function that takes these texts out of another, longest first."""
    known = sorted({each for each in secrets if len(each) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def scrub(text: str) -> str:
        for each in known:
            text = text.replace(each, _HIDDEN)
        return text

    return scrub


def secrets_around(environ: Mapping[str, str]) -> list[str]:
    """Keys of accounts, and whatever else in the environment has the name of a secret."""
    return [value for name, value in environ.items() if _OWN_KEYS.fullmatch(name) or is_secret(name)]


def build_senders(config: AlertsConfig, environ: Mapping[str, str], scrub: Scrub, folder: Path) -> list[Sender]:
    """Every target of the configuration. folder: where a command runs. Raises ConfigError where apprise is needed and missing, or refuses a
    target."""
    senders: list[Sender] = []
    for name, target in config.targets.items():
        if isinstance(target, CommandConfig):
            senders.append(CommandSender(name, target, environ, scrub, folder))
            continue
        if find_spec("apprise") is None:
            raise ConfigError(f"{FILE_NAME} names {name} ({target.kind}), which needs the package apprise: {INSTALL}")
        senders.append(_through_apprise(name, target, config, environ, scrub))
    return senders


class CommandSender:
    """A program: no shell, a process group of its own, an environment without the keys of accounts, and an end after ``timeout_s``."""

    def __init__(self, name: str, target: CommandConfig, environ: Mapping[str, str], scrub: Scrub, folder: Path) -> None:
        self.name, self.severity, self.daily = name, target.severity, target.daily
        self._command, self._timeout_s, self._scrub, self._folder = list(target.command), target.timeout_s, scrub, folder
        self._environ = {key: value for key, value in environ.items() if not _OWN_KEYS.fullmatch(key)}

    def send(self, message: Message) -> Outcome:
        """Run it once, with the alert on stdin; an exit code other than 0 is a failure."""
        environ = {
            **self._environ, "KEEL_ALERT_CODE": message.code, "KEEL_ALERT_SEVERITY": message.severity, "KEEL_ALERT_TITLE": message.title,
            "KEEL_ALERT_TEXT": message.body.replace("\0", " "), "KEEL_ALERT_SYMBOL": message.symbol,
        }  # fmt: skip
        try:
            with nothing_blocked():
                process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self._folder, env=environ,
                    start_new_session=True,
                )  # fmt: skip
        except (OSError, ValueError) as error:
            return Outcome(False, self._scrub(f"{self._command[0]} cannot be started: {error}"))
        try:
            _, told = process.communicate(message.plain + b"\n", timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            return Outcome(False, f"{self._command[0]} did not end within {self._timeout_s:g} s, and was ended")
        except BrokenPipeError:  # it ended without reading: its exit code says the rest
            told = b""
        finally:
            _end_group(process)
        if process.returncode == 0:
            return Outcome(True)
        words = self._scrub(told.decode("utf-8", "replace").strip()[-300:])
        return Outcome(False, f"{self._command[0]} ended with {process.returncode}{f': {words}' if words else ''}")


class AppriseSender:
    """One service of apprise."""

    def __init__(self, name: str, target: Target, service: Any, scrub: Scrub) -> None:
        import apprise

        self.name, self.severity, self.daily = name, target.severity, target.daily
        self._scrub = scrub
        self._apprise = apprise.Apprise(asset=_asset())
        self._apprise.add(service)

    def send(self, message: Message) -> Outcome:
        """One attempt, in this thread."""
        import apprise

        kind = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING, "error": apprise.NotifyType.FAILURE}
        result = self._apprise.notify(
            title=message.title, body=message.body, notify_type=kind[message.severity], body_format=apprise.NotifyFormat.TEXT,
            log_level=logging.DEBUG,
        )  # fmt: skip
        if result.status == apprise.AppriseResultStatus.SUCCESS:
            return Outcome(True)
        told = [(entry.level, entry.message) for entry in result.logs()]
        return Outcome(False, self._why(told, result.status.name), _retry_after(told))

    def _why(self, told: list[tuple[str, str]], status: str) -> str:
        """The last thing that apprise complained of: its warnings hold no URL, and what they might quote is taken out."""
        words = [text for level, text in told if level in ("WARNING", "ERROR")]
        return self._scrub(words[-1].strip() if words else f"apprise says {status}")


def _through_apprise(name: str, target: Target, config: AlertsConfig, environ: Mapping[str, str], scrub: Scrub) -> AppriseSender:
    """Raises ConfigError for what apprise does not take."""
    import apprise

    _silence()
    common = {"asset": _asset(), "cto": config.connect_s, "rto": config.read_s, "redirect": False}
    try:
        service = _service(target, environ, common)
    except (apprise.exception.AppriseException, TypeError) as error:
        raise ConfigError(f"{FILE_NAME}: the target {name} is not taken: {scrub(str(error))}") from None
    return AppriseSender(name, target, service, scrub)


def _service(target: Target, environ: Mapping[str, str], common: dict[str, Any]) -> Any:
    if isinstance(target, WebhookConfig):
        url = URL(fill(target.url, environ))
        place = {"schema": "jsons" if url.scheme == "https" else "json", "host": url.host, "port": url.explicit_port}
        headers = {key: fill(value, environ) for key, value in target.headers.items()}
        return _plugin("custom_json", "NotifyJSON")(
            headers=headers, params=dict(url.query), **place, fullpath=url.raw_path, secure=url.scheme == "https", user=url.user,
            password=url.password, **common,
        )  # fmt: skip
    if isinstance(target, TelegramConfig):
        return _plugin("telegram", "NotifyTelegram")(
            bot_token=fill(target.token, environ), targets=[fill(str(target.chat), environ)], detect_owner=False, schema="tgram", **common
        )
    if isinstance(target, DiscordConfig):
        parts = [part for part in URL(fill(target.url, environ)).path.split("/") if part]
        return _plugin("discord", "NotifyDiscord")(webhook_id=parts[-2], webhook_token=parts[-1], schema="discord", avatar=False, **common)
    if isinstance(target, EmailConfig):
        mode = {"starttls": "starttls", "ssl": "ssl", "none": "insecure"}[target.security]
        made = _plugin("email", "NotifyEmail")(
            smtp_host=target.host, host=target.host, port=target.port, secure_mode=mode, secure=target.security != "none",
            user=None if target.user is None else fill(target.user, environ),
            password=None if target.password is None else fill(target.password, environ),
            from_addr=fill(target.sender, environ), targets=[fill(each, environ) for each in target.to], schema="mailto", **common,
        )  # fmt: skip
        if len(made.targets) != len(set(target.to)):  # apprise leaves out what it does not like, with a log line that nobody reads
            raise TypeError("apprise leaves out some of the addresses under to:")
        return made
    raise TypeError(f"no service sends to a {target.kind}")


def _plugin(module: str, name: str) -> Any:
    """A class of apprise. What its import warns of (a library of mail that uses an old module) is nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(import_module(f"apprise.plugins.{module}"), name)


def _asset() -> Any:
    import apprise

    return apprise.AppriseAsset(app_id="keel", app_desc="keel", async_mode=False, http_redirects=False, secure_logging=True)


def _silence() -> None:
    """Keep apprise's log lines, and the request lines of what it sends with, from whoever prints all that is logged: they hold URLs."""
    for name in ("apprise", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if name == "apprise":
            logger.setLevel(logging.DEBUG)  # the body of an answer, where a server says how long to wait, is told at this level only
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _retry_after(told: list[tuple[str, str]]) -> float | None:
    """What a server asks for in the body of its answer (Telegram and Discord do); apprise does not show the header."""
    if not any((found := _STATUS.search(text)) and found[1] in ("429", "503") for _, text in told):
        return None
    asked = [float(found[1]) for _, text in told if "Response" in text and (found := _RETRY_AFTER.search(text))]
    return max(asked, default=None)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever a program has left running is ended with it."""
    with suppress(ProcessLookupError, PermissionError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
