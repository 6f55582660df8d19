"""What came of a run: the reconciliation, what its numbers rest on, and its hash. Reads the venue and the portfolio; changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from keel.adapters.replay.data_quality import oddities
from keel.adapters.replay.history import SymbolHistory
from keel.core.actors.portfolio import Portfolio, spot_fee_value
from keel.core.errors import InvariantError
from keel.core.metrics.performance import compute_backtest_metrics
from keel.core.metrics.proof import ProofConfig, compute_proof_metrics
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, Message
from keel.core.model.money import UNIT, to_text
from keel.core.model.time_range import TimeRange
from keel.core.model.trade import Trades
from keel.core.results.result import BacktestResult, Reconciliation
from keel.core.system.config import SystemConfig

if TYPE_CHECKING:
    from keel.sim.exchange.exchange import SimulatedExchange


def made_result(
    system: SystemConfig, window: TimeRange, portfolio: Portfolio, curve: Frame, initial_equity: float, *,
    metrics: Mapping[str, Any], deferred: Mapping[str, Callable[[], Any]], **others: Any,
) -> BacktestResult:  # fmt: skip
    """A backtest or a session as a result: its trades, the standard metrics of them and the curve, and the proof, when it is asked for.

    metrics: further ones. deferred, others: further fields of ``BacktestResult``, computed when they are read, or given.
    """
    still_open = portfolio.trade_log.open
    trades = Trades(portfolio.trade_log.closed, still_open)
    standard = compute_backtest_metrics(trades, curve, initial_equity, open_trades=still_open)
    result = BacktestResult(
        system=system,
        window=window,
        metrics={**standard.metrics, **metrics},
        metric_notes=standard.notes,
        proof=None,
        trades=trades,
        open_trades=still_open,
        equity_curve=curve,
        deferred={"proof": lambda: compute_proof_metrics(result, ProofConfig(initial_equity=initial_equity)), **deferred},
        **others,
    )
    return result


def holdings_value(portfolio: Portfolio) -> tuple[int, int]:
    """(value at the marks, signed cost) of all that is held, in 1e-8 of the quote coin; short positions count negative."""
    held = [line for line in portfolio.lines.values() if line.book.steps]
    return sum(line.worth for line in held), sum(line.book.signed_cost for line in held)


def reconcile(portfolio: Portfolio, venue: SimulatedExchange, instruments: dict[str, Instrument], fills: Sequence[Fill]) -> Reconciliation:
    """Where the money went, from three books: the venue's ledger (balance), the portfolio's sums (fees, funding, slippage), the fills at
    their reference prices (gross). Raises InvariantError when the ledger's balance is not the portfolio's cash, or the
    equity at the end is not what both hold."""
    quote = next(iter(instruments.values())).quote
    balance = venue.balance(quote)
    if balance != portfolio.cash:
        raise InvariantError(f"the exchange's ledger holds {to_text(balance)} {quote}, the portfolio {to_text(portfolio.cash)}")
    value, held_cost = holdings_value(portfolio)
    unrealized = value - held_cost
    final_equity = balance + (value if any(not line.is_linear for line in portfolio.lines.values()) else unrealized)
    _check_equity(portfolio, final_equity, quote)
    flow = sum(_reference_flow(fill, instruments[fill.symbol]) for fill in fills)
    return Reconciliation(
        initial_equity=portfolio.initial_equity,
        gross=flow + value - unrealized,
        slippage=portfolio.slippage,
        fees=portfolio.fees,
        funding=portfolio.funding,
        liquidation_loss=portfolio.liquidation_loss,
        unrealized=unrealized,
        final_balance=balance,
        final_equity=final_equity,
        insurance=venue.insurance_paid,
        margin_lost=sum(event.loss for event in venue.liquidations),
    )


def _check_equity(portfolio: Portfolio, final_equity: int, quote: str) -> None:
    """The last point of the equity curve is a float made instant by instant; it must be what the books say, to the rounding of floats."""
    if abs(portfolio.equity - final_equity / UNIT) > 1e-6 + 1e-11 * abs(portfolio.equity):
        raise InvariantError(f"the run ends with an equity of {portfolio.equity!r} {quote}, the books say {to_text(final_equity)}")


def _reference_flow(fill: Fill, instrument: Instrument) -> int:
    """Quote that a fill at its reference price would have brought (sell) or cost (buy), in 1e-8.

    A spot buy's fee in base counts as that base sold at the fill's price, as the portfolio books it.
    """
    ticks, steps = instrument.price_grid.count(fill.reference), instrument.qty_grid.count(fill.qty)
    is_spot = instrument.category == "spot"
    if fill.side == "SELL":
        return instrument.notional(ticks, steps)
    flow = -instrument.notional(ticks, steps, up=is_spot)
    if is_spot and fill.fee_coin == instrument.base:
        flow += spot_fee_value(fill, instrument)
    return flow


def trust(system: SystemConfig, histories: Sequence[SymbolHistory], venue: SimulatedExchange) -> dict[str, Any]:
    """What the run's numbers rest on, for people: docs/fills.md explains each line."""
    execution_timeframe = system.execution_timeframe or system.timeframe
    symbols: dict[str, dict[str, Any]] = {history.symbol: history.trust | oddities(history) for history in histories}
    sources = sorted({source for facts in symbols.values() for source in facts["data_source"]})
    return {
        "synthetic": any("synthetic" in source for source in sources) or any(h.instrument.source == "synthetic" for h in histories),
        "data_sources": sources,
        "decision_timeframe": system.timeframe,
        "execution_timeframe": execution_timeframe,
        "execution_is_finer": execution_timeframe != system.timeframe,
        "symbols": symbols,
        "open_is_previous_close": _mean([facts["open_is_previous_close"] for facts in symbols.values()]),
        "ambiguous_bars": venue.ambiguous_bars,
        "skipped_bars": sum(facts["skipped_bars"] for facts in symbols.values()),
        "partial_bars": sum(facts["partial_bars"] for facts in symbols.values()),
        "off_grid_prices": sum(facts["off_grid_prices"] for facts in symbols.values()),
        "path": system.execution.path,
        "limit_fill": system.execution.limit_fill,
        "latency_ms": system.execution.latency_ms,
        "cost_models": [f"{kind}: {chosen.model}" for kind, chosen in system.execution.costs.named.items()],
        "liquidation": "full",
        "not_modelled": [
            "the order book and the queue in it",
            "Bybit's ladder of partial liquidation in higher risk tiers, and auto-deleveraging",
            "outages, rate limits and rejections by an overloaded exchange",
        ],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def message_hash(messages: Sequence[Message], equity: npt.NDArray[np.float64]) -> str:
    """SHA-256 over commands, order updates, fills, funding and liquidations in order, and over the equity's bytes."""
    digest = hashlib.sha256(msgspec.msgpack.Encoder().encode(messages))
    digest.update(np.ascontiguousarray(equity).tobytes())
    return digest.hexdigest()
