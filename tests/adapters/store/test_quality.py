"""Each check finds its own fault, with the time and the number of rows, and nothing in a clean series."""

from __future__ import annotations

import numpy as np
import pytest

START = 1_735_689_600_000
MINUTE = 60_000


def found(store):
    return {one.check: one for one in store.verify()}


def test_a_clean_series_has_no_findings(store, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(500), source="made")
    assert store.verify() == []


@pytest.mark.parametrize(
    ("sql", "check", "severity", "row", "count"),
    [
        ("INSERT INTO bars SELECT * FROM bars WHERE ts = ?", "duplicate", "error", 100, 1),
        ("UPDATE bars SET close = 'nan' WHERE ts = ?", "not_a_number", "error", 100, 1),
        ("UPDATE bars SET high = low - 1 WHERE ts = ?", "ohlc", "error", 100, 1),
        ("UPDATE bars SET low = -1 WHERE ts = ?", "ohlc", "error", 100, 1),
        ("UPDATE bars SET volume = 0 WHERE ts = ?", "zero_volume", "info", 100, 1),
        ("UPDATE bars SET high = high + 0.05 WHERE ts = ?", "off_grid", "warning", 100, 1),
        ("UPDATE bars SET high = high * 2, close = close * 2 WHERE ts = ?", "outlier", "warning", 100, 2),
        ("DELETE FROM bars WHERE ts = ?", "gap", "warning", 100, 1),
    ],
)
def test_each_fault_is_found(store, bars, sql, check, severity, row, count):
    store.upsert_bars("BTCUSDT", "1m", bars(2000), source="made")
    store._db.run(sql, [START + row * MINUTE])
    finding = found(store)[check]
    assert (finding.severity, finding.count, finding.ts, finding.symbol) == (severity, count, START + row * MINUTE, "BTCUSDT")


def test_rows_stored_out_of_order_are_told_and_read_in_order(store, bars):
    columns = bars(100)
    for part in (slice(50, 100), slice(0, 50)):
        store.upsert_bars("BTCUSDT", "1m", {name: column[part] for name, column in columns.items()}, source="made")
    assert found(store)["disorder"].severity == "info"
    assert store.get_ohlcv("BTCUSDT", "1m").close.tolist() == columns["close"].tolist()


def test_many_silent_bars_are_a_warning_and_a_funding_hole_is_found(store, bars):
    columns = bars(100)
    columns["volume"][10:20] = 0
    store.upsert_bars("BTCUSDT", "1m", columns, source="made")
    ts = START + np.array([0, 1, 2, 4, 5], dtype=np.int64) * 28_800_000
    store.upsert_funding("BTCUSDT", {"ts": ts, "funding_rate": np.zeros(5)}, source="made")
    findings = found(store)
    assert (findings["zero_volume"].severity, findings["zero_volume"].count) == ("warning", 10)
    assert (findings["gap"].kind, findings["gap"].ts) == ("funding", START + 3 * 28_800_000)
    assert store.verify("ETHUSDT") == [] and store.verify(env="demo") == []


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_bars_that_contradict_their_finer_bars_are_an_error(store, bars, column):
    store.upsert_bars("BTCUSDT", "1m", bars(600), source="made")
    hour = store.get_ohlcv("BTCUSDT", "1h").to_dict()
    store.upsert_bars("BTCUSDT", "1h", hour, source="made")
    assert store.verify() == []
    change = {"high": 0.1, "low": -0.1, "volume": 0.001}.get(column)
    for row in (4, 7):
        middle = (hour["high"][row] + hour["low"][row]) / 2
        hour[column][row] = hour[column][row] + change if change else np.nextafter(hour[column][row], middle)
    store.upsert_bars("BTCUSDT", "1h", hour, source="else")
    (finding,) = [one for one in store.verify() if one.severity == "error"]
    assert (finding.check, finding.timeframe, finding.count) == ("disagreement", "1h", 2)
    assert finding.ts == START + 4 * 60 * MINUTE and f"first 2025-01-01T04:00:00Z, {column} " in finding.detail
    assert "not what their 1m bars make" in finding.detail


def test_what_backtests_do_not_refuse_is_no_error(store, bars):
    """Volumes below half a step, coarse bars whose fine ones are not all there, and marks."""
    columns = bars(600)
    store.upsert_bars("BTCUSDT", "1m", {name: np.delete(column, 61) for name, column in columns.items()}, source="made")
    hour = store.get_ohlcv("BTCUSDT", "1h").to_dict()
    store.upsert_bars("BTCUSDT", "1h", hour | {"volume": hour["volume"] + 0.0004}, source="made")
    store.upsert_bars("BTCUSDT", "1h", bars(2, "1h", seed=5), source="made")
    hour_zero = {name: column[:1] for name, column in hour.items()}
    store.upsert_bars("BTCUSDT", "1h", hour_zero, source="made")
    assert {one.severity for one in store.verify()} <= {"warning", "info"}
    for timeframe, seed in (("1m", 1), ("5m", 2)):
        store.upsert_bars("BTCUSDT", timeframe, bars(60, timeframe, seed=seed), source="made", kind="mark")
    wrong = next(one for one in store.verify() if one.check == "disagreement")
    assert (wrong.severity, wrong.kind, wrong.timeframe) == ("warning", "mark", "5m")


def test_a_time_that_stands_twice_does_not_stop_the_comparison_of_the_others(store, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(600), source="made")
    five = store.get_ohlcv("BTCUSDT", "5m").to_dict()
    store.upsert_bars("BTCUSDT", "5m", five, source="made")
    store.upsert_bars("BTCUSDT", "1h", bars(10, "1h", seed=3), source="made")
    store._db.run("INSERT INTO bars SELECT * FROM bars WHERE ts = ? AND series_id = 1", [START + MINUTE])
    errors = [(one.check, one.timeframe) for one in store.verify() if one.severity == "error"]
    assert errors == [("duplicate", "1m"), ("disagreement", "1h")], "1h against 5m"


def test_built_bars_are_compared_with_stored_ones(store, bars):
    minute = bars(60)
    store.upsert_bars("BTCUSDT", "1m", minute, source="made")
    store.upsert_bars("BTCUSDT", "5m", store.get_ohlcv("BTCUSDT", "5m").to_dict(), source="made")
    assert store.check_built("BTCUSDT", "5m", "1m") is None
    columns = store.get_ohlcv("BTCUSDT", "5m").to_dict()
    columns["volume"] = columns["volume"] + 1e-9
    store.upsert_bars("BTCUSDT", "5m", columns, source="made")
    assert store.check_built("BTCUSDT", "5m", "1m") is None, "volume counts on the quantity step"
    columns["volume"] = columns["volume"] + np.eye(12)[7] * 0.001
    columns["high"] = columns["high"] + np.eye(12)[9] * 0.1
    store.upsert_bars("BTCUSDT", "5m", columns, source="made")
    wrong = store.check_built("BTCUSDT", "5m", "1m")
    assert (wrong.ts, wrong.column, wrong.count) == (START + 7 * 5 * MINUTE, "volume", 2)
