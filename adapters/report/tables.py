"""Tables that are read as numbers: months, drawdowns, costs, trades."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from keel.adapters.report.text import (
    MINUS,
    decimals_of,
    duration,
    esc,
    money,
    number,
    percent,
    price,
    quantity,
    sign_class,
    table,
    when,
)
from keel.core.metrics.curve import Curve
from keel.core.metrics.daily import monthly_returns
from keel.core.metrics.drawdown import DrawdownEpisode
from keel.core.model.money import to_float
from keel.core.model.timeframe import DAY_MS
from keel.core.model.trade import Trade
from keel.core.results.funnel import Dust, OpenTrade
from keel.core.results.result import BacktestResult, Reconciliation

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TRADE_COLUMNS = (
    ("#", True),
    ("Symbol", False),
    ("Side", False),
    ("Entry (UTC)", False),
    ("Price", True),
    ("Exit (UTC)", False),
    ("Price", True),
    ("Qty", True),
    ("Held", True),
    ("Gross", True),
    ("Fees paid", True),
    ("Funding paid", True),
    ("Net", True),
    ("Return", True),
    ("Exit by", False),
)
"""Heads of the trade table, and whether they are numbers."""

ALL_TRADES = 2000
"""Up to here every trade is listed; beyond it the first and the last half of this number."""


def month_table(curve: Curve) -> str:
    """Returns in percent, year by month, coloured by sign and size; a year's total compounds its months."""
    returns = monthly_returns(curve)
    if not returns:
        return ""
    largest = max(abs(value) for value in returns.values()) or 1.0
    head = [_head("Year"), *(_head(name, num=True) for name in MONTHS), '<th scope="col" class="num total">Year</th>']
    rows = []
    for year, names in groupby(sorted(returns), key=lambda name: name[:4]):
        months = {int(name[5:]): returns[name] for name in names}
        whole = 100.0 * (math.prod(1.0 + value / 100.0 for value in months.values()) - 1.0)
        cells = "".join(_month_cell(months.get(month), largest) for month in range(1, 13))
        total = f'<td class="num total {sign_class(whole)}">{percent(whole, signed=True)}</td>'
        rows.append(f'<tr><th scope="row">{year}</th>{cells}{total}</tr>')
    return table(head, rows, classes="months")


def drawdown_table(episodes: list[DrawdownEpisode], coin: str) -> str:
    """The deepest drawdowns, with how long they fell and how long they took to recover."""
    heads = (
        ("#", 1),
        ("Depth", 1),
        (coin, 1),
        ("Peak (UTC)", 0),
        ("Trough", 0),
        ("Recovered", 0),
        ("Fell for", 1),
        ("Recovery", 1),
        ("Whole", 1),
    )
    rows = []
    for rank, episode in enumerate(episodes, 1):
        still = episode.end_ts is None
        cells = [
            _cell(str(rank), num=True),
            f'<td class="num neg">{percent(episode.depth_pct)}</td>',
            _cell(number(-episode.depth_abs), num=True),
            _cell(when(episode.start_ts)),
            _cell(when(episode.trough_ts)),
            _cell("not yet" if episode.end_ts is None else when(episode.end_ts)),
            _cell(_days(episode.days_to_trough), num=True),
            _cell("–" if episode.recovery_days is None else _days(episode.recovery_days), num=True),
            _cell(_days(episode.days) + (" so far" if still else ""), num=True),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return table((_head(name, num=bool(num)) for name, num in heads), rows)


def turnover_of(result: BacktestResult) -> float:
    """Sum of all fills' notionals, quote coins; of a result that was read back without them, what its proof metrics say."""
    if result.fills or not isinstance(result.proof, Mapping):
        return sum(fill.qty * fill.price for fill in result.fills)
    return float(result.proof.get("entry_friction", {}).get("turnover") or 0.0)


def cost_table(money_went: Reconciliation, turnover: float, coin: str) -> str:
    """From gross to net and from initial to final equity, exact to the last decimal that any amount has.

    What is paid is positive wherever it stands in the report; here a minus before the name says that it is taken away.
    """
    steps = [
        ("Gross PnL at reference prices", money_went.gross, "", 1),
        ("Slippage, spread and impact", money_went.slippage, "", -1),
        ("Fees paid", money_went.fees, "", -1),
        ("Funding paid", money_went.funding, "", -1),
        ("Liquidations beyond the trading result", money_went.liquidation_loss, "", -1),
        ("Unrealized PnL of open positions", money_went.unrealized, "", 1),
        ("Net", money_went.net, "sum", 1),
        ("Initial equity", money_went.initial_equity, "", 1),
        ("Final equity", money_went.final_equity, "sum", 1),
    ]
    digits = decimals_of(amount for _, amount, _, _ in steps)
    rows = []
    for place, (name, amount, kind, sign) in enumerate(steps):
        is_change, shown = place <= 6, f"{MINUS} {name}" if sign < 0 else name
        bps = number(1e4 * to_float(amount) / turnover, 2, signed=is_change and sign > 0) if turnover > 0 and is_change else ""
        exact = money(amount, digits, signed=is_change and sign > 0)
        cell = f'<td class="num" data-units="{amount}" data-sign="{sign}">{exact}</td>'
        rows.append(f'<tr class="{kind}"><td>{shown}</td>{cell}<td class="num dim">{bps}</td></tr>')
    head = (_head("From gross to net"), _head(coin, num=True), _head("bp of turnover", num=True))
    return table(head, rows, classes="costs") + f'<p class="note">{_sum_words(money_went, turnover, coin)}</p>'


def trade_table(trades: list[Trade], open_trades: list[Trade], held: Sequence[OpenTrade] = ()) -> str:
    """Every trade, or the first and last thousand; columns sort when their heads are pressed. held: what is still open, valued."""
    half = ALL_TRADES // 2
    shown = trades if len(trades) <= ALL_TRADES else [*trades[:half], *trades[-half:]]
    head = (_head(name, num=num, sort=True) for name, num in TRADE_COLUMNS)
    valued = {each.number: each for each in held}
    rows = [*(_trade_row(trade, None) for trade in shown), *(_trade_row(trade, valued.get(trade.number)) for trade in open_trades)]
    note = ""
    if len(shown) < len(trades):
        note = f'<p class="note">The first and the last {half:,} of {len(trades):,} trades; the others are in trades.csv.</p>'
    return f'<div class="scroll" tabindex="0">{table(head, rows, classes="sortable dense")}</div>{note}'


def dust_note(dust: Sequence[Dust]) -> str:
    """What closed round trips left of their coins, too little to be sold; empty where nothing is."""
    left = "; ".join(f"{quantity(each.qty)} {each.symbol} worth {money(each.value)} at {price(each.mark_price)}" for each in dust)
    return f'<p class="note">Dust, in equity and in no trade: {esc(left)}.</p>' if left else ""


def by_symbol_table(trades: list[Trade]) -> str:
    """One line per symbol and side; empty for fewer than two lines."""
    ordered = sorted(trades, key=lambda trade: (trade.symbol, trade.side))
    rows = []
    for (symbol, side), group in groupby(ordered, key=lambda trade: (trade.symbol, trade.side)):
        part = list(group)
        net = sum(trade.net_pnl for trade in part)
        won = sum(trade.net_pnl > 0 for trade in part)
        cells = [_cell(symbol), _side_cell(side), _cell(f"{len(part):,}", num=True), _cell(percent(100.0 * won / len(part), 1), num=True)]
        cells.append(_money_cell(net, coloured=True))
        cells.append(_money_cell(net // len(part), coloured=True))
        cells.append(_cell(duration(sum(trade.holding_ms or 0 for trade in part) / len(part)), num=True))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = (("Symbol", 0), ("Side", 0), ("Trades", 1), ("Won", 1), ("Net", 1), ("Net per trade", 1), ("Held, mean", 1))
    return table((_head(name, num=bool(num)) for name, num in heads), rows) if rows else ""


def _sum_words(money_went: Reconciliation, turnover: float, coin: str) -> str:
    verdict = (
        "These lines add up to the last unit." if money_went.difference == 0 else "These lines do NOT add up: do not rely on this run."
    )
    lost = ""
    if money_went.margin_lost:
        lost = (
            f" Positions that were taken over lost {money(money_went.margin_lost)} {coin} of margin, which stands in these lines already:"
        )
        lost += " in gross what the price took, in the line of liquidations what a takeover took beyond that."
    fund = f" The insurance fund added {money(money_went.insurance)} {coin}." if money_went.insurance else ""
    balance = f" Balance without unrealized PnL: {money(money_went.final_balance)} {coin}."
    return f"{verdict}{lost}{fund}{balance} Turnover: {number(turnover, 0)} {coin}."


def _month_cell(value: float | None, largest: float) -> str:
    if value is None or not math.isfinite(value):
        return '<td class="num none">·</td>'
    strength = 0.08 + 0.5 * min(1.0, abs(value) / largest) if value else 0.0
    return f'<td class="num shade {sign_class(value)}" style="--a:{strength:.2f}">{percent(value, signed=True)}</td>'


def _trade_row(trade: Trade, held: OpenTrade | None) -> str:
    """One trade. An open one is marked so, and stands with its last mark and unrealised PnL, which is in none of its other amounts."""
    left, last = trade.exit_ts is not None, trade.exit_price if held is None else held.mark_price
    still = (
        "still open"
        if held is None
        else f"still open: {money(held.unrealized_pnl, signed=True)} unrealised at the mark{', dust' if held.dust else ''}"
    )
    cells = [
        _cell(str(trade.number), num=True, sort=trade.number),
        _cell(trade.symbol),
        _side_cell(trade.side),
        _cell(when(trade.entry_ts)),
        _cell(price(trade.entry_price), num=True, sort=trade.entry_price),
        _cell(when(trade.exit_ts) if trade.exit_ts is not None else "open"),
        _cell(price(last) if last is not None else "–", num=True, sort=last or 0),
        _cell(quantity(trade.qty), num=True, sort=trade.qty),
        _cell(duration(trade.holding_ms) if trade.holding_ms is not None else "–", num=True, sort=trade.holding_ms or 0),
        _money_cell(trade.gross_pnl),
        _money_cell(trade.fees),
        _money_cell(trade.funding),
        _money_cell(trade.net_pnl, coloured=True),
        _cell(percent(trade.return_pct, signed=True), num=True, sort=trade.return_pct),
        _cell(trade.exit_reason.replace("_", " ") if left else still),
    ]
    return f"<tr{'' if left else ' class=open'}>{''.join(cells)}</tr>"


def _side_cell(side: str) -> str:
    return f'<td class="{"long" if side == "LONG" else "short"}">{"Long" if side == "LONG" else "Short"}</td>'


def _money_cell(units: int, *, coloured: bool = False) -> str:
    tone = f" {sign_class(units)}" if coloured else ""
    return f'<td class="num{tone}" data-v="{to_float(units)}">{money(units, signed=coloured)}</td>'


def _cell(text: str, *, num: bool = False, sort: float | None = None) -> str:
    order = "" if sort is None else f' data-v="{sort}"'
    return f"<td{' class=num' if num else ''}{order}>{esc(text)}</td>"


def _head(name: str, *, num: bool = False, sort: bool = False) -> str:
    words = f'<button type="button">{esc(name)}</button>' if sort else esc(name)
    return f'<th scope="col"{" class=num" if num else ""}>{words}</th>'


def _days(days: float) -> str:
    return duration(days * DAY_MS)
