"""Prices come as text and become the float of their exact decimal, whatever way they are read."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.wire import parsing
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import PayloadError

DIGITS = st.text("0123456789", min_size=1, max_size=18)
TEXTS = st.one_of(
    DIGITS,
    st.builds("{}.{}".format, DIGITS, DIGITS),
    st.builds("{}e{}".format, DIGITS, st.integers(-40, 20)),
    st.sampled_from(["", "0", "0.0", "-1", "nan", "inf", "1_0", " 1", "1.", ".1", "\u0661", "9007199254740993", "0.1000000000000000055"]),
)


def exact(text: str) -> Decimal | None:
    """By the way that takes every number."""
    try:
        return parsing.number(text)
    except PayloadError:
        return None


@given(TEXTS)
def test_a_mark_price_is_the_float_of_its_decimal(text: str) -> None:
    value = exact(text)
    if value is None or value <= 0:
        with pytest.raises(PayloadError):
            parsing.mark_price("X", 1, text)
    else:
        assert parsing.mark_price("X", 1, text).price == float(value)


@given(st.lists(TEXTS, min_size=5, max_size=5), st.booleans())
def test_a_candle_holds_the_floats_of_its_decimals_or_is_none(texts: list[str], ordered: bool) -> None:
    """ordered: so that more of them are candles."""
    values = [exact(text) for text in texts]
    if ordered and None not in values:
        low, first, last, high = sorted(texts[:4], key=Decimal)
        texts = [first, high, low, last, texts[4]]
        values = [exact(text) for text in texts]
    start = 1_700_000_040_000
    known = [value for value in values if value is not None]
    if len(known) == 5 and 0 < known[2] <= min(known[0], known[3]) <= max(known[0], known[3]) <= known[1] and known[4] >= 0:
        made = parsing.bar("X", "1m", start, (texts[0], texts[1], texts[2], texts[3]), texts[4])
        assert [made.open, made.high, made.low, made.close, made.volume] == [float(value) for value in known]
        return
    with pytest.raises(PayloadError):
        parsing.bar("X", "1m", start, (texts[0], texts[1], texts[2], texts[3]), texts[4])


GOOD = b'{"start":1700000040000,"end":1700000099999,"interval":"1","open":"1","high":"2","low":"1","close":"2","volume":"3","confirm":true}'


@pytest.mark.parametrize("bad", [b"{}", b"[]", b"1", b'{"start":"x"}', b"\xff"])
def test_a_row_that_cannot_be_read_keeps_no_other_back(bad: bytes) -> None:
    refused: list[PayloadError] = []
    alone = wire.decode_rows(wire.KlineRow, b"[" + GOOD + b"]", refused.append)
    assert len(alone) == 1 and not refused
    if bad == b"\xff":
        with pytest.raises(PayloadError):
            wire.decode_rows(wire.KlineRow, b"[" + GOOD + b"," + bad + b"]", refused.append)
        return
    assert wire.decode_rows(wire.KlineRow, b"[" + GOOD + b"," + bad + b"," + GOOD + b"]", refused.append) == alone * 2 and len(refused) == 1
