"""``keel data``: in, out, and what is wrong with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.runners.home import Home
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.research.data_import import ImportRequest, data_import_tool

Keel = Callable[..., Any]
HOUR = 3_600_000
START = 1_717_200_000_000  # 2024-06-01


def csv_file(
    path: Path, rows: int = 48, *, unit: int = 1, skip: tuple[int, ...] = (), price: float = 100.0, volume: int | None = None
) -> Path:
    """Hourly bars, a price that climbs by 1 an hour. unit 1000: times in seconds. volume: of each bar; None: 10, 11, ..."""
    lines = ["ts_open,open,high,low,close,volume"]
    for row in range(rows):
        if row not in skip:
            at = price + row
            lines.append(f"{(START + row * HOUR) // unit},{at},{at + 2},{at - 1},{at + 1},{10 + row if volume is None else volume}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def empty(tmp_path: Path) -> tuple[str, str]:
    return "--home", str(tmp_path / "own")


def test_import_tells_what_each_file_was(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    seconds = csv_file(tmp_path / "kline_1h" / "SOLUSDT.csv", unit=1000)
    marks = csv_file(tmp_path / "mark_1h" / "SOLUSDT.csv", volume=0)
    answer = keel("data", "import", str(seconds), str(marks), *empty, "--json")
    assert answer.code == 0
    first, second = answer.data["imported"]
    assert (first["symbol"], first["timeframe"], first["kind"], first["rows"], first["inserted"]) == ("SOLUSDT", "1h", "last", 48, 48)
    assert first["time_unit"] == "s" and any("converted to ms" in note for note in first["notes"])
    assert (second["kind"], second["time_unit"], second["first"], second["last"]) == ("mark", "ms", START, START + 47 * HOUR)
    text = keel("data", "import", str(seconds), *empty).out
    assert all(word in text for word in ("SOLUSDT.csv", "last 1h", "48", "2024-06-01")) and " 0 " in text
    shown = keel("data", "list", *empty).out
    assert "SOLUSDT" in shown and "mark 1h" in shown and "import:kline_1h/SOLUSDT.csv" in shown and "import:mark_1h/SOLUSDT.csv" in shown


def test_bars_of_the_future_are_dropped_said_and_kept_only_when_told(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    """2100-01-01 is in the future by any machine's clock."""
    path = csv_file(tmp_path / "SOLUSDT_1h.csv")
    path.write_text(path.read_text() + "4102444800000,100,102,99,101,10\n")
    shown = keel("data", "import", str(path), *empty)
    assert shown.code == 0 and "49 rows in the file: 48 taken, 1 unfinished" in shown.out
    assert "1 unfinished bar (1 of the future; 2100-01-01T00:00:00Z; the clock says 20" in shown.out
    kept = keel("data", "import", str(path), "--keep-unfinished", *empty, "--json").data["imported"][0]
    assert (kept["rows"], kept["inserted"], kept["unfinished"]) == (49, 1, 0)
    assert any("kept as they stand (--keep-unfinished)" in note for note in kept["notes"])
    found = keel("data", "verify", *empty, "--json").data["findings"]
    assert [(one["check"], one["count"]) for one in found if one["check"] == "unfinished"] == [("unfinished", 1)]


def test_the_tool_takes_its_clock(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "SOLUSDT_1h.csv")
    context = ToolContext(Home(tmp_path / "own"), now_ms=lambda: START + 10 * HOUR + 1)
    answer = data_import_tool.run(ImportRequest((str(path),)), context)
    assert [(one.rows, one.unfinished, one.last) for one in answer.imported] == [(10, 38, START + 9 * HOUR)]


def test_a_refused_file_leaves_the_store_as_it_was_and_does_not_stop_the_others(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    good = csv_file(tmp_path / "SOLUSDT_1h.csv")
    bad = csv_file(tmp_path / "ETHUSDT_1h.csv")
    bad.write_text(bad.read_text().replace("107.0,109.0", "107.0,9.0"))
    answer = keel("data", "import", str(bad), str(good), *empty, "--json")
    assert answer.code == 3
    assert [entry["symbol"] for entry in answer.data["imported"]] == ["SOLUSDT"]
    (refused,) = answer.data["failed"]
    assert refused["path"] == str(bad) and "line 9" in refused["error"]
    assert answer.err.startswith("error: ") and "ETHUSDT_1h.csv" in answer.err
    assert [entry["symbol"] for entry in keel("data", "list", *empty, "--json").data["series"]] == ["SOLUSDT"]


def test_other_values_for_stored_bars_are_refused_unless_they_may_replace(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    keel("data", "import", str(csv_file(tmp_path / "SOLUSDT_1h.csv")), *empty)
    other = csv_file(tmp_path / "new" / "SOLUSDT_1h.csv", price=200.0)
    refused = keel("data", "import", str(other), *empty)
    assert refused.code == 3 and "--overwrite" in refused.err
    done = keel("data", "import", str(other), "--overwrite", *empty, "--json")
    assert done.code == 0 and done.data["imported"][0]["replaced"] == 48


def test_gaps_are_shown_and_filled_from_finer_bars_only(keel: Keel, empty: tuple[str, str], tmp_path: Path, home: Path) -> None:
    keel("data", "import", str(csv_file(tmp_path / "SOLUSDT_1h.csv", skip=(5, 6, 20))), *empty)
    gaps = keel("data", "gaps", "--symbol", "SOLUSDT", *empty, "--json").data
    assert [(gap["start"], gap["missing"]) for gap in gaps["series"][0]["gaps"]] == [(START + 5 * HOUR, 2), (START + 20 * HOUR, 1)]
    assert keel("data", "fill", *empty, "--json").data["filled"] == 0
    fine = tmp_path / "SOLUSDT_30m.csv"
    rows = [f"{START + 5 * HOUR + part * HOUR // 2},{100 + part},{103 + part},{99 + part},{101 + part},5" for part in range(2)]
    fine.write_text("\n".join(["ts_open,open,high,low,close,volume", *rows]) + "\n")
    keel("data", "import", str(fine), "--timeframe", "30m", *empty)
    filled = keel("data", "fill", "--timeframe", "1h", *empty, "--json").data
    assert (filled["filled"], filled["remaining"]) == (1, 2)
    with HistoricalDataStore(Home(tmp_path / "own").store, read_only=True) as store:
        bar = store.get_ohlcv("SOLUSDT", "1h", START + 5 * HOUR, START + 6 * HOUR)
    assert [float(bar[name][0]) for name in ("open", "high", "low", "close", "volume")] == [100, 104, 99, 102, 10]


def test_gaps_are_looked_for_in_all_series_unless_told_otherwise(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    """A hole in funding and one in a spot series are named without an option: "no gaps" is said of the whole store."""
    rates = tmp_path / "SOLUSDT_funding.csv"
    rates.write_text("ts,funding_rate\n" + "".join(f"{START + number * 8 * HOUR},0.0001\n" for number in (0, 1, 2, 5, 6, 7)))
    bars = csv_file(tmp_path / "ETHUSDT_1h.csv", skip=(5,))
    keel("data", "import", str(bars), "--category", "spot", *empty)
    only_spot = keel("data", "gaps", *empty)
    assert only_spot.code == 0 and only_spot.out.startswith("1 missing in 1 gaps; the longest: 1 of ETHUSDT last 1h")
    keel("data", "import", str(rates), *empty)
    both = keel("data", "gaps", *empty, "--json").data
    assert {(series["symbol"], series["category"], series["kind"]): series["gaps"][0]["missing"] for series in both["series"]} == {
        ("ETHUSDT", "spot", "last"): 1,
        ("SOLUSDT", "linear", "funding"): 2,
    }
    assert len(keel("data", "gaps", "--kind", "funding", *empty, "--json").data["series"]) == 1
    assert keel("data", "fill", *empty).code == 0
    refused = keel("data", "gaps", "--category", "spot", "--kind", "mark", *empty)
    assert refused.code == 2 and "the store has no series spot mark:" in refused.err


def test_gaps_are_summed_up_and_at_most_twenty_are_shown(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    holes = (*range(1, 60, 2), 101, 102, 103)
    keel("data", "import", str(csv_file(tmp_path / "SOLUSDT_1h.csv", rows=120, skip=holes)), *empty)
    first, *rows, last = keel("data", "gaps", *empty).out.splitlines()
    assert first == "33 missing in 31 gaps; the longest: 3 of SOLUSDT last 1h from 2024-06-05 05:00 to 2024-06-05 08:00"
    assert len(rows) == 1 + 20 and last == "and 11 more gaps (--json has all)"


def test_what_is_not_there_says_what_to_do(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    fresh = keel("data", "list", *empty)
    assert fresh.code == 3 and "keel data import FILE" in fresh.err and "keel data synth" in fresh.err
    keel("data", "import", str(csv_file(tmp_path / "SOLUSDT_1h.csv")), *empty)
    assert "has nothing of BTCUSDT, it has SOLUSDT: keel data import FILE" in keel("data", "list", "--symbol", "BTCUSDT", *empty).out
    assert "keel data import FILE" in keel("data", "gaps", "--symbol", "BTCUSDT", *empty).err


def test_a_first_import_that_fails_leaves_no_store(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    bad = tmp_path / "SOLUSDT_1h.csv"
    bad.write_text("1,2,3\n")
    for command in (("import", str(bad)), ("import-instruments", str(bad))):
        assert keel("data", *command, *empty).code == 3
        assert not Home(tmp_path / "own").store.exists()


def test_instruments_without_a_category(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    tier = {"symbol": "SOLUSDT", "riskLimitValue": "1000", "maintenanceMargin": "0.01", "initialMargin": "0.02", "maxLeverage": "50"}
    path = tmp_path / "risk.json"
    path.write_text(json.dumps({"result": {"list": [tier]}}))
    refused = keel("data", "import-instruments", str(path), *empty)
    assert refused.code == 3 and "--category linear" in refused.err
    assert keel("data", "import-instruments", str(path), "--category", "linear", *empty, "--json").data["symbols"] == {str(path): 1}


def test_verify_finds_bars_that_a_backtest_would_refuse(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    csv_file(tmp_path / "SOLUSDT_1h.csv")
    keel("data", "import", str(tmp_path / "SOLUSDT_1h.csv"), *empty)
    day = tmp_path / "SOLUSDT_1d.csv"
    day.write_text(f"ts,open,high,low,close,volume\n{START},100.0,125.5,99.0,124.0,516\n")
    keel("data", "import", str(day), *empty)
    answer = keel("data", "verify", *empty)
    assert answer.code == 3 and "disagreement" in answer.out and "high 125.5, made 125.0" in answer.out


def test_verify_finds_what_a_store_must_never_hold(keel: Keel, home: Path) -> None:
    assert keel("data", "verify").code == 0
    with duckdb.connect(str(Home(home).store)) as connection:
        connection.execute("UPDATE bars SET high = low - 1 WHERE ts = (SELECT min(ts) FROM bars)")
    answer = keel("data", "verify", "--symbol", "BTCUSDT", "--json")
    assert answer.code == 3 and answer.data["errors"] == 3
    assert {finding["check"] for finding in answer.data["findings"] if finding["severity"] == "error"} == {"ohlc"}
    assert "3 errors" in keel("data", "verify").out
    assert keel("data", "verify", "--symbol", "XRPUSDT").code == 2


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_what_is_exported_can_be_imported_again(format_: str, keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / f"btc.{format_}"
    assert keel("data", "export", "BTCUSDT", "--timeframe", "4h", "--format", format_, "--out", str(out), "--json").data["rows"] == 28 * 6
    again = keel("data", "import", str(out), *empty, "--json").data["imported"][0]
    assert (again["symbol"], again["timeframe"], again["kind"], again["rows"]) == ("BTCUSDT", "4h", "last", 28 * 6)
    with HistoricalDataStore(Home(tmp_path / "own").store, read_only=True) as store:
        imported = store.get_ohlcv("BTCUSDT", "4h")
    with HistoricalDataStore(Home(tmp_path / "home").store, read_only=True) as store:
        original = store.get_ohlcv("BTCUSDT", "4h")
    assert all((imported[name] == original[name]).all() for name in original.columns)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("BTCUSDT", "--out", "x.csv"), 2, "timeframe"),
        (("BTCUSDT", "--timeframe", "7m", "--out", "x.csv"), 2, "7m"),
        (("BTCUSDT", "--timeframe", "1h", "--format", "csv", "--out", "x.parquet"), 2, "does not end in .csv"),
        (("XRPUSDT", "--timeframe", "1h", "--out", "x.csv"), 3, "XRPUSDT"),
        (("BTCUSDT", "--timeframe", "1h", "--out", "nowhere/x.csv"), 3, "nowhere"),
    ],
)
def test_an_export_that_cannot_be(
    arguments: tuple[str, ...], code: int, words: str, keel: Keel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = keel("data", "export", *arguments)
    assert answer.code == code and words in answer.err and answer.err.count("\n") == 1
    assert not list(tmp_path.glob("*x.*"))


def test_the_same_seed_gives_the_same_history(keel: Keel, tmp_path: Path) -> None:
    span = ("--symbol", "SOLUSDT", "--start", "2024-03-01", "--end", "2024-03-03")
    prices = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        answer = keel("data", "synth", *span, "--seed", seed, "--home", str(tmp_path / name), "--json")
        assert answer.data["label"] == "synthetic"
        with HistoricalDataStore(Home(tmp_path / name).store, read_only=True) as store:
            prices.append(store.fingerprint("SOLUSDT", "1m"))
    assert prices[0] == prices[1] != prices[2]


def test_invented_history_never_mixes_with_a_symbol_s_real_one(keel: Keel, empty: tuple[str, str], tmp_path: Path) -> None:
    keel("data", "import", str(csv_file(tmp_path / "SOLUSDT_1h.csv")), *empty)
    before = Home(tmp_path / "own").store.read_bytes()
    answer = keel("data", "synth", "--symbol", "SOLUSDT", "--start", "2024-03-01", "--end", "2024-03-02", *empty)
    assert answer.code == 2 and f"import:{tmp_path.name}/SOLUSDT_1h.csv" in answer.err
    assert Home(tmp_path / "own").store.read_bytes() == before


def test_a_folder_imports_what_is_in_it_and_says_what_is_not(keel: Keel, tmp_path: Path) -> None:
    bars = "ts,open,high,low,close,volume\n" + "".join(f"{1_735_689_600_000 + n * 60_000},2,3,1,2.5,1.5\n" for n in range(3))
    for name, text in (
        ("a/BTCUSDT_1m.csv", bars),
        ("ETHUSDT_1m.txt", bars),
        ("b/bad_1m.csv", bars),
        ("README.txt", "words"),
        (".git/x.csv", bars),
    ):
        (tmp_path / "history" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "history" / name).write_text(text)
    home = ("--home", str(tmp_path / "own"))
    answer = keel("data", "import", str(tmp_path / "history"), *home)
    assert answer.code == 3 and answer.err.count("error: ") == 1 and "bad_1m.csv" in answer.err and "--symbol" in answer.err
    assert "3 files, 1 of other kinds left aside" in answer.out
    assert [row["symbol"] for row in keel("data", "list", *home, "--json").data["series"]] == ["BTCUSDT", "ETHUSDT"]
    (tmp_path / "empty").mkdir()
    empty = keel("data", "import", str(tmp_path / "empty"), *home)
    assert empty.code == 3 and "the folder holds no .csv" in empty.err


def test_series_are_deleted_and_renamed_whole_or_not_at_all(keel: Keel, tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "own"))
    for symbol in ("AUSDT", "BUSDT"):
        path = tmp_path / f"{symbol}_1m.csv"
        path.write_text("ts,open,high,low,close,volume\n" + "".join(f"{1_735_689_600_000 + n * 60_000},2,3,1,2.5,1.5\n" for n in range(3)))
        assert keel("data", "import", str(path), *home).code == 0

    def stored() -> list[tuple[str, str, int]]:
        return [(row["symbol"], row["category"], row["rows"]) for row in keel("data", "list", *home, "--json").data["series"]]

    refused = keel("data", "rename", "AUSDT", "BUSDT", *home)
    assert refused.code == 3 and "keel data delete BUSDT --kind last --timeframe 1m --category linear --yes" in refused.err
    assert keel("data", "delete", "BUSDT", *home).code == 2
    assert stored() == [("AUSDT", "linear", 3), ("BUSDT", "linear", 3)]
    assert keel("data", "delete", "BUSDT", "--kind", "last", "--timeframe", "1m", "--category", "linear", "--yes", *home).code == 0
    assert keel("data", "rename", "AUSDT", "b/usdt", *home).code == 0
    assert keel("data", "rename", "BUSDT", "BUSDT", "--to-category", "spot", *home).code == 0
    assert stored() == [("BUSDT", "spot", 3)]
    assert keel("data", "rename", "BUSDT", "BUSDT", *home).code == 2 and keel("data", "delete", "XUSDT", "--yes", *home).code == 2
    assert keel("data", "verify", *home).code == 0


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("my bars.csv", "", "neither columns nor path say which symbol this is"),
        ("AUSDT_BUSDT.csv", "", "the path says several symbols (AUSDT, BUSDT)"),
        ("it's.csv", "symbol", "there are several symbols in one file (AUSDT, BUSDT)"),
    ],
)
def test_where_the_symbol_is_unknown_the_command_that_says_it_can_be_pasted(
    keel: Keel, empty: tuple[str, str], tmp_path: Path, name: str, column: str, words: str
) -> None:
    path = tmp_path / name
    rows = [f"{2 - day % 2:02d}/06/2024 00:00;1,5;1,5;1,5;;{'AUSDT' if day < 2 else 'BUSDT'}" for day in range(4)]
    rows = [row.replace(";;", ";1,5;") if at else row for at, row in enumerate(rows)]
    names = f"date;open;high;low;close;{column or 'note'}"
    path.write_text("made by us\n" + "\n".join([names, *(rows if column else rows[:2])]) + "\n")
    options = (
        *("--time-format", "%d/%m/%Y %H:%M", "--timezone", "-05:00", "--decimal", ",", "--skip-lines", "1", "--drop-empty"),
        *("--timeframe", "1h", "--kind", "mark", "--category", "linear", "--overwrite", "--keep-unfinished"),
    )
    refused = keel("data", "import", str(path), *options, *empty)
    said = f"{path}: {words}: say it with --symbol, such as "
    assert refused.code == 3 and said in refused.err
    command = shlex.split(refused.err.split(said)[1].splitlines()[0])
    assert command[0] == "keel" and set(options) <= set(command)
    pasted = keel(*command[1:], *empty, "--json")
    assert pasted.code == 0, pasted.err
    (report,) = pasted.data["imported"]
    example = "AUSDT" if "AUSDT" in words else "BTCUSDT"
    assert (report["symbol"], report["kind"], report["rows"], report["empty"]) == (example, "mark", 1, 1)
    assert keel("data", "import", str(path), *empty).err.count("--symbol") == 2, "what was not said is not in the command"
