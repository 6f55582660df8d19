"""The funnel of a finished run, read off its actors: risk counted the signals, the executor the orders, the portfolio holds the trades."""

from __future__ import annotations

from keel.core.actors.executor import Executor
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.errors import InvariantError
from keel.core.results.funnel import Dust, Funnel, OpenTrade


def run_funnel(risk: RiskActor, executor: Executor, portfolio: Portfolio, *, fills: int, takeovers: int) -> Funnel:
    """What became of every signal and every order so far. fills: how many, takeovers (liquidations) included."""
    counts, ended = risk.counts.copy(), executor.memory.ended
    return Funnel(
        signals=counts.signals,
        ordered=counts.ordered,
        withdrawn=counts.withdrawn,
        ignored=tuple(counts.ignored.values()),
        denied=tuple(counts.denied.values()),
        capped=tuple(counts.capped.values()),
        orders=executor.orders_made,
        origins=executor.orders_by_reason,
        filled=executor.memory.closed_counts["filled"],
        rejected=tuple(ended["rejected"].values()),
        expired=tuple(ended["expired"].values()),
        cancelled=tuple(ended["cancelled"].values()),
        resting=len(executor.open_orders()) + len(executor.bracket_orders()),
        exits_refused=tuple(executor.memory.exits_refused.values()),
        fills=fills,
        takeovers=takeovers,
        trades=len(portfolio.trade_log.closed),
        open=tuple(open_trades(portfolio)),
        dust=tuple(dust_left(portfolio)),
    )


def whole_funnel(risk: RiskActor, executor: Executor, portfolio: Portfolio, *, fills: int, takeovers: int) -> Funnel:
    """The funnel of a run, which must add up. Raises InvariantError where it does not."""
    funnel = run_funnel(risk, executor, portfolio, fills=fills, takeovers=takeovers)
    if funnel.signals_missing or funnel.orders_missing:
        raise InvariantError(f"{funnel.signals_missing} signals and {funnel.orders_missing} orders are missing in {funnel}")
    return funnel


def open_trades(portfolio: Portfolio) -> list[OpenTrade]:
    """The round trips that are still open, by number, each valued at its last mark."""
    found = []
    for trade in portfolio.trade_log.open:
        line = portfolio.lines[trade.symbol]
        unrealized = line.worth - line.book.signed_cost
        dust = not portfolio.steps(trade.symbol)
        found.append(
            OpenTrade(
                trade.number, trade.symbol, trade.side, abs(line.qty), trade.entry_ts, trade.entry_price, line.mark, unrealized, dust
            )
        )  # fmt: skip
    return found


def dust_left(portfolio: Portfolio) -> list[Dust]:
    """What is held of symbols that have no round trip open, by symbol in the system's order."""
    told = {trade.symbol for trade in portfolio.trade_log.open}
    found = []
    for symbol, line in portfolio.lines.items():
        if line.book.steps and symbol not in told:
            found.append(Dust(symbol, line.qty, line.mark, line.worth, line.worth - line.book.cost))
    return found
