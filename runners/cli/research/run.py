"""``keel run``: the main job."""

from __future__ import annotations

import click

from keel.runners.cli.session import Session, common, example


@click.command(epilog=example("keel run", "keel --home ~/keel run rsi_reversion --json"))
@click.argument("system", default="ema_cross")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@common
@click.pass_obj
def run(session: Session, system: str, no_report: bool) -> None:
    """Run SYSTEM [ema_cross] over its sample window, and write artifacts and a report.

    Where the home has no history, a synthetic one is made first: two symbols, a year of 1m bars, always the same.
    """
    from keel.runners.cli.research.figures import documented, show_backtest
    from keel.runners.tools.research.backtest import SampleRunRequest, backtest_sample_tool

    answer = backtest_sample_tool.run(SampleRunRequest(system, report=not no_report), session.context())
    if answer.made_sample:
        session.note(f"made a synthetic sample history in {answer.store}")
    session.note(answer.backtest.window_note)
    session.answer(documented(answer.backtest), lambda: show_backtest(answer.backtest))
