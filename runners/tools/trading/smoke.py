"""The smoke test: a small invented history in a folder of its own, two built-in systems over it, each twice, and their books."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from keel.core.model.money import to_units
from keel.runners.home import Home
from keel.runners.sample import write_sample
from keel.runners.tools.registry import Request, Response, ToolContext, tool
from keel.runners.tools.research.backtest import BacktestRequest, BacktestResponse, backtest_run_tool

_SPAN = ("2024-01-01", "2024-02-10")
_WINDOW = ("2024-01-15", "2024-02-10")
_SYSTEMS = {"ema_cross": {"warmup_bars": 250}, "atr_breakout": {"warmup_bars": 80}}
"""Systems, and warm-up that the short history has: 14 days are 336 bars of 1h and 84 of 4h."""


class SmokeRequest(Request, frozen=True):
    """seed: of the invented history."""

    seed: int = 7


class SmokeCheck(msgspec.Struct, frozen=True):
    """One thing that must hold."""

    name: str
    ok: bool
    detail: str


class SmokeResponse(Response, frozen=True, kw_only=True):
    """ok: everything holds."""

    ok: bool
    checks: list[SmokeCheck]


@tool("smoke_backtest", SmokeRequest, SmokeResponse)
def smoke_backtest_tool(request: SmokeRequest, context: ToolContext) -> SmokeResponse:
    """Run two built-in systems over a small invented history, twice each: books that add up, the same bytes both times."""
    with tempfile.TemporaryDirectory(prefix="keel-smoke-") as folder:
        inner = ToolContext(Home(Path(folder)), context.progress)
        write_sample(inner.home, ["BTCUSDT"], *_SPAN, request.seed, context.progress)
        checks = [check for system, overrides in _SYSTEMS.items() for check in _system_checks(system, overrides, inner)]
    return SmokeResponse(ok=all(check.ok for check in checks), checks=checks)


def _system_checks(system: str, overrides: dict[str, int], context: ToolContext) -> list[SmokeCheck]:
    first, second = (_run(system, overrides, context) for _ in range(2))
    books, trades = first.reconciliation, first.metrics["total_trades"]
    net = to_units(books["final_equity"]) - to_units(books["initial_equity"])
    changes = ((1, "gross"), (-1, "slippage"), (-1, "fees"), (-1, "funding"), (-1, "liquidation_loss"), (1, "unrealized"))
    total = sum(sign * to_units(books[name]) for sign, name in changes)
    same = [name for name in ("trades.jsonl", "equity.csv") if _bytes(first, name) == _bytes(second, name)]
    is_same = first.message_hash == second.message_hash and len(same) == 2
    return [
        SmokeCheck(f"{system}: it trades", trades > 0, f"{trades} closed trades, net {books['net']} {first.quote}"),
        SmokeCheck(f"{system}: its books add up", net == total, f"difference {books['difference']}"),
        SmokeCheck(
            f"{system}: twice the same",
            is_same,
            f"hashes {first.message_hash[:12]}, {second.message_hash[:12]}; equal: {', '.join(same)}",
        ),
        SmokeCheck(f"{system}: it says that its history is invented", bool(first.trust["synthetic"]), "trust.synthetic"),
    ]


def _run(system: str, overrides: dict[str, int], context: ToolContext) -> BacktestResponse:
    request = BacktestRequest(system, overrides=dict(overrides), start=_WINDOW[0], end=_WINDOW[1])
    return backtest_run_tool.run(request, context)


def _bytes(run: BacktestResponse, name: str) -> bytes:
    return (Path(run.artifacts) / name).read_bytes()
