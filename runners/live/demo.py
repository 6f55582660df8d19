"""The demo runner: a system on a demo account, or on a sandbox of this machine, as its DEMO epoch.

A sandbox is a rehearsal: its runs are kept under ``<system>-sandbox``, and do not count as the strategy's life.
"""

from __future__ import annotations

from dataclasses import replace

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import SafetyError
from keel.runners.epoch import StrategyEpoch
from keel.runners.home import Home
from keel.runners.lifecycle.promotion import standing
from keel.runners.lifecycle.promotion_record import place_of, strategy_id
from keel.runners.live.session_run import Beside, Course, SessionOptions, SessionRun, plan_session, run_course, without_symbols
from keel.runners.live.startup.left_out import SomeNotTrading
from keel.runners.systems import LoadedSystem
from keel.strategies.base import PortfolioStrategy

DemoOptions = SessionOptions
DemoRun = SessionRun


def run_demo(loaded: LoadedSystem, home: Home, options: DemoOptions, *, beside: Beside | None = None) -> DemoRun:
    """Run until Ctrl-C, the sandbox's end, or a fault. Raises KeelErrors; what a fault left behind is in the artifacts all the same.

    A portfolio goes on without symbols that do not trade, and says so; any other system is refused then.  beside: runs along with the
    session (the display).
    """
    try:
        return _run(loaded, home, options, beside)
    except SomeNotTrading as error:
        if not issubclass(loaded.strategy, PortfolioStrategy):
            raise
        without = (*options.without, *error.symbols)
        return _run(loaded, home, replace(options, without=without, why_without=error.symbols), beside)


def _run(loaded: LoadedSystem, home: Home, options: DemoOptions, beside: Beside | None) -> DemoRun:
    place = place_of(options.sandbox_url)
    is_sandbox = place == "sandbox"
    untested = "" if is_sandbox else check_promotion(loaded, home)
    loaded = without_symbols(loaded, options.without)
    system = loaded.config
    plan = plan_session(loaded, home, options, StrategyEpoch.DEMO, Environment.SANDBOX if is_sandbox else Environment.DEMO)
    course = Course(
        StrategyEpoch.DEMO,
        strategy_id(system.system, place),
        "demo session",
        rules=None if is_sandbox else system.promotion.get("live"),
        next_epoch=StrategyEpoch.LIVE,
        recorded={"untested": untested} if untested else {},
    )
    return run_course(replace(plan, untested=untested), home, options, course, beside=beside)


def check_promotion(loaded: LoadedSystem, home: Home) -> str:
    """A system with rules for demo has a promotion that holds; returns the reason for which it was waved through untested, "" where it was
    not. One without rules is as free as the life cycle leaves it, but for a damaged record: that may have said untested. Raises
    SafetyError, which says what has changed and the way out."""
    found = standing(loaded, "demo", home)
    if found.is_damaged or (loaded.config.promotion.get("demo") and not found.holds):
        raise SafetyError(f"{found.why}: {found.way_out}")
    return found.record.because if found.holds and found.record is not None and found.record.is_untested else ""
