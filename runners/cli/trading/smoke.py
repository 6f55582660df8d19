"""``keel smoke``: the whole system once, small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.trading.smoke import SmokeResponse


@click.group(no_args_is_help=True, epilog=example("keel smoke backtest", "keel smoke demo"))
@common
def smoke() -> None:
    """Run the whole system once over a small invented history."""


@smoke.command(epilog=example("keel smoke backtest", "keel smoke backtest --seed 3 --json"))
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the invented history.")
@common
@click.pass_obj
def backtest(session: Session, seed: int) -> int:
    """Two built-in systems, each twice, in a folder of their own: they trade, their books add up, both times give the same bytes."""
    from keel.runners.tools.trading.smoke import SmokeRequest, smoke_backtest_tool

    answer = smoke_backtest_tool.run(SmokeRequest(seed), session.context())
    session.answer(answer, lambda: _show(answer))
    return 0 if answer.ok else 1


@smoke.command(epilog=example("keel smoke demo", "keel smoke demo --json"))
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the invented history.")
@common
@click.pass_obj
def demo(session: Session, seed: int) -> int:
    """A system over a sandbox of this process, with a restart: the fills of the backtest, and books that are the exchange's."""
    from keel.runners.tools.trading.smoke import SmokeRequest
    from keel.runners.tools.trading.smoke_demo import smoke_demo_tool

    answer = smoke_demo_tool.run(SmokeRequest(seed), session.context())
    session.answer(answer, lambda: _show(answer))
    return 0 if answer.ok else 1


def _show(answer: SmokeResponse) -> None:
    for check in answer.checks:
        click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}  ({check.detail})")
    click.echo("PASS" if answer.ok else "FAIL")
