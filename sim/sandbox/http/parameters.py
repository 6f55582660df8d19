"""Reading request parameters leniently, as the exchange does: numbers may come as text, flags too; what is unknown is ignored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from keel.sim.sandbox.http.errors import SYMBOL_INVALID, ApiError, Refusal, params_error
from keel.sim.sandbox.market.symbol_market import SymbolMarket, book_name

Params = Mapping[str, Any]
Markets = Mapping[str, SymbolMarket]

CATEGORIES: Final = ("linear", "spot")
LATEST_MS: Final = 10**14
"""No time lies after this (the year 5138)."""
_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_NUMBER = re.compile(r"-?\d+(\.\d*)?|-?\.\d+")


def text(params: Params, name: str, default: str = "") -> str:
    """A parameter as text; missing and null are the default."""
    value = params.get(name)
    return default if value is None else str(value)


def flag(params: Params, name: str) -> bool:
    """A truth value, also as text."""
    return name in params and text(params, name).lower() in ("true", "1")


def whole(params: Params, name: str, default: int, *, low: int | None = None, high: int | None = None) -> int:
    """An integer, also as text; raises 10001 for what is none or lies outside its bounds."""
    given = text(params, name) if name in params else ""
    if not given:
        return default
    try:
        value = int(given)
    except ValueError:
        raise params_error(f"{name} invalid") from None
    if (low is not None and value < low) or (high is not None and value > high):
        raise params_error(f"{name} invalid")
    return value


def moment(params: Params, name: str) -> int | None:
    """A time in ms, or None."""
    return whole(params, name, 0, low=0, high=LATEST_MS) if text(params, name) else None


def number(params: Params, name: str, refusal: Refusal) -> float | None:
    """A decimal, also as a JSON number; None where it is missing or empty. Raises ApiError, code and text of ``refusal``, for what is no
    plain decimal."""
    given = text(params, name) if name in params else ""
    if not given:
        return None
    if not _NUMBER.fullmatch(given) and not isinstance(params[name], (int, float)):
        raise ApiError(*refusal)
    try:
        value = float(given)
    except ValueError:
        raise ApiError(*refusal) from None
    if not math.isfinite(value):
        raise ApiError(*refusal)
    return value


def category(params: Params) -> str:
    """The category; raises 10001 unless it is linear or spot."""
    given = text(params, "category")
    if given not in CATEGORIES:
        raise params_error("Category is invalid" if given else "category is required")  # ASSUMED words
    return given


def market(params: Params, markets: Markets, *, result: dict[str, Any] | None = None) -> SymbolMarket:
    """The market of category and symbol; raises 10001 for an unknown one (lower case is unknown)."""
    found = markets.get(book_name(category(params), text(params, "symbol")))
    if found is None:
        raise ApiError(10001, f"params error: {SYMBOL_INVALID}", result=result)
    return found


def link_id(params: Params) -> str:
    """The client's own id; raises 10001 for one that is too long or has other characters."""
    given = text(params, "orderLinkId")
    if given and not _LINK_ID.fullmatch(given):
        raise params_error("orderLinkId invalid")  # ASSUMED words
    return given
