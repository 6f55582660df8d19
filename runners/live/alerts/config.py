"""``alerts.yaml`` of the home folder: who is told, and how often. Mode 0600, keys checked one by one, secrets as ``${NAME}`` only.

Nothing here reads a secret: a value keeps its ``${NAME}`` until the target that needs it is built (``fill``), so a configuration can be
printed.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec

from keel.adapters.bybit.notices import Severity
from keel.adapters.logging import is_secret
from keel.adapters.own_file import cannot_open, not_own
from keel.core.errors import ConfigError, SafetyError
from keel.core.risk.decision import RENAMED
from keel.core.system.config import Strict
from keel.core.system.suggestions import did_you_mean
from keel.core.system.types import Problem, shape_problems
from keel.core.system.yaml_source import KeyPath, YamlProblem, YamlSource, parse_yaml, path_text
from keel.runners.home import Home
from keel.runners.live.alerts.events import EVENTS

FILE_NAME: Final = "alerts.yaml"
_LARGEST: Final = 1 << 20
_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_NAME: Final = re.compile(r"\w[\w .-]{0,39}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_ADDRESS: Final = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\.?[^@\s<>,;]*")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=60)]


class TargetConfig(Strict, frozen=True, kw_only=True):
    """What every target has. severity: the least that goes there; daily: whether the daily summary goes there, too."""

    severity: Severity = "warning"
    daily: bool = True

    @property
    def kind(self) -> str:
        """The word that stands under ``type``."""
        return str(self.__struct_config__.tag)


class WebhookConfig(TargetConfig, frozen=True, kw_only=True, tag_field="type", tag="webhook"):
    """A JSON object is posted to a URL."""

    url: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class TelegramConfig(TargetConfig, frozen=True, kw_only=True, tag_field="type", tag="telegram"):
    """A bot writes to a chat."""

    token: str
    chat: str | int


class DiscordConfig(TargetConfig, frozen=True, kw_only=True, tag_field="type", tag="discord"):
    """A webhook of a channel; its URL is the secret."""

    url: str


class EmailConfig(TargetConfig, frozen=True, kw_only=True, tag_field="type", tag="email"):
    """A mail server that takes our mail. security: how the line to it is encrypted."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "ssl", "none"] = "starttls"
    user: str | None = None
    password: str | None = None
    sender: str = msgspec.field(name="from")
    to: Annotated[list[str], msgspec.Meta(min_length=1)]


class CommandConfig(TargetConfig, frozen=True, kw_only=True, tag_field="type", tag="command"):
    """A program of the user's own, without a shell: the alert comes on its stdin as one JSON object. timeout_s: it is ended after that."""

    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    timeout_s: Seconds = 10.0


Served = WebhookConfig | TelegramConfig | DiscordConfig | EmailConfig
"""What a server takes; the rest is a program."""
Target = Served | CommandConfig
_KINDS: Final[dict[str, type[Any]]] = {
    "webhook": WebhookConfig, "telegram": TelegramConfig, "discord": DiscordConfig, "email": EmailConfig, "command": CommandConfig,
}  # fmt: skip


class LimitsConfig(Strict, frozen=True, kw_only=True):
    """How often one code is told: ``per_code`` times in ``window_minutes``; what comes beyond is summed up when they are over."""

    per_code: AtLeastOne = 3
    window_minutes: Annotated[float, msgspec.Meta(gt=0, le=1440)] = 10.0


class AlertsConfig(Strict, frozen=True, kw_only=True):
    """The whole file. mute: codes that are never sent; queue: alerts that wait for one target at most; connect_s, read_s: patience with a
    server; daily: when the daily summary is sent (UTC), or "off"."""

    targets: dict[str, Target]
    mute: list[str] = msgspec.field(default_factory=list)
    limits: LimitsConfig = LimitsConfig()
    queue: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 200
    connect_s: Seconds = 4.0
    read_s: Seconds = 4.0
    daily: str = "00:05"

    @property
    def patience_s(self) -> float:
        """How long one attempt may take, of the target with the most patience: the end of a session waits for so long at most."""
        served = self.connect_s + self.read_s
        return max((each.timeout_s if isinstance(each, CommandConfig) else served for each in self.targets.values()), default=served)

    @property
    def daily_minute(self) -> int | None:
        """The minute of the UTC day at which the summary is due; None: never."""
        return None if self.daily == "off" else int(self.daily[:2]) * 60 + int(self.daily[3:])


def load_alerts(home: Home, environ: Mapping[str, str] = os.environ) -> AlertsConfig | None:
    """The home's ``alerts.yaml``; None where there is none. Raises ConfigError (file:line: key: what is wrong) for what cannot be used,
    SafetyError for a file that is not this user's alone."""
    path = home.root / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} {cannot_open(error, path)}") from error
    with os.fdopen(descriptor, "rb") as opened:
        if (why := not_own(os.fstat(opened.fileno()), path)) is not None:
            raise SafetyError(f"{path} {why}")
        raw = opened.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise ConfigError(f"{path} has more than {_LARGEST:,} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is no UTF-8 text") from None
    return decode_alerts(text, str(path), environ)


def decode_alerts(text: str, filename: str, environ: Mapping[str, str]) -> AlertsConfig:
    """The configuration from its text. Raises ConfigError, one line for each problem."""
    try:
        source = parse_yaml(text)
    except YamlProblem as problem:
        key = f"{path_text(problem.path)}: " if problem.path else ""
        raise ConfigError(f"{filename}:{problem.line}: {key}{problem.message}") from None
    if not isinstance(source.value, dict):
        raise ConfigError(f"{filename}:1: alerts.yaml is a mapping of keys (targets, mute, limits, queue, connect_s, read_s, daily)")
    value: dict[str, Any] = source.value
    _refuse(list(_target_problems(value)), source, filename)
    whole = {**value, "targets": {}}
    _refuse(list(shape_problems(whole, msgspec.inspect.type_info(AlertsConfig))), source, filename)
    config = msgspec.convert(value, AlertsConfig)
    _refuse(list(_problems(config, environ)), source, filename)
    return config


def fill(text: str, environ: Mapping[str, str]) -> str:
    """A value with the environment's words in place of its ``${NAME}``. Raises KeyError for a name that is not set."""
    return _PLACEHOLDER.sub(lambda found: environ[found[1]], text)


def named_in(config: AlertsConfig) -> tuple[set[str], set[str]]:
    """Every name of the environment that the configuration mentions: those that are for secrets, and the others (a chat, a user)."""
    secret: set[str] = set()
    plain: set[str] = set()
    for target in config.targets.values():
        for key, text in _texts(target).items():
            (secret if key[0] in ("token", "password", "url", "headers") else plain).update(_PLACEHOLDER.findall(text))
    return secret, plain - secret


def discord_parts(url: str) -> list[str]:
    """The id and the token of a channel's webhook; fewer than two where its address has none."""
    from yarl import URL

    return [part for part in URL(url).path.split("/") if part][-2:]


def _refuse(problems: list[Problem], source: YamlSource, filename: str) -> None:
    if problems:
        lines = [
            f"{filename}:{source.line_of(path)}: {path_text(path)}: {message}" if path else f"{filename}:1: {message}"
            for path, message in problems
        ]
        raise ConfigError("\n".join(lines))


def _target_problems(value: dict[str, Any]) -> Iterator[Problem]:
    """Each target against the type that it names."""
    targets = value.get("targets")
    if not isinstance(targets, dict) or not targets:
        yield Problem(("targets",), "name at least one target, such as: phone: {type: telegram, token: ${TELEGRAM_TOKEN}, chat: 1234}")
        return
    for name, target in targets.items():
        path: KeyPath = ("targets", name)
        kind = target.get("type") if isinstance(target, dict) else None
        if not _NAME.fullmatch(name):
            yield Problem(("targets",), f"{name!r} is no name of a target: letters, digits, blanks, dots and dashes, at most 40")
        elif not isinstance(target, dict) or not isinstance(kind, str):
            yield Problem(path, f"needs a type: {', '.join(_KINDS)}")
        elif kind not in _KINDS:
            yield Problem((*path, "type"), f"there is no {kind!r}: {did_you_mean(kind, _KINDS)}")
        else:
            keys = {key: each for key, each in target.items() if key != "type"}
            yield from shape_problems(keys, msgspec.inspect.type_info(_KINDS[kind]), path)


def _problems(config: AlertsConfig, environ: Mapping[str, str]) -> Iterator[Problem]:
    for index, code in enumerate(config.mute):
        if (today := RENAMED.get(code)) in EVENTS:
            yield Problem(("mute", index), f"{code!r} is called {today} now: write that")
        elif code not in EVENTS:
            yield Problem(("mute", index), f"nothing is told under the code {code!r}: {did_you_mean(code, EVENTS)}")
    if config.daily != "off" and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", config.daily):
        yield Problem(("daily",), f'{config.daily!r} is no time of the day: write "00:05" (UTC, in quotes), or "off"')
    for name, target in config.targets.items():
        yield from _one_target(("targets", name), target, environ)


def _one_target(path: KeyPath, target: Target, environ: Mapping[str, str]) -> Iterator[Problem]:
    texts = _texts(target)
    missing = False
    for key, text in texts.items():
        if _CONTROL.search(text):
            yield Problem((*path, *key), "holds a line break or another control character")
        for name in _PLACEHOLDER.findall(text):
            if not environ.get(name):
                missing = True
                yield Problem((*path, *key), f"the environment has no {name}: set it before keel starts")
            elif _CONTROL.search(environ[name]):
                yield Problem((*path, *key), f"the environment's {name} holds a line break or another control character: set it without")
        if _must_be_named(target, key) and not _PLACEHOLDER.search(text):
            yield Problem((*path, *key), "a secret does not stand in the file: write ${NAME}, and set NAME in the environment")
    if isinstance(target, CommandConfig):
        for index, word in enumerate(target.command):
            if _PLACEHOLDER.search(word):
                told = "the words of a command can be read by others: leave it out, the command inherits the environment"
                yield Problem((*path, "command", index), told)
        if not target.command[0]:
            yield Problem((*path, "command", 0), "names no program")
    if missing:
        return
    if isinstance(target, (WebhookConfig, DiscordConfig)):
        yield from _url_problems((*path, "url"), target, fill(target.url, environ))
    if isinstance(target, EmailConfig):
        if not _HOST.fullmatch(target.host):
            yield Problem((*path, "host"), f"{target.host!r} is no name of a mail server")
        addresses: list[tuple[KeyPath, str]] = [((*path, "from"), target.sender)]
        addresses += [((*path, "to", index), each) for index, each in enumerate(target.to)]
        for place, address in addresses:
            if not _ADDRESS.fullmatch(fill(address, environ)):
                yield Problem(place, f"{address!r} is no mail address")
        if (target.user is None) != (target.password is None):
            yield Problem(path, "user and password belong together")
        if target.password is not None and target.security == "none" and target.host not in _LOOPBACK:
            yield Problem((*path, "security"), "a password does not go over a line that is not encrypted: use starttls or ssl")


def _url_problems(path: KeyPath, target: WebhookConfig | DiscordConfig, url: str) -> Iterator[Problem]:
    from yarl import URL

    try:
        parsed = URL(url)
        host = parsed.host
    except ValueError:
        parsed, host = URL(), None
    if host is None or not _HOST.fullmatch(host) or parsed.scheme not in ("https", "http"):
        yield Problem(path, "is no URL: it begins with https://")
    elif parsed.scheme == "http" and not _is_this_machine(host):
        yield Problem(path, "must be https: http is for this machine only (127.0.0.1)")
    elif parsed.password is not None and "${" not in target.url.partition("@")[0]:
        yield Problem(path, "a secret does not stand in the file: write ${NAME}, and set NAME in the environment")
    elif any(is_secret(key) and value and "${" not in value for key, value in _query(target.url)):
        yield Problem(path, "a secret does not stand in the file: write ${NAME} behind the =, and set NAME in the environment")
    elif isinstance(target, DiscordConfig) and len(discord_parts(url)) < 2:
        yield Problem(path, "is no webhook of a Discord channel: https://discord.com/api/webhooks/ID/TOKEN")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, such as 127.example.org, leads anywhere
        return False


def _query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(url.partition("?")[2], keep_blank_values=True)


def _must_be_named(target: Target, key: KeyPath) -> bool:
    if key[0] == "headers":
        return is_secret(str(key[1]))
    return key[0] in ("token", "password") or (isinstance(target, DiscordConfig) and key[0] == "url")


def _texts(target: Target) -> dict[KeyPath, str]:
    """Every text of a target, by its key."""
    found: dict[KeyPath, str] = {}
    for field in msgspec.structs.fields(target):
        value = getattr(target, field.name)
        if isinstance(value, str):
            found[(field.encode_name,)] = value
        elif isinstance(value, dict):
            found |= {(field.encode_name, key): text for key, text in value.items()}
        elif isinstance(value, list):
            found |= {(field.encode_name, index): text for index, text in enumerate(value)}
    return found
