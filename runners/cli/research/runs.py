"""``keel runs``: the runs that were kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from keel.runners.cli.output import SYNTHETIC, money, pairs, percent, ratio, table, warn
from keel.runners.cli.session import Session, common, example

if TYPE_CHECKING:
    from keel.runners.tools.research.runs import CompareResponse, RunEntry, RunsResponse, ShowResponse

SHARES = ("open_is_previous_close",)
"""Entries of the trust record that are shares of 1."""


@click.group(no_args_is_help=True, epilog=example("keel runs list", "keel runs show last"))
@common
def runs() -> None:
    """The runs that were kept. A run is named by its id, a beginning of it, its folder, or "last"."""


@runs.command("list", epilog=example("keel runs list --limit 10", "keel runs list --strategy ema_cross --json"))
@click.option("--epoch", type=click.Choice(["idea", "creation", "backtest", "demo", "live"]), help="Only of this epoch.")
@click.option("--strategy", "strategy_id", metavar="S", help="Only of this system.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most so many; 0 for all.")
@common
@click.pass_obj
def list_(session: Session, epoch: str | None, strategy_id: str | None, limit: int) -> None:
    """The runs, newest first: also those that failed and those that are under way."""
    from keel.runners.tools.research.runs import RunsRequest, runs_list_tool

    answer = runs_list_tool.run(RunsRequest(epoch, strategy_id, limit), session.context())
    session.answer(answer, lambda: _show_list(answer))


@runs.command(epilog=example("keel runs show last", "keel runs show 3f2a --json"))
@click.argument("run")
@common
@click.pass_obj
def show(session: Session, run: str) -> None:
    """One RUN: status, figures, where the money went to the last unit, and what the numbers rest on."""
    from keel.runners.tools.research.runs import RunRequest, runs_show_tool

    answer = runs_show_tool.run(RunRequest(run), session.context())
    session.answer(answer, lambda: _show_run(answer))


@runs.command(epilog=example("keel runs compare 3f2a 9b1c"))
@click.argument("a")
@click.argument("b")
@common
@click.pass_obj
def compare(session: Session, a: str, b: str) -> None:
    """Runs A and B side by side: configuration, metrics, the first trade that differs, files byte for byte."""
    from keel.runners.tools.research.runs import CompareRequest, runs_compare_tool

    answer = runs_compare_tool.run(CompareRequest(a, b), session.context())
    session.answer(answer, lambda: _show_comparison(answer))


@runs.command(epilog=example("keel runs report last --open"))
@click.argument("run")
@click.option("--again", is_flag=True, help="Draw it anew even if it is there.")
@click.option("--open", "open_", is_flag=True, help="Open it in the browser.")
@common
@click.pass_obj
def report(session: Session, run: str, again: bool, open_: bool) -> None:
    """The HTML report of RUN.

    A run that was made without one is computed again from its own configuration; the report is drawn only when trades and equity are those
    that were kept. The run of a script is drawn from its files.
    """
    from keel.runners.cli.browser import open_quietly
    from keel.runners.tools.research.runs import ReportRequest, runs_report_tool

    answer = runs_report_tool.run(ReportRequest(run, again), session.context())
    if answer.drawn and not answer.computed:
        session.note("a script's run is not computed again: its report was drawn from its files")
    if answer.computed:
        session.note("the run was computed again, with the same trades and equity, and its report drawn")
    session.answer(answer, lambda: click.echo(answer.path))
    if open_ and not open_quietly(answer.path):
        session.note("there is no browser to open it in here")


# --- what people see -------------------------------------------------------------------------------------------------


def _show_list(answer: RunsResponse) -> None:
    if not answer.runs:
        click.echo("no runs yet: keel run makes one")
        return
    rows = [
        [
            run.run_id,
            run.started[:16].replace("T", " "),
            run.strategy_id,
            run.epoch,
            run.symbol,
            _status(run),
            money(_text(run.metrics.get("net_profit"))),
            ratio(run.metrics.get("sharpe")),
            percent(run.metrics.get("max_drawdown_pct"), 1),
            run.metrics.get("total_trades"),
            {True: "passed", False: "not passed", None: ""}[run.passed],
        ]
        for run in answer.runs
    ]
    headers = ["run", "started", "system", "epoch", "symbol", "status", "net profit", "sharpe", "drawdown", "trades", "promotion"]
    table(headers, rows, right=(6, 7, 8, 9))
    if answer.total > len(answer.runs):
        click.echo(f"{len(answer.runs)} of {answer.total} runs; --limit 0 shows all")


def _status(run: RunEntry) -> str:
    """completed, account_blown (2 warnings)"""
    count = len(run.warnings)
    warned = f" ({count} warning{'' if count == 1 else 's'})" if count else ""
    return ", ".join(filter(None, (run.status, run.stop_reason))) + warned


def _show_run(answer: ShowResponse) -> None:
    from keel.runners.cli.research.figures import key_figures, show_funnel

    run, result = answer.run, answer.result
    if answer.trust.get("synthetic"):
        click.secho(SYNTHETIC, bold=True)
    window = result.get("window") or {}
    span = f", {window['start']} to {window['end']}" if window else ""
    click.echo(f"{run.run_id}: {run.strategy_id} on {run.symbol}, {run.epoch}{span}")
    warn(run.warnings)
    pairs(
        [
            ("status", _status(run)),
            ("error", (run.error or "").partition("\n")[0]),
            ("stopped by", _stop_lines(result)[0]),
            ("started", run.started),
            ("system uid", result.get("system_uid")),
            ("messages", result.get("message_hash")),
            ("artifacts", run.artifacts),
            ("files", ", ".join(answer.files)),
        ]
    )
    where = (run.error or "").split("\n")[1:] or _stop_lines(result)[1:]
    if where:
        click.echo("\n".join(["", "Where it failed", *where]))
    if "exposure_pct" in answer.metrics:
        click.echo("\nKey figures")
        pairs(key_figures({name: _money_text(name, value) for name, value in answer.metrics.items()}, "", answer.benchmark))
    show_funnel(answer.funnel)
    _show_money(answer)
    _show_trust(answer.trust)
    if answer.rules:
        click.echo("\nPromotion")
        for rule in answer.rules:
            found = rule["reason"] or f"is {rule['value']:.6g}"
            click.echo(f"  {'passed' if rule['passed'] else 'failed'}  {rule['rule']}  ({found})")


def _stop_lines(result: dict[str, Any]) -> list[str]:
    """What ended a run before its window did, line by line: of a session that failed, its error."""
    detail: str = (result.get("stop_reason") or {}).get("detail", "")
    return detail.split("\n")


def _show_money(answer: ShowResponse) -> None:
    from keel.runners.lifecycle.registry import BEYOND, MARGIN_LOST

    if not answer.reconciliation:
        return
    click.echo("\nWhere the money went (exact)")
    width = max(len(line["amount"].split(".")[0]) for line in answer.reconciliation)
    label_width = max(len(line["label"]) for line in answer.reconciliation)
    amounts = {}
    for line in answer.reconciliation:
        whole, point, rest = line["amount"].partition(".")
        amounts[line["label"]] = line["amount"]
        sign = {"sum": "=", "change": "+"}.get(line["kind"], " ")
        click.echo(f"  {sign} {line['label']:<{label_width}}  {whole:>{width}}{point}{rest}")
    if amounts.get(MARGIN_LOST, "0") != "0":
        click.echo(f"  The {MARGIN_LOST} stands in the lines above already: in trading what the price took, in {BEYOND} the rest.")


def _show_trust(trust: dict[str, Any]) -> None:
    if not trust:
        return
    click.echo("\nWhat the numbers rest on")
    for name, value in trust.items():
        if name != "symbols":
            click.echo(f"  {name.replace('_', ' ')}: {_fact(name, value)}")
    symbols: dict[str, dict[str, Any]] = trust.get("symbols") or {}
    names = list(dict.fromkeys(name for facts in symbols.values() for name in facts))
    if symbols:
        click.echo()
        table(["", *symbols], [[name.replace("_", " "), *(_fact(name, facts.get(name)) for facts in symbols.values())] for name in names])


def _show_comparison(answer: CompareResponse) -> None:
    click.echo(f"a: {answer.a}\nb: {answer.b}")
    for title, entries in (("configuration", answer.config), ("metrics", answer.metrics)):
        if not entries:
            click.echo(f"{title}: the same")
            continue
        click.echo(f"\n{title}")
        table(["key", "a", "b"], [[entry.key, _plain(entry.a), _plain(entry.b)] for entry in entries])
    same = {True: "the same, byte for byte", False: "different", None: "neither run has any"}
    click.echo(f"\ntrades: {same[answer.same_trades]}\nequity: {same[answer.same_equity]}")
    if answer.first_trade is not None:
        trade = answer.first_trade
        click.echo(f"the first trade that differs is number {trade.key}\n  a: {_plain(trade.a)}\n  b: {_plain(trade.b)}")


def _fact(name: str, value: Any) -> str:
    """One entry of the trust record in words."""
    if isinstance(value, list):
        return ("; " if name == "not_modelled" else ", ").join(_fact(name, item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_fact(key, item)}" for key, item in value.items()) or "none"
    if isinstance(value, bool) or value is None:
        return _plain(value)
    if name in SHARES:
        return percent(100 * value, 1)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return "–" if value is None else "yes" if value is True else "no" if value is False else str(value)


def _text(value: Any) -> str | None:
    return None if value is None else repr(value)


def _money_text(name: str, value: Any) -> Any:
    return (
        _text(value)
        if name in ("net_profit", "final_equity", "max_drawdown_abs", "avg_trade_pnl", "fees", "funding", "slippage")
        else value
    )
