"""Instruments: the exchange's answers as of their time, else what the series' own numbers show."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keel.adapters.store.instruments.inference import infer_grid, split_symbol
from keel.core.errors import ConfigError, DataError
from keel.core.model.instrument import Grid, generic_tiers
from keel.core.model.money import UNIT, to_text, to_units
from keel.core.model.time_range import to_ms

TOLD = 1_735_809_771_618
LINEAR = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "baseCoin": "BTC", "quoteCoin": "USDT", "fundingInterval": 240,
    "leverageFilter": {"maxLeverage": "100.00"}, "priceFilter": {"tickSize": "0.10"},
    "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "maxMktOrderQty": "500",
                      "minNotionalValue": "5"},
    "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
}  # fmt: skip
SPOT = {
    "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {"basePrecision": "0.000001", "minOrderQty": "0.000011", "maxLimitOrderQty": "83", "maxMarketOrderQty": "41.5",
                      "maxOrderQty": "83", "minOrderAmt": "5"},
    "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
}  # fmt: skip


def answer(category, items, time=TOLD):
    return {"retCode": 0, "result": {"category": category, "list": items}, "time": time}


def tier(limit, maintenance, initial, leverage, deduction=""):
    return {
        "id": 1, "symbol": "BTCUSDT", "riskLimitValue": limit, "maintenanceMargin": maintenance, "initialMargin": initial,
        "maxLeverage": leverage, "mmDeduction": deduction,
    }  # fmt: skip


@pytest.fixture
def answers(file):
    return lambda document: file("answer.json", json.dumps(document))


def test_a_linear_answer_is_read_field_by_field(store, answers):
    assert store.import_instruments(answers(answer("linear", [LINEAR]))) == 1
    one = store.instrument("BTCUSDT")
    assert (one.price_grid, one.qty_grid) == (Grid(1, 10), Grid(1, 1000))
    assert (one.min_qty, one.max_qty, one.max_market_qty, to_text(one.min_notional)) == (0.001, 1190.0, 500.0, "5")
    assert (one.base, one.quote, one.funding_interval_min, one.max_leverage) == ("BTC", "USDT", 240, 100 * UNIT)
    assert (one.price_limit_x, one.price_limit_y) == (UNIT // 100, UNIT // 50)
    assert (one.source, one.known_since, one.tiers) == ("exchange", TOLD, generic_tiers())
    assert (to_text(one.taker_fee), to_text(one.maker_fee)) == ("0.00055", "0.0002")


def test_a_spot_answer_is_read_field_by_field(store, answers):
    store.import_instruments(answers(answer("spot", [SPOT])))
    one = store.instrument("BTCUSDT", "spot")
    assert (one.qty_grid, one.min_qty, one.max_qty, one.max_market_qty) == (Grid(1, 10**6), 0.000011, 83.0, 41.5)
    assert (one.tiers, one.max_leverage, to_text(one.taker_fee), one.base_unit) == ((), UNIT, "0.001", UNIT)


FRACTIONS = [
    tier("2000000", "0.005", "0.01", "100.00"),
    tier("2600000", "0.0056", "0.0111", "90.00"),
    tier("1200000000", "0.6", "1", "1.00"),
]
PERCENT = [tier("2000000", "0.5", "1", "100.00"), tier("2600000", "0.56", "1.11", "90.00"), tier("1200000000", "60", "100", "1.00")]


@pytest.mark.parametrize("rows", [FRACTIONS, PERCENT, list(reversed(FRACTIONS))])
def test_rates_in_percent_and_in_fractions_mean_the_same(store, answers, rows):
    store.import_instruments(answers([answer("linear", [LINEAR]), answer("linear", rows)]))
    tiers = store.instrument("BTCUSDT").tiers
    assert [to_text(one.maintenance_rate) for one in tiers] == ["0.005", "0.0056", "0.6"]
    assert [to_text(one.initial_rate) for one in tiers] == ["0.01", "0.0111", "1"]
    # Margin is continuous at an edge: 2,000,000 x (0.0056 - 0.005) = 1200; 1200 + 2,600,000 x (0.6 - 0.0056) = 1,546,640.
    assert [to_text(one.deduction) for one in tiers] == ["0", "1200", "1546640"]


def test_the_exchanges_own_deductions_are_taken(store, answers):
    rows = [tier("2000000", "0.005", "0.01", "100"), tier("2600000", "0.0056", "0.0111", "90", "1234.5")]
    store.import_instruments(answers([answer("linear", [LINEAR]), answer("linear", rows)]))
    assert [to_text(one.deduction) for one in store.instrument("BTCUSDT").tiers] == ["0", "1234.5"]


def test_an_instrument_holds_from_the_time_it_was_told(store, answers, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(100), source="made")
    finer = LINEAR | {"priceFilter": {"tickSize": "0.01"}}
    store.import_instruments(answers([answer("linear", [LINEAR]), answer("linear", [finer], TOLD + 1000)]))
    cases = [(None, Grid(1, 100), "exchange"), (TOLD + 999, Grid(1, 10), "exchange"), (TOLD + 1000, Grid(1, 100), "exchange")]
    for at, grid, source in [*cases, (TOLD - 1, Grid(1, 10), "inferred")]:
        one = store.instrument("BTCUSDT", at=at)
        assert (one.price_grid, one.source) == (grid, source)
    assert store.import_instruments(answers(answer("linear", [LINEAR]))) == 1, "again changes nothing"
    assert store.instrument("BTCUSDT", at=TOLD + 1000).price_grid == Grid(1, 100)


def test_bare_results_hold_from_the_beginning_or_from_when_the_caller_says(store, answers):
    document = {"Spot": {"category": "spot", "list": [SPOT]}, "LinearInverse": {"category": "linear", "list": [LINEAR]}, "Option": None}
    assert store.import_instruments(answers(document)) == 2
    assert store.instrument("BTCUSDT", at=0).source == "exchange"
    store.import_instruments(answers(document["Spot"]), known_since=5)
    assert store.instrument("BTCUSDT", "spot", at=5).known_since == 5


def test_answers_without_a_category_are_told_by_their_rows(store, answers):
    assert store.import_instruments(answers([answer(None, [LINEAR]), answer(None, [SPOT])])) == 1 + 1
    assert store.instrument("BTCUSDT").qty_grid == Grid(1, 1000)
    assert store.instrument("BTCUSDT", "spot").qty_grid == Grid(1, 10**6)
    document = answer(None, [SPOT, LINEAR | {"symbol": "ETHUSDT"}, LINEAR | {"symbol": "BTCUSD", "contractType": "InversePerpetual"}])
    del document["result"]["category"]
    assert store.import_instruments(answers(document)) == 2, "each row for itself; inverse contracts are left out"


def test_risk_tiers_without_a_category_need_the_option(store, answers):
    store.import_instruments(answers(answer("linear", [LINEAR])))
    with pytest.raises(DataError, match="BTCUSDT: risk tiers without a category: use --category linear"):
        store.import_instruments(answers(answer(None, FRACTIONS)))
    assert store.instrument("BTCUSDT").tiers == generic_tiers()
    store.import_instruments(answers(answer(None, FRACTIONS)), category="linear")
    assert len(store.instrument("BTCUSDT").tiers) == 3


@pytest.mark.parametrize(
    ("document", "category", "message"),
    [
        (answer("linear", [LINEAR]), "spot", "--category spot was given, but the answer says linear"),
        (answer(None, [SPOT]), "linear", "--category linear was given, but the fields of BTCUSDT are those of spot"),
        (answer(None, [LINEAR]), "spot", "--category spot was given, but the fields of BTCUSDT are those of linear"),
    ],
)
def test_a_category_that_contradicts_the_answer_is_refused(store, answers, document, category, message):
    with pytest.raises(DataError, match=message):
        store.import_instruments(answers(document), category=category)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (answer(None, [LINEAR | {"contractType": "InversePerpetual"}]), "it holds InversePerpetual only, which keel does not trade"),
        (answer(None, [{"symbol": "X", "optionsType": "Put", "priceFilter": {}}]), "it holds options only"),
        (answer("inverse", [tier("150", "0.5", "1", "100")]), "category inverse"),
        (answer("option", [{"symbol": "X", "priceFilter": {}}]), "category option"),
        (answer("linear", [LINEAR | {"contractType": "LinearFutures"}]), "LinearFutures"),
        (answer("linear", [LINEAR | {"priceFilter": {}}]), "BTCUSDT linear: the field 'tickSize'"),
        (answer("linear", [LINEAR | {"priceFilter": {"tickSize": "0"}}]), "BTCUSDT linear.*'0' is not a tick"),
        (answer("linear", [tier("1", "0.02", "0.04", "25"), tier("2", "0.01", "0.05", "20")]), "must not fall"),
        ({"retCode": 10001, "result": {}}, "no answer of instruments-info"),
        ([], "no answer"),
        ("text", "no answer"),
    ],
)
def test_other_answers_are_refused_whole(store, answers, document, message):
    with pytest.raises(DataError, match=message):
        store.import_instruments(answers(document))
    with pytest.raises(DataError, match="neither the exchange's instrument nor bars"):
        store.instrument("BTCUSDT")


def test_what_is_not_json_is_refused(store, file, tmp_path):
    with pytest.raises(DataError, match="not JSON"):
        store.import_instruments(file("x.json", "{"))
    with pytest.raises(DataError, match="cannot be read"):
        store.import_instruments(tmp_path / "nothing.json")


@pytest.mark.parametrize("step", ["100", "5", "1", "0.5", "0.1", "0.05", "0.02", "0.001", "0.00005", "0.0000001"])
def test_the_step_of_numbers_on_a_grid_is_found(step):
    grid = Grid.from_text(step)
    rng = np.random.default_rng(7)
    values = np.array([grid.value(int(count)) for count in rng.integers(10_000, 60_000, 3000)])
    assert infer_grid(values, "x") == grid
    values[0] += float(step) / 7
    assert infer_grid(values, "x") == grid, "one odd price among thousands does not change the grid"


def test_numbers_on_no_grid_are_an_error():
    with pytest.raises(DataError, match="lie on no grid"):
        infer_grid(np.random.default_rng(1).random(1000) * 1e4 * np.pi, "x")


def test_each_quarter_has_its_own_grid_and_the_whole_the_finest(store, bars):
    early, late = bars(500, "1h", start=to_ms("2024-11-01")), bars(500, "1h", start=to_ms("2025-02-01"))
    for name in ("open", "high", "low", "close"):
        early[name] = np.round(early[name] / 10, 2)
    store.upsert_bars("SOLUSDT", "1h", early, source="made")
    store.upsert_bars("SOLUSDT", "1h", late, source="made")
    ts = to_ms("2025-02-01") + np.arange(10, dtype=np.int64) * 4 * 3_600_000
    store.upsert_funding("SOLUSDT", {"ts": ts, "funding_rate": np.zeros(10)}, source="made")
    grids = [store.instrument("SOLUSDT", at=at).price_grid for at in (to_ms("2024-12-15"), to_ms("2025-03-31"), None)]
    assert grids == [Grid(1, 100), Grid(1, 10), Grid(1, 100)]
    one = store.instrument("SOLUSDT", at=to_ms("2025-03-31"))
    assert (one.source, one.qty_grid, one.funding_interval_min, one.tiers) == ("inferred", Grid(1, 1000), 240, generic_tiers("SOL"))
    assert (one.min_qty, one.min_notional, one.max_leverage) == (0.001, to_units("5"), 25 * UNIT)
    assert store.instrument("SOLUSDT", at=to_ms("2030-01-01")).price_grid == Grid(1, 100), "a quarter without bars: from all"


def test_an_instrument_that_is_written_is_read_the_same(store, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(200), source="made")
    inferred = store.instrument("BTCUSDT")
    store.upsert_instrument(inferred)
    assert store.instrument("BTCUSDT") == inferred


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("BTCPERP", ("BTC", "USDC")),
        ("ETH-USDC", ("ETH", "USDC")),
        ("ETHBTC", ("ETH", "BTC")),
        ("X", ("X", "USDT")),
    ],
)
def test_symbols_are_split(symbol, parts):
    assert split_symbol(symbol) == parts


def test_an_unknown_category_is_refused(store):
    with pytest.raises((ConfigError, DataError)):
        store.instrument("BTCUSDT", "inverse")


# --- what is inferred, and how doubtful it is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "step"),
    [(1.0, "0.001"), (0.0062, "0.000001"), (0.00501, "0.000001"), (0.0049, "0.000001"), (1.24e-5, "0.00000001"), (1.23e-6, "1e-9")],
)
def test_small_prices_have_a_small_tick(price, step):
    """A count of no steps is not on a grid: prices below half a unit of a huge step are not multiples of it."""
    size = float(step)
    values = np.round(price / size + np.arange(50)) * size
    assert infer_grid(values, "prices") == Grid.from_text(step)
    assert infer_grid(np.array([0.001, 0.002, 0.003, 0.004] * 20), "volumes") == Grid(1, 1000)


def small(store, symbol, rows, *, price=100.0, volumes=None, tick=0.01):
    """Bars of a price that moves by a few ticks, with these volumes in turn."""
    rng = np.random.default_rng(3)
    ticks = np.round(price / tick) + rng.integers(0, 50, rows)
    columns = dict.fromkeys(("open", "high", "low", "close"), ticks * tick)
    columns["volume"] = np.resize(np.asarray(volumes if volumes is not None else rng.integers(1, 10**6, rows) / 1000, dtype=float), rows)
    store.upsert_bars(symbol, "1h", {"ts": 1_735_689_600_000 + np.arange(rows, dtype=np.int64) * 3_600_000, **columns}, source="made")
    return store.instrument_and_assumptions(symbol)


WHOLE = np.arange(1, 200)


@pytest.mark.parametrize(
    ("symbol", "price", "volumes", "step", "said"),
    [
        ("BTCUSDT", 16_500.0, WHOLE, "0.001", ("whole numbers, which would make 1 BTC (16,500", "not believed, 0.001 BTC (16.5")),
        ("BTCUSDT", 50_000.0, WHOLE / 100, "0.001", ("multiples of 0.01, which would make 0.01 BTC (500", "not believed")),
        ("ETHBTC", 0.05, WHOLE, "0.01", ("whole numbers, which would make 1 ETH (0.05", "not believed, 0.01 ETH (0.0005")),
        ("SOLUSDT", 150.0, WHOLE, "1", ("whole numbers, which would make 1 SOL (150", "it was taken")),
        ("SOLUSDT", 150.0, [1.5, 2.5], "0.5", ("0.5 SOL (75", "read from a few volumes only: it was taken")),
        ("DOGEUSDT", 0.15, WHOLE, "1", ()),
        ("BTCUSDT", 16_500.0, WHOLE / 1000, "0.001", ()),
        ("SOLUSDT", 150.0, [0.0], "0.001", ("there are no volumes to read the quantity step from",)),
        ("FOO", 150.0, None, "0.001", ("does not say its quote coin: USDT was taken",)),
    ],
)  # fmt: skip
def test_a_doubtful_step_is_said_with_its_smallest_order_and_capped(store, symbol, price, volumes, step, said):
    found = small(store, symbol, 300, price=price, volumes=volumes, tick=0.01 if price > 1 else 0.00001)
    assert found.instrument.qty_grid == Grid.from_text(step)
    assert len(found.doubts) == bool(said)
    for part in said:
        assert part in found.doubts[0]


def test_the_smallest_order_is_told_in_base_and_quote(store):
    found = small(store, "SOLUSDT", 300, price=150.0, volumes=WHOLE)
    assert found.assumed[0].startswith("tick 0.01, step 1, smallest order value 5 USDT: orders from 1 SOL (150.") and len(found.doubts) == 1
    assert "a small coin's" in found.assumed[2]


@pytest.mark.parametrize(("symbol", "least"), [("ETHBTC", "0.0001"), ("SOLETH", "0.002"), ("SOLUSDC", "5"), ("BTCEUR", "5")])
def test_the_smallest_order_value_goes_by_the_quote_coin(store, symbol, least):
    assert to_text(small(store, symbol, 100, price=0.05, tick=0.00001).instrument.min_notional) == least


def test_small_coins_do_not_have_the_tiers_of_bitcoin(store, answers):
    """(limit, maintenance rate, leverage) of the lowest tier: what is not known is assumed to be worse, not better."""
    for symbol, lowest in (("BTCUSDT", ("2000000", "0.005", "100")), ("ETHUSDT", ("2000000", "0.005", "100")),
                           ("WIFUSDT", ("100000", "0.02", "25"))):  # fmt: skip
        one = small(store, symbol, 100).instrument.tiers[0]
        assert (to_text(one.limit), to_text(one.maintenance_rate), to_text(one.max_leverage)) == lowest
    told = LINEAR | {"symbol": "WIFUSDT", "baseCoin": "WIF", "leverageFilter": {"maxLeverage": "50.00"}}
    store.import_instruments(answers(answer("linear", [told])))
    found = store.instrument_and_assumptions("WIFUSDT")
    rates = [(to_text(one.maintenance_rate), to_text(one.initial_rate)) for one in found.instrument.tiers[:2]]
    assert rates == [("0.01", "0.02"), ("0.04", "0.08333334")], "the leverage that the exchange told, the rest still careful"
    assert "a small coin's" in found.assumed[0]


def test_no_tier_allows_more_leverage_than_the_exchange_told():
    tiers = generic_tiers("WIF", 10 * UNIT)
    assert [to_text(one.max_leverage) for one in tiers] == ["10", "10", "10", "5", "2", "1"]
    rates = [one.maintenance_rate for one in tiers]
    assert rates == sorted(rates) and to_text(rates[0]) == "0.05"


def test_an_import_tells_what_is_doubtful_about_the_instrument(store, file):
    rows = "".join(f"{1_735_689_600_000 + n * 3_600_000},50000.1,50010.2,49990.3,50000.4,{n + 1}\n" for n in range(40))
    report = store.import_file(file("BTCUSDT_1h.csv", "ts,open,high,low,close,volume\n" + rows))
    (said,) = [note for note in report.notes if "smallest order" in note]
    assert "whole numbers" in said and "keel data import-instruments" in said
