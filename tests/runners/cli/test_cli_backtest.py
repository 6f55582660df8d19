"""``keel backtest`` and ``keel runs``: what scripts rely on, what is kept, and that it is the same each time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.report.evidence import EXPLAINED
from keel.core.metrics import METRICS
from keel.runners.cli.output import money
from keel.runners.tools.research.backtest import MONEY_METRICS

WINDOW = ("--start", "2024-01-15", "--end", "2024-01-22")
SHORT_WARMUP = ("--set", "warmup_bars=250")
"""The history begins on 2024-01-01: 14 days are 336 bars of 1h."""
RUN = ("backtest", "ema_cross", *WINDOW, *SHORT_WARMUP)
Keel = Callable[..., Any]


def test_json_has_the_keys_that_scripts_rely_on(keel: Keel) -> None:
    data = keel(*RUN, "--no-report", "--json").data
    keys = ["run_id", "artifacts", "system_uid", "metrics", "reconciliation", "trust", "timing", "warnings", "funnel", "benchmark"]
    assert list(data) == keys
    assert set(METRICS) <= set(data["metrics"])
    assert {"bars", "load_s", "run_s", "bars_per_s", "total_s"} <= set(data["timing"])
    assert data["timing"]["bars"] == 7 * 288
    assert data["timing"]["total_s"] >= data["timing"]["load_s"] + data["timing"]["run_s"]


def test_money_is_decimal_text_and_the_rest_are_numbers(keel: Keel) -> None:
    data = keel(*RUN, "--no-report", "--json").data
    in_quote = {name for name, text in METRICS.items() if "quote coins" in text}
    assert set(MONEY_METRICS) == in_quote
    kept = json.loads((Path(data["artifacts"]) / "results.json").read_text())["metrics"]
    for name, value in data["metrics"].items():
        if name in in_quote and value is not None:
            assert isinstance(value, str) and abs(Decimal(value) - Decimal(repr(kept[name]))) <= Decimal("1e-8"), name
        else:
            assert value == kept[name], name
    books = data["reconciliation"]
    assert all(isinstance(Decimal(amount), Decimal) for amount in books.values())
    assert Decimal(books["final_equity"]) == Decimal(data["metrics"]["final_equity"])
    assert Decimal(books["net"]) == Decimal(data["metrics"]["net_profit"])


def test_an_override_is_in_force_and_changes_the_uid(keel: Keel) -> None:
    plain = keel(*RUN, "--no-report", "--json").data
    free = keel(*RUN, "--no-report", "--json", "--set", "execution.taker_fee=0", "--set", "params.fast=10").data
    assert Decimal(plain["metrics"]["fees"]) > 0 == Decimal(free["metrics"]["fees"])
    assert plain["system_uid"] != free["system_uid"]
    config = json.loads((Path(free["artifacts"]) / "config.json").read_text())["config"]
    assert config["system"]["params"] == {"fast": 10, "slow": 50}
    assert config["system"]["execution"]["taker_fee"] == 0
    assert config["warmup_bars"] == {"1h": 250} and config["seeds"] == {"run": None}


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        (("--timeframe", "2h"), "timeframe", "2h"),
        (("--execution-timeframe", "15m"), "execution_timeframe", "15m"),
        (("--symbol", "BTCUSDT"), "symbols", ["BTCUSDT"]),
    ],
)
def test_options_of_their_own_set_keys(option: tuple[str, str], key: str, value: Any, keel: Keel) -> None:
    data = keel("backtest", "ema_cross", *WINDOW, "--set", "warmup_bars=100", *option, "--no-report", "--json").data
    assert json.loads((Path(data["artifacts"]) / "config.json").read_text())["config"]["system"][key] == value


def test_a_span_back_ends_at_the_last_stored_bar(keel: Keel) -> None:
    data = keel("backtest", "ema_cross", "--window", "3d", *SHORT_WARMUP, "--no-report", "--json").data
    window = json.loads((Path(data["artifacts"]) / "config.json").read_text())["config"]["window"]
    assert (window["start"], window["end"]) == ("2024-01-26T00:00:00Z", "2024-01-29T00:00:00Z")


def test_without_a_window_the_first_that_is_covered_is_run_and_named(keel: Keel) -> None:
    windows = "windows={early: {start: 2023-01-01, end: 2023-02-01}, week: {start: 2024-01-15, end: 2024-01-22}}"
    answer = keel("backtest", "ema_cross", *SHORT_WARMUP, "--set", windows, "--no-report", "--json")
    assert "window week" in answer.err and answer.data["timing"]["bars"] == 7 * 288
    none = keel("backtest", "ema_cross", "--no-report")
    assert none.code == 3 and "covers no window" in none.err and "sample" in none.err


def test_a_seed_reaches_a_strategy_that_has_one_and_is_recorded_in_any_case(keel: Keel, strategy: Callable[[str, str], str]) -> None:
    body = (
        "class Dice(BaseStrategy):\n    defaults = {'seed': 0}\n    def generate_signal(self, s, p):\n"
        "        return Signal(s.symbol, 'LONG' if p['seed'] == 5 else 'SHORT') if s.position.side == 'FLAT' else None\n"
    )
    data = keel("backtest", strategy("dice", body), "--seed", "5", "--no-report", "--json").data
    config = json.loads((Path(data["artifacts"]) / "config.json").read_text())["config"]
    assert config["system"]["params"] == {"seed": 5} and config["seeds"] == {"run": 5}
    assert json.loads((Path(data["artifacts"]) / "result.json").read_text())["open_trades"][0]["side"] == "LONG"
    answer = keel(*RUN, "--seed", "5", "--no-report")
    assert answer.code == 0 and "the seed 5 is recorded and changes nothing" in answer.err


def test_bounds_show_both_paths_and_keep_both_runs(keel: Keel) -> None:
    changed = ("backtest", "atr_breakout", *WINDOW, "--set", "warmup_bars=80", "--set", "execution.latency_ms=250", "--no-report")
    system = (*changed, "--bounds")
    data = keel(*system, "--json").data
    assert list(data["bounds"]) == ["ohlc", "pessimistic"]
    assert data["bounds"]["ohlc"]["metrics"] == data["metrics"]
    low = data["bounds"]["pessimistic"]
    assert json.loads((Path(low["artifacts"]) / "config.json").read_text())["config"]["system"]["execution"]["path"] == "pessimistic"
    alone = keel(*changed, "--set", "execution.path=pessimistic", "--json")
    assert alone.data["metrics"] == low["metrics"] and alone.data["system_uid"] == low["system_uid"]
    text = keel(*system).out
    assert "pessimistic path" in text and "ohlc path" in text
    counts = [data["bounds"][path]["trust"]["ambiguous_bars"] for path in ("ohlc", "pessimistic")]
    (row,) = (line.split() for line in text.splitlines() if line.startswith("ambiguous bars"))
    assert row[2:] == [str(count) for count in counts] and any(counts)
    assert "Each bar is bounded" in text and "The run is not" in text and "either may end higher" in text


def test_bounds_of_a_run_that_hangs_on_no_order_are_one_run(keel: Keel) -> None:
    system = ("backtest", "atr_breakout", *WINDOW, "--set", "warmup_bars=80", "--no-report", "--bounds")
    data = keel(*system, "--json").data
    assert data["bounds"]["ohlc"]["trust"]["ambiguous_bars"] == data["bounds"]["pessimistic"]["trust"]["ambiguous_bars"] == 0
    assert data["bounds"]["ohlc"]["metrics"] == data["bounds"]["pessimistic"]["metrics"]
    text = keel(*system).out
    assert "No bar depended on it: both paths are the same run." in text and "The run is not" not in text


def test_the_report_is_written_unless_it_is_not_wanted(keel: Keel) -> None:
    with_report = keel(*RUN, "--json").data
    without = keel(*RUN, "--json", "--no-report").data
    assert (Path(with_report["artifacts"]) / "report.html").stat().st_size > 100_000
    assert not (Path(without["artifacts"]) / "report.html").exists()
    names = {"config.json", "equity.csv", "equity.parquet", "result.json", "results.json", "summary.json", "trades.csv", "trades.jsonl"}
    assert {path.name for path in Path(without["artifacts"]).iterdir()} == names


def test_the_report_explains_everything_that_a_run_rests_on(keel: Keel) -> None:
    assert set(keel(*RUN, "--no-report", "--json").data["trust"]) <= set(EXPLAINED)


def test_synthetic_history_is_called_so(keel: Keel) -> None:
    text = keel(*RUN, "--no-report").out
    assert text.startswith("SYNTHETIC") and keel("runs", "show", "last").out.startswith("SYNTHETIC")


def test_two_processes_with_different_hash_seeds_give_the_same_bytes(keel_process: Keel) -> None:
    command = ("backtest", "atr_breakout", *WINDOW, "--set", "warmup_bars=80", "--no-report", "--json")
    runs = [keel_process(*command, PYTHONHASHSEED=seed).data for seed in ("1", "4711")]
    assert runs[0]["run_id"] != runs[1]["run_id"] and runs[0]["system_uid"] == runs[1]["system_uid"]
    for name in ("trades.jsonl", "trades.csv", "equity.csv"):
        first, second = ((Path(run["artifacts"]) / name).read_bytes() for run in runs)
        assert first == second and first.count(b"\n") > 1, name


# --- keel run --------------------------------------------------------------------------------------------------------


def test_keel_run_uses_the_history_that_is_there(keel: Keel, home: Path) -> None:
    (home / "systems").mkdir()
    text = "system: week\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 250\n"
    (home / "systems" / "week.yaml").write_text(text + "windows: {week: {start: 2024-01-15, end: 2024-01-22}}\n")
    before = (home / "data" / "keel.duckdb").read_bytes()
    answer = keel("run", "week", "--no-report")
    assert answer.code == 0 and "SYNTHETIC" in answer.out and "window week" in answer.out
    assert (home / "data" / "keel.duckdb").read_bytes() == before


# --- keel runs -------------------------------------------------------------------------------------------------------


def test_show_gives_the_books_line_by_line_and_they_add_up(keel: Keel) -> None:
    run_id = keel(*RUN, "--no-report", "--json").data["run_id"]
    shown = keel("runs", "show", run_id, "--json").data
    lines = shown["reconciliation"]
    total = sum(Decimal(line["amount"]) for line in lines if line["kind"] in ("start", "change"))
    assert total == Decimal(next(line["amount"] for line in lines if line["label"] == "final equity"))
    assert lines[-1] == {"label": "does not add up", "amount": "0", "kind": "sum"}
    text = keel("runs", "show", run_id[:8]).out
    assert all(line["label"] in text and line["amount"] in text for line in lines)
    assert "What the numbers rest on" in text and "not modelled" in text and "Promotion" in text


def test_what_people_read_of_a_run_has_no_json_and_no_raw_floats(keel: Keel) -> None:
    keel(*RUN, "--no-report")
    shown = keel("runs", "show", "last").out
    books, rests = shown.split("What the numbers rest on")
    assert not re.search(r"""[\[\]{}"]""", rests) and not re.search(r"\d\.\d{5}", rests.split("Promotion")[0])
    assert re.search(r"^  open is previous close: \d+\.\d %$", rests, re.MULTILINE)
    assert re.search(r"^bars +2,016$", rests, re.MULTILINE) and re.search(r"^ +BTCUSDT$", rests, re.MULTILINE)
    figures = books.split("Key figures")[1].split("Where the money went")[0]
    assert all(len(part) == 2 for part in re.findall(r"\.(\d+)", figures.split("average trade")[0].replace("won", "").split("closed")[0]))
    assert "liquidations beyond trading" in books and "margin lost in liquidations" in books


@pytest.mark.parametrize(("amount", "text"), [("0.004", "0.00"), ("-0.004", "0.00"), ("0.5", "0.50"), ("-1234.567", "-1,234.57")])
def test_money_in_summaries_has_two_decimals(amount: str, text: str) -> None:
    assert money(amount) == text


def test_list_has_the_newest_first_and_can_be_limited(keel: Keel) -> None:
    ids = [keel(*RUN, "--no-report", "--json").data["run_id"] for _ in range(2)]
    assert {run["run_id"] for run in keel("runs", "list", "--json").data["runs"]} == set(ids)
    limited = keel("runs", "list", "--limit", "1", "--json").data
    assert len(limited["runs"]) == 1 and limited["total"] == 2
    assert "1 of 2 runs" in keel("runs", "list", "--limit", "1").out
    assert keel("runs", "list", "--strategy", "hold", "--json").data["runs"] == []


def test_compare_tells_what_differs(keel: Keel) -> None:
    first, same, other = (keel(*RUN, "--no-report", "--json", "--set", f"params.fast={fast}").data["run_id"] for fast in (20, 20, 10))
    equal = keel("runs", "compare", first, same, "--json").data
    assert equal["same_trades"] is True and equal["same_equity"] is True and equal["config"] == [] and equal["metrics"] == []
    different = keel("runs", "compare", first, other, "--json").data
    assert different["same_trades"] is False and different["first_trade"] is not None
    assert {"key": "config.system.params.fast", "a": 20, "b": 10} in different["config"]
    assert "byte for byte" in keel("runs", "compare", first, same).out


def test_a_report_is_drawn_later_from_the_same_run(keel: Keel) -> None:
    run = keel(*RUN, "--no-report", "--json").data
    drawn = keel("runs", "report", run["run_id"], "--json").data
    assert drawn["drawn"] is True and Path(drawn["path"]).parent == Path(run["artifacts"])
    assert run["run_id"] in Path(drawn["path"]).read_text()
    assert keel("runs", "report", "last", "--json").data["drawn"] is False


def test_no_report_is_drawn_of_a_run_that_would_come_out_otherwise(keel: Keel) -> None:
    run = keel(*RUN, "--no-report", "--json").data
    assert keel("data", "synth", "--symbol", "BTCUSDT", "--start", "2024-01-01", "--end", "2024-01-29", "--seed", "8").code == 0
    answer = keel("runs", "report", run["run_id"])
    assert answer.code == 3 and "history has changed" in answer.err
    assert not (Path(run["artifacts"]) / "report.html").exists()


def test_a_passed_promotion_reaches_the_next_epoch(keel: Keel) -> None:
    rules = ("--set", "promotion.demo=[total_trades >= 1]")
    passed = keel(*RUN, *rules, "--no-report", "--json").data["run_id"]
    failed = keel(*RUN, "--set", "promotion.demo=[total_trades >= 1000]", "--no-report", "--json").data["run_id"]
    runs = {run["run_id"]: run for run in keel("runs", "list", "--json").data["runs"]}
    assert runs[passed]["passed"] is True and runs[failed]["passed"] is False
    rule = keel("runs", "show", passed, "--json").data["rules"][0]
    assert rule["rule"] == "total_trades >= 1" and rule["passed"] is True and rule["value"] >= 1
