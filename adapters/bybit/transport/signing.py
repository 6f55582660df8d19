"""Signatures: HMAC-SHA256 in lower-case hex over the bytes that go on the wire. Source: its API documentation, "Integration Guidance"."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from keel.adapters.bybit.transport.credentials import Credentials, Secret

RECV_WINDOW_MS: Final = 5_000
"""How long after its timestamp the exchange takes a request."""


def query_string(params: Mapping[str, Any]) -> str:
    """Parameters in the order given, percent-encoded once; None is left out. A cursor comes encoded already and stays as it is."""
    pairs = [(name, value) for name, value in params.items() if value is not None]
    plain = urlencode([(name, value) for name, value in pairs if name != "cursor"], quote_via=quote)
    cursor = next((str(value) for name, value in pairs if name == "cursor"), "")
    return "&".join(part for part in (plain, f"cursor={cursor}" if cursor else "") if part)


def body_bytes(body: Mapping[str, Any]) -> bytes:
    """The JSON body exactly as it is signed and sent."""
    return msgspec.json.encode(body)


def string_to_sign(timestamp_ms: int, key: str, recv_window_ms: int, payload: str) -> str:
    """What a REST request signs; ``payload`` is the raw query string of a GET or the raw body of a POST."""
    return f"{timestamp_ms}{key}{recv_window_ms}{payload}"


def sign(secret: Secret, text: str) -> str:
    """HMAC-SHA256 of the text, as hex."""
    return hmac.new(secret.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()


def rest_headers(credentials: Credentials, timestamp_ms: int, recv_window_ms: int, payload: str) -> dict[str, str]:
    """The four headers of a private REST request."""
    key = credentials.key.reveal()
    return {
        "X-BAPI-API-KEY": key,
        "X-BAPI-TIMESTAMP": str(timestamp_ms),
        "X-BAPI-RECV-WINDOW": str(recv_window_ms),
        "X-BAPI-SIGN": sign(credentials.secret, string_to_sign(timestamp_ms, key, recv_window_ms, payload)),
    }


def stream_auth(credentials: Credentials, expires_ms: int, req_id: str) -> dict[str, Any]:
    """The auth frame of the private and the trade stream; ``expires_ms`` must lie in the server's future."""
    signature = sign(credentials.secret, f"GET/realtime{expires_ms}")
    return {"req_id": req_id, "reqId": req_id, "op": "auth", "args": [credentials.key.reveal(), expires_ms, signature]}
