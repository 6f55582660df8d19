"""Fixtures and settings of all rooms' tests."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from keel.core.model.frame import Frame
from keel.core.model.messages import FundingPayment
from keel.core.model.time_range import TimeRange
from keel.core.model.trade import Trade
from keel.core.results.result import BacktestResult, Reconciliation
from keel.core.system.config import SystemConfig
from tests.covering import mark_long

ROOT = Path(__file__).resolve().parents[1]
if sys.dont_write_bytecode:
    # PYTHONDONTWRITEBYTECODE would make each worker compile every test anew, and each process that a test starts all of keel: a quarter of
    # the whole time.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A failing example is printed with what reproduces it; deadlines would time the machine, not the code.
settings.register_profile("quick", deadline=None, max_examples=15)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts its background jobs deaf to interrupts, and so their children
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: a few tests wait for sockets and processes, and each worker more collects all tests once more."""
    return 1 + (os.cpu_count() or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each worker compiles another part of the tests first, and finds the rest compiled by the others: they collect all in one order, and
    would compile everything each. What cannot be imported is told when it is collected."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    folders = [Path(each) for each in session.config.args if Path(each).is_dir()]
    files = sorted(path for folder in folders for path in folder.resolve().rglob("test_*.py") if path.is_relative_to(ROOT))
    begin = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for path in files[begin:] + files[:begin]:
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What covers the tables stays in the quick suite; the other combinations are long."""
    mark_long(items)


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks and sockets of sessions in a folder of the tests' own, for what they start, too."""
    before = os.environ.get("KEEL_STATE")
    os.environ["KEEL_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["KEEL_STATE"]
    else:
        os.environ["KEEL_STATE"] = before


@pytest.fixture(scope="session")
def compiled_kernel(pytestconfig: pytest.Config) -> None:
    """The kernel, from pytest's cache; where that has none yet one worker compiles it, and the others wait for it: it takes longer than
    what they test."""
    from keel.runners.backtest.kernel_run import kernel_fingerprint
    from keel.sim.kernel import load

    folder = pytestconfig.cache.mkdir("keel-kernel")
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        load(str(folder / kernel_fingerprint()))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real market data, from KEEL_REAL_DATA; tests that ask for it are marked real_data and run by make test-all."""
    folder = os.environ.get("KEEL_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("KEEL_REAL_DATA does not name a folder of market data")
    return Path(folder).resolve()


@pytest.fixture
def small_result() -> Callable[..., BacktestResult]:
    """Makes a small finished backtest whose money adds up: two closed trades, an open one, funding, a denied signal."""

    def make(**changes: Any) -> BacktestResult:
        hour, start = 3_600_000, 1_735_689_600_000
        first = Trade(
            number=1, symbol="BTCUSDT", side="LONG", entry_ts=start + hour, entry_price=94_000.1, qty=0.1, entry_notional=940_001_000_000,
            exit_ts=start + 3 * hour, exit_price=95_000.5, exit_notional=950_005_000_000, gross_pnl=10_004_000_000, fees=1_039_503_300,
            funding=-12_345_678, entry_fees=517_000_550, entry_order=1, exit_order=2, fills=2, exit_reason="signal", strategy="ema_cross",
        )  # fmt: skip
        second = Trade(
            number=2, symbol="BTCUSDT", side="SHORT", entry_ts=start + 3 * hour, entry_price=95_000.5, qty=0.001,
            entry_notional=9_500_050_000,
            exit_ts=start + 4 * hour, exit_price=95_100.0, exit_notional=9_510_000_000, gross_pnl=-9_950_000, fees=10_455_528,
            entry_order=2, exit_order=3, fills=2, exit_reason='stop_loss, "hard"', strategy="ema_cross",
        )  # fmt: skip
        left = Trade(
            number=3,
            symbol="BTCUSDT",
            side="LONG",
            entry_ts=start + 4 * hour,
            entry_price=95_100.0,
            qty=0.01,
            entry_notional=95_100_000_000,
        )
        final = 1_000_000_000_000 + 9_994_050_000 - 1_049_958_828 + 12_345_678
        content: dict[str, Any] = {
            "system": SystemConfig(system="ema_cross", strategy="ema_cross", symbols=["BTCUSDT"], timeframe="1h"),
            "window": TimeRange(start, start + 24 * hour),
            "metrics": {"net_profit": 89.5643685, "sharpe": None, "total_trades": 2, "win_rate": 50.0, "final_equity": 10_089.5643685},
            "metric_notes": {"sharpe": "fewer than 30 days"},
            "proof": {"drawdown": {"longest_days": 0.5, "underwater": np.zeros(500)}, "monthly": [["2025-01", 0.9]]},
            "trades": [first, second],
            "open_trades": [left],
            "fills": [],
            "funding_payments": [
                FundingPayment("BTCUSDT", start + 2 * hour, -12_345_679, -1000, 94_500.0, 0.1),
                FundingPayment("BTCUSDT", start + 8 * hour, 1, 1000, 94_500.0, 0.01),
            ],
            "liquidations": [],
            "equity_curve": Frame(
                start + hour * np.arange(25),
                {"equity": 10_000 + np.linspace(0, 89.5643685, 25), "equity_worst": np.full(25, 1e-7), "margin": np.full(25, 1 / 3)},
            ),
            "reconciliation": Reconciliation(
                1_000_000_000_000, 9_994_050_000, 0, 1_049_958_828, -12_345_678, 0, 0, final_balance=final, final_equity=final
            ),
            "trust": {"open_is_previous_close": True, "ambiguous_bars": 0},
            "timing": {"run_s": 0.25},
            "order_log": [{"ts": start, "symbol": "BTCUSDT", "kind": "denied", "reason": "max_position_usd"}],
        }
        return BacktestResult(**(content | changes))

    return make
