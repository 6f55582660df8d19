"""A run's files: exact, the same bytes each time, whole or not there."""

from __future__ import annotations

import csv
import json
import math
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.adapters.artifacts import (
    money_of,
    read_run,
    read_trades,
    trade_row,
    write_config,
    write_metrics,
    write_result,
)
from keel.adapters.curve_files import read_equity, same_curve, write_curve
from keel.adapters.plain_data import canonical_json, plain
from keel.adapters.whole_file import append_line, whole_file, write_bytes
from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.model.frame import Frame
from keel.core.model.messages import Liquidation
from keel.core.model.money import UNIT, to_text
from keel.core.model.trade import Trade
from keel.core.results.funnel import Funnel, OpenTrade
from keel.core.results.result import BacktestResult, Reconciliation, StopReason
from tests.builders import START

Make = Callable[..., BacktestResult]
FILES = {"trades.jsonl", "trades.csv", "equity.csv", "equity.parquet", "result.json", "results.json", "summary.json"}
COMPARED = ("trades.jsonl", "trades.csv", "equity.csv")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def loaded(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_finished_backtest_leaves_exactly_these_files(tmp_path: Path, small_result: Make) -> None:
    write_result(tmp_path, small_result())
    assert names(tmp_path) == FILES


def test_trades_hold_exact_money_and_shortest_prices(tmp_path: Path, small_result: Make) -> None:
    write_result(tmp_path, small_result())
    first, second = (json.loads(line) for line in (tmp_path / "trades.jsonl").read_text().splitlines())
    wanted = {
        "number": 1,
        "side": "LONG",
        "entry_time": "2025-01-01T01:00:00Z",
        "exit_time": "2025-01-01T03:00:00Z",
        "entry_price": 94_000.1,
        "qty": 0.1,
        "entry_notional": "9400.01",
        "gross_pnl": "100.04",
        "fees": "10.395033",
        "funding": "-0.12345678",
        "net_pnl": "89.76842378",
        "holding_ms": 7_200_000,
        "entry_order": 1,
        "exit_order": 2,
    }
    assert {name: first[name] for name in wanted} == wanted
    assert (second["gross_pnl"], second["net_pnl"]) == ("-0.0995", "-0.20405528")
    text = (tmp_path / "trades.jsonl").read_text()
    assert '"entry_price":94000.1,"qty":0.1,' in text


def test_the_csv_has_the_same_rows_as_the_json_lines(tmp_path: Path, small_result: Make) -> None:
    write_result(tmp_path, small_result())
    with (tmp_path / "trades.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    lines = [json.loads(line) for line in (tmp_path / "trades.jsonl").read_text().splitlines()]
    assert rows == [{name: "" if value is None else str(value) for name, value in line.items()} for line in lines]


def test_money_in_the_summary_is_exact(tmp_path: Path, small_result: Make) -> None:
    """A sum of floats is off in its last digits; the books know better."""
    off = {"net_profit": 89.56436849999991, "final_equity": 10_089.564368500001, "fees": 10.499588280000003, "sharpe": 1 / 3}
    write_result(tmp_path, small_result(metrics=off, warnings=["liquidated: all of it"]))
    summary = loaded(tmp_path / "summary.json")
    assert (summary["net_profit"], summary["final_equity"], summary["fees"]) == (89.5643685, 10_089.5643685, 10.49958828)
    assert summary["sharpe"] == 1 / 3
    assert summary["warnings"] == loaded(tmp_path / "results.json")["warnings"] == ["liquidated: all of it"]


def test_without_trades_the_csv_is_its_header(tmp_path: Path, small_result: Make) -> None:
    for name, changes in (("a", {}), ("b", {"trades": []})):
        (tmp_path / name).mkdir()
        write_result(tmp_path / name, small_result(**changes))
    assert (tmp_path / "b" / "trades.csv").read_text() == (tmp_path / "a" / "trades.csv").read_text().splitlines(keepends=True)[0]
    assert (tmp_path / "b" / "trades.jsonl").read_bytes() == b""


def test_compared_files_carry_no_run_and_no_clock(tmp_path: Path, small_result: Make) -> None:
    for name, changes in (("a", {"run_id": "run-aaaaaaaaaaaa"}), ("b", {"run_id": "run-bbbbbbbbbbbb", "timing": {"run_s": 9.0}})):
        (tmp_path / name).mkdir()
        write_result(tmp_path / name, small_result(**changes), {"run_id": changes["run_id"], "ended": name})
    for file in COMPARED:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert loaded(tmp_path / "a" / "result.json") | {"run_id": "", "timing": 0} == loaded(tmp_path / "b" / "result.json") | {
        "run_id": "",
        "timing": 0,
    }


def test_results_hold_every_metric_its_note_and_the_proof_without_columns(tmp_path: Path, small_result: Make) -> None:
    result = small_result()
    write_result(tmp_path, result, {"run_id": "run-1", "status": "completed", "passed": True})
    results = loaded(tmp_path / "results.json")
    assert results["metrics"] == result.metrics
    assert results["notes"] == {"sharpe": "fewer than 30 days"}
    assert results["proof"] == {"drawdown": {"longest_days": 0.5}, "monthly": [["2025-01", 0.9]]}
    assert results["funnel"] == result.funnel.to_plain()
    assert loaded(tmp_path / "summary.json") == {
        "run_id": "run-1",
        "status": "completed",
        "stop_reason": None,
        "warnings": [],
        "passed": True,
        "funnel": result.funnel.counts(),
        "open_trades": [],
        "dust": [],
        "net_profit": 89.5643685,
        "final_equity": 10_089.5643685,
        "sharpe": None,
        "win_rate": 50.0,
        "total_trades": 2,
    }


def test_the_structured_result_says_what_the_run_rests_on(tmp_path: Path, small_result: Make) -> None:
    stop = StopReason("account_blown", 1_735_700_000_000, "equity 0")
    bust = Liquidation("BTCUSDT", 1_735_700_000_000, "SELL", 0.1, 90_000.0, 90_100.0, 89_900.5, 5 * UNIT, 1)
    write_result(tmp_path, small_result(stop_reason=stop, liquidations=[bust]))
    stored = loaded(tmp_path / "result.json")
    assert stored["reconciliation"]["fees"] == "10.49958828"
    assert stored["reconciliation"]["difference"] == "0"
    assert stored["funding"] == {"BTCUSDT": {"payments": 2, "paid": "0.00000001", "received": "0.12345679", "net": "-0.12345678"}}
    assert stored["open_trades"][0]["exit_time"] is None
    assert stored["liquidations"][0]["loss"] == "5"
    assert stored["stop_reason"]["code"] == "account_blown"
    assert stored["counts"]["equity_rows"] == 25
    assert stored["system"]["execution"]["slippage_bps"] == 1.0
    assert stored["window"]["start"] == "2025-01-01T00:00:00Z"
    assert stored["order_log"][0]["reason"] == "max_position_usd"
    assert list(stored)[-1] == "timing"
    assert loaded(tmp_path / "results.json")["stop_reason"] == "account_blown"


def test_what_was_written_is_read_back_bit_by_bit(tmp_path: Path, small_result: Make) -> None:
    result = small_result()
    write_config(tmp_path, {"params": {"fast": 20}})
    write_result(tmp_path, result)
    files, curve = read_run(tmp_path), read_equity(tmp_path)
    assert files.config == {"params": {"fast": 20}}
    assert files.results is not None and files.results["metrics"] == result.metrics
    assert read_trades(tmp_path) == result.trades
    assert curve.columns == result.equity_curve.columns
    for name in ("ts", *curve.columns):
        assert np.array_equal(curve.to_dict()[name], result.equity_curve.to_dict()[name]), name


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=12)
@given(st.lists(FLOATS, min_size=1, max_size=150))
def test_every_finite_float_survives_equity_csv(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    folder = tmp_path_factory.mktemp("equity")
    write_curve(folder, Frame(60_000 * np.arange(len(values)), {"equity": np.array(values)}))
    with (folder / "equity.csv").open() as file:
        assert [float(row["equity"]) for row in csv.DictReader(file)] == values
    assert read_equity(folder)["equity"].tolist() == values
    (folder / "equity.parquet").unlink()
    assert read_equity(folder)["equity"].tolist() == values


@given(st.integers(-(10**17), 10**17), st.integers(0, 10**17), st.integers(-(10**12), 10**12))
def test_a_trades_texts_are_its_money_exactly(gross: int, fees: int, funding: int) -> None:
    trade = Trade(
        number=1,
        symbol="X",
        side="LONG",
        entry_ts=0,
        entry_price=1.0,
        qty=1.0,
        entry_notional=1,
        gross_pnl=gross,
        fees=fees,
        funding=funding,
    )
    row = trade_row(trade)
    assert Decimal(row["net_pnl"]) == Decimal(row["gross_pnl"]) - Decimal(row["fees"]) - Decimal(row["funding"])
    assert Decimal(row["gross_pnl"]) * UNIT == gross


def test_distance_to_liquidation_is_empty_where_flat(tmp_path: Path) -> None:
    columns = {"equity": np.array([1.0, 2.0, 3.0]), "liquidation_distance_pct": np.array([np.nan, 5.25, np.inf])}
    write_curve(tmp_path, Frame(60_000 * np.arange(3), columns))
    assert [row["liquidation_distance_pct"] for row in csv.DictReader((tmp_path / "equity.csv").read_text().splitlines())] == [
        "",
        "5.25",
        "",
    ]
    for name in ("equity.parquet", "equity.csv"):
        assert np.array_equal(read_equity(tmp_path)["liquidation_distance_pct"], [np.nan, 5.25, np.nan], equal_nan=True), name
        (tmp_path / name).unlink()


def test_the_parquet_file_has_the_rows_of_the_csv(tmp_path: Path, small_result: Make) -> None:
    """As a program that knows nothing of keel reads them."""
    write_result(tmp_path, small_result())
    csv_rows, parquet = (duckdb.sql(f"SELECT * FROM '{tmp_path}/equity.{kind}'") for kind in ("csv", "parquet"))  # noqa: S608 (a path of our own)
    assert csv_rows.columns == parquet.columns and csv_rows.fetchall() == parquet.fetchall()
    assert parquet.types[:2] == ["TIMESTAMP WITH TIME ZONE", "BIGINT"]


def test_the_curve_is_read_from_the_parquet_file_where_there_is_one(tmp_path: Path, small_result: Make) -> None:
    write_result(tmp_path, small_result())
    (tmp_path / "equity.csv").write_text("time,ts,equity\n")
    assert len(read_equity(tmp_path)) == 25


def test_curves_are_the_same_by_either_file(tmp_path: Path) -> None:
    """A Parquet file of another DuckDB may have other bytes; a run of before has none."""
    folders = [tmp_path / name for name in ("a", "b", "other", "none", "no_more")]
    for folder in folders:
        folder.mkdir()
    a, b, other, *neither = folders
    for folder, last in ((a, 2.0), (b, 2.0), (other, 3.0)):
        write_curve(folder, Frame(60_000 * np.arange(2), {"equity": np.array([1.0, last])}))
    assert same_curve(a, b) is True and same_curve(a, other) is False
    assert same_curve(a, neither[0]) is False and same_curve(*neither) is None
    (b / "equity.parquet").unlink()
    assert same_curve(a, b) is True and same_curve(b, other) is False


UNSOUND: list[tuple[str, Any]] = [
    ("metrics", {"sharpe": float("nan")}),
    ("metrics", {"sharpe": np.float64("inf")}),
    ("metrics", {"net_profit": object()}),
    ("proof", {"part": {"ratio": -math.inf}}),
    ("trust", {"source": {"mark": float("nan")}}),
    ("order_log", [{"reason": lambda: None}]),
    ("equity_curve", Frame(np.arange(2), {"equity": np.array([1.0, np.nan])})),
]


@pytest.mark.parametrize(("name", "value"), UNSOUND)
def test_an_unsound_result_leaves_no_file(tmp_path: Path, small_result: Make, name: str, value: Any) -> None:
    with pytest.raises(InvariantError):
        write_result(tmp_path, small_result(**{name: value}))
    assert names(tmp_path) == set()


def test_an_unsound_trade_leaves_no_file(tmp_path: Path, small_result: Make) -> None:
    trade = msgspec.structs.replace(small_result().trades[0], entry_price=math.nan)
    with pytest.raises(InvariantError, match=r"trade 1\.entry_price is nan"):
        write_result(tmp_path, small_result(trades=[trade]))
    assert names(tmp_path) == set()


def test_a_config_that_is_not_plain_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvariantError, match=r"config\.params\.x is a object"):
        write_config(tmp_path, {"params": {"x": object()}})
    assert names(tmp_path) == set()


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Files may not grow beyond so many bytes: what a full disk does to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_full_disk_leaves_whole_files_or_none(tmp_path: Path, small_result: Make, full_disk: Callable[[int], None], size: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    write_result(tmp_path / "whole", small_result())
    full_disk(size)
    with pytest.raises(DataError, match="could not be written"):
        write_result(tmp_path / "cut", small_result())
    for path in (tmp_path / "cut").iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert not (tmp_path / "cut" / "summary.json").exists()


def test_a_full_disk_stops_the_equity_curve_too(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(1000)
    with pytest.raises(DataError, match=r"equity\.csv could not be written"):
        write_curve(tmp_path, Frame(60_000 * np.arange(5000), {"equity": np.linspace(1, 2, 5000)}))
    assert names(tmp_path) == set()


def test_a_writer_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(RuntimeError), whole_file(tmp_path / "file") as part:
        part.write_bytes(b"ne")
        raise RuntimeError
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_a_line_after_a_torn_one_stands_by_itself(tmp_path: Path) -> None:
    append_line(tmp_path / "logs" / "x.jsonl", b"one")
    with (tmp_path / "logs" / "x.jsonl").open("ab") as file:
        file.write(b'{"torn')
    append_line(tmp_path / "logs" / "x.jsonl", b"two")
    assert (tmp_path / "logs" / "x.jsonl").read_bytes() == b'one\n{"torn\ntwo\n'


def test_metrics_alone_give_results_and_summary(tmp_path: Path) -> None:
    error = {"type": "ZeroDivisionError", "message": "division by zero", "traceback": "..."}
    write_metrics(tmp_path, {}, {"run_id": "run-1", "status": "failed", "error": error})
    assert names(tmp_path) == {"results.json", "summary.json"}
    assert loaded(tmp_path / "summary.json")["error"] == "ZeroDivisionError: division by zero"
    assert loaded(tmp_path / "results.json")["error"] == error


DAMAGE = [("config.json", b'{"a": 1'), ("results.json", b"[1]"), ("summary.json", b""), ("result.json", b"\xff")]


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_a_damaged_file_is_named(tmp_path: Path, small_result: Make, name: str, content: bytes) -> None:
    write_config(tmp_path, {})
    write_result(tmp_path, small_result())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_run(tmp_path)


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the folder of a run"):
        read_run(tmp_path)


def test_a_damaged_trade_is_named_with_its_line(tmp_path: Path, small_result: Make) -> None:
    write_result(tmp_path, small_result())
    content = (tmp_path / "trades.jsonl").read_bytes()
    (tmp_path / "trades.jsonl").write_bytes(content[:-20])
    with pytest.raises(DataError, match="line 2"):
        read_trades(tmp_path)
    (tmp_path / "equity.parquet").write_bytes((tmp_path / "equity.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"equity\.parquet cannot be read"):
        read_equity(tmp_path)
    (tmp_path / "equity.parquet").unlink()
    (tmp_path / "equity.csv").write_text("time,ts,equity\n2025-01-01T00:00:00Z,17356896,abc\n")
    with pytest.raises(DataError, match=r"equity\.csv cannot be read"):
        read_equity(tmp_path)


@given(*[st.integers(-(10**15), 10**15)] * 7)
def test_a_reconciliations_texts_add_up_as_its_integers(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:
    money = Reconciliation(a, b, c, d, e, f, g, final_balance=0, final_equity=a + b - c - d - e - f + g)
    text = {name: Decimal(amount) for name, amount in money_of(money).items()}
    changes = text["gross"] - text["slippage"] - text["fees"] - text["funding"] - text["liquidation_loss"] + text["unrealized"]
    assert text["final_equity"] == text["initial_equity"] + changes
    assert text["difference"] == 0
    assert money_of(replace(money, fees=d + 1))["difference"] == to_text(1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_plain_data_stay_as_they_are_and_hash_by_content(value: dict[str, Any]) -> None:
    assert plain(value, "value") == value
    assert canonical_json(value, "value") == canonical_json(dict(reversed(list(value.items()))), "value")
    assert json.loads(canonical_json(value, "value")) == value


def test_a_users_mistake_is_the_users_error() -> None:
    with pytest.raises(ConfigError, match=r"metrics\.sharpe is nan"):
        plain({"sharpe": np.float32("nan")}, "metrics", ConfigError)
    assert plain({"a": np.int64(3), "b": np.array([1.5]), "c": (1, np.bool_(True)), "d": Path("x")}, "m") == {
        "a": 3,
        "b": [1.5],
        "c": [1, True],
        "d": "x",
    }


def test_open_trades_are_marked_with_their_mark_and_unrealised_pnl(tmp_path: Path, small_result: Make) -> None:
    """Closed rows stay as they are; an open one stands in result.json, results.json and summary.json, in none of the tables of trades."""
    trade = Trade(number=3, symbol="BTCUSDT", side="LONG", entry_ts=START, entry_price=100.0, qty=2.0, entry_notional=200 * UNIT)
    held = OpenTrade(3, "BTCUSDT", "LONG", 2.0, START, 100.0, 93.5, -13 * UNIT)
    result = small_result(open_trades=[trade], funnel=Funnel(signals=1, ordered=1, orders=1, filled=1, fills=1, open=(held,)))
    write_result(tmp_path, result)
    (row,) = loaded(tmp_path / "result.json")["open_trades"]
    assert (row["open"], row["mark_price"], row["unrealized_pnl"], row["exit_ts"]) == (True, 93.5, "-13", None)
    for rows in (loaded(tmp_path / "results.json")["funnel"]["open"], loaded(tmp_path / "summary.json")["open_trades"]):
        assert [(each["open"], each["number"], each["mark_price"], each["unrealized_pnl"]) for each in rows] == [(True, 3, 93.5, "-13")]
    assert len(read_trades(tmp_path)) == len(result.trades) and "open" not in (tmp_path / "trades.csv").read_text().splitlines()[0]
