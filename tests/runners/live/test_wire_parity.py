"""A session over the wire against the backtest of the same bars: the same to the last unit, or the first difference named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import FundingPayment, Message
from keel.core.model.time_range import to_ms
from keel.core.system.config import SystemConfig, for_epoch
from keel.runners.home import Home
from keel.runners.live.memory.history import COMMANDS
from keel.runners.live.session.inbox import Inbox
from keel.runners.research.wire_parity.compare import WireDifference, first_difference, guess
from keel.runners.research.wire_parity.rows import KINDS, Side
from keel.runners.research.wire_parity.sides import as_on_the_wire, backtest_side, sandbox_bars, session_side
from keel.runners.sample import write_sample
from keel.runners.sandbox.assembly import StoredBars
from keel.runners.systems import LoadedSystem
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.trading.wire_parity import WireParityRequest, wire_parity_check_tool
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, START, builtin, made_ready
from tests.runners.live.elsewhere import NEWEST, replayed_elsewhere
from tests.runners.live.test_same_decisions import SYSTEMS, marked_store

pytestmark = pytest.mark.real_sockets  # HTTP and WebSocket included: that is what it proves
HOUR = 3_600_000
FROM, TO = START + 20 * DAY, START + 22 * DAY
SOON = FROM + 10 * HOUR
"""So far where one settlement of funding and a trade or two are enough."""
Found = tuple[Side, Side, WireDifference | None, str]


def compared(
    store: HistoricalDataStore, system: SystemConfig, strategy: type[BaseStrategy], span: tuple[int, int],
    plant: Callable[[StoredBars], None] = lambda bars: None, folder: Path | None = None, **sandbox_has: Any,
) -> Found:  # fmt: skip
    """(backtest, session, first difference, the session's problem). folder: of the session's journal, where it is to be kept."""
    prepared = made_ready(store, system, *span, strategy())
    prepared, _ = as_on_the_wire(prepared, bars := sandbox_bars(store, prepared))
    plant(bars)
    backtest = backtest_side(prepared)
    over = session_side(LoadedSystem(system, strategy, "test", "file"), store, bars, folder=folder, **sandbox_has)
    return backtest, over.side, first_difference(backtest, over.side, prepared.histories[0].execution), over.problem


def named(name: str, *overrides: str) -> tuple[SystemConfig, type[BaseStrategy]]:
    return builtin(name, *(() if any("warmup" in each for each in overrides) else ("warmup_bars=100",)), *overrides)


@pytest.mark.parametrize(
    ("name", "overrides", "until"),
    [
        ("ema_cross", ("params.fast=2", "params.slow=5"), SOON),
        *(pytest.param(*each, TO, marks=pytest.mark.long) for each in SYSTEMS),
    ],
)
def test_a_session_decides_as_the_backtest(name: str, overrides: tuple[str, ...], until: int) -> None:
    with marked_store() as store:
        backtest, session, difference, problem = compared(store, *named(name, *overrides), (FROM, until))
    assert difference is None and not problem
    assert backtest.counts() == session.counts() and backtest.rows["fills"] and backtest.rows["funding payments"]
    assert backtest.rows["final account"][0]["value"] == session.rows["final account"][3]["value"]  # our cash, the exchange's wallet


# --- planted differences ---


def planted(plant: Callable[[StoredBars], None] = lambda bars: None, **sandbox_has: Any) -> tuple[Side, WireDifference]:
    with marked_store() as store:
        backtest, _, difference, _ = compared(
            store, *named("ema_cross", "params.fast=2", "params.slow=5"), (FROM, SOON), plant, **sandbox_has
        )
    assert difference is not None
    return backtest, difference


def test_another_fee_is_named() -> None:
    def dearer(bars: StoredBars) -> None:
        for series in bars.columns:
            series.instrument = msgspec.structs.replace(series.instrument, taker_fee=60_000)

    backtest, found = planted(dearer)
    assert (found.kind, found.number, found.begins_in) == ("fills", 0, "fee")
    assert found.backtest == backtest.rows["fills"][0] and found.session is not None
    assert "fee rates differ" in found.cause and "0.000600" in found.cause and "0.000550" in found.cause


@pytest.mark.long
def test_one_altered_bar_is_named() -> None:
    def altered(bars: StoredBars) -> None:
        series = bars.columns[0]
        series.last = tuple(column.copy() for column in series.last)  # type: ignore[assignment]
        series.last[1][series.first + 100] += 0.1

    _, found = planted(altered)
    assert (found.kind, found.number, found.begins_in, found.symbol) == ("bars", 100, "bar", "BTCUSDT")
    assert found.bar_ts == FROM + 100 * 300_000 and "(high)" in found.cause
    assert found.session is not None and found.backtest is not None
    assert found.session["high"] == pytest.approx(found.backtest["high"] + 0.1)


def test_one_lost_message_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put, lost = Inbox.put, list[Message]()

    def forgetful(self: Inbox, message: Any) -> None:
        if isinstance(message, FundingPayment) and not lost:
            lost.append(message)
            return
        put(self, message)

    monkeypatch.setattr(Inbox, "put", forgetful)
    with marked_store() as store:
        _, _, found, _ = compared(store, *named("hold"), (FROM, SOON))
    assert found is not None and (found.kind, found.number, found.begins_in) == ("funding payments", 0, "funding")
    assert found.backtest is not None and found.backtest["ts"] == lost[0].ts  # type: ignore[attr-defined]


@pytest.mark.long
def test_another_slippage_is_a_fill_of_another_price() -> None:
    system, _ = named("ema_cross")
    _, found = planted(execution=msgspec.structs.replace(system.execution, slippage_bps=system.execution.slippage_bps + 5.0))
    assert (found.kind, found.number, found.begins_in) == ("fills", 0, "fill") and "price" in found.cause


# --- the comparison alone ---


def a_side(fills: list[dict[str, Any]], **kinds: list[dict[str, Any]]) -> Side:
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS if kind not in ("bars", "marks", "equity points")}
    return Side({}, rows | {"fills": fills} | kinds)


def test_of_several_differences_the_earliest_is_told_and_at_one_time_the_cause_before_its_effect() -> None:
    with marked_store() as store:
        system, strategy = named("hold")
        prepared = made_ready(store, system, FROM, TO, strategy())
    execution = prepared.histories[0].execution
    early, late = ({"ts": FROM + minutes * 60_000, "symbol": "BTCUSDT", "fee": 1, "price": 2.0, "qty": 1.0} for minutes in (7, 12))
    ours = a_side([early, late], orders=[{"ts": FROM + 600_000, "symbol": "BTCUSDT"}])
    found = first_difference(ours, a_side([early | {"fee": 2}, late], orders=[]), execution)
    assert found is not None and (found.kind, found.begins_in, found.bar_ts) == ("fills", "fee", FROM + 300_000)
    found = first_difference(ours, a_side([early, late | {"ts": FROM + 600_000}], orders=[]), execution)
    assert found is not None and found.kind == "orders" and found.bar_ts == FROM + 300_000 and found.session is None
    assert "did not decide here" in found.cause
    assert first_difference(ours, ours, execution) is None


def test_a_trailing_stop_is_told_as_what_differs_by_nature() -> None:
    row = {"ts": FROM, "symbol": "BTCUSDT", "fee": 1, "price": 2.0, "qty": 1.0, "reason": "trailing"}
    for other in (None, row | {"price": 3.0, "reason": "take_profit"}):
        assert "follows from the next bar on" in guess(WireDifference("fills", 0, "BTCUSDT", FROM, FROM, "fill", row, other))
    dearer = WireDifference("fills", 0, "BTCUSDT", FROM, FROM, "fee", row, row | {"fee": 2})
    assert "fee rates differ" in guess(dearer)


# --- the command ---


def test_the_tool_rounds_marks_that_no_exchange_publishes_and_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_sample(home, ["BTCUSDT"], "2024-01-01", "2024-01-12")
    told: list[tuple[int, int]] = []
    context = ToolContext(home, lambda label, done, total: told.append((done, total)))
    request = WireParityRequest("ema_cross", None, ["warmup_bars=100", "execution_timeframe=1h"], "2024-01-08", "2024-01-11")
    answer = wire_parity_check_tool.run(request, context)
    assert answer.identical and answer.difference is None and answer.problem == ""
    assert answer.compared["bars"] == answer.compared["equity points"] == 72
    assert answer.rounded_marks > 0
    assert told and told[-1][1] == 72


# --- a real month ---

REAL = [
    ("ema_cross", "5m", "2025-06-29", "mainnet"),
    ("rsi_reversion", "15m", "2025-06-29", "mainnet"),
    ("momentum", "15m", "2025-06-29", "mainnet"),
    ("hold", "1h", "2025-06-29", "mainnet"),
    ("inverse_vol_hold", "1h", "2025-06-29", "mainnet"),
    ("atr_breakout", "15m", "2025-06-29", "mainnet"),
    ("momentum", "15m", "2025-06-14", "demo"),
    ("ema_cross", "1m", "2025-06-02", "mainnet"),
]
"""(system, execution bars, end, profile): bars in sum as few as show it; a month of minutes takes the same way, a minute long."""


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.parametrize(("name", "timeframe", "until", "profile"), REAL)
def test_a_real_month(name: str, timeframe: str, until: str, profile: str, real_data: Path, tmp_path: Path) -> None:
    """BTCUSDT (a portfolio: with ETHUSDT) from 30 May 2025, filled inside bars of this timeframe; on demo under cross margin.
    Its journal is decided the same in another process, with another order of hashes, and by another Python where there is one."""
    system, strategy = builtin(name, f"execution_timeframe={timeframe}", *(("demo.margin_mode=cross",) if profile == "demo" else ()))
    system = for_epoch(system, "demo") if profile == "demo" else system
    with HistoricalDataStore(":memory:") as store:
        for folder in (f"kline_{timeframe}", "kline_1h", "kline_4h", "funding"):
            for symbol in system.symbols:
                store.import_file(real_data / "bybit" / "linear" / folder / f"{symbol}.parquet")
        span = (to_ms("2025-05-30"), to_ms(until))
        backtest, session, difference, problem = compared(store, system, strategy, span, folder=tmp_path, profile=profile)
    assert difference is None and not problem
    assert backtest.counts() == session.counts() and backtest.rows["fills"]
    (journal,) = [lock.parent for lock in tmp_path.glob("journals/*/*/lock")]
    for seed, python in (("12345", Path(sys.executable)), ("777", NEWEST)):
        if python.exists():
            answer = replayed_elsewhere(journal, tmp_path, seed, python)
            commands = sum(answer["compared"].get(kind.__name__, 0) for kind in COMMANDS)
            assert answer["identical"] and commands == len(session.rows["orders"]) > 0
