"""Who asks: signatures over the bytes as they came, and the window of time in which they are good (fact sheet 2)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from keel.sim.sandbox.account import Account
from keel.sim.sandbox.errors import ApiError, is_count

AHEAD_MS: Final = 1000
DEFAULT_WINDOW_MS: Final = 5000
KEY_INVALID: Final = "API key is invalid."


def sign(secret: str, text: str) -> str:
    """HMAC-SHA256 in lower-case hex."""
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()


def check_time(timestamp: int, window: int, now_ms: int) -> None:
    """server - window <= timestamp < server + 1000; raises 10002 with the three numbers otherwise."""
    if not now_ms - window <= timestamp < now_ms + AHEAD_MS:
        raise ApiError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{timestamp}],server_timestamp[{now_ms}],recv_window[{window}]",
        )


def authenticate(headers: Mapping[str, str], payload: str, accounts: Mapping[str, Account], now_ms: int) -> Account:
    """The account of a REST request; ``payload`` is the raw query or body. Raises ApiError."""
    key, stamp, signature = headers.get("X-BAPI-API-KEY"), headers.get("X-BAPI-TIMESTAMP"), headers.get("X-BAPI-SIGN")
    window = headers.get("X-BAPI-RECV-WINDOW") or str(DEFAULT_WINDOW_MS)
    if not key or not stamp or not signature or not is_count(stamp) or not is_count(window):
        raise ApiError(10001, "empty value: apiTimestamp[], apiKey[], apiSignature[], openapi sign params error!")  # ASSUMED beginning
    check_time(int(stamp), int(window), now_ms)
    account = accounts.get(key)
    if account is None:
        raise ApiError(10003, KEY_INVALID)
    origin = f"{stamp}{key}{window if 'X-BAPI-RECV-WINDOW' in headers else ''}{payload}"
    if not _is_signed(account.settings.secret, origin, signature):
        raise ApiError(10004, f"error sign! origin_string[{origin}]")
    return account


def check_socket(args: object, accounts: Mapping[str, Account], now_ms: int) -> Account:
    """The account of an ``auth`` frame: [key, expires (number or text), signature]. Raises ApiError."""
    if not isinstance(args, list) or len(args) != 3 or not is_count(str(args[1])):
        raise ApiError(10001, "Params Error")
    key, expires, signature = str(args[0]), int(args[1]), str(args[2])
    if expires <= now_ms:
        raise ApiError(10001, "Params Error")
    account = accounts.get(key)
    if account is None:
        raise ApiError(10003, "Invalid apikey")
    if not _is_signed(account.settings.secret, f"GET/realtime{expires}", signature):
        raise ApiError(10004, "error sign!")  # ASSUMED words
    return account


def _is_signed(secret: str, text: str, signature: str) -> bool:
    return signature.isascii() and hmac.compare_digest(sign(secret, text), signature)
