"""The eight parts of the proof-grade metrics. A value is None where it cannot be had; ``BacktestMetricsV2.notes`` says why.

r: daily returns (UTC days, as in core/metrics/daily.py), n of them; money in quote coins; ``*_pct`` in percent; a year has 365 days.
"""

from __future__ import annotations

import msgspec

from keel.core.metrics.drawdown import DrawdownEpisode

Number = float | None


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of metrics."""


class PerformanceMetrics(Part, frozen=True, kw_only=True):
    """What was earned."""

    initial_equity: float
    """Equity before the first bar."""
    final_equity: float
    """Equity at the last bar, open positions at market."""
    net_profit: float
    """final_equity - initial_equity."""
    total_pnl: float
    """net_profit + fees + funding: PnL at fill prices."""
    unrealized_pnl: float
    """The part of total_pnl that stands in open positions."""
    total_return: float
    """final_equity / initial_equity - 1; a fraction, not annualised."""
    cagr: Number
    """(last daily equity / initial_equity) ^ (365 / days) - 1; a fraction per year."""
    volatility: Number
    """std(r, n - 1) x sqrt(365); a fraction per year."""
    days: float
    """Length of the window in days of 24 hours."""
    avg_day_pct: Number
    """mean(r); percent per day."""
    best_day_pct: Number
    """max(r)."""
    worst_day_pct: Number
    """min(r)."""
    positive_days_pct: Number
    """Days with r > 0 of all days."""
    skewness: Number
    """mean(((r - mean) / std)^3), population moments; no unit."""
    excess_kurtosis: Number
    """mean(((r - mean) / std)^4) - 3, population moments; no unit."""
    monthly_returns_pct: dict[str, float]
    """Return of each UTC calendar month ("2024-01"); the first and the last may be partial."""


class DrawdownMetrics(Part, frozen=True, kw_only=True):
    """How far and how long equity was below its peak (on the equity of every bar)."""

    max_drawdown_abs: float
    """Largest peak - equity; positive."""
    max_drawdown_pct: float
    """Lowest equity / peak - 1; negative."""
    max_drawdown_intrabar_pct: Number
    """Lowest ratio of a bar's worst equity to the peak before it, minus 1; negative."""
    longest_drawdown_days: float
    """Longest time from a peak until it is reached again, or to the end."""
    recovery_days: Number
    """Days from the lowest point of the deepest drawdown until its peak is reached again."""
    avg_recovered_days: Number
    """Mean length (peak to recovery) of the drawdowns that were recovered; days."""
    avg_drawdown_pct: Number
    """Mean of the deepest values of all drawdowns; negative."""
    current_drawdown_pct: float
    """Equity / peak - 1 at the end; 0 or negative."""
    time_underwater_pct: float
    """Bars below the peak of all bars."""
    ulcer_index_pct: float
    """sqrt(mean((equity / peak - 1)^2)) over bars."""
    drawdowns: int
    """Number of drawdowns, the open one included."""
    top: list[DrawdownEpisode]
    """The ten deepest, deepest first."""
    underwater_ts: list[int]
    """Starts of UTC days, ms: the underwater curve's times."""
    underwater_pct: list[float]
    """Lowest equity / peak - 1 of each of those days; 0 or negative."""


class TradeQualityMetrics(Part, frozen=True, kw_only=True):
    """What closed trades say; PnL is net of fees and funding."""

    total_trades: int
    """Closed round trips."""
    open_trades: int
    """Open at the end; in none of the others."""
    winning_trades: int
    """Net PnL above zero."""
    losing_trades: int
    """Net PnL below zero."""
    breakeven_trades: int
    """Net PnL of exactly zero."""
    win_rate: Number
    """winning_trades / total_trades; percent."""
    loss_rate: Number
    """losing_trades / total_trades; percent."""
    avg_trade_pnl: Number
    """Mean net PnL."""
    median_trade_pnl: Number
    """Median net PnL."""
    pnl_deviation: Number
    """std(net PnL, n - 1)."""
    avg_trade_return_pct: Number
    """Mean of net PnL / entry notional."""
    avg_win: Number
    """Mean net PnL of the winning."""
    avg_loss: Number
    """Mean net PnL of the losing; negative."""
    largest_win: Number
    """Largest net PnL of the winning."""
    largest_loss: Number
    """Lowest net PnL of the losing; negative."""
    expectancy: Number
    """Share of wins x avg_win + share of losses x avg_loss; quote coins per trade."""
    expectancy_ratio: Number
    """expectancy / |avg_loss|: what a trade earns per unit at risk."""
    payoff_ratio: Number
    """avg_win / |avg_loss|."""
    profit_factor: Number
    """Sum of wins / |sum of losses|."""
    system_quality: Number
    """mean(net PnL) / std(net PnL, n - 1) x sqrt(total_trades): Tharp's system quality number."""
    avg_holding_time_s: Number
    """Mean seconds from first fill to last."""
    median_holding_time_s: Number
    """Median of the same."""
    max_holding_time_s: Number
    """Longest of the same."""
    avg_holding_win_s: Number
    """Mean of the winning."""
    avg_holding_loss_s: Number
    """Mean of the losing."""
    max_consecutive_wins: int
    """Longest run of winning trades in order of their numbers."""
    max_consecutive_losses: int
    """Longest run of losing trades."""
    long_trades: int
    """Closed trades on the long side."""
    short_trades: int
    """Closed trades on the short side."""
    long_net_profit: float
    """Sum of their net PnL."""
    short_net_profit: float
    """Sum of their net PnL."""
    exit_reasons: dict[str, int]
    """Closed trades by the reason of the exit."""


class RiskAdjustedMetrics(Part, frozen=True, kw_only=True):
    """Return against risk."""

    sharpe: Number
    """mean(r - risk_free / 365) / std(r, n - 1) x sqrt(365)."""
    sortino: Number
    """mean(r - risk_free / 365) / sqrt(mean(min(r, 0)^2)) x sqrt(365), over all days."""
    calmar: Number
    """cagr / |max_drawdown_pct / 100|."""
    omega: Number
    """Sum of gaining r / |sum of losing r|; not annualised."""
    downside_deviation: Number
    """sqrt(mean(min(r, 0)^2)) x sqrt(365); a fraction per year."""
    tail_ratio: Number
    """|95th percentile of r| / |5th percentile of r|."""
    value_at_risk_95_pct: Number
    """5th percentile of r; percent per day."""
    expected_shortfall_95_pct: Number
    """Mean of the floor(0.05 x (n - 1)) + 1 worst of n days; percent per day."""
    return_t_stat: Number
    """mean(r) / (std(r, n - 1) / sqrt(n))."""
    recovery_factor: Number
    """net_profit / max_drawdown_abs."""
    ulcer_performance: Number
    """cagr / (ulcer_index_pct / 100)."""
    risk_free_rate: float
    """What was used; a fraction per year."""


class MarginStressMetrics(Part, frozen=True, kw_only=True):
    """How hard the margin was used. Usage: position margin / equity at the close of bars with margin in use and equity above zero."""

    avg_margin_usage_pct: Number
    """Mean of those bars."""
    p95_margin_usage_pct: Number
    """95th percentile of those bars."""
    max_margin_usage_pct: Number
    """Highest."""
    time_above_50_pct: Number
    """Bars with a usage above 50 % of all bars."""
    time_above_80_pct: Number
    """Bars with a usage above 80 % of all bars."""
    min_free_margin: Number
    """Lowest equity - margin; quote coins."""
    liquidations: int
    """Positions that were taken over."""
    liquidation_loss: float
    """Margin that went with them; quote coins."""
    insurance: float
    """What the insurance fund had to add; quote coins."""


class EntryFrictionMetrics(Part, frozen=True, kw_only=True):
    """What trading cost; quote coins unless it says bps (of the notional) or pct. Open trades are included."""

    fees: float
    """All fees."""
    entry_fees: float
    """Fees of opening fills."""
    exit_fees: float
    """fees - entry_fees."""
    slippage: float
    """Sum of |fill price - price before costs| x size."""
    entry_slippage: float
    """Sum of |fill price - price before costs| x size over opening fills."""
    entry_fee_bps: Number
    """entry_fees / entry notional."""
    entry_slippage_bps: Number
    """entry_slippage / entry notional."""
    entry_cost_bps: Number
    """The sum of the two."""
    turnover: float
    """Sum of price x size over all fills."""
    cost_bps: Number
    """(fees + slippage) / turnover."""
    maker_share_pct: Number
    """Maker fills' share of turnover."""
    funding_paid: float
    """Sum of what was paid."""
    funding_received: float
    """Sum of what was received."""
    costs_of_gross_pct: Number
    """(fees + slippage + funding) / PnL before all costs, where that is positive."""
    fills: int
    """Number of fills."""


class LiquidationProximityMetrics(Part, frozen=True, kw_only=True):
    """Distance between mark and liquidation price in percent of the mark, the smallest of each bar, over bars with a position."""

    min_distance_pct: Number
    """Smallest."""
    min_distance_ts: int | None
    """When; close of that bar, ms UTC."""
    p5_distance_pct: Number
    """5th percentile."""
    median_distance_pct: Number
    """Median."""
    avg_distance_pct: Number
    """Mean."""
    time_below_5_pct: Number
    """Bars nearer than 5 % of the bars with a position."""


class ExposureMetrics(Part, frozen=True, kw_only=True):
    """How much, how long. Leverage: gross notional / equity at the close of a bar (0 where no equity is left)."""

    time_in_market_pct: Number
    """Time with at least one open trade of the window."""
    long_time_pct: Number
    """Time with an open long of the window."""
    short_time_pct: Number
    """Time with an open short of the window."""
    max_open_positions: int
    """Most trades open at one time."""
    avg_trade_notional: Number
    """Mean entry notional; quote coins."""
    max_trade_notional: Number
    """Largest entry notional; quote coins."""
    avg_gross_notional: Number
    """Mean sum of |position| at mark over all bars; quote coins."""
    max_gross_notional: Number
    """Largest of the same; quote coins."""
    avg_leverage: Number
    """Mean over all bars; times equity."""
    avg_leverage_in_market: Number
    """Mean over bars with a position; times equity."""
    max_leverage: Number
    """Highest; times equity."""


class BacktestMetricsV2(Part, frozen=True, kw_only=True):
    """All parts, and the reason for each None by "part.metric"."""

    performance: PerformanceMetrics
    drawdown: DrawdownMetrics
    trade_quality: TradeQualityMetrics
    risk_adjusted: RiskAdjustedMetrics
    margin_stress: MarginStressMetrics
    entry_friction: EntryFrictionMetrics
    liquidation_proximity: LiquidationProximityMetrics
    exposure: ExposureMetrics
    notes: dict[str, str]
