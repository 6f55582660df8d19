"""A line that a message names is the line of the file as an editor counts it."""

from __future__ import annotations

import pytest

from keel.core.errors import DataError

START = 1_735_689_600_000
HEADER = "ts,open,high,low,close,volume,note\n"
TWO_LINES = '"first\nsecond, with ""quotes"""'


def row(minute: int, note: str = "a", close: str = "2.5", volume: str = "1.5") -> str:
    return f"{START + minute * 60_000},2,3,1,{close},{volume},{note}\n"


GOOD = row(0) + row(1)


def only_line_with(text: str, mark: str) -> int:
    (line,) = (at for at, each in enumerate(text.splitlines(), 1) if mark in each)
    return line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "before",
    [
        HEADER + GOOD,
        HEADER + "\n\n" + GOOD,
        HEADER + row(0) + "\n" + row(1) + "\n\n",
        "# made by us\n\n# twice\n" + HEADER + row(0) + "\n" + row(1),
        HEADER + row(0) + row(1, TWO_LINES),
        HEADER + row(0, TWO_LINES) + "\n" + row(1, TWO_LINES) + "\n",
        HEADER + row(0, '"a ""first""\nand ""second"""') + row(1),
        HEADER + row(0, '5" pipe') + row(1, 'a "b" c'),
        "\n\n" + HEADER + GOOD,
    ],
    ids=[
        "plain",
        "empty at once",
        "empty lines",
        "comments",
        "a cell of two lines",
        "both",
        "doubled quotes at a line's end",
        "quotes inside",
        "empty first",
    ],
)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(2, "MARK", close="x"), "close is 'x'"),
        (row(2, "MARK", close=""), "close is empty"),
        (row(2, "MARK", close="4"), "close is 4"),
        ("2,3,MARK\n", "Expected Number of Columns: 7 Found: 3"),
    ],
    ids=["no number", "empty", "outside", "too few cells"],
)
@pytest.mark.covering(1)
def test_a_line_is_that_of_the_file(store, tmp_path, before, bad, words, end):
    text = before + bad + row(3)
    path = tmp_path / "BTCUSDT_1m.csv"
    path.write_bytes(text.replace("\n", end).encode())
    with pytest.raises(DataError, match=f"line {only_line_with(text, 'MARK')}[ :(].*{words}"):
        store.import_file(path)
    assert store.coverage() == []


def test_both_lines_of_a_doubled_time_are_those_of_the_file(store, file):
    text = HEADER + row(0, TWO_LINES) + "\n" + row(1, volume="7") + row(1, "last", volume="8")
    with pytest.raises(DataError, match="line 5 and line 6 have the same time"):
        store.import_file(file("BTCUSDT_1m.csv", text))


def test_rows_left_out_by_symbol_or_for_their_empty_cells_keep_their_lines(store, file):
    text = HEADER + row(0, TWO_LINES) + "\n" + row(1, close="") + row(2) + row(3, close="x")
    with pytest.raises(DataError, match="line 7: close is 'x'"):
        store.import_file(file("BTCUSDT_1m.csv", text), drop_empty=True)
    report = store.import_file(file("BTCUSDT_1m.csv", text.replace("x", "2.5")), drop_empty=True)
    assert any("the first is line 5" in note for note in report.notes)


def test_the_line_of_a_quote_that_is_never_closed_is_where_it_opens(store, file):
    text = HEADER + row(0, TWO_LINES) + "\n" + row(1) + row(2, '"open') + row(3)
    with pytest.raises(DataError, match="line 6: the line cannot be read"):
        store.import_file(file("BTCUSDT_1m.csv", text))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_row_with_a_cell_of_two_lines_or_of_empty_cells_is_read(store, tmp_path, end):
    path = tmp_path / "BTCUSDT_1m.csv"
    path.write_bytes((HEADER + row(0, TWO_LINES) + row(1)).replace("\n", end).encode())
    assert store.import_file(path).rows == 2
    path.write_bytes((HEADER + ",,,,,,\n" + GOOD).replace("\n", end).encode())
    report = store.import_file(path, drop_empty=True)
    assert (report.rows, report.empty) == (2, 1)
