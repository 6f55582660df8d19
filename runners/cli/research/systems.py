"""``keel systems``: system files."""

from __future__ import annotations

import json
from typing import Any

import click

from keel.runners.cli.output import pairs, table
from keel.runners.cli.session import Session, common, example


@click.group(no_args_is_help=True, epilog=example("keel systems list", "keel systems new my_trend --from ema_cross"))
@common
def systems() -> None:
    """System files: list, show, validate, and begin one of your own (in <home>/systems/)."""


@systems.command("list", epilog=example("keel systems list --json"))
@common
@click.pass_obj
def list_(session: Session) -> None:
    """The systems that can be run: your own, then the built-in ones."""
    from keel.runners.tools.research.backtest import SystemsRequest, backtest_list_systems_tool

    answer = backtest_list_systems_tool.run(SystemsRequest(), session.context())

    def show() -> None:
        rows = [
            [
                entry.name,
                entry.origin,
                ", ".join(entry.symbols),
                entry.timeframe if entry.timeframe == entry.execution_timeframe else f"{entry.timeframe} on {entry.execution_timeframe}",
                ", ".join(entry.windows),
                entry.error or entry.description,
            ]
            for entry in answer.systems
        ]
        table(["system", "origin", "symbols", "bars", "windows", "description"], rows)

    session.answer(answer, show)


@systems.command(epilog=example("keel systems show ema_cross", "keel systems show ema_cross --set params.fast=10 --json"))
@click.argument("system")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file.")
@common
@click.pass_obj
def show(session: Session, system: str, overrides: tuple[str, ...]) -> None:
    """SYSTEM's file, and every key with the value that holds."""
    from keel.runners.tools.research.systems import ShowRequest, systems_show_tool

    answer = systems_show_tool.run(ShowRequest(system, list(overrides)), session.context())

    def show() -> None:
        click.echo(answer.text.rstrip())
        click.echo(f"\n# {answer.file} ({answer.origin}), strategy {answer.strategy_class}; every key that holds:")
        pairs([(key, json.dumps(value)) for key, value in _leaves(answer.effective, "")], indent="#   ")
        for name, spec in answer.features.items():
            click.echo(f"# feature {name}: {json.dumps(spec)}")

    session.answer(answer, show)


@systems.command(epilog=example("keel systems validate my_trend", "keel systems validate systems/my_trend.yaml"))
@click.argument("system")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file.")
@common
@click.pass_obj
def validate(session: Session, system: str, overrides: tuple[str, ...]) -> None:
    """Check SYSTEM whole: keys, values, strategy, parameters, features, windows, promotion rules, and its account at the exchange."""
    from keel.runners.tools.research.systems import ShowRequest, systems_validate_tool

    answer = systems_validate_tool.run(ShowRequest(system, list(overrides)), session.context())
    text = f"{answer.name} is valid: {answer.file}, strategy {answer.strategy_class}, {len(answer.features)} features"
    session.note(f"its account was checked with {answer.account}" if "generic" in answer.account else "")
    session.answer(answer, lambda: click.echo(text))


@systems.command(
    epilog=example("keel systems new my_trend", "keel systems new my_trend --from ema_cross", "keel systems new my_idea --strategy")
)
@click.argument("name")
@click.option("--from", "from_system", metavar="S", help="Copy this system.")
@click.option("--strategy", is_flag=True, help="Write a strategy of the same name, too (in <home>/strategies/).")
@common
@click.pass_obj
def new(session: Session, name: str, from_system: str | None, strategy: bool) -> None:
    """Write a system NAME of your own; it runs at once. Nothing that is there is overwritten."""
    from keel.runners.tools.research.systems import NewRequest, systems_new_tool

    answer = systems_new_tool.run(NewRequest(name, from_system, strategy), session.context())

    def show() -> None:
        for path in answer.written:
            click.echo(f"wrote {path}")
        click.echo(f"next: keel backtest {answer.name}")

    session.answer(answer, show)


@systems.command(epilog=example("keel systems migrate", "keel systems migrate strategies/mine.py --dry"))
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--dry", is_flag=True, help="Say what would be rewritten, and write nothing.")
@common
@click.pass_obj
def migrate(session: Session, files: tuple[str, ...], dry: bool) -> None:
    """Rewrite FILEs (without: <home>/strategies and <home>/systems) that import keel as before version 0.2: core.messages is
    keel.core.model.messages now. Nothing else of a file changes, and promotion records of its system hold."""
    from keel.runners.tools.research.systems import MigrateRequest, systems_migrate_tool

    answer = systems_migrate_tool.run(MigrateRequest(files, dry), session.context())

    def show() -> None:
        for each in answer.rewritten:
            click.echo(f"{'would rewrite' if answer.dry else 'rewrote'} {each.file}: {each.lines} line{'s' if each.lines > 1 else ''}")
        if not answer.rewritten:
            click.echo(f"nothing to rewrite in {answer.looked_at} file{'s' if answer.looked_at != 1 else ''}")

    session.answer(answer, show)


@systems.command(epilog=example("keel systems schema > system.schema.json"))
@common
@click.pass_obj
def schema(session: Session) -> None:
    """The JSON schema of a system file, for editors."""
    from keel.runners.tools.research.systems import SchemaRequest, systems_schema_tool

    answer = systems_schema_tool.run(SchemaRequest(), session.context())
    session.answer(answer.schema, lambda: click.echo(json.dumps(answer.schema, indent=2)))


def _leaves(values: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """(dotted key, value) of every key; empty mappings are values."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
