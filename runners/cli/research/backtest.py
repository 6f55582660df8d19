"""``keel backtest``: run a system over a window of the stored history."""

from __future__ import annotations

import click

from keel.runners.cli.session import Session, common, example


@click.command(
    epilog=example(
        "keel backtest ema_cross",
        "keel backtest ema_cross --start 2025-01-01 --end 2025-10-01 --set params.fast=10 --json",
        "keel backtest my_system.yaml --window 6M --bounds",
    )
)
@click.argument("system")
@click.option("--symbol", "symbols", multiple=True, metavar="S", help="Trade this symbol in place of the system's; may be repeated.")
@click.option("--timeframe", metavar="TF", help="Decision bars, such as 1h.")
@click.option("--execution-timeframe", metavar="TF", help="Bars inside which orders fill, such as 5m.")
@click.option("--start", metavar="D", help="First day or time, UTC; with --end.")
@click.option("--end", metavar="D", help="The day or time before which it ends, UTC.")
@click.option("--window", metavar="W", help="A window of the system, or a span back from the last stored bar, such as 6M.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the system file, such as params.fast=10.")
@click.option("--seed", type=int, metavar="N", help="Seed of strategies that draw random numbers; recorded with the run.")
@click.option("--bounds", is_flag=True, help="Run it under the other path through the bars, too, and show both.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@common
@click.pass_obj
def backtest(
    session: Session,
    system: str,
    symbols: tuple[str, ...],
    timeframe: str | None,
    execution_timeframe: str | None,
    start: str | None,
    end: str | None,
    window: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    bounds: bool,
    no_report: bool,
) -> None:
    """Run SYSTEM (an id, or a file) over a window of the stored history.

    Without --window or --start and --end: the first window of the system that the store covers.
    """
    from keel.runners.cli.research.figures import documented, show_backtest
    from keel.runners.tools.research.backtest import BacktestRequest, backtest_run_tool

    request = BacktestRequest(
        system,
        window_name=window,
        overrides=list(overrides),
        symbols=symbols,
        timeframe=timeframe,
        execution_timeframe=execution_timeframe,
        start=start,
        end=end,
        seed=seed,
        bounds=bounds,
        report=not no_report,
    )
    answer = backtest_run_tool.run(request, session.context())
    session.note(answer.window_note)
    session.note(answer.seed_note)
    session.answer(documented(answer), lambda: show_backtest(answer))
