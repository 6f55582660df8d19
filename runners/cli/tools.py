"""``keel tools``: the typed tools behind the commands."""

from __future__ import annotations

import sys

import click

from keel.runners.cli.output import table
from keel.runners.cli.session import Session, common, example


@click.group(no_args_is_help=True, epilog=example("keel tools list", """keel tools call backtest_run '{"system_id": "ema_cross"}'"""))
@common
def tools() -> None:
    """The typed tools behind the commands, for programs: each takes JSON and answers {ok, data | error}."""


@tools.command("list", epilog=example("keel tools list", "keel tools list --json"))
@common
@click.pass_obj
def list_(session: Session) -> None:
    """Every tool; with --json, with the JSON schemas of its request and response."""
    from keel.runners.tools.registry import all_tools

    found = all_tools()
    rows = [[name, ", ".join(entry.request.__struct_fields__), entry.summary] for name, entry in found.items()]
    answer = {"tools": [entry.schema() for entry in found.values()]}
    session.answer(answer, lambda: table(["tool", "arguments", "what it does"], rows))


@tools.command(
    epilog=example(
        """keel tools call data_list '{"symbol": "BTCUSDT"}'""", "keel tools call doctor", "keel tools call backtest_run - < request.json"
    )
)
@click.argument("name")
@click.argument("arguments", default="{}", metavar="JSON")
@common
@click.pass_obj
def call(session: Session, name: str, arguments: str) -> int:
    """Call the tool NAME with JSON (an object; - reads it from stdin). Prints {ok, data | error}, one object."""
    from keel.runners.tools.registry import call_tool

    text = sys.stdin.buffer.read() if arguments == "-" else arguments
    session.as_json = True
    answer = call_tool(name, text, session.context())
    session.answer(answer, lambda: None)
    return 0 if answer["ok"] else int(answer["error"]["exit_code"])
