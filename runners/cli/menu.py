"""``keel menu``: choose a system, a window and parameters, run it, open the report. The questions go through a ``Prompter``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from keel.core.errors import ConfigError, KeelError
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.registry import ToolContext
    from keel.runners.tools.research.backtest import BacktestResponse, WindowEntry

SPAN_BACK, GO, LEAVE = "\x00span", "\x00go", "\x00leave"
"""Choices that are no names."""


class Prompter(Protocol):
    """Asks a person; None is an answer that was not given (Ctrl-C, Escape), and ends the menu."""

    def choose(self, question: str, choices: Sequence[tuple[str, str]]) -> str | None:
        """One of (value, label)."""

    def ask(self, question: str, default: str) -> str | None:
        """A line of text."""

    def confirm(self, question: str) -> bool | None:
        """Yes or no."""


@click.command(epilog=example("keel menu"))
@common
@click.pass_obj
def menu(session: Session) -> None:
    """Choose a system, a window and parameters from a menu, run it, open the report; and again, until it is left."""
    from keel.runners.cli.browser import open_quietly

    if not (sys.stdin.isatty() and sys.stdout.isatty()) or session.as_json:
        raise ConfigError("the menu needs a terminal: use keel systems list and keel backtest SYSTEM here")
    loop_menu(session, TerminalPrompter(), open_quietly)


def loop_menu(session: Session, prompter: Prompter, open_report: Callable[[str], bool]) -> None:
    """Run after run, until the menu is left. What cannot be run is told, and the menu begins anew."""
    from keel.runners.cli.research.figures import show_backtest

    context = session.context()
    while True:
        try:
            answer = run_menu(context, prompter)
        except KeelError as error:
            session.close()
            click.echo(f"error: {error}", err=True)
            if not prompter.confirm("Back to the menu?"):
                return
            continue
        if answer is None:
            return
        session.close()
        show_backtest(answer)
        if answer.report is not None:
            _offer_report(answer.report, prompter, open_report)
        click.echo()


def _offer_report(path: str, prompter: Prompter, open_report: Callable[[str], bool]) -> None:
    if prompter.confirm("Open the report?"):
        note = "" if open_report(path) else " (there is no browser to open it in here)"
        click.echo(f"the report: {path}{note}")


def run_menu(context: ToolContext, prompter: Prompter) -> BacktestResponse | None:
    """Ask and run once; None when it was left. Parameters that cannot be used are told, and asked again."""
    from keel.runners.tools.research.backtest import BacktestRequest, SystemsRequest, backtest_list_systems_tool, backtest_run_tool

    entries = {entry.name: entry for entry in backtest_list_systems_tool.run(SystemsRequest(), context).systems if not entry.error}
    system = prompter.choose("System", [(name, f"{name}: {entry.description}") for name, entry in entries.items()])
    if system is None:
        return None
    window = _ask_window(system, context, prompter)
    if window is None:
        return None
    overrides = _ask_params(system, context, prompter)
    if overrides is None:
        return None
    request = BacktestRequest(system, window, [f"params.{name}={text}" for name, text in overrides.items()], report=True)
    return backtest_run_tool.run(request, context)


def _ask_window(system: str, context: ToolContext, prompter: Prompter) -> str | None:
    """A window's name, or a span back. The first window that is covered comes first; those without data say so."""
    from keel.runners.tools.research.backtest import WindowsRequest, backtest_list_windows_tool

    found = backtest_list_windows_tool.run(WindowsRequest(system), context)
    entries = sorted(found.windows, key=lambda entry: entry.name != found.first)
    declared = [(entry.name, _window_label(entry)) for entry in entries]
    chosen = prompter.choose(f"Window of {system}", [*declared, (SPAN_BACK, "a span back from the last stored bar")])
    return prompter.ask("How far back (such as 6M, 90d, 2w)", "6M") if chosen == SPAN_BACK else chosen


def _window_label(entry: WindowEntry) -> str:
    return f"{entry.name}: {entry.start} to {entry.end}" + ("" if entry.covered else "  (no data: the store does not cover it)")


def _ask_params(system: str, context: ToolContext, prompter: Prompter) -> dict[str, str] | None:
    """Parameters as they were edited, checked after each edit; None when it was left."""
    overrides: dict[str, str] = {}
    while True:
        params = _effective(system, overrides, context)
        listed = [(name, f"change {name} = {json.dumps(value)}") for name, value in params.items()]
        chosen = prompter.choose("Parameters", [(GO, "run"), *listed, (LEAVE, "leave")])
        if chosen is None or chosen == LEAVE:
            return None
        if chosen == GO:
            return overrides
        text = prompter.ask(f"{chosen} (now {json.dumps(params[chosen])})", json.dumps(params[chosen]))
        if text is None:
            return None
        try:
            _effective(system, {**overrides, chosen: text}, context)
        except KeelError as error:
            click.echo(f"error: {error}", err=True)
        else:
            overrides[chosen] = text


def _effective(system: str, overrides: dict[str, str], context: ToolContext) -> dict[str, Any]:
    from keel.runners.tools.research.systems import ShowRequest, systems_show_tool

    texts = [f"params.{name}={text}" for name, text in overrides.items()]
    params: dict[str, Any] = systems_show_tool.run(ShowRequest(system, texts), context).effective["params"]
    return params


class TerminalPrompter:
    """Questions on the terminal."""

    def choose(self, question: str, choices: Sequence[tuple[str, str]]) -> str | None:
        import questionary

        answer: str | None = questionary.select(question, [questionary.Choice(label, value) for value, label in choices]).ask()
        return answer

    def ask(self, question: str, default: str) -> str | None:
        import questionary

        answer: str | None = questionary.text(question, default=default).ask()
        return answer

    def confirm(self, question: str) -> bool | None:
        import questionary

        answer: bool | None = questionary.confirm(question).ask()
        return answer
