"""Symbols in the spellings of exchanges and programs become the store's, and what keel cannot trade is refused."""

from __future__ import annotations

import pytest

from keel.adapters.store.symbols import Symbol, read_symbol, symbol_in_name
from keel.core.errors import DataError

START = 1_735_689_600_000


@pytest.mark.parametrize(
    ("spelled", "name", "category"),
    [
        ("BTC/USDT:USDT", "BTCUSDT", "linear"),
        ("btcusdt", "BTCUSDT", None),
        (" BTC/USDT ", "BTCUSDT", None),
        ("BTC-USDT-SWAP", "BTCUSDT", "linear"),
        ("BTC_USDT_USDT", "BTCUSDT", "linear"),
        ("BTCUSDT.P", "BTCUSDT", "linear"),
        ("BYBIT:BTCUSDT.P", "BTCUSDT", "linear"),
        ("BINANCE:ETHBTC", "ETHBTC", None),
        ("XBTUSD", "BTCUSD", None),
        ("XXBTZUSD", "BTCUSD", None),
        ("XBT/EUR", "BTCEUR", None),
        ("XDGUSD", "DOGEUSD", None),
        ("BTC/USDC:USDC", "BTCPERP", "linear"),
        ("BTC-PERP", "BTCPERP", "linear"),
        ("BTCUSDT-PERP", "BTCUSDT", "linear"),
        ("1000PEPE/USDT:USDT", "1000PEPEUSDT", "linear"),
        ("SCI2", "SCI2", None),
    ],
)
def test_a_symbol_in_any_spelling(spelled, name, category):
    assert read_symbol(spelled) == Symbol(name, category)


@pytest.mark.parametrize("spelled", ["BTC/USD:BTC", "BTCUSD_PERP", "BTC-USD-SWAP", "BYBIT:BTCUSD.P", "BTC/USDT:USDT-250328", "BTC-28MAR25"])
def test_inverse_and_dated_contracts_are_refused(spelled):
    with pytest.raises(DataError, match=r"(inverse|dated) contract"):
        read_symbol(spelled)


@pytest.mark.parametrize(
    ("stem", "names"),
    [
        ("BTC_USDT_USDT-1h-futures", {"BTCUSDT"}),
        ("BYBIT_BTCUSDT.P, 60", {"BTCUSDT"}),
        ("XBTUSD_60", {"BTCUSD"}),
        ("WBTC_USDT-1h", {"WBTCUSDT"}),
        ("BTC_BUSD-1h", {"BTCBUSD"}),
        ("btc-usdt-1m", {"BTCUSDT"}),
        ("bitstampUSD_1-min_data", set()),
        ("data_BTC_1h", set()),
        ("kline_usdt", set()),
        ("BTCUSDT_ETHUSDT_1m", {"BTCUSDT", "ETHUSDT"}),
    ],
)
def test_a_name_says_the_symbol(stem, names):
    assert {symbol.name for symbol in symbol_in_name(stem, "", is_stem=True)} == names


@pytest.mark.parametrize(
    "stem",
    [
        "BTC_USD_BTC-1h-futures",
        "BYBIT_BTCUSD.P, 60",
        "BTC-USD-SWAP_1h",
        "BTCUSDT_250328-1h-2025-01",
        "BTC_USDT_USDT_250328-1h-futures",
        "BTCUSDT-28MAR25",
        "btc-usdt-250328",
    ],
)
def test_a_name_of_an_inverse_or_dated_contract_is_not_that_of_the_perpetual(stem):
    with pytest.raises(DataError, match=r"^x: .*(inverse|dated) contract"):
        symbol_in_name(stem, "x: ", is_stem=True)


@pytest.mark.parametrize("stem", ["BTCUSDT_2025-03-28", "BTCUSDT_20250328", "BTCUSDT_202503", "BTCUSDT-1h-250328", "BTCUSDT_60_2025-01-01"])
def test_days_of_the_data_in_a_name_are_no_dated_contract(stem):
    assert {symbol.name for symbol in symbol_in_name(stem, "", is_stem=True)} == {"BTCUSDT"}


def test_another_spelling_is_no_contradiction_and_is_told(store, file):
    text = "symbol,ts,open,high,low,close,volume\n" + "".join(f"BTC/USDT:USDT,{START + n * 60_000},2,3,1,2.5,1.5\n" for n in range(3))
    report = store.import_file(file("perp/BTCUSDT_1m.csv", text), symbol="btcusdt")
    assert (report.symbol, report.category) == ("BTCUSDT", "linear")
    assert any("the symbol btcusdt was read as BTCUSDT" in note for note in report.notes)
    report = store.import_file(file("XBTUSDT_1m.csv", text.replace("symbol,", "").replace("BTC/USDT:USDT,", "")))
    assert report.symbol == "BTCUSDT" and "the symbol was read from the file's name as BTCUSDT" in report.notes
    with pytest.raises(DataError, match="--symbol ETHUSDT was given, but the file's own column says BTCUSDT"):
        store.import_file(file("perp/BTCUSDT_1m.csv", text), symbol="eth/usdt")
    with pytest.raises(DataError, match=r"x_1m\.csv: BTC/USD:BTC is an inverse contract"):
        store.import_file(file("x_1m.csv", text.replace("BTC/USDT:USDT", "BTC/USD:BTC")))
