"""``keel compare-live``: a session beside the backtest of the same system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.trading.compare_live import CompareLiveResponse, CompareRow

_ROWS = 40
"""So many trades are listed in a terminal, those with the largest difference; the page and --json have all."""


@click.command("compare-live", epilog=example("keel compare-live last", "keel compare-live run-0123456789ab --json --no-page"))
@click.argument("run", metavar="RUN|last|PATH")
@click.option("--no-page", is_flag=True, help="Do not write compare-live.html.")
@click.option("--with-current-code", is_flag=True, help="Run the code that is there now, though it is not the code that ran then.")
@common
@click.pass_obj
def compare_live(session: Session, run: str, no_page: bool, with_current_code: bool) -> None:
    """Set a session beside the backtest of the same system over the same bars, and split the difference in profit, trade by trade and in
    sum: data, timing, fill price (latency, spread, slippage), fee, funding, size, missed and extra orders. The parts add up exactly.

    RUN is the id of a session's run, `last` the newest session, PATH the folder of a journal.
    """
    from keel.runners.tools.trading.compare_live import CompareLiveRequest, session_compare_tool

    answer = session_compare_tool.run(CompareLiveRequest(run, not no_page, with_current_code), session.context())
    if answer.changed_code:
        session.note(f"NOT the code that ran: {answer.changed_code}")
    session.answer(answer, lambda: show(answer))


def show(answer: CompareLiveResponse) -> None:
    """The sums, and trade by trade, for people."""
    from keel.adapters.report.compare_live import MEANINGS
    from keel.runners.cli.output import pairs, table

    sessions = f"{answer.sessions} session{'' if answer.sessions == 1 else 's'}"
    click.echo(f"{answer.system} on {', '.join(answer.symbols)}, {answer.window['start']} to {answer.window['end']}, {sessions}")
    click.echo(f"the backtest ran over {answer.bars}")
    if answer.note:
        click.echo(f"NOTE {answer.note}")
    rows = [["session", _signed(answer.session_profit), "profit"], ["backtest", _signed(answer.backtest_profit), "profit"]]
    rows += [[f"  {name}", _signed(amount), MEANINGS[name]] for name, amount in answer.parts.items()]
    rows.append(["difference", _signed(answer.difference), "session less backtest: the sum of the parts, exactly"])
    table(["", answer.quote, ""], rows, right=(1,))
    if not answer.spread_is_measured:
        click.echo("spread is not measured (no quotes of a real book: a sandbox fills by its bars): what it was is in slippage")
    for line in answer.outside:
        click.echo(f"FROM OUTSIDE  {line}")
    _trades(answer.rows)
    pairs([("page", answer.page), ("journal", answer.journal)], indent="")


def _trades(rows: list[CompareRow]) -> None:
    from keel.runners.cli.output import table

    differ = [row for row in rows if row.parts]
    if not rows:
        click.echo("neither side traded")
        return
    if not differ:
        click.echo(f"{_count(rows)}, each the same on both sides")
        return
    shown = sorted(differ, key=lambda row: -abs(float(row.difference)))[:_ROWS]
    lines = []
    for row in sorted(shown, key=lambda row: (row.session or row.backtest or _Nothing).entry):
        trip = row.session or row.backtest or _Nothing
        parts = ", ".join(f"{name} {_signed(amount)}" for name, amount in row.parts.items())
        nets = ["none" if side is None else _signed(side.net) for side in (row.session, row.backtest)]
        lines.append([row.symbol, trip.side, trip.entry, *nets, _signed(row.difference), parts])
    click.echo(f"{_count(rows)}, {len(differ)} with a difference{f', the {_ROWS} largest:' if len(differ) > _ROWS else ':'}")
    table(["symbol", "side", "entry", "session", "backtest", "difference", "parts"], lines, right=(3, 4, 5))


def _count(rows: list[CompareRow]) -> str:
    return f"{len(rows)} trade{'' if len(rows) == 1 else 's'}"


class _Nothing:
    """A trip that only the backtest over the session's bars made."""

    side = entry = ""


def _signed(text: str) -> str:
    value = float(text)
    return "0" if value == 0 else f"{value:+,.2f}" if abs(value) >= 0.005 else f"{value:+.8f}"
