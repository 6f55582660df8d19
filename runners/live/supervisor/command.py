"""What ``keel demo`` and ``keel live`` call for ``--supervised``: in the parent it supervises and returns the exit code, in the trader it
returns at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keel.runners.live.supervisor.heartbeat import SOCKET_NAME

if TYPE_CHECKING:
    from keel.adapters.bybit.notices import Notice, Severity
    from keel.adapters.bybit.transport.endpoints import Environment
    from keel.runners.home import Home

F = TypeVar("F", bound=Callable[..., Any])


def supervised_option(*, default: bool) -> Callable[[F], F]:
    """``--supervised/--no-supervised`` of a command."""
    told = "A parent process watches the session, alerts, restarts it after a crash, and ends it when it hangs."
    return click.option("--supervised/--no-supervised", default=default, show_default=True, help=told)


def is_trader() -> bool:
    """Whether this process is a supervised trader already."""
    return bool(os.environ.get(SOCKET_NAME))


def supervise(
    home: Home,
    system: str,
    overrides: Sequence[str],
    environment: Environment,
    sandbox_url: str | None,
    key_file: Path | None,
    *,
    arguments: Sequence[str],
    kind: str,
    shows: bool = False,
) -> int:
    """Watch a session that a child process runs, until it has ended for good; its exit code, or the supervisor's own.

    arguments: of the child's command line; kind: demo or live, whichever account it is. shows: a screen is drawn on the terminal: only
    what is grave is said there. Raises ConfigError for a system or an alerts.yaml that cannot be used, SafetyError where the session is
    supervised already.
    """
    from keel.adapters.logging import get_logger, set_up_logging
    from keel.core.system.file import apply_overrides, decode_system
    from keel.runners.live.alerts.of_session import session_alerts
    from keel.runners.live.supervisor.address import Place
    from keel.runners.live.supervisor.flatten import Flattener
    from keel.runners.live.supervisor.screen import Screen
    from keel.runners.live.supervisor.signals import Signals
    from keel.runners.live.supervisor.supervisor import Supervisor
    from keel.runners.process.private_files import private_files
    from keel.runners.systems import find_source

    source = find_source(system, home)
    config = apply_overrides(decode_system(source.text, source.filename), overrides)
    set_up_logging(level="info", file=home.logs / "supervisor.jsonl", console=False)
    log = get_logger("keel.supervisor", system=config.system, environment=environment.value)

    screen = Screen(2)

    def say(text: str, *, is_grave: bool) -> None:
        if is_grave or not shows:
            screen.put(f"supervisor: {text}\n")

    def tell(code: str, text: str, severity: Severity) -> None:
        {"info": log.info, "warning": log.warning, "error": log.error}[severity](text, code=code)
        if severity != "info":
            say(text, is_grave=severity == "error")
        alerts.notify(_notice(code, text, severity))

    def on_screen(notice: Notice) -> None:
        log.warning(notice.text, code=notice.code)
        say(notice.text, is_grave=notice.severity == "error")

    def note(text: str) -> None:
        log.warning(text, code="supervisor_note")
        say(text, is_grave=True)

    signals = Signals()
    try:
        with private_files():
            place = Place(config.system, kind, home.root, sandbox_url)
            flattener = Flattener(environment, sandbox_url, key_file, note)
            with session_alerts(home, f"{kind} {config.system} (supervisor)", on_screen, note) as alerts:
                supervisor = Supervisor(place, config.supervision, arguments, flattener, tell)
                return supervisor.run(signals)
    finally:
        signals.close()
        screen.close()


def _notice(code: str, text: str, severity: Severity) -> Notice:
    from keel.adapters.bybit.notices import Notice

    return Notice(time.time_ns() // 1_000_000, code, text, severity=severity)
