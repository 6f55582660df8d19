"""Sessions on sandboxes that differ from the backtest in one thing: each difference lands in its own part, and the parts add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import Fill
from keel.core.model.money import UNIT
from keel.runners.home import Home
from keel.runners.live.session_journal import find_session, load_code
from keel.runners.research.compare_live.parts import PARTS
from keel.runners.research.compare_live.whole import Comparison, compare_live
from tests.builders import DAY, START, builtin
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox
from tests.runners.live.test_same_decisions import marked_store

FROM, TO = START + 20 * DAY, START + 20 * DAY + DAY // 2
EMA = ("params.fast=2", "params.slow=5", "warmup_bars=50")


def session(
    tmp_path: Path, *overrides: str, name: str = "ema_cross", bars: tuple[int | None, ...] = (None,), between: Any = None, **sandbox: Any
) -> Comparison:
    system, strategy = builtin(name, *EMA if name == "ema_cross" else ("warmup_bars=50",), *overrides)
    played = msgspec.structs.replace(system, execution=msgspec.structs.replace(system.execution, funding="history"))
    if "execution" in sandbox:
        sandbox["execution"] = msgspec.structs.replace(system.execution, **sandbox["execution"])
    with marked_store() as store, stored_sandbox(store, played, FROM, TO, **sandbox) as exchange:
        for count in bars:
            ran = run_session(plan_of(system, strategy, store, exchange.url, tmp_path / "journals"), max_bars=count)
            assert ran.ending.failure is None
            if between is not None and count is not None:
                between(exchange)
    return compared(tmp_path, ran.live.journal.folder)


def compared(tmp_path: Path, folder: Path) -> Comparison:
    home = Home(tmp_path)
    journal = find_session(str(folder), home)
    found = compare_live(journal, load_code(journal, home, with_current_code=False).loaded, home)
    assert sum(found.parts.values()) == found.difference
    assert all(sum(row.parts.values()) == row.difference for row in found.rows)
    return found


def kept(found: Comparison) -> dict[str, int]:
    return {name: amount for name, amount in found.parts.items() if amount}


def test_a_session_that_trades_as_its_backtest_has_no_difference(tmp_path: Path) -> None:
    found = session(tmp_path)
    assert found.difference == 0 and kept(found) == {} and len(found.rows) > 1
    assert set(found.parts) == set(PARTS)


@pytest.mark.long
def test_slippage_lands_in_slippage(tmp_path: Path) -> None:
    found = session(tmp_path, execution={"slippage_bps": 6.0})
    assert found.parts["slippage"] < 0 and abs(found.parts["slippage"]) > 0.8 * abs(found.difference)
    assert found.parts["timing"] == found.parts["latency"] == found.parts["missed"] == 0


@pytest.mark.long
def test_latency_of_whole_bars_lands_in_latency(tmp_path: Path) -> None:
    found = session(tmp_path, execution={"latency_ms": 600_000})
    assert found.parts["latency"] != 0 and found.parts["timing"] == found.parts["missed"] == found.parts["extra"] == 0
    assert abs(found.parts["latency"]) > 20 * abs(found.parts["slippage"])


@pytest.mark.long
def test_fees_land_in_fee(tmp_path: Path) -> None:
    found = session(tmp_path, execution={"taker_fee": 0.001})
    assert set(kept(found)) <= {"fee", "size"} and found.parts["fee"] < 0
    assert found.parts["fee"] < found.difference - abs(found.parts["size"]) + 1


@pytest.mark.long
def test_funding_that_the_backtest_does_not_pay_lands_in_funding(tmp_path: Path) -> None:
    found = session(tmp_path, "execution.funding=none", name="hold")
    assert found.parts["funding"] != 0 and set(kept(found)) <= {"funding"}


def test_bars_in_which_no_session_ran_are_missed_or_late_and_nothing_else(tmp_path: Path) -> None:
    found = session(tmp_path, bars=(20, None), between=lambda exchange: exchange.step(50))
    assert found.sessions == 2 and found.difference != 0
    assert found.parts["missed"] + found.parts["timing"] + found.parts["extra"] != 0
    assert abs(found.parts["slippage"]) < UNIT and found.parts["data"] == found.parts["outside"] == 0
    assert any(row.live is None for row in found.rows) or found.parts["timing"]


def test_what_closed_a_position_from_outside_is_extra_and_money_from_outside_is_no_profit(tmp_path: Path) -> None:
    def outside(exchange: Any) -> None:
        exchange.post("/admin/account", {"do": "adl", "symbol": "BTCUSDT"})
        exchange.post("/admin/account", {"do": "transfer", "amount": "500"})
        exchange.step(3)

    found = session(tmp_path, name="hold", bars=(30, None), between=outside)
    assert found.parts["extra"] != 0 and all(abs(amount) < 450 * 10**8 for amount in found.parts.values())
    assert found.parts["outside"] == 0
    assert any(each.cash_change == 500 * 10**8 for each in found.adjusted)


def test_an_altered_bar_is_data(tmp_path: Path) -> None:
    """The store says otherwise than what the session heard."""
    system, strategy = builtin("ema_cross", *EMA)
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as exchange:
        ran = run_session(plan_of(system, strategy, store, exchange.url, tmp_path / "journals"))
        kept_store = Home(tmp_path).store
        kept_store.parent.mkdir(parents=True)
        fill = ran.of(Fill)[0]
        with HistoricalDataStore(kept_store) as other:
            other.upsert_instrument(store.instrument("BTCUSDT"))
            for timeframe in ("5m", "1h"):
                frame = store.find("BTCUSDT", timeframe, START, START + 40 * DAY)
                assert frame is not None
                columns = {"ts": frame.ts, **{name: frame[name].copy() for name in ("open", "high", "low", "close", "volume")}}
                row = int((frame.ts == fill.ts).argmax())  # type: ignore[attr-defined]
                columns["open"][row] += 5.0
                columns["high"][row] = max(columns["high"][row], columns["open"][row])
                other.upsert_bars("BTCUSDT", timeframe, columns, source="test")
            funding = store.find("BTCUSDT", "", START, START + 40 * DAY, kind="funding")
            assert funding is not None
            other.upsert_funding("BTCUSDT", {"ts": funding.ts, "funding_rate": funding["funding_rate"]}, source="test")
    found = compared(tmp_path, ran.live.journal.folder)
    assert set(kept(found)) == {"data"} and found.note == ""
    assert found.bars.startswith("the store's bars; data")


def test_a_session_in_which_no_funding_was_settled_is_compared(tmp_path: Path) -> None:
    found = session(tmp_path, bars=(36,))
    assert kept(found) == {} and found.rows and found.window.end_ms - FROM == 3 * 3_600_000


def test_what_features_read_beside_bars_is_what_the_session_knew(tmp_path: Path) -> None:
    features = "features={rate: {input: funding_rate, fn: SMA, timeperiod: 30}}"
    found = session(tmp_path, "params.threshold=1", features, name="momentum", bars=(72,))
    assert kept(found) == {} and found.rows


@pytest.mark.long
def test_a_session_that_ended_inside_a_decision_bar_is_compared_up_to_the_bar_before(tmp_path: Path) -> None:
    found = session(tmp_path, bars=(103,))
    assert (found.window.end_ms - FROM) % 3_600_000 == 0 and found.window.end_ms - FROM == 8 * 3_600_000
    assert kept(found) == {} and found.rows
