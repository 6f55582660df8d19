"""The result of one run: what metrics, artifacts, reports and people read. Plain data; nothing here computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.core.model.frame import Frame
from keel.core.model.messages import Fill, FundingPayment, Liquidation
from keel.core.model.time_range import TimeRange
from keel.core.model.trade import Trade
from keel.core.results.funnel import Funnel
from keel.core.system.config import SystemConfig


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Where the money went, in 1e-8 of the quote coin; adds up to the last unit.

    net = final_equity - initial_equity = gross - slippage - fees - funding - liquidation_loss + unrealized.
    gross is at reference prices (before spread, slippage and impact); costs that were paid are positive. liquidation_loss is what
    takeovers took beyond the trading result at their prices; the rest of a lost margin is in gross.
    """

    initial_equity: int
    gross: int
    slippage: int
    fees: int
    funding: int
    liquidation_loss: int
    unrealized: int
    final_balance: int
    final_equity: int
    insurance: int = 0
    margin_lost: int = 0
    """What positions lost when they were taken over. It stands in gross, fees and liquidation_loss already, and is no term of the sum."""

    @property
    def net(self) -> int:
        """final_equity - initial_equity."""
        return self.final_equity - self.initial_equity

    @property
    def difference(self) -> int:
        """What does not add up: 0, or the run is not to be believed."""
        return self.net - (self.gross - self.slippage - self.fees - self.funding - self.liquidation_loss + self.unrealized)


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run ended before its window did: account_blown, insufficient_free_margin, or a fault."""

    code: str
    ts: int
    detail: str


@dataclass(slots=True)
class BacktestResult(Mapping[str, Any]):
    """A Mapping of its metrics (name -> plain number or None), with everything else as attributes.

    equity_curve: Frame with ts = closes of execution bars (the first row is the window's start) and columns ``equity``,
    ``equity_worst`` (at the bar's worst price for the position), ``gross_notional`` (sum over symbols of |position| at mark),
    ``margin`` (position margin); all floats in quote coins.
    bars: execution bars by symbol. benchmark: Frame(ts, equity) of buy and hold, or None.
    """

    system: SystemConfig
    window: TimeRange
    metrics: dict[str, Any]
    metric_notes: dict[str, str]
    """Why a metric is None, by name."""
    proof: Any
    """BacktestMetricsV2 (core/metrics/proof.py)."""
    trades: list[Trade]
    open_trades: list[Trade]
    fills: list[Fill]
    funding_payments: list[FundingPayment]
    liquidations: list[Liquidation]
    equity_curve: Frame
    reconciliation: Reconciliation
    trust: dict[str, Any]
    timing: dict[str, Any]
    stop_reason: StopReason | None = None
    bars: dict[str, Frame] = field(default_factory=dict)
    benchmark: Frame | None = None
    order_log: list[dict[str, Any]] = field(default_factory=list)
    """Denied signals, rejected and expired orders, by time."""
    funnel: Funnel = field(default_factory=Funnel)
    """What became of every signal and every order, and what is still open, valued at its last mark."""
    warnings: list[str] = field(default_factory=list)
    """What must be known before a figure is read, a sentence each, as "what: how"; the worst first."""
    run_id: str = ""
    system_uid: str = ""
    effective_config: dict[str, Any] = field(default_factory=dict)
    """What the run was made of, as its config.json has it: system, window, warm-up, fingerprints; empty where the caller keeps that."""
    message_hash: str = ""
    artifacts: Path | None = None
    deferred: dict[str, Callable[[], Any]] = field(default_factory=dict, repr=False)
    """Attributes that are computed when they are first read, by name: what a sweep of many runs does not pay for."""

    def __post_init__(self) -> None:
        for name in self.deferred:
            delattr(self, name)

    if not TYPE_CHECKING:  # a type checker sees the fields themselves

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or name == "deferred" or name not in self.deferred:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            value = self.deferred.pop(name)()
            setattr(self, name, value)
            return value

    def __getitem__(self, name: str) -> Any:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    @property
    def benchmark_return(self) -> float | None:
        """What buying and holding would have returned, as a fraction; None where the run has no benchmark."""
        benchmark = self.benchmark
        if benchmark is None or len(benchmark) < 2 or not benchmark["equity"][0] > 0:
            return None
        return float(benchmark["equity"][-1] / benchmark["equity"][0] - 1.0)

    @property
    def status(self) -> str:
        """completed, or stopped (a stop condition ended the run early)."""
        return "completed" if self.stop_reason is None else "stopped"
