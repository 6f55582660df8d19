"""A session counts what a backtest of the same bars counts, says it at its end, and goes on counting after a restart."""

from __future__ import annotations

from pathlib import Path

from keel.core.results.funnel import Funnel
from keel.runners.backtest.funnel import run_funnel
from keel.runners.live.reporting.outcome import session_result
from tests.builders import DAY, START, builtin
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox
from tests.runners.live.test_same_decisions import both, marked_store

FROM, TO = START + 20 * DAY, START + 21 * DAY
DENIES = ("params.fast=2", "params.slow=5", "warmup_bars=50", "exits={stop_loss: {percent: 0.4}, take_profit: {percent: 1}}",
          "risk={cooldown_bars: 2}")  # fmt: skip


def counted(funnel: Funnel) -> dict[str, object]:
    """What a session's end does not change: it takes back what still rests."""
    return {name: value for name, value in funnel.counts().items() if name not in ("cancelled", "resting")}


def test_a_session_counts_what_the_backtest_counts(journals: Path) -> None:
    system, strategy = builtin("ema_cross", *DENIES)
    with marked_store() as store:
        parts, ran, _ = both(store, system, strategy, (FROM, TO), journals)
    venue = parts.venue
    there = run_funnel(parts.risk, parts.executor, parts.portfolio, fills=len(venue.fills), takeovers=len(venue.liquidations))
    result = session_result(ran.live, ran.ending, wall_s=1.0)
    here = result.funnel
    assert counted(here) == counted(there) and here.denied == there.denied and here.denied[0].reason == "cooldown_bars"
    assert (here.signals_missing, here.orders_missing, there.signals_missing) == (0, 0, 0)
    assert sum(each.unrealized_pnl for each in here.open) == result.reconciliation.unrealized
    (warning,) = result.warnings
    assert warning.startswith("denied: ") and "look at risk.cooldown_bars" in warning


def test_a_restart_goes_on_counting(journals: Path) -> None:
    system, strategy = builtin("ema_cross", *DENIES)
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        plan = plan_of(system, strategy, store, sandbox.url, journals)
        first = run_session(plan, max_bars=60)
        before = session_result(first.live, first.ending, wall_s=1.0).funnel
        again = run_session(plan)
    after = session_result(again.live, again.ending, wall_s=1.0).funnel
    assert 0 < before.signals < after.signals and 0 < before.fills <= after.fills
    assert after.denied[0].ts == before.denied[0].ts and after.denied[0].count >= before.denied[0].count
    assert (after.signals_missing, after.orders_missing) == (0, 0)
