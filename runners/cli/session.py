"""What a command is run with: the options that every command has, the home, and where its answer goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keel.runners.cli.plain_text import json_line, plain_json, print_text
from keel.runners.cli.progress import ProgressLine

if TYPE_CHECKING:
    from keel.runners.tools.registry import Response, ToolContext

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = {-1: "error", 1: "info", 2: "debug"}


@dataclass(slots=True)
class Session:
    """One call of the command line."""

    as_json: bool = False
    debug: bool = False
    home: str | None = None
    verbosity: int = 0
    progress: ProgressLine | None = field(default=None)
    arguments: tuple[str, ...] = ()
    """The whole command line, as it was given."""

    def context(self) -> ToolContext:
        """What tools work in; sets up logging. Raises ConfigError for a home that is a file."""
        from keel.adapters.logging import set_up_logging
        from keel.runners.home import Home
        from keel.runners.tools.registry import ToolContext

        set_up_logging(level=_LEVELS.get(max(-1, min(2, self.verbosity))))
        if self.progress is None and not self.as_json and self.verbosity >= 0 and sys.stderr.isatty():
            self.progress = ProgressLine(sys.stderr)
        return ToolContext(Home.find(self.home), self.progress)

    def answer(self, response: Response | dict[str, Any], show: Callable[[], None]) -> None:
        """Print the answer: one JSON object on stdout, or what ``show`` prints for people."""
        self.close()
        if not self.as_json:
            show()
            return
        import msgspec

        try:
            text = msgspec.json.encode(response).decode()
        except UnicodeEncodeError:
            text = plain_json(msgspec.to_builtins(response))
        click.echo(json_line(text))

    def note(self, text: str) -> None:
        """A remark for people, on stderr; nothing when asked to be quiet."""
        if text and self.verbosity >= 0:
            self.close()
            print_text(text)

    def close(self) -> None:
        """Take the progress line away."""
        if self.progress is not None:
            self.progress.close()


def _setter(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """An option that is kept in the session, wherever on the command line it stands."""

    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            session = ctx.ensure_object(Session)
            setattr(session, name, value)

    return keep


def _louder(ctx: click.Context, _: click.Parameter, count: int) -> None:
    ctx.ensure_object(Session).verbosity += count


def _quieter(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.ensure_object(Session).verbosity = -1


_OPTIONS = (
    click.option("--home", metavar="DIR", expose_value=False, callback=_setter("home"), help="Home folder [KEEL_HOME, else here]."),
    click.option("--json", is_flag=True, expose_value=False, callback=_setter("as_json"), help="Answer with one JSON object on stdout."),
    click.option("--debug", is_flag=True, expose_value=False, callback=_setter("debug"), help="Show the traceback of an error."),
    click.option("-v", "--verbose", count=True, expose_value=False, callback=_louder, help="Log more; twice for everything."),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quieter, help="Say only what was asked for."),
)


def common(function: F) -> F:
    """The options that every command has."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
