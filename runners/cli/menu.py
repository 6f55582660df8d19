"""``keel menu``: choose a system, a window and parameters, run it, open the report. The questions go through a ``Prompter``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import click

from core.errors import ConfigError, KeelError
from runners.cli.figures import show_backtest
from runners.cli.session import Session, common, example
from runners.tools.backtest import (
    BacktestRequest,
    BacktestResponse,
    SystemEntry,
    SystemsRequest,
    backtest_list_systems_tool,
    backtest_run_tool,
)
from runners.tools.registry import ToolContext
from runners.tools.systems import ShowRequest, systems_show_tool

FIRST_COVERED, SPAN_BACK, GO, LEAVE = "", "\x00span", "\x00go", "\x00leave"
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
    """Choose a system, a window and parameters from a menu, run it, and open the report."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or session.as_json:
        raise ConfigError("the menu needs a terminal: use keel systems list and keel backtest SYSTEM here")
    answer = run_menu(session.context(), TerminalPrompter())
    if answer is not None:
        session.close()
        show_backtest(answer)
        if answer.report is not None and TerminalPrompter().confirm("Open the report?"):
            click.launch(answer.report)


def run_menu(context: ToolContext, prompter: Prompter) -> BacktestResponse | None:
    """Ask and run; None when it was left. What cannot be used is told, and asked again."""
    entries = {entry.name: entry for entry in backtest_list_systems_tool.run(SystemsRequest(), context).systems if not entry.error}
    system = prompter.choose("System", [(name, f"{name}: {entry.description}") for name, entry in entries.items()])
    if system is None:
        return None
    window = _ask_window(entries[system], prompter)
    if window is None:
        return None
    overrides = _ask_params(system, context, prompter)
    if overrides is None:
        return None
    request = BacktestRequest(system, window or None, [f"params.{name}={text}" for name, text in overrides.items()], report=True)
    return backtest_run_tool.run(request, context)


def _ask_window(entry: SystemEntry, prompter: Prompter) -> str | None:
    """A window's name, a span back, or empty for the first window that is covered."""
    declared = [(name, f"{name}: {window.start} to {window.end}") for name, window in entry.windows.items()]
    choices = [(FIRST_COVERED, "the first that the store covers"), *declared, (SPAN_BACK, "back from the last stored bar")]
    chosen = prompter.choose("Window", choices)
    return prompter.ask("How far back", "6M") if chosen == SPAN_BACK else chosen


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
