"""Metrics of a run: ``compute_backtest_metrics`` for the standard ones, ``compute_proof_metrics`` for the proof-grade parts."""

from keel.core.metrics.missing import Missing
from keel.core.metrics.performance import METRICS, BacktestMetrics, compute_backtest_metrics
from keel.core.metrics.proof import ProofConfig, ProofSource, compute_proof_metrics
from keel.core.metrics.proof_parts import (
    BacktestMetricsV2,
    DrawdownMetrics,
    EntryFrictionMetrics,
    ExposureMetrics,
    LiquidationProximityMetrics,
    MarginStressMetrics,
    PerformanceMetrics,
    RiskAdjustedMetrics,
    TradeQualityMetrics,
)

__all__ = [
    "METRICS",
    "BacktestMetrics",
    "BacktestMetricsV2",
    "DrawdownMetrics",
    "EntryFrictionMetrics",
    "ExposureMetrics",
    "LiquidationProximityMetrics",
    "MarginStressMetrics",
    "Missing",
    "PerformanceMetrics",
    "ProofConfig",
    "ProofSource",
    "RiskAdjustedMetrics",
    "TradeQualityMetrics",
    "compute_backtest_metrics",
    "compute_proof_metrics",
]
