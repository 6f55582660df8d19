"""Signatures against the exchange's documented example and against two independent makers of them: openssl's HMAC and pybit."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.transport.credentials import Credentials, Secret
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.transport.signing import body_bytes, query_string, rest_headers, sign, stream_auth, string_to_sign

KEYS = Credentials(Environment.DEMO, Secret("XXXXXXXXXX"), Secret("s3cret"))


def test_the_documented_string_to_sign() -> None:
    params = {"category": "option", "symbol": "BTC-29JUL22-25000-C"}
    text = string_to_sign(1658384314791, "XXXXXXXXXX", 5000, query_string(params))
    assert text == "1658384314791XXXXXXXXXX5000category=option&symbol=BTC-29JUL22-25000-C"


def test_a_published_hmac_vector() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign(Secret("Jefe"), "what do ya want for nothing?") == expected


def test_headers_sign_exactly_what_is_sent() -> None:
    body = body_bytes({"symbol": "BTCUSDT", "qty": "0.001"}).decode()
    headers = rest_headers(KEYS, 1658385579423, 5000, body)
    expected = hmac.new(b"s3cret", f"1658385579423XXXXXXXXXX5000{body}".encode(), hashlib.sha256).hexdigest()
    assert headers["X-BAPI-SIGN"] == expected
    assert headers["X-BAPI-TIMESTAMP"] == "1658385579423"


def test_pybit_makes_the_same_signature() -> None:
    helper: Any = pytest.importorskip("pybit._http_manager")
    payload = "category=linear&symbol=BTCUSDT"
    manager = helper._V5HTTPManager(api_key="XXXXXXXXXX", api_secret="s3cret", testnet=True)
    assert manager._auth(payload, 5000, 1658384314791) == rest_headers(KEYS, 1658384314791, 5000, payload)["X-BAPI-SIGN"]


def test_the_stream_signs_its_expiry() -> None:
    frame = stream_auth(KEYS, 1662350400000, "1")
    assert frame["args"] == ["XXXXXXXXXX", 1662350400000, hmac.new(b"s3cret", b"GET/realtime1662350400000", hashlib.sha256).hexdigest()]


def test_a_cursor_is_passed_back_as_it_came() -> None:
    assert query_string({"category": "linear", "cursor": "132766%3A2%2C132766%3A2", "symbol": None}) == (
        "category=linear&cursor=132766%3A2%2C132766%3A2"
    )


@given(st.dictionaries(st.text(min_size=1, max_size=5, alphabet="abc"), st.text(max_size=8), max_size=4))
def test_a_query_holds_no_byte_that_a_url_could_change(params: dict[str, str]) -> None:
    from yarl import URL

    query = query_string(params)
    assert URL(f"http://127.0.0.1/x?{query}", encoded=True).raw_query_string == query
    assert all(letter.isascii() and letter.isprintable() and letter not in " <>\"'#" for letter in query)
