"""The demo runner: a system on a demo account, or on a sandbox of this machine, as its DEMO epoch.

A sandbox is a rehearsal: its runs are kept under ``<system>-sandbox``, and do not count as the strategy's life.
"""

from __future__ import annotations

from dataclasses import replace

from adapters.bybit.endpoints import Environment
from runners.epoch import StrategyEpoch
from runners.home import Home
from runners.live.left_out import SomeNotTrading
from runners.session_run import Beside, Course, SessionOptions, SessionRun, plan_session, run_course, without_symbols
from runners.systems import LoadedSystem
from strategies.base import PortfolioStrategy

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
    loaded = without_symbols(loaded, options.without)
    is_sandbox = options.sandbox_url is not None
    system = loaded.config
    plan = plan_session(loaded, home, options, StrategyEpoch.DEMO, Environment.SANDBOX if is_sandbox else Environment.DEMO)
    course = Course(
        StrategyEpoch.DEMO,
        f"{system.system}-sandbox" if is_sandbox else system.system,
        "demo session",
        rules=None if is_sandbox else system.promotion.get("demo"),
        next_epoch=StrategyEpoch.LIVE,
    )
    return run_course(plan, home, options, course, beside=beside)
