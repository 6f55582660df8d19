"""Where alerts go: through apprise, or to a program of the user's own (``command``). One attempt, and no secret in what is said of it.

apprise is an extra (``alerts``) and imported only here. It is asked for one attempt without its own retries
(these ignore Retry-After), follows no redirect, and its log lines, which hold whole URLs, are read for the reason and thrown away.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from yarl import URL

from keel.core.errors import ConfigError
from keel.runners.live.alerts.command import CommandSender
from keel.runners.live.alerts.config import (
    FILE_NAME,
    AlertsConfig,
    CommandConfig,
    DiscordConfig,
    EmailConfig,
    Served,
    TelegramConfig,
    WebhookConfig,
    discord_parts,
    fill,
)
from keel.runners.live.alerts.message import Message
from keel.runners.live.alerts.outcome import Outcome, Sender
from keel.runners.live.alerts.scrub import Scrub

INSTALL: Final = f'{shlex.quote(sys.executable)} -m pip install "keel-trader[alerts]"'
"""Of the environment in which keel runs: pip finds keel there, on whose index it is or not."""
_RETRY_AFTER: Final = re.compile(r"retry[_-]after\D{0,6}?(\d+(?:\.\d+)?)", re.IGNORECASE)
_STATUS: Final = re.compile(r"error=(\d{3})")


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


class AppriseSender:
    """One service of apprise."""

    def __init__(self, name: str, target: Served, service: Any, scrub: Scrub) -> None:
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

    def close(self) -> None:
        """A thread that waits for a server keeps no process alive: there is nothing to end."""

    def _why(self, told: list[tuple[str, str]], status: str) -> str:
        """The last thing that apprise complained of: its warnings hold no URL, and what they might quote is taken out."""
        words = [text for level, text in told if level in ("WARNING", "ERROR")]
        return self._scrub(words[-1].strip() if words else f"apprise says {status}")


def _through_apprise(name: str, target: Served, config: AlertsConfig, environ: Mapping[str, str], scrub: Scrub) -> AppriseSender:
    """Raises ConfigError for what apprise does not take."""
    import apprise

    _silence()
    common = {"asset": _asset(), "cto": config.connect_s, "rto": config.read_s, "redirect": False}
    try:
        service = _service(target, environ, common)
    except (apprise.exception.AppriseException, TypeError) as error:
        raise ConfigError(f"{FILE_NAME}: the target {name} is not taken: {scrub(str(error))}") from None
    return AppriseSender(name, target, service, scrub)


def _service(target: Served, environ: Mapping[str, str], common: dict[str, Any]) -> Any:
    if isinstance(target, WebhookConfig):
        return _webhook(target, environ, common)
    if isinstance(target, TelegramConfig):
        return _plugin("telegram", "NotifyTelegram")(
            bot_token=fill(target.token, environ), targets=[fill(str(target.chat), environ)], detect_owner=False, schema="tgram", **common
        )
    if isinstance(target, DiscordConfig):
        hook, token = discord_parts(fill(target.url, environ))
        return _plugin("discord", "NotifyDiscord")(webhook_id=hook, webhook_token=token, schema="discord", avatar=False, **common)
    return _email(target, environ, common)


def _webhook(target: WebhookConfig, environ: Mapping[str, str], common: dict[str, Any]) -> Any:
    url = URL(fill(target.url, environ))
    place = {"schema": "jsons" if url.scheme == "https" else "json", "host": url.host, "port": url.explicit_port}
    headers = {key: fill(value, environ) for key, value in target.headers.items()}
    return _plugin("custom_json", "NotifyJSON")(
        headers=headers, params=dict(url.query), **place, fullpath=url.raw_path, secure=url.scheme == "https", user=url.user,
        password=url.password, **common,
    )  # fmt: skip


def _email(target: EmailConfig, environ: Mapping[str, str], common: dict[str, Any]) -> Any:
    mode = {"starttls": "starttls", "ssl": "ssl", "none": "insecure"}[target.security]
    made = _plugin("email", "NotifyEmail")(
        smtp_host=target.host, host=target.host, port=target.port, secure_mode=mode, secure=target.security != "none",
        user=None if target.user is None else fill(target.user, environ),
        password=None if target.password is None else fill(target.password, environ),
        from_addr=fill(target.sender, environ), targets=[fill(each, environ) for each in target.to], schema="mailto", **common,
    )  # fmt: skip
    if len(made.targets) != len(target.to):  # apprise leaves out what it does not like, with a log line that nobody reads
        raise TypeError("apprise leaves out some of the addresses under to:")
    return made


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
