"""JSON as pandas writes it, one document or one row a line, and under names that do not say that it is JSON."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from keel.core.errors import DataError

START = 1_735_689_600_000
HOURS = [START + n * 3_600_000 for n in range(3)]
VALUES = {"open": [2.0, 2.25, 2.5], "high": [3.0] * 3, "low": [1.0] * 3, "close": [2.5] * 3, "volume": [1.5] * 3}
PLAIN = pd.DataFrame({"ts": HOURS, **VALUES})
TIMES = pd.DataFrame(VALUES, index=pd.DatetimeIndex(pd.to_datetime(HOURS, unit="ms"), name="ts"))
FRAMES = {
    "a column": PLAIN,
    "an index": TIMES,
    "an index without a name": TIMES.rename_axis(None),
    "an index in UTC": TIMES.tz_localize("UTC"),
}
ORIENTATIONS = ["records", "columns", "index", "split", "values", "table"]
WITHOUT_INDEX = ("records", "values")
LINES = PLAIN.to_json(orient="records", lines=True)


def stored(store) -> dict[str, list[float]]:
    bars = store.get_ohlcv("BTCUSDT", "1h")
    return {"ts": bars.ts.tolist(), **{name: bars[name].tolist() for name in bars.columns}}


@pytest.mark.filterwarnings("ignore:.*epoch")
@pytest.mark.parametrize("date_format", ["iso", "epoch"])
@pytest.mark.parametrize("orient", ORIENTATIONS)
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.covering(2)
def test_what_pandas_writes_is_imported_or_the_orientation_is_named(store, tmp_path, frame, orient, date_format):
    if orient == "table" and date_format == "epoch":
        pytest.skip("pandas does not write it")
    path = tmp_path / "BTCUSDT_1h.json"
    frame.to_json(path, orient=orient, date_format=date_format)
    if orient in WITHOUT_INDEX and "ts" not in frame:
        with pytest.raises(DataError, match=r'in pandas, frame\.reset_index\(\)\.to_json\(name, orient="records"\)') as error:
            store.import_file(path)
        assert "add a line" not in str(error.value) and store.coverage() == []
        frame.reset_index().to_json(path, orient="records", date_format=date_format)
    store.import_file(path)
    assert stored(store) == {"ts": HOURS, **VALUES}


@pytest.mark.parametrize("orient", ["columns", "index", "split"])
def test_columns_called_as_answers_call_their_rows_are_columns(store, tmp_path, orient):
    """Binance's bars have a column of trades, and a document may lie under this key."""
    path = tmp_path / "BTCUSDT_1h.json"
    PLAIN.assign(trades=7, data=1).to_json(path, orient=orient)
    store.import_file(path)
    assert stored(store) == {"ts": HOURS, **VALUES}


def test_rows_by_symbol_are_no_index(store, file):
    rows = {symbol: {"timestamp": START, **{name: values[0] for name, values in VALUES.items()}} for symbol in ("BTC/USDT", "ETH/USDT")}
    with pytest.raises(DataError):
        store.import_file(file("BTCUSDT_1h.json", json.dumps(rows)), timeframe="1h")
    assert store.coverage() == []


def test_an_index_of_two_levels_is_refused_with_the_orientation(store, tmp_path):
    path = tmp_path / "BTCUSDT_1h.json"
    pd.concat({"BTCUSDT": TIMES}).to_json(path, orient="split", date_format="iso")
    with pytest.raises(DataError, match=r'a column of times is missing.*orient="records"'):
        store.import_file(path)


def test_an_index_of_another_length_is_refused(store, file):
    text = json.dumps({"columns": list(PLAIN), "index": ["2025-01-01"] * 2, "data": PLAIN.to_numpy().tolist()})
    with pytest.raises(DataError, match="the index has 2 labels, and there are 3 rows"):
        store.import_file(file("BTCUSDT_1h.json", text))


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        "\ufeff" + LINES.replace("\n", "\r\n\r\n"),
        "\n".join(json.dumps(row) for row in PLAIN.astype({"ts": object}).to_numpy().tolist()),
    ],
    ids=["objects", "empty lines", "lists"],
)
def test_json_lines_are_rows(store, file, text):
    store.import_file(file("BTCUSDT_1h.json", text))
    assert stored(store) == {"ts": HOURS, **VALUES}


def test_one_line_is_a_row(store, file):
    assert store.import_file(file("BTCUSDT_1h.json", LINES.splitlines()[0]), timeframe="1h").rows == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LINES.replace("2.25", '"x"'), "line 2: open is 'x'"),
        ("\n" + LINES.replace('2.25,"high":3.0', '2.25,"high":0.5'), r"line 3 .*high is 0.5"),
        (LINES[: -len(LINES) // 6], "line 3: in JSON lines each line is a row, and this one is no JSON, or is truncated"),
        (LINES.replace('"low":1.0,', "", 1).replace("low", "lo"), "line 2: its names are others"),
        ("[1,2]\n\n[1,2,3]\n", "line 3: it has 3 values, the first has 2"),
        ('{"a":1}\n{"a":[1]}\n', "line 2: a value is a list or an object"),
    ],
)
def test_a_message_about_json_lines_names_the_line(store, file, text, words):
    with pytest.raises(DataError, match=words):
        store.import_file(file("BTCUSDT_1h.json", text))
    assert store.coverage() == []


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


RECORDS = PLAIN.to_json(orient="records")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("my BTCUSDT_1h.csv", RECORDS.encode()),
        ("BTCUSDT_1h.txt", PLAIN.to_json(orient="split", indent=2).encode()),
        ("BTCUSDT_1h.tsv", PLAIN.to_json(orient="values").encode("utf-16")),
        ("BTCUSDT_1h", LINES.encode()),
        ("BTCUSDT_1h.csv", b"\xef\xbb\xbf \n" + LINES.encode()),
        ("BTCUSDT_1h.jsonl", LINES.encode()),
        ("BTCUSDT_1h.csv.gz", gzip.compress(RECORDS.encode())),
        ("packed", gzip.compress(RECORDS.encode())),
        ("it's.zip", zipped("years/BTCUSDT_1h.csv", RECORDS)),
        ("archive", zipped("BTCUSDT_1h.csv", RECORDS)),
        ("archive.zip", zipped("BTCUSDT_1h.ndjson.csv", LINES)),
    ],
)
def test_json_under_another_name_is_refused_and_the_command_can_be_pasted(store, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"JSON.*: give it a name that ends in \.json \(.*\)") as error:
        store.import_file(path)
    assert store.coverage() == [] and str(error.value).startswith(str(path))
    (command,) = re.findall(r"\.json \((.*)\)", str(error.value))
    script = command.replace("keel data import", "printf %s")
    there = Path(subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout)
    symbol = None if "BTCUSDT" in str(there) else "BTCUSDT"
    store.import_file(there, symbol=symbol)
    assert stored(store) == {"ts": HOURS, **VALUES}


def test_a_name_inside_an_archive_that_cannot_be_shown_is_not_shown(store, tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped("BTCUSDT\u202e_1h.csv", RECORDS))
    with pytest.raises(DataError, match=r"unpack it, and give it a name that ends in \.json") as error:
        store.import_file(path)
    assert "\u202e" not in str(error.value)


@pytest.mark.parametrize("first", ["[ticks]", "{units: USD}", "[1] made by us"])
def test_a_table_under_a_line_in_brackets_is_no_json(store, file, first):
    assert store.import_file(file("BTCUSDT_1h.csv", f"{first}\n{PLAIN.to_csv(index=False)}")).rows == 3
