"""A proof out of a curve and what happened on it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from keel.core.metrics import BacktestMetricsV2, ProofConfig, compute_proof_metrics
from keel.core.model.frame import Frame


@pytest.fixture
def proof_of() -> Callable[..., BacktestMetricsV2]:
    """proof_of(curve, trades=..., ...): the proof with the curve's first equity as the initial one."""

    def proof(equity_curve: Frame, **events: Any) -> BacktestMetricsV2:
        names = ("trades", "open_trades", "fills", "funding_payments", "liquidations")
        source = SimpleNamespace(equity_curve=equity_curve, **{name: events.get(name, []) for name in names})
        return compute_proof_metrics(source, ProofConfig(float(equity_curve["equity"][0])))

    return proof


@pytest.fixture(scope="session")
def empyrical() -> Any:
    """An oracle. It brings pandas and scipy along: only a worker that asks it pays for them."""
    return import_module("empyrical")
