"""``keel promote``: open the next epoch to a system whose rules for it pass."""

from __future__ import annotations

import click

from keel.runners.cli.session import Session, common, example


@click.command(
    epilog=example(
        "keel promote ema_cross --to demo",
        "keel promote ema_cross --to live",
        'keel promote ema_cross --to demo --untested --because "first look at how orders fill there"',
    )
)
@click.argument("system")
@click.option("--to", "to", type=click.Choice(["demo", "live"]), required=True, help="The epoch that is to open.")
@click.option("--run", metavar="RUN", help="Judge this run; else the newest one of this code and configuration.")
@click.option("--sandbox", is_flag=True, help="With --to live: judge the rehearsals on a sandbox; the record counts there only.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file, such as params.fast=10.")
@click.option("--untested", is_flag=True, help="With --to demo: without a look at any rule; needs --because, and is shown ever after.")
@click.option("--because", metavar="TEXT", help="Why it may trade there untested: a sentence.")
@common
@click.pass_obj
def promote(
    session: Session, system: str, to: str, run: str | None, sandbox: bool, overrides: tuple[str, ...], untested: bool, because: str | None
) -> None:
    """Open demo or live to SYSTEM (an id, or a file): all rules of its file for that step must pass on a run that was kept.

    demo: judged on a backtest; live: on a demo session. The record is bound to this code, configuration and data: any change voids it.
    An epoch that passes its rules makes the record by itself.
    """
    from keel.runners.lifecycle import promotion
    from keel.runners.systems import load_system

    if untested and (to != "demo" or run or sandbox):
        raise click.UsageError("--untested is for --to demo alone: nothing opens live but its rules")
    if untested != (because is not None):
        raise click.UsageError("--untested and --because TEXT go together")
    if sandbox and to != "live":
        raise click.UsageError("--sandbox is for --to live: a demo session on a sandbox needs no promotion")
    home = session.context().home
    loaded = load_system(system, home, list(overrides))
    if untested:
        record = promotion.promote_untested(loaded, home, because or "")
    else:
        record = promotion.promote(loaded, to, home, place="sandbox" if sandbox else "exchange", run=run)

    def show() -> None:
        if record.is_untested:
            click.secho(f"UNTESTED: {record.system} may trade on demo, and no rule was looked at: {record.because}", bold=True)
        else:
            click.echo(promotion.verdict_lines(record.rules))
            where = " (on a sandbox only)" if record.place == "sandbox" else ""
            click.echo(
                f"{record.system} is promoted to {record.to}{where}, judged on {record.judged.run_id if record.judged else 'nothing'}"
            )
        click.echo("bound to this code, configuration and data: any change voids it")

    session.answer({"record": record, "file_folder": str(home.promotions)}, show)
