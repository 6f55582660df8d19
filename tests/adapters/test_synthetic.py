"""The invented sample: the same bytes from the same seed, sound candles, and the habits of a real market."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from keel.adapters.synthetic import SyntheticSample, SyntheticSeries, generate_sample
from keel.adapters.synthetic.derivatives import make_funding, mark_over_index
from keel.core.errors import ConfigError
from keel.core.model.time_range import to_ms
from keel.core.model.timeframe import DAY_MS, MINUTE_MS

BP = 1e-4
KINDS = ("last", "mark", "index", "funding", "open_interest")
SHORT = {"start": "2024-03-01", "end": "2024-03-06"}
DIGEST = """
import hashlib
from keel.adapters.synthetic import generate_sample
digest = hashlib.sha256()
for name, series in generate_sample(11, "2024-03-01", "2024-03-08").series.items():
    for kind in ("last", "mark", "index", "funding", "open_interest"):
        for column, values in getattr(series, kind).items():
            digest.update(f"{name} {kind} {column}".encode() + values.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def year() -> SyntheticSample:
    return generate_sample()


@pytest.fixture(scope="module")
def week() -> SyntheticSample:
    return generate_sample(3, "2024-02-26", "2024-03-04", ("BTCUSDT", "ETHUSDT", "1000PEPEUSDT"))


def same(one: SyntheticSeries, other: SyntheticSeries, rows: dict[str, int] | None = None) -> bool:
    """Whether two series are equal to the bit, or over the first rows of each kind."""
    for kind in KINDS:
        mine, theirs = getattr(one, kind), getattr(other, kind)
        stop = len(mine["ts"]) if rows is None else rows[kind]
        if mine.keys() != theirs.keys() or any(mine[name][:stop].tobytes() != theirs[name][:stop].tobytes() for name in mine):
            return False
    return True


def log_returns(series: SyntheticSeries, kind: str = "last") -> np.ndarray:
    return np.diff(np.log(getattr(series, kind)["close"]))


def autocorrelation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


# --- the same bytes --------------------------------------------------------------------------------------------------


def test_two_processes_make_the_same_bytes() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        digests.add(subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_another_seed_makes_another_history() -> None:
    one, other = (generate_sample(seed, **SHORT).series["BTCUSDT"] for seed in (1, 2))
    assert not np.array_equal(one.last["close"], other.last["close"])


def test_a_symbol_does_not_depend_on_the_others() -> None:
    both, alone = generate_sample(5, **SHORT), generate_sample(5, **SHORT, symbols=["ETHUSDT"])
    assert same(alone.series["ETHUSDT"], both.series["ETHUSDT"])


def test_a_longer_span_begins_with_the_shorter() -> None:
    short = generate_sample(5, "2024-03-01", "2024-03-06").series["BTCUSDT"]
    long = generate_sample(5, "2024-03-01", "2024-03-20").series["BTCUSDT"]
    assert same(short, long, {kind: len(getattr(short, kind)["ts"]) for kind in KINDS})


def test_the_label_is_everywhere(week: SyntheticSample) -> None:
    assert week.source == "synthetic"
    assert {(s.source, s.instrument.source, s.timeframe) for s in week.series.values()} == {("synthetic", "synthetic", "1m")}


# --- sound candles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["last", "mark", "index"])
def test_candles_are_sound(week: SyntheticSample, kind: str) -> None:
    for series in week.series.values():
        bars = getattr(series, kind)
        assert bars["ts"].dtype == np.int64
        assert np.array_equal(bars["ts"], np.arange(to_ms("2024-02-26"), to_ms("2024-03-04"), MINUTE_MS))
        assert all(np.isfinite(column).all() for column in bars.values())
        assert (bars["low"] > 0).all()
        assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
        assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()


def test_prices_and_volumes_are_on_the_instrument_s_grid(week: SyntheticSample) -> None:
    for series in week.series.values():
        prices, sizes = series.instrument.price_grid, series.instrument.qty_grid
        for name in ("open", "high", "low", "close"):
            assert all(prices.is_on(value) for value in series.last[name].tolist())
        assert all(sizes.is_on(value) for value in series.last["volume"].tolist())
        assert all(sizes.is_on(value) for value in series.open_interest["open_interest"].tolist())


def test_an_open_repeats_the_close_before_it_but_for_rare_jumps(year: SyntheticSample) -> None:
    for series in year.series.values():
        jumped = series.last["open"][1:] != series.last["close"][:-1]
        assert 20 < jumped.sum() < 300
        sizes = np.abs(series.last["open"][1:] / series.last["close"][:-1] - 1)[jumped]
        assert 0.001 < sizes.min() < sizes.max() < 0.05


def test_a_minute_without_volume_stands_still_and_is_rare(year: SyntheticSample) -> None:
    for series in year.series.values():
        bars, quiet = series.last, series.last["volume"] == 0
        assert 5 < quiet.sum() < 200
        assert all((bars[name][quiet] == bars["open"][quiet]).all() for name in ("high", "low", "close"))
        assert (series.mark["volume"] == 0).all()


def test_instruments_are_as_on_the_exchange(week: SyntheticSample) -> None:
    bitcoin, ether = week.series["BTCUSDT"].instrument, week.series["ETHUSDT"].instrument
    assert [i.price_grid.text(1) for i in (bitcoin, ether)] == ["0.1", "0.01"]
    assert [i.qty_grid.text(1) for i in (bitcoin, ether)] == ["0.001", "0.01"]
    assert [(i.base, i.quote, i.min_notional, i.funding_interval_min) for i in (bitcoin, ether)] == [
        ("BTC", "USDT", 5 * 10**8, 480),
        ("ETH", "USDT", 5 * 10**8, 480),
    ]
    assert len(bitcoin.tiers) > 1


# --- the habits of a market ------------------------------------------------------------------------------------------


def test_volatility_clusters_and_tails_are_fat(year: SyntheticSample) -> None:
    for series in year.series.values():
        returns = log_returns(series)
        assert all(autocorrelation(np.abs(returns), lag) > 0.1 for lag in (1, 5, 60))
        assert abs(autocorrelation(returns, 1)) < 0.06
        assert ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 > 4


@pytest.mark.parametrize(("symbol", "low", "high"), [("BTCUSDT", 0.45, 0.65), ("ETHUSDT", 0.55, 0.8)])
def test_a_year_s_volatility_is_what_was_asked_for(year: SyntheticSample, symbol: str, low: float, high: float) -> None:
    assert low < log_returns(year.series[symbol]).std() * np.sqrt(525_600) < high
    close = year.series[symbol].last["close"]
    assert 0.2 < close.min() / close[0] < 1 < close.max() / close[0] < 5


def test_the_volatility_option_scales_returns_and_size_scales_volume() -> None:
    calm = generate_sample(4, **SHORT, volatility=0.2, size=1).series["BTCUSDT"]
    wild = generate_sample(4, **SHORT, volatility=0.8, size=10).series["BTCUSDT"]
    assert log_returns(wild).std() / log_returns(calm).std() == pytest.approx(4, rel=0.05)
    assert wild.last["volume"].mean() / calm.last["volume"].mean() == pytest.approx(10, rel=0.05)
    assert wild.open_interest["open_interest"].mean() / calm.open_interest["open_interest"].mean() == pytest.approx(10, rel=1e-3)


def test_symbols_move_together(year: SyntheticSample) -> None:
    bitcoin, ether = (log_returns(year.series[symbol]) for symbol in ("BTCUSDT", "ETHUSDT"))
    assert 0.6 < np.corrcoef(bitcoin, ether)[0, 1] < 0.95


def test_volume_follows_volatility_and_the_clock(year: SyntheticSample) -> None:
    bars = year.series["BTCUSDT"].last
    moved = np.abs(log_returns(year.series["BTCUSDT"]))
    assert np.corrcoef(bars["volume"][1:], moved)[0, 1] > 0.3
    hour, weekday = bars["ts"] // (60 * MINUTE_MS) % 24, (bars["ts"] // DAY_MS + 3) % 7
    assert bars["volume"][hour == 14].mean() > 2 * bars["volume"][hour == 4].mean()
    assert moved[weekday[1:] >= 5].mean() < 0.8 * moved[weekday[1:] < 5].mean()


def test_the_mark_is_smoother_than_last_and_stays_near_it(year: SyntheticSample) -> None:
    for series in year.series.values():
        assert log_returns(series, "mark").std() < log_returns(series).std()
        basis = series.last["close"] / series.mark["close"] - 1
        assert 0 < basis.std() < 2 * BP
        assert np.abs(basis).max() < 100 * BP


def test_the_premium_reverts_to_its_mean(year: SyntheticSample) -> None:
    for series in year.series.values():
        premium = (series.last["close"] / series.index["close"] - 1)[::60]
        assert np.abs(premium.mean()) < 5 * BP
        assert 1 * BP < premium.std() < 15 * BP
        assert autocorrelation(premium, 1) > 0.5 > abs(autocorrelation(premium, 24 * 14))


# --- funding and mark by the exchange's rules ------------------------------------------------------------------------


def test_funding_comes_every_eight_hours_within_bounds(year: SyntheticSample) -> None:
    for series in year.series.values():
        ts, rates = series.funding["ts"], series.funding["funding_rate"]
        assert np.array_equal(ts, np.arange(to_ms("2024-01-01"), to_ms("2025-01-01"), DAY_MS // 3))
        assert np.abs(rates).max() <= 50 * BP
        assert 0.3 < (rates == BP).mean() < 0.95  # the damper holds most of them at the interest
        assert rates.min() < 0 < rates.max()


@pytest.mark.parametrize(
    ("premium_bps", "rate_bps"),
    [(0, 1), (1.5, 1), (6.5, 1), (7.5, 2), (-4.5, 1), (-6.5, -1), (100, 50), (-100, -50)],
)
def test_a_constant_premium_gives_the_damped_and_capped_rate(premium_bps: float, rate_bps: float) -> None:
    """Half a basis point of the premium is spread; F = P + clamp(1 - P, -5, 5), within 50, all in bps."""
    funding = make_funding(to_ms("2024-01-01"), np.full(481, premium_bps * BP))
    assert funding["ts"].tolist() == [to_ms("2024-01-01"), to_ms("2024-01-01T08:00")]
    assert funding["funding_rate"].tolist() == pytest.approx([BP, rate_bps * BP], abs=1e-12)


def test_later_minutes_weigh_more() -> None:
    """Nothing for four hours, then 20 bps: minutes 241 to 480 have 86,520 of 115,440 weights, so 14.99 bps, less 5."""
    premium = np.concatenate((np.zeros(240), np.full(241, 20.5 * BP)))
    rate = make_funding(to_ms("2024-01-01"), premium)["funding_rate"][1]
    assert rate == pytest.approx((20 * 86_520 / 115_440 - 5) * BP, abs=1e-8)


def test_the_mark_is_the_median_of_three() -> None:
    """Premiums 0, 0, 0, 0, 10 bps: five-minute mean 2; the rate of 1 bp with 475 of 480 minutes left 0.99; last 10: the median is 2."""
    premium = np.array([0, 0, 0, 0, 10.0]) * BP
    start = to_ms("2024-01-01")
    ratio = mark_over_index(start, premium, make_funding(start, premium))
    assert (ratio - 1).tolist() == pytest.approx([0, 0, 0, 0, 2 * BP], abs=1e-12)


# --- what cannot be made up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "2024-01-02", "end": "2024-01-02"}, "empty"),
        ({"start": "2024-01-02T00:00:30", "end": "2024-01-03"}, "full minute"),
        ({"symbols": []}, "symbols"),
        ({"symbols": "BTCUSDT"}, "symbols"),
        ({"symbols": ["BTCUSDT", "BTCUSDT"]}, "different"),
        ({"symbols": ["btc-usdt"]}, "'btc-usdt' cannot be made up"),
        ({"seed": -1}, "negative"),
        ({"volatility": 0}, "volatility"),
        ({"volatility": float("nan")}, "volatility"),
        ({"size": -1}, "size"),
    ],
)
def test_what_makes_no_sample_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        generate_sample(**{**SHORT, **options})  # type: ignore[arg-type]  # wrong on purpose


def test_a_span_within_an_hour_is_enough() -> None:
    series = generate_sample(1, "2024-01-01T08:10", "2024-01-01T08:11").series["BTCUSDT"]
    assert [len(getattr(series, kind)["ts"]) for kind in KINDS] == [1, 1, 1, 0, 0]
