"""Assembles the report's one file: style, text, figures, plotly's own script, and a policy that forbids the page to load anything."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from keel.adapters.report import charts, charts_trades, evidence, overview, tables
from keel.adapters.report.funnel import funnel_block
from keel.adapters.report.text import esc, number, percent, quote_coin
from keel.core.errors import DataError
from keel.core.metrics.curve import Curve, read_curve
from keel.core.metrics.daily import daily_equity
from keel.core.metrics.drawdown import Drawdowns, find_drawdowns
from keel.core.model.money import to_float
from keel.core.results.result import BacktestResult

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
Figures = dict[str, list[dict[str, Any]]]
"""Per place of the page its figures; more than one where the reader chooses."""

NO_BARS = '<p class="empty">No bar was processed.</p>'
NO_TRADES = '<p class="empty">No trade was closed in this window.</p>'


def write_report(result: BacktestResult, path: Path, *, kind: str = "backtest", source_label: str | None = None) -> Path:
    """Write the report of a run and return its path. The file is whole or not there.

    ``kind``: what was run, in the words of the page's first line. ``source_label`` says where the prices came from; one that begins with
    "synthetic" puts the banner up, as the trust record does.
    Raises DataError when the file cannot be written.
    """
    return write_page(render(result, kind=kind, source_label=source_label), path)


def write_page(page: str, path: Path) -> Path:
    """Write a page whole, or not at all. Raises DataError when the file cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        if part.exists():
            part.unlink()
        raise DataError(
            f"the report could not be written to {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    return path


def render(result: BacktestResult, *, kind: str = "backtest", source_label: str | None = None) -> str:
    """The report as text."""
    figures: Figures = {}
    body = _body(result, figures, kind, source_label)
    return document(f"{result.system.system} · {', '.join(result.system.symbols)}", body, figures)


def document(title: str, body: str, figures: Figures) -> str:
    """A page of its own: everything that it needs is in it."""
    payload = msgspec.json.encode(figures).decode("utf-8").replace("<", "\\u003c")
    head = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)}</title><style>{_asset('report.css')}</style></head>"
    )
    if not figures:
        return f"{head}<body><main>{body}</main></body></html>\n"
    from plotly.offline import get_plotlyjs

    data = f'<script type="application/json" id="figures-data">{payload}</script>'
    scripts = f"<script>{get_plotlyjs()}</script><script>{_asset('report.js')}</script>"
    return f"{head}<body><main>{body}</main>{data}{scripts}</body></html>\n"


def _body(result: BacktestResult, figures: Figures, kind: str, source_label: str | None) -> str:
    coin = quote_coin(result.system.symbols)
    parts = [overview.header(result, kind, source_label), overview.key_figures(result)]
    curve = read_curve(result.equity_curve, to_float(result.reconciliation.initial_equity)) if len(result.equity_curve) else None
    falls = None if curve is None else find_drawdowns(curve)
    parts += [
        _funnel(result),
        _equity(result, falls, figures, coin),
        _months(curve),
        _price(result, figures, coin),
        f'<div class="pair">{_pnl(result, figures, coin)}{_returns(curve, figures)}</div>',
        f'<div class="pair">{_exposure(result, curve, figures)}{_holding(result, figures)}</div>',
        _costs(result, figures, coin),
        _drawdowns(falls, coin),
        _trades(result),
        section("trust", "What this result rests on", evidence.trust_section(result)),
        section("orders", "Orders that did not go through", evidence.order_log_section(result)),
        section("details", "In full", evidence.measures_section(result) + evidence.configuration_section(result)),
        _footer(result),
    ]
    return "".join(parts)


def _funnel(result: BacktestResult) -> str:
    block = funnel_block(result.funnel)
    return section("funnel", "From signals to trades", block, "What became of every signal and every order") if block else ""


def _equity(result: BacktestResult, falls: Drawdowns | None, figures: Figures, coin: str) -> str:
    if falls is None:
        return section("equity", "Equity and drawdown", NO_BARS)
    figures["equity"] = [charts.equity_figure(falls, result.benchmark, coin, _axis(result))]
    timeframe = result.system.execution_timeframe or result.system.timeframe
    caption = f"Marked to market at every {timeframe} close; drawdown is the distance from the highest equity so far"
    return section("equity", "Equity and drawdown", plot("equity", 430), caption)


def _months(curve: Curve | None) -> str:
    months = "" if curve is None else tables.month_table(curve)
    return section("months", "Monthly returns", f'<div class="wide">{months}</div>') if months else ""


def _price(result: BacktestResult, figures: Figures, coin: str) -> str:
    bars = {symbol: frame for symbol, frame in result.bars.items() if len(frame)}
    if not bars:
        return section("price", "Price and trades", '<p class="empty">No bars were kept with this result.</p>')
    everything = [*result.trades, *result.open_trades]
    variants: list[dict[str, Any]] = []
    for symbol, frame in bars.items():
        own = [trade for trade in everything if trade.symbol == symbol]
        figure = charts.price_figure(frame, own, coin, _axis(result))
        variants.append({"name": symbol, **figure})
    figures["price"] = variants
    marked = max(sum(trade.symbol == symbol for trade in everything) for symbol in bars)
    caption = (
        "Closes, with the range between low and high behind them. Drag to zoom, double-click to reset; the charts over time move together."
    )
    if marked > charts.MARKED_TRADES:
        caption += f" The {charts.MARKED_TRADES:,} trades with the largest PnL are marked."
    tabs = "".join(f'<button type="button" role="tab" aria-selected="{str(not i).lower()}">{esc(s)}</button>' for i, s in enumerate(bars))
    switch = f'<div class="tabs" role="tablist" data-for="price">{tabs}</div>' if len(bars) > 1 else ""
    return section("price", "Price and trades", switch + plot("price", 420), caption)


def _pnl(result: BacktestResult, figures: Figures, coin: str) -> str:
    if not result.trades:
        return section("pnl", "PnL per trade", NO_TRADES)
    figures["pnl"] = [charts_trades.pnl_figure(result.trades, coin, _axis(result))]
    return section("pnl", "PnL per trade", plot("pnl", 280), "Net of fees and funding, at the time of the exit")


def _returns(curve: Curve | None, figures: Figures) -> str:
    returns = np.empty(0) if curve is None else daily_equity(curve).returns
    if len(returns) < 2:
        return section("returns", "Daily returns", '<p class="empty">Fewer than two whole days: there is no distribution.</p>')
    if not returns.any():
        return section("returns", "Daily returns", f'<p class="empty">Equity did not change on any of {len(returns):,} days.</p>')
    figures["returns"] = [charts_trades.return_figure(returns)]
    middle = f"mean {percent(100.0 * float(returns.mean()), 3, signed=True)}, deviation {percent(100.0 * float(returns.std(ddof=1)))}"
    ends = f"worst {percent(100.0 * float(returns.min()), signed=True)}, best {percent(100.0 * float(returns.max()), signed=True)}"
    return section("returns", "Daily returns", plot("returns", 280), f"{len(returns):,} days: {middle}, {ends}. Dotted: normal")


def _exposure(result: BacktestResult, curve: Curve | None, figures: Figures) -> str:
    if curve is None or curve.gross is None:
        return section("exposure", "Exposure", NO_BARS)
    if not curve.gross.any():
        return section("exposure", "Exposure", '<p class="empty">Nothing was held at any close.</p>')
    figures["exposure"] = [charts.exposure_figure(curve, curve.gross, _axis(result))]
    held = percent(100.0 * float((curve.gross[curve.bars] > 0).mean()), 1)
    return section("exposure", "Exposure", plot("exposure", 260), f"Gross notional to equity; in the market at {held} of the closes")


def _holding(result: BacktestResult, figures: Figures) -> str:
    if not result.trades:
        return section("holding", "Holding times", NO_TRADES)
    figures["holding"] = [charts_trades.holding_figure(result.trades)]
    return section("holding", "Holding times", plot("holding", 260), "First fill to last, on a logarithmic scale")


def _costs(result: BacktestResult, figures: Figures, coin: str) -> str:
    turnover = tables.turnover_of(result)
    listed = tables.cost_table(result.reconciliation, turnover, coin)
    if not turnover and not result.reconciliation.net:
        return section("costs", "Where the money went", listed)
    figures["costs"] = [charts_trades.waterfall_figure(result.reconciliation, coin)]
    return section("costs", "Where the money went", f'<div class="beside">{plot("costs", 300)}<div>{listed}</div></div>')


def _drawdowns(falls: Drawdowns | None, coin: str) -> str:
    episodes = [] if falls is None else falls.top(5)
    if not episodes:
        return section("drawdowns", "Deepest drawdowns", '<p class="empty">Equity never fell below an earlier peak.</p>')
    return section("drawdowns", "Deepest drawdowns", f'<div class="wide">{tables.drawdown_table(episodes, coin)}</div>')


def _trades(result: BacktestResult) -> str:
    if not result.trades and not result.open_trades:
        return section("trades", "Trades", '<p class="empty">The strategy did not trade.</p>')
    by_symbol = f'<div class="wide">{tables.by_symbol_table(result.trades)}</div>'
    caption = f"{number(len(result.trades), 0)} closed, {number(len(result.open_trades), 0)} open at the end. Press a column's head to sort"
    every = tables.trade_table(result.trades, result.open_trades, result.funnel.open)
    return section("trades", "Trades", by_symbol + every + tables.dust_note(result.funnel.dust), caption)


def _axis(result: BacktestResult) -> dict[str, Any]:
    return charts.span(result.window.start_ms, result.window.end_ms)


def section(anchor: str, name: str, content: str, caption: str = "") -> str:
    """A part of the page under a heading."""
    words = f'<p class="caption">{esc(caption)}</p>' if caption else ""
    return f'<section id="{anchor}"><div class="title"><h2>{esc(name)}</h2>{words}</div>{content}</section>'


def plot(name: str, height_px: int) -> str:
    """Where a figure goes."""
    return f'<div class="plot" data-figure="{name}" style="height:{height_px}px"></div>'


def _footer(result: BacktestResult) -> str:
    speed = result.timing.get("bars_per_s")
    words = [f"message hash {result.message_hash}"] if result.message_hash else []
    if isinstance(speed, (int, float)):
        words.append(f"{number(float(result.timing.get('bars') or 0), 0)} bars at {number(float(speed), 0)} per second")
    words.append("all times UTC; this page loads nothing from the network")
    return f"<footer>{esc(' · '.join(words))}</footer>"


def _asset(name: str) -> str:
    return resources.files("keel.adapters.report").joinpath(name).read_text("utf-8")
