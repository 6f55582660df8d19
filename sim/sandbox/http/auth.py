"""Who asks: signatures over the bytes as they came, and the window of time in which they are good ("Integration Guidance")."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from keel.sim.sandbox.http.errors import ApiError, is_count

if TYPE_CHECKING:
    from keel.sim.sandbox.account.simulated_account import SimulatedAccount

AHEAD_MS: Final = 1000
DEFAULT_WINDOW_MS: Final = 5000
KEY_INVALID: Final = "API key is invalid."


def keyed(secret: str) -> hmac.HMAC:
    """HMAC-SHA256 that has taken in the secret: for ``sign``, again and again."""
    return hmac.new(secret.encode(), digestmod="sha256")


def sign(key: hmac.HMAC, text: str) -> str:
    """The text's signature in lower-case hex."""
    begun = key.copy()
    begun.update(text.encode())
    return begun.hexdigest()


def check_time(timestamp: int, window: int, now_ms: int) -> None:
    """server - window <= timestamp < server + 1000; raises 10002 with the three numbers otherwise."""
    if not now_ms - window <= timestamp < now_ms + AHEAD_MS:
        raise ApiError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{timestamp}],server_timestamp[{now_ms}],recv_window[{window}]",
        )


def authenticate(headers: Mapping[str, str], payload: str, accounts: Mapping[str, SimulatedAccount], now_ms: int) -> SimulatedAccount:
    """The account of a REST request; ``payload`` is the raw query or body. Raises ApiError."""
    key, stamp, signature = headers.get("X-BAPI-API-KEY"), headers.get("X-BAPI-TIMESTAMP"), headers.get("X-BAPI-SIGN")
    asked = headers.get("X-BAPI-RECV-WINDOW")
    window = asked or str(DEFAULT_WINDOW_MS)
    if not key or not stamp or not signature or not is_count(stamp) or not is_count(window):
        raise ApiError(10001, "empty value: apiTimestamp[], apiKey[], apiSignature[], openapi sign params error!")  # ASSUMED beginning
    check_time(int(stamp), int(window), now_ms)
    account = accounts.get(key)
    if account is None:
        raise ApiError(10003, KEY_INVALID)
    origin = f"{stamp}{key}{'' if asked is None else window}{payload}"
    if not _is_signed(account, origin, signature):
        raise ApiError(10004, f"error sign! origin_string[{origin}]")
    return account


def check_socket(args: object, accounts: Mapping[str, SimulatedAccount], now_ms: int) -> SimulatedAccount:
    """The account of an ``auth`` frame: [key, expires (number or text), signature]. Raises ApiError."""
    if not isinstance(args, list) or len(args) != 3 or not is_count(str(args[1])):
        raise ApiError(10001, "Params Error")
    key, expires, signature = str(args[0]), int(args[1]), str(args[2])
    if expires <= now_ms:
        raise ApiError(10001, "Params Error")
    account = accounts.get(key)
    if account is None:
        raise ApiError(10003, "Invalid apikey")
    if not _is_signed(account, f"GET/realtime{expires}", signature):
        raise ApiError(10004, "error sign!")  # ASSUMED words
    return account


def _is_signed(account: SimulatedAccount, text: str, signature: str) -> bool:
    return signature.isascii() and hmac.compare_digest(sign(account.signer, text), signature)
