"""The options that ``keel demo`` and ``keel live`` have in common, as one argument; and what is set up for a session by them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from keel.core.model.timeframe import MINUTE_MS
from keel.runners.cli.session import Session

if TYPE_CHECKING:
    from keel.runners.home import Home

LogKind = Literal["text", "json", "none"]
_LOG = click.Choice(["text", "json", "none"])
_GRACE = click.IntRange(0, MINUTE_MS)


@dataclass(frozen=True, slots=True)
class SessionWords:
    """What the command line of a session says, whichever account it is. without: symbols in capitals."""

    without: tuple[str, ...]
    overrides: tuple[str, ...]
    key_file: Path | None
    max_bars: int | None
    grace_ms: int
    fresh: bool
    log: LogKind | None
    no_report: bool

    def shows_screen(self, session: Session) -> bool:
        """Whether a screen is drawn."""
        return sys.stdout.isatty() and not session.as_json and session.verbosity >= 0 and self.log in (None, "none")

    def set_up_logging(self, session: Session, home: Home, name: str) -> None:
        """Log to ``logs/<name>.jsonl``, and to stderr where no screen is drawn: lines would break it. --quiet is about the terminal."""
        from keel.adapters.logging import set_up_logging

        console: bool | Literal["text", "json"] = not self.shows_screen(session) and session.verbosity >= 0
        if self.log is not None:
            console = False if self.log == "none" else self.log
        set_up_logging(level="debug" if session.verbosity > 1 else "info", file=home.logs / f"{name}.jsonl", console=console)


def session_options(*, key_name: str, set_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options, which the command takes as ``words: SessionWords``. key_name: the variable that holds the key where no file is named."""
    file = click.Path(dir_okay=False, path_type=Path)
    options = (
        click.option("--without", multiple=True, metavar="S", help="Leave this symbol out, such as a delisted one; may be repeated."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=set_help),
        click.option("--key-file", type=file, metavar="FILE", help=f"Key and secret (mode 0600); else {key_name}."),
        click.option("--bars", "max_bars", type=click.IntRange(min=1), metavar="N", help="Stop after so many execution bars."),
        click.option("--grace", "grace_ms", type=_GRACE, default=2_000, show_default=True, metavar="MS", help="Wait for late bars."),
        click.option("--fresh", is_flag=True, help="Begin a new journal; what the account holds is taken over as it is."),
        click.option("--log", type=_LOG, help="Log lines on stderr. Default: none under the screen, else text."),
        click.option("--no-report", is_flag=True, help="Do not write report.html."),
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def collected(*args: Any, **given: Any) -> Any:
            told = {field.name: given.pop(field.name) for field in fields(SessionWords)}
            told["without"] = tuple(symbol.upper() for symbol in told["without"])
            return function(*args, words=SessionWords(**told), **given)

        for option in reversed(options):
            collected = option(collected)
        return collected

    return decorate
