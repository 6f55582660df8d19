"""Structured logs: text for people on stderr, one JSON object a line in a file, each with the fields of the run that is under way.

structlog renders. It takes a third of a second to import, so it is imported when the first line is really written: a log call that
the level filters out is one comparison, and a command that logs nothing never pays. Fields whose names say that they hold a secret
are dropped before anything is rendered. A log that cannot be written stops nobody: the file is bounded (``keel.adapters.log_file``), and a
stderr that nobody reads any more is left alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from keel.adapters.log_file import LogFile
from keel.adapters.machine import wall_ms
from keel.core.errors import ConfigError
from keel.core.model.time_range import to_iso

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The levels by name, as numbers that compare."""

_SECRET_PARTS = ("secret", "password", "passphrase", "token", "apikey", "privatekey", "authorization", "credential")
_SECRET_NAMES = ("sign", "signature", "auth", "xbapisign")

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 (never mutated: a scope sets a new one)


Form = Literal["text", "json"]


def set_up_logging(*, level: str | None = None, file: Path | None = None, console: bool | Form = True) -> None:
    """Say where log lines go; what was set up before is replaced.

    level: a name of ``LEVELS``; None: the environment's KEEL_LOG_LEVEL, else info when there is a file and warning when there is not.
    file: JSON lines are appended here, each in one write; its folder is made.  console: on stderr, as text (True) or as JSON lines.
    Raises ConfigError for an unknown level and for a file that cannot be opened.
    """
    name = level or os.environ.get("KEEL_LOG_LEVEL") or ("info" if file else "warning")
    if name.lower() not in LEVELS:
        where = "the log level" if level else "the environment's KEEL_LOG_LEVEL"
        raise ConfigError(f"{where} is {name!r}: use one of {', '.join(LEVELS)}")
    opened = LogFile(file) if file else None
    _output.close()
    form: Form | None = "text" if console is True else console or None
    _output.level, _output.file, _output.console, _output.structlog = LEVELS[name.lower()], opened, form, None


def get_logger(name: str, **fields: Any) -> Logger:
    """A logger whose lines carry ``logger=name`` and the given fields. Cheap to make, safe to keep at module level."""
    return Logger({"logger": name, **fields})


@contextmanager
def log_context_scope(**fields: Any) -> Iterator[None]:
    """Every line that is logged inside (in this thread or task) carries these fields; scopes nest, inner values win."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def log_context() -> dict[str, Any]:
    """The fields of the scopes around the caller."""
    return dict(_context.get())


@lru_cache(maxsize=4096)  # the same few names in every line
def is_secret(name: str) -> bool:
    """Whether a field of this name is taken to hold a secret: api_secret, X-BAPI-SIGN, password, token and their like."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return plain in _SECRET_NAMES or any(part in plain for part in _SECRET_PARTS)


def without_secrets(value: Any) -> Any:
    """A copy of plain data without the entries of mappings whose names say that they are secret, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_secrets(entry) for key, entry in value.items() if not is_secret(str(key))}
    if isinstance(value, (list, tuple)):
        return [without_secrets(entry) for entry in value]
    return value


class Logger:
    """Writes events with fields: ``log.info("feed connected", symbol="BTCUSDT")``. Immutable; ``bind`` gives one with more fields."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def bind(self, **fields: Any) -> Logger:
        """A logger that carries these fields, too."""
        return Logger({**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """For who looks for a fault: per step, per order."""
        if _output.level <= 10:
            _output.write("debug", event, {**self._fields, **fields})

    def info(self, event: str, **fields: Any) -> None:
        """What happened, in the ordinary course."""
        if _output.level <= 20:
            _output.write("info", event, {**self._fields, **fields})

    def warning(self, event: str, **fields: Any) -> None:
        """What a person should know; nothing stops."""
        if _output.level <= 30:
            _output.write("warning", event, {**self._fields, **fields})

    def error(self, event: str, **fields: Any) -> None:
        """What failed."""
        if _output.level <= 40:
            _output.write("error", event, {**self._fields, **fields})

    def exception(self, event: str, **fields: Any) -> None:
        """What failed, with the traceback of the exception that is being handled."""
        if _output.level <= 40:
            _output.write("error", event, {**self._fields, "exc_info": True, **fields})


class _Output:
    """Where lines go: a file, stderr, or both. structlog's logger over it is made at the first line."""

    __slots__ = ("console", "file", "level", "structlog", "text")

    def __init__(self) -> None:
        self.level = LEVELS["warning"]
        self.console: Form | None = "text"
        self.file: LogFile | None = None
        self.structlog: Any = None
        self.text: Any = None

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Render and write one line; fields of the scope come between the logger's and the call's."""
        if self.structlog is None:
            self._start()
        getattr(self.structlog, level)(event, **{**_context.get(), **fields})

    def close(self) -> None:
        """Give the file back."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _start(self) -> None:
        import structlog

        self.text = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback, timestamp_key="time"
        )
        self.structlog = structlog.wrap_logger(
            _Lines(self),
            processors=[_drop_secrets, structlog.processors.add_log_level, _stamp, structlog.processors.format_exc_info, _as_argument],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            cache_logger_on_first_use=True,
        )


class _Lines:
    """What structlog calls with the finished event: one JSON line to the file, one text line to stderr."""

    __slots__ = ("_output",)

    def __init__(self, output: _Output) -> None:
        self._output = output

    def write(self, fields: dict[str, Any]) -> None:
        output = self._output
        line = _json(fields) if output.file is not None or output.console == "json" else b""
        if output.file is not None:
            output.file.write(line + b"\n")
        if output.console is not None:
            text = (
                output.text(None, fields["level"], {**fields, "time": fields["time"][11:]}) if output.console == "text" else line.decode()
            )
            try:
                sys.stderr.write(text + "\n")
            except (OSError, ValueError) as error:  # the terminal is gone, or the disk behind it full: the file says so
                output.console = None
                output.write("warning", f"stderr takes no lines any more ({error}): from here on they are in this file only", {})

    debug = info = warning = error = write


def _drop_secrets(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    dropped: dict[str, Any] = without_secrets(fields)
    return dropped


def _stamp(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"time": to_iso(wall_ms()), **fields}


def _as_argument(_: Any, __: str, fields: MutableMapping[str, Any]) -> tuple[tuple[MutableMapping[str, Any]], dict[str, Any]]:
    return (fields,), {}


def _json(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields, enc_hook=repr)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError):  # half a character, a key that is no text, a huge number
        return json.dumps({str(key): value for key, value in fields.items()}, default=repr).encode()


_output = _Output()
