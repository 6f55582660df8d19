"""Which column is the volume in base units, and that bars of the last price become no mark or index."""

from __future__ import annotations

import pytest

from keel.core.errors import DataError

START = 1_735_689_600_000  # 2025-01-01
HOUR = 3_600_000


def bars(header, *rows):
    return f"ts,open,high,low,close{',' if header else ''}{header}\n" + "".join(
        f"{START + number * HOUR},100,101,99,100{',' if header else ''}{row}\n" for number, row in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("symbol", "header", "rows", "said"),
    [
        (
            "BTCUSDT",
            "volume_btc,volume",
            ("2,200", "3,300"),
            "volume_btc was taken as the volume, by its name; volume beside it as the quote",
        ),
        ("BTCUSDT", "volume,volume_btc", ("200,2", "300,3"), "volume beside it as the quote volume, which is not kept"),
        ("BTCUSDT", "Volume USDT,Volume BTC", ("200,2", "300,3"), None),
        ("BTCUSD", "Volume BTC,Volume USD", ("2,200", "3,300"), None),
        ("BTCUSDT", "base_volume,volume", ("2,200", "3,300"), "base_volume was taken"),
        ("BTCUSDT", "volume,base_vol", ("200,2", "300,3"), "base_vol was taken"),
        ("BTCUSDT", "volume,vol_base", ("200,2", "300,3"), "vol_base was taken"),
        ("BTCUSDT", "volume,amount", ("2,200", "3,300"), None),
        ("BTCUSDT", "volume,turnover_usd", ("2,200", "3,300"), None),
        ("ETHBTC", "volume_eth,volume_btc", ("2,200", "3,300"), None),
        ("BTCUSDT", "volume,quote_volume", ("2,200", "3,300"), None),
        ("BTCUSDT", "volume,turnover", ("2,200", "3,300"), None),
        ("BTCUSDT", "volume,volume_usdt", ("2,200", "3,300"), None),
        ("BTCUSDT", "volume,taker_buy_base_asset_volume,volume_ma20", ("2,1,2.5", "3,1,2.5"), None),
        ("BTCUSDT", "volume_btc,volume", ("2,2", "3,3"), "volume says the same as volume_btc"),
    ],
)
def test_the_volume_named_after_the_base_coin_is_the_base_volume(store, file, symbol, header, rows, said):
    report = store.import_file(file(f"{symbol}_1h.csv", bars(header, *rows)))
    assert store.get_ohlcv(symbol, "1h").volume.tolist() == [2, 3]
    assert said is None or any(said in note for note in report.notes)


@pytest.mark.parametrize(
    ("header", "rows", "names"),
    [
        ("volume,vol", ("2,200",), "volume and vol may both be the volume in BTC"),
        ("volume_btc,base_volume", ("2,2",), "volume_btc and base_volume may both"),
        ("vol,volCcy", ("2,200",), "vol and volCcy may both"),
        ("volume_x,volume_y", ("2,200",), "volume_x or volume_y is the volume in BTC: call the one that is volume_btc"),
        ("volume_eth", ("2",), "no name says that volume_eth is the volume in BTC"),
        ("turnover", ("200",), "no name says that turnover is the volume in BTC"),
    ],
)
def test_where_no_name_decides_the_file_is_refused_and_both_are_named(store, file, header, rows, names):
    with pytest.raises(DataError, match=names):
        store.import_file(file("BTCUSDT_1h.csv", bars(header, *rows)), kind="last")
    assert store.coverage() == []


def test_a_volume_in_dollars_under_the_name_of_the_coin_is_refused_or_told(store, file):
    """Quote volume is base volume x price, within a factor of two: where most rows say otherwise, the names are wrong."""
    with pytest.raises(DataError, match=r"in 3 of 3 rows volume is not volume_btc x price \(the first is line 2: volume_btc 200, volume 2"):
        store.import_file(file("BTCUSDT_1h.csv", bars("volume_btc,volume", "200,2", "300,3", "100,1")))
    report = store.import_file(file("BTCUSDT_1h.csv", bars("volume_btc,volume", "2,200", "300,3", "1,100", "0,0")))
    assert any("in 1 of 3 rows volume is not volume_btc x price (the first is line 3" in note for note in report.notes)
    with pytest.raises(DataError, match="in 1 of 1 rows turnover is not volume x price"):
        store.import_file(file("ETHUSDT_1h.csv", bars("volume,turnover", "200,2")))


@pytest.mark.parametrize("other", ["amount", "Volume2", "traded_qty", "volume_x", "value", "size"])
def test_a_bare_volume_that_is_another_column_x_price_is_in_quote_and_refused(store, file, other):
    """No name decides between the two, and the numbers say that the bare one is dollars."""
    with pytest.raises(DataError, match=rf"volume is {other} x price in 2 of 2 rows .*: call the one that is volume_btc"):
        store.import_file(file("BTCUSDT_1h.csv", bars(f"volume,{other}", "200,2", "300,3", "0,0")))
    report = store.import_file(file("BTCUSDT_1h.csv", bars(f"{other},volume_btc", "200,2", "300,3")))  # the advice
    assert report.rows == 2
    assert store.get_ohlcv("BTCUSDT", "1h").volume.tolist() == [2, 3]


def test_a_quote_volume_with_a_short_name_is_held_against_the_price(store, file):
    for other in ("turnover_usd", "quote_vol"):
        with pytest.raises(DataError, match=f"in 1 of 1 rows {other} is not volume x price"):
            store.import_file(file("BTCUSDT_1h.csv", bars(f"volume,{other}", "200,2")))


@pytest.mark.parametrize("name", ["mark_1h/BTCUSDT.csv", "BTCUSDT_index_1h.csv", "BTCUSDT_1h.csv"])
def test_bars_with_a_volume_are_no_mark_by_a_way_round(store, file, name):
    options = {} if "BTCUSDT_1h" not in name else {"kind": "mark"}
    with pytest.raises(DataError, match="line 2: volume is 5, and only bars of the last price have a volume"):
        store.import_file(file(name, bars("volume", "5", "6")), **options)
    assert store.coverage() == []


def test_the_ways_out_work(store, file):
    assert store.import_file(file("else/BTCUSDT_1h.csv", bars("volume", "5", "6")), kind="last").kind == "last"
    assert store.import_file(file("mark_1h/BTCUSDT.csv", bars("", "", "")), kind="mark").kind == "mark"


@pytest.mark.parametrize(
    "cells", [("volume", ("", "")), ("volume", ("0", "")), ("volume", ("nan", "NaN")), ("volume", ("0", "0")), ("", ("", ""))]
)
def test_mark_bars_are_taken_without_volume(store, file, cells):
    header, rows = cells
    report = store.import_file(file("BTCUSDT_mark_1h_g.csv", bars(header, *rows)))
    assert (report.kind, report.rows) == ("mark", 2)
    assert store.get_ohlcv("BTCUSDT", "1h", kind="mark").volume.tolist() == [0, 0]


def test_a_volume_of_a_mark_that_is_no_number_is_refused(store, file):
    with pytest.raises(DataError, match="line 3: volume is 'much', not a number"):
        store.import_file(file("BTCUSDT_mark_1h.csv", bars("volume", "", "much")))


def test_last_bars_need_each_volume(store, file):
    with pytest.raises(DataError, match="line 3: volume is empty"):
        store.import_file(file("BTCUSDT_1h.csv", bars("volume", "5", "")))


def test_marks_that_are_the_stored_last_prices_are_told(store, file):
    store.import_file(file("BTCUSDT_1h.csv", bars("volume", *(str(5 + n) for n in range(12)))))
    report = store.import_file(file("BTCUSDT_mark_1h.csv", bars("", *[""] * 12)))
    assert any(
        "all 12 bars are equal to those of the last price in the store: are these really mark bars?" in note for note in report.notes
    )


def test_rates_in_percent_are_told(store, file):
    text = "ts,funding_rate\n" + "".join(f"{START + n * 8 * HOUR},0.01\n" for n in range(5))
    assert any("in percent" in note for note in store.import_file(file("BTCUSDT_funding.csv", text)).notes)
