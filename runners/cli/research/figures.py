"""The figures of a backtest as people read them."""

from __future__ import annotations

from typing import Any

import click

from keel.core.model.money import to_text
from keel.core.results.funnel import Funnel
from keel.core.results.reasons import funnel_lines
from keel.runners.cli.output import SYNTHETIC, money, pairs, percent, ratio, table, warn
from keel.runners.cli.process import process_age_s
from keel.runners.tools.research.backtest import BacktestResponse, Outcome

DOCUMENTED = (
    "run_id", "artifacts", "system_uid", "metrics", "reconciliation", "trust", "timing", "warnings", "funnel", "benchmark",
)  # fmt: skip
"""The keys of ``keel backtest --json``; with --bounds there is ``bounds``, too."""


def documented(answer: BacktestResponse) -> dict[str, Any]:
    """What scripts read. timing.total_s is of the whole process."""
    found = {name: getattr(answer, name) for name in DOCUMENTED}
    found["timing"] = {**answer.timing, "total_s": round(process_age_s(), 4)}
    if answer.bounds:
        found["bounds"] = answer.bounds
    return found


def show_backtest(answer: BacktestResponse) -> None:
    """A run: what it was, its key figures, its costs, the verdict, and where it is kept."""
    if answer.trust["synthetic"]:
        click.secho(SYNTHETIC, bold=True)
    name = f" (window {answer.window['name']})" if answer.window["name"] else ""
    click.echo(f"{answer.system} on {', '.join(answer.symbols)}, {answer.window['start']} to {answer.window['end']}{name}")
    warn(answer.warnings)
    timing = answer.timing
    pairs(
        [
            *key_figures(answer.metrics, answer.quote, answer.benchmark),
            ("promotion", _verdict(answer)),
            ("run", answer.run_id),
            ("artifacts", answer.artifacts),
            ("report", answer.report),
            ("speed", f"{timing['bars']:,} bars, loaded in {timing['load_s']:.2f} s, run in {timing['run_s']:.2f} s"),
        ]
    )
    show_funnel(answer.funnel, answer.quote)
    if answer.bounds:
        show_bounds(answer.bounds, answer.quote)


def show_funnel(row: dict[str, Any], coin: str = "") -> None:
    """What became of the signals and orders, and what is still open. row: a funnel as plain data; empty: nothing is known."""
    if not row:
        return
    funnel = Funnel.from_plain(row)
    click.echo("\nFrom signals to trades")
    pairs(funnel_lines(funnel))
    if funnel.open or funnel.dust:
        click.echo("\nOpen at the end")
        rows = [
            [
                each.symbol,
                f"{each.side} (dust)" if each.dust else each.side,
                f"{each.qty:,.10g}",
                each.entry_price,
                each.mark_price,
                money(to_text(each.unrealized_pnl), coin),
            ]
            for each in funnel.open
        ]
        rows += [
            [each.symbol, "dust", f"{each.qty:,.10g}", "", each.mark_price, money(to_text(each.unrealized_pnl), coin)]
            for each in funnel.dust
        ]
        table(["symbol", "side", "quantity", "entry", "mark", "unrealised"], rows, right=(2, 3, 4, 5))


def key_figures(metrics: dict[str, Any], coin: str, benchmark: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """Names and texts of the figures that matter most. Money may be decimal text or a number. benchmark: buy and hold, if there is one."""
    held = f"{percent(100 * benchmark['total_return'])}  ({benchmark['symbol']})" if benchmark else ""
    trades = f"{metrics['total_trades']:,}"
    won = f", won {percent(metrics['win_rate'], 1)}" if metrics.get("win_rate") is not None else ""
    return [
        ("net profit", f"{money(metrics['net_profit'], coin)}  ({percent(100 * metrics['total_return'])})"),
        ("buy and hold", held),
        ("final equity", money(metrics["final_equity"], coin)),
        ("max drawdown", f"{money(metrics['max_drawdown_abs'], coin)}  ({percent(metrics['max_drawdown_pct'])})"),
        ("sharpe, sortino, calmar", ", ".join(ratio(metrics[name]) for name in ("sharpe", "sortino", "calmar"))),
        ("closed trades", f"{trades}{won}"),
        ("profit factor", ratio(metrics["profit_factor"])),
        ("average trade", f"{money(metrics['avg_trade_pnl'], coin)}  ({percent(metrics['avg_trade_return_pct'], 3)})"),
        ("paid: fees, funding, slippage", ", ".join(money(metrics[name], coin) for name in ("fees", "funding", "slippage"))),
        ("in the market", percent(metrics["exposure_pct"], 1)),
    ]


BOUNDED = (
    "Each bar is bounded: from the account as it stands at a bar's open, the pessimistic path takes the order of high and low that"
    " leaves less equity at its close.\nThe run is not: from the first bar that differs on these are two accounts with other trades, and"
    " either may end higher. A finer execution_timeframe leaves less to guess."
)
ALIKE = "No bar depended on it: both paths are the same run."


def show_bounds(bounds: dict[str, Outcome], coin: str) -> None:
    """The figures under both paths through the bars, side by side, and what they bound."""
    paths = list(bounds)
    columns = [dict(key_figures(bounds[path].metrics, coin)) for path in paths]
    counts = [int(bounds[path].trust["ambiguous_bars"]) for path in paths]
    click.echo("\nBounds: what the order of high and low inside a bar can change")
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    table(["", *(f"{path} path" for path in paths)], [*rows, ["ambiguous bars", *(f"{count:,}" for count in counts)]])
    click.echo(BOUNDED if any(counts) else ALIKE)


def _verdict(answer: BacktestResponse) -> str:
    if answer.passed is None:
        return ""
    return f"{'passed' if answer.passed else 'not passed'}: {answer.promotion_reason}"
