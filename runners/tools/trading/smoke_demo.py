"""The smoke test of a session: a sandbox in this process, a system on it over the wire, and the same bars through a backtest."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.machine import wall_ms
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import VenueError
from keel.core.model.messages import Fill
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import MINUTE_MS
from keel.runners.backtest.system_run import make_ready, run_backtest
from keel.runners.backtest.windows import NamedWindow
from keel.runners.home import Home
from keel.runners.live.demo import DemoOptions, DemoRun, run_demo
from keel.runners.sample import write_sample
from keel.runners.sandbox.assembly import stored_bars
from keel.runners.systems import LoadedSystem, load_system
from keel.runners.tools.registry import ToolContext, tool
from keel.runners.tools.trading.smoke import SmokeCheck, SmokeRequest, SmokeResponse
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings

_SPAN = ("2024-01-01", "2024-01-15")
_WINDOW = TimeRange.from_dates("2024-01-14", "2024-01-15")
_OVERRIDES = (
    "timeframe=15m", "execution_timeframe=1m", "warmup_bars=100", "params.threshold=0.8", "exits={stop_loss: {percent: 1}}",
)  # fmt: skip


@tool("smoke_demo", SmokeRequest, SmokeResponse)
def smoke_demo_tool(request: SmokeRequest, context: ToolContext) -> SmokeResponse:
    """Run a system over a sandbox in lock-step, twice with a restart between, and hold it against a backtest over the same bars."""
    with tempfile.TemporaryDirectory(prefix="keel-smoke-") as folder:
        home = Home(Path(folder))
        write_sample(home, ["BTCUSDT"], *_SPAN, request.seed, context.progress)
        loaded = load_system("momentum", home, _OVERRIDES)
        with HistoricalDataStore(home.store, read_only=True) as store:
            expected = run_backtest(make_ready(loaded, NamedWindow("smoke", _WINDOW), store), home, report=False, promote=False).result
            feed = _feed(store, loaded)
        with served(_settings(loaded), feed) as url:
            first = run_demo(loaded, home, DemoOptions(sandbox_url=url, max_bars=_middle(expected.fills), report=False))
            second = run_demo(loaded, home, DemoOptions(sandbox_url=url))
            truth = _truth(url)
        checks = _checks(first, second, [_essence(fill) for fill in expected.fills], truth)
    return SmokeResponse(ok=all(check.ok for check in checks), checks=checks)


def _middle(fills: list[Fill]) -> int:
    """The bar at whose end half of the fills, and at least one, will have been made: there the session is stopped, and started again."""
    at = fills[(len(fills) - 1) // 2].ts if fills else _WINDOW.start_ms
    return (at - _WINDOW.start_ms) // MINUTE_MS + 2


def _feed(store: HistoricalDataStore, loaded: LoadedSystem) -> Feed:
    system = loaded.config
    bars = stored_bars(store, system.symbols, _WINDOW, system.execution, timeframe=system.execution_timeframe or system.timeframe)
    return BarFeed(bars)


def _settings(loaded: LoadedSystem) -> SandboxSettings:
    account = AccountSettings(usdt=loaded.config.initial_equity)
    return SandboxSettings(pace="lockstep", limit_factor=1000.0, execution=loaded.config.execution, accounts=(account,))


def _checks(first: DemoRun, second: DemoRun, expected: list[Any], truth: Any) -> list[SmokeCheck]:
    made = [_essence(fill) for fill in second.result.fills]
    wallet = truth["wallet_units"]["USDT"]
    report = second.report
    return [
        SmokeCheck("it trades", len(made) > 0, f"{len(made)} fills, {len(second.result.trades)} closed trades"),
        SmokeCheck("a restart goes on", 0 < len(first.result.fills) < len(made), f"{len(first.result.fills)} fills before it"),
        SmokeCheck("the same fills as the backtest", made == expected, f"{len(expected)} expected"),
        SmokeCheck(
            "its books are the exchange's",
            second.ending.agrees and second.result.reconciliation.final_balance == wallet and not truth["problems"],
            f"difference {second.result.reconciliation.final_balance - wallet}",
        ),
        SmokeCheck("artifacts and report", report is not None and report.is_file(), "report.html"),
    ]


def _essence(fill: Fill) -> tuple[Any, ...]:
    """A fill without names, and without the reference price that only a simulation knows."""
    return fill.symbol, fill.ts, fill.side, fill.qty, fill.price, fill.fee, fill.realized_pnl, fill.reason


def _truth(url: str) -> Any:
    from urllib.request import urlopen

    with urlopen(f"{url}/admin/truth") as answer:  # a sandbox of this process, on the loopback
        return next(iter(msgspec.json.decode(answer.read())["accounts"].values()))


@contextmanager
def served(settings: SandboxSettings, feed: Feed) -> Iterator[str]:
    """A sandbox in a thread of its own, until the block ends; gives its URL."""
    started = threading.Event()
    made: dict[str, Any] = {}

    async def serve() -> None:
        server = SandboxServer(settings, feed, wall_ms)
        made["url"], made["server"], made["loop"] = await server.start(), server, asyncio.get_running_loop()
        started.set()
        try:
            await server.wait()
        finally:
            await server.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:  # noqa: BLE001  # told where it is waited for
            made["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=run, name="sandbox", daemon=True)
    thread.start()
    started.wait()
    if "url" not in made:
        raise VenueError(f"the sandbox did not start: {made.get('error')}")
    try:
        yield made["url"]
    finally:
        made["loop"].call_soon_threadsafe(made["server"].request_stop)
        thread.join(10.0)
