"""The top of the report: what was run, warnings that must not be missed, and the key figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keel.adapters.report.text import day, duration, esc, is_synthetic, missing, money, number, percent, quote_coin, sign_class
from keel.core.metrics.performance import METRICS
from keel.core.results.result import BacktestResult

GRAVE = ("stopped early", "liquidated", "limit broke", "nothing traded")
"""Warnings about what happened to the account; the others are about what it traded on."""

Format = Callable[[Any], str]


def header(result: BacktestResult, kind: str, source_label: str | None) -> str:
    """Name, facts and banners."""
    system = result.system
    facts = [
        ("Symbols", ", ".join(system.symbols)),
        (
            "Window",
            f"{day(result.window.start_ms)} to {day(result.window.end_ms)} ({duration(result.window.end_ms - result.window.start_ms)})",
        ),
        ("Decisions on", f"{system.timeframe} bars"),
        ("Execution on", f"{system.execution_timeframe or system.timeframe} bars"),
        ("Strategy", system.strategy),
        ("Market", f"{system.category}, leverage {number(system.risk.leverage, 0 if system.risk.leverage % 1 == 0 else 2)}x"),
        ("Data", source_label or "not stated"),
        ("Status", result.status),
        ("Run", result.run_id or "none"),
        ("System uid", result.system_uid or "none"),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{esc(value)}</dd></div>" for name, value in facts)
    about = f'<p class="about">{esc(system.description)}</p>' if system.description else ""
    heading = f'<p class="eyebrow">keel · {esc(kind)} report</p><h1>{esc(system.system)}</h1>{about}'
    return f'<header>{heading}{banners(result, source_label)}<dl class="facts">{items}</dl></header>'


def banners(result: BacktestResult, source_label: str | None) -> str:
    """A sum that does not add up, synthetic data, and every warning of the run: each in one line."""
    lines: list[tuple[str, str, str]] = []
    if result.reconciliation.difference:
        gap = money(result.reconciliation.difference, 8, signed=True)
        lines.append(("bad", "DOES NOT ADD UP", f"The reconciliation is off by {gap}: this run is not to be believed."))
    if is_synthetic(result.trust) or is_synthetic(source_label):
        lines.append(
            ("warn", "SYNTHETIC DATA", "Prices were generated, not traded. Nothing here says how the strategy would do in a market.")
        )
    for text in result.warnings:
        what, _, how = text.partition(": ")
        lines.append(("bad" if what in GRAVE else "warn", what.upper(), f"{how[:1].upper()}{how[1:]}."))
    return "".join(f'<p class="banner {kind}" role="note"><strong>{esc(name)}</strong> {esc(words)}</p>' for kind, name, words in lines)


def key_figures(result: BacktestResult) -> str:
    """Eleven figures, the four that matter most set larger."""
    coin = quote_coin(result.system.symbols)
    money_went = result.reconciliation
    trades = len(result.trades)
    won = sum(trade.net_pnl > 0 for trade in result.trades)
    equity = f"{money(money_went.initial_equity)} → {money(money_went.final_equity)} {coin}"
    major = [
        _figure(result, "net_profit", "Net profit", _signed_money, equity, coloured=True),
        _figure(
            result, "total_return", "Total return", lambda value: percent(100.0 * value, signed=True), _versus_hold(result), coloured=True
        ),
        _figure(result, "max_drawdown_pct", "Maximum drawdown", lambda value: percent(-abs(value)), _drawdown_money(result, coin)),
        _figure(result, "sharpe", "Sharpe", number, "daily returns, per year"),
    ]
    minor = [
        _figure(result, "sortino", "Sortino", number),
        _figure(result, "calmar", "Calmar", number),
        _figure(result, "total_trades", "Trades", lambda value: number(value, 0), _open_words(result)),
        _figure(result, "win_rate", "Win rate", lambda value: percent(value, 1), f"{won:,} of {trades:,}" if trades else ""),
        _figure(result, "profit_factor", "Profit factor", number),
        _figure(result, "fees", "Fees paid", number, coin),
        _figure(result, "funding", "Funding paid", number, coin),
    ]
    rows = f'<div class="major">{"".join(major)}</div><div class="minor">{"".join(minor)}</div>'
    return f'<section id="figures" aria-label="Key figures">{rows}</section>'


def _figure(result: BacktestResult, name: str, caption: str, form: Format, below: str = "", *, coloured: bool = False) -> str:
    value = result.metrics.get(name)
    if value is None:
        reason = result.metric_notes.get(name) or ("" if name in result.metrics else "this run did not compute it")
        shown, tone = missing(reason), ""
    else:
        value = float(value)
        shown, tone = form(value), sign_class(value) if coloured else ""
    note = f'<span class="below">{esc(below)}</span>' if below else ""
    formula = esc(METRICS.get(name, ""))
    name_cell = f'<span class="name" title="{formula}">{caption}</span>'
    return f'<div class="figure">{name_cell}<span class="value {tone}" data-metric="{name}">{shown}</span>{note}</div>'


def _signed_money(value: float) -> str:
    return number(value, signed=True)


def _versus_hold(result: BacktestResult) -> str:
    held = result.benchmark_return
    return "" if held is None else f"buy and hold {percent(100.0 * held, signed=True)}"


def _drawdown_money(result: BacktestResult, coin: str) -> str:
    value = result.metrics.get("max_drawdown_abs")
    return "" if value is None else f"{number(-abs(float(value)))} {coin}"


def _open_words(result: BacktestResult) -> str:
    return f"and {len(result.open_trades):,} still open" if result.open_trades else ""
