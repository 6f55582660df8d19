"""How numbers, times and sources read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.report import text


@pytest.mark.parametrize(
    ("units", "digits", "signed", "shown"),
    [
        (123_450_000_000, 2, False, "1,234.50"),
        (-1, 8, False, "−0.00000001"),
        (-1, 2, False, "0.00"),
        (1, 2, True, "0.00"),
        (0, 8, True, "0.00000000"),
        (50_000_000, 2, True, "+0.50"),
        (400_000_000_000_000_001, 8, False, "4,000,000,000.00000001"),
    ],
)
def test_money(units: int, digits: int, signed: bool, shown: str) -> None:
    assert text.money(units, digits, signed=signed) == shown


@given(st.lists(st.integers(-(4 * 10**17), 4 * 10**17), min_size=1))
def test_decimals_of_round_nothing_away(amounts: list[int]) -> None:
    digits = text.decimals_of(amounts)
    for units in amounts:
        read = Decimal(text.money(units, digits).replace(",", "").replace(text.MINUS, "-"))
        assert read * 10**8 == units


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (45_000, "45 s"),
        (0, "0 s"),
        (720_000, "12 min"),
        (12_000_000, "3 h 20 min"),
        (86_400_000, "1 d"),
        (1_051_200_000, "12 d 4 h"),
        (365 * 86_400_000, "365 d"),
    ],
)
def test_duration(ms: int, shown: str) -> None:
    assert text.duration(ms) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(97_123.5, "97,123.50"), (145.23, "145.230"), (0.012345, "0.0123450"), (0.00001234, "0.00001234"), (0.0, "0.00")]
)
def test_price(value: float, shown: str) -> None:
    assert text.price(value) == shown


@pytest.mark.parametrize(
    ("trust", "synthetic"),
    [
        ({"sources": {"BTCUSDT": {"mark": "synthetic"}}}, True),
        ({"mark": {"synthetic": 12}}, True),
        ({"mark": {"synthetic": 0, "store": 12}}, False),
        ({"synthetic": True}, True),
        ({"synthetic": False}, False),
        ({"sources": [{"kind": "last", "source": "Synthetic sample"}]}, True),
        ({"not_modelled": ["synthetic orders"], "mark": "store"}, False),
        ({}, False),
    ],
)
def test_a_synthetic_source_is_found_wherever_it_stands(trust: dict[str, Any], synthetic: bool) -> None:
    assert text.is_synthetic(trust) is synthetic


@pytest.mark.parametrize(
    ("symbols", "coin"),
    [(["BTCUSDT", "ETHUSDT"], "USDT"), (["ETHBTC"], "BTC"), (["BTCUSDT", "ETHUSDC"], "quote coin"), (["BTCPERP"], "quote coin")],
)
def test_the_coin_is_named_only_where_all_symbols_agree(symbols: list[str], coin: str) -> None:
    assert text.quote_coin(symbols) == coin
