"""The command ``keel``: its commands, and what becomes of errors.

Nothing heavy is imported here: each command's module is imported when the command is called, so that ``keel --help`` is quick.
"""

from __future__ import annotations

import errno
import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from keel.core.errors import InvariantError, KeelError
from keel.runners.cli.interrupt import INTERRUPTED, Interrupts
from keel.runners.cli.plain_text import fall_back, print_text
from keel.runners.cli.process import leave, open_standard_streams
from keel.runners.cli.session import Session, common

COMMANDS = {
    "run": ("keel.runners.cli.research.run:run", "The main job: a sample history, a backtest over it, and its report."),
    "data": ("keel.runners.cli.research.data:data", "History: bring it in, look at it, check it, write it out."),
    "systems": ("keel.runners.cli.research.systems:systems", "System files: list, show, validate, and begin one of your own."),
    "backtest": ("keel.runners.cli.research.backtest:backtest", "Run a system over a window of the stored history."),
    "sweep": ("keel.runners.cli.research.sweep:sweep", "Run a system under many parameter sets, and find the robust region."),
    "check": ("keel.runners.cli.research.check:check", "Whether a system looks ahead, and whether its warm-up is long enough."),
    "parity": (
        "keel.runners.cli.research.parity:parity",
        "The kernel against the actors, or with --wire a session against the backtest, to the last unit.",
    ),
    "runs": ("keel.runners.cli.research.runs:runs", "The runs that were kept: list, show, compare, report."),
    "tools": ("keel.runners.cli.tools:tools", "The typed tools behind the commands: list them, call one with JSON."),
    "menu": ("keel.runners.cli.menu:menu", "Choose a system, a window and parameters from a menu, and run it."),
    "promote": ("keel.runners.cli.research.promote:promote", "Open demo or live to a system whose rules for it pass."),
    "demo": ("keel.runners.cli.trading.demo:demo", "Run a system on Bybit's demo account, or on a sandbox of this machine."),
    "live": ("keel.runners.cli.trading.live:live", "Run a system on the real account, armed; or by the same rules on a sandbox."),
    "panic": ("keel.runners.cli.trading.panic:panic", "Cancel every order and close every position of an account."),
    "session": ("keel.runners.cli.trading.sessions:sessions", "Running sessions: how one is, and lifting what needs a person."),
    "alerts": ("keel.runners.cli.trading.alerts:alerts", "Alerts: send a test to every target of alerts.yaml."),
    "journal": ("keel.runners.cli.trading.journal:journal", "The journals of sessions: list, verify, repair."),
    "compare-live": (
        "keel.runners.cli.trading.compare_live:compare_live",
        "A session beside its backtest: what the difference is made of.",
    ),
    "replay": ("keel.runners.cli.trading.replay:replay", "A session's journal through the engine again: every decision, byte for byte."),
    "sandbox": ("keel.runners.cli.trading.sandbox:sandbox", "Serve an exchange on this machine that speaks Bybit's protocol."),
    "doctor": ("keel.runners.cli.doctor:doctor", "Look at Python, packages, home, disk, store, clock and terminal."),
    "smoke": ("keel.runners.cli.trading.smoke:smoke", "Run the whole system once over a small invented history."),
}
"""Name -> (where it is, the line that --help shows)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._lazy:
            return None
        module, _, attribute = self._lazy[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The lines of the table above: importing the commands for their help would cost a second."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"keel {version('keel-trader')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    no_args_is_help=True,
    epilog="\b\nExamples:\n  keel run                          a sample history, a backtest, a report\n"
    "  keel data import btc_1h.parquet   bring history of your own in\n"
    "  keel backtest ema_cross --window 6M --set params.fast=10",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version and leave.")
@common
def cli() -> None:
    """keel: the same trading system over stored history, on a sandbox or Bybit's demo account, and live.

    History, systems, runs and logs live in the home folder: --home DIR, else KEEL_HOME, else the current folder.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code. Errors are told on stderr, with --json as one object on stdout, too. What Ctrl-C ended is
    130, and nobody's mistake, whatever error it came out as."""
    fall_back()
    given = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(as_json="--json" in given, debug="--debug" in given, arguments=tuple(given))
    interrupts = Interrupts()
    try:
        with interrupts:
            return _run(given, session, interrupts)
    except KeyboardInterrupt as interrupt:  # between two steps, or while an error was told
        return _interrupted(session, interrupt)
    finally:
        session.close()


def _run(given: list[str], session: Session, interrupts: Interrupts) -> int:
    try:
        _check_words(given)
        code = cli.main(given, prog_name="keel", standalone_mode=False, obj=session)
        return code if isinstance(code, int) else 0
    except click.Abort as abort:
        return _interrupted(session, abort.__cause__ or abort.__context__)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
        return _tell(session, "UsageError", f"{error.format_message()}{where}", 2)
    except click.ClickException as error:
        return _tell(session, type(error).__name__, error.format_message(), 2)
    except KeelError as error:
        if interrupts.came:
            return _interrupted(session, error)
        return _tell(session, type(error).__name__, "\n".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code)
    except Exception as error:  # noqa: BLE001 (the last door: a person gets a sentence, and with --debug the traceback)
        if interrupts.came:
            return _interrupted(session, error)
        return _tell(session, type(error).__name__, _our_mistake(error), 1)


def _check_words(given: Sequence[str]) -> None:
    """Bytes that are no text come from a shell in a form that goes out again as these bytes; anything else that is no text is no word."""
    for word in given:
        if "\x00" in word:
            raise click.UsageError(f"{word!r} is no word of a command line: it holds a NUL character")
        try:
            word.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise click.UsageError(f"{word!r} is no text: it holds half a character") from None


def _interrupted(session: Session, error: BaseException | None) -> int:
    """What is kept, or stays at an exchange, is told with it."""
    return _tell(session, "Interrupted", "\n".join(["interrupted", *getattr(error, "__notes__", ())]), INTERRUPTED)


def main() -> None:
    """The entry point of ``keel``."""
    open_standard_streams()
    leave(run())


def _our_mistake(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" ({error.filename})" if error.filename else ": the output, a file of the home, or a temporary one"
        return "\n".join([f"{error.strerror}{where}; make room, then start again", *getattr(error, "__notes__", ())])
    kind = "an invariant does not hold" if isinstance(error, InvariantError) else f"an unforeseen {type(error).__name__}"
    lines = [
        f"{kind}: {error}",
        *getattr(error, "__notes__", ()),
        "this is a mistake of ours, not yours: --debug shows where; please report it",
    ]
    return "\n".join(lines)


_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONG_WORD = re.compile(r"\S{300,}")


def _tell(session: Session, kind: str, message: str, code: int) -> int:
    session.close()
    message = _LONG_WORD.sub(lambda word: f"{word[0][:80]}... ({len(word[0]):,} characters)", message)
    if session.debug and sys.exc_info()[0] is not None and code != INTERRUPTED:
        print_text(traceback.format_exc().rstrip("\n"))
    if session.as_json:
        with suppress(OSError):  # stdout may be what is full: stderr and the exit code tell
            click.echo(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}))
    first, *more = message.split("\n")
    print_text("\n".join([f"error: {first}", *(f"  {line}" for line in more)]))
    return code


if __name__ == "__main__":
    main()
