"""Numbers, times and names as a reader of the report sees them. Every text that came from outside goes through ``esc``."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from keel.core.model.money import UNIT
from keel.core.model.time_range import to_datetime
from keel.core.model.timeframe import DAY_MS, MINUTE_MS

MINUS = "\u2212"
SPELLED = {"pnl": "PnL", "pct": "%", "cagr": "CAGR", "avg": "mean", "usd": "USD", "mae": "MAE", "mfe": "MFE", "ts": "time"}
QUOTE_COINS = ("USDT", "USDC", "USDE", "USD", "EUR", "BTC", "ETH")


def esc(value: object) -> str:
    """Any value as text that is safe between tags, in attributes and in the charts' hover boxes."""
    return html.escape(str(value), quote=True)


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """1234.5 as "1,234.50", with a true minus sign; not a number and infinity as "n/a"."""
    if not math.isfinite(value):
        return "n/a"
    return _typeset(f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}")


def percent(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A value in percent (3.5 is 3.5 %)."""
    text = number(value, digits, signed=signed)
    return text if text == "n/a" else f"{text}%"


def money(units: int, digits: int = 2, *, signed: bool = False) -> str:
    """An integer of 1e-8 with so many decimals, rounded half-even from its exact value."""
    value = (Decimal(units) / UNIT).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    return _typeset(f"{value:+,f}" if signed else f"{value:,f}")


def decimals_of(amounts: Iterable[int]) -> int:
    """How many decimals (2 to 8) show all these integers of 1e-8 without rounding any."""
    known = list(amounts)
    return next((digits for digits in range(2, 8) if all(amount % 10 ** (8 - digits) == 0 for amount in known)), 8)


def price(value: float) -> str:
    """A price with about six significant digits: 97,123.50, 145.230, 0.0123450."""
    digits = 5 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 2
    return number(value, min(8, max(2, digits)))


def quantity(value: float) -> str:
    """A quantity without trailing zeros."""
    text = number(value, 8)
    return text.rstrip("0").rstrip(".") if "." in text else text


def when(ts: int) -> str:
    """A time in ms as "2025-01-31 08:00" (UTC), with seconds where there are any."""
    return to_datetime(ts).strftime("%Y-%m-%d %H:%M" + (":%S" if ts % MINUTE_MS else ""))


def day(ts: int) -> str:
    """A time in ms as "2025-01-31" (UTC), with the time of day where it is not midnight."""
    return to_datetime(ts).strftime("%Y-%m-%d") if ts % DAY_MS == 0 else when(ts)


def duration(ms: float) -> str:
    """A span in its two largest units: "12 d 4 h", "3 h 20 min", "45 s"."""
    seconds = round(ms / 1000)
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days >= 100:
        return f"{days:,} d"
    pairs = ((days, "d", hours, "h"), (hours, "h", minutes, "min"), (minutes, "min", seconds % 60, "s"))
    for large, large_name, small, small_name in pairs:
        if large:
            return f"{large} {large_name}" + (f" {small} {small_name}" if small else "")
    return f"{seconds} s"


def label(name: str) -> str:
    """A key such as ``max_drawdown_pct`` as words: "Max drawdown %"."""
    words = " ".join(SPELLED.get(word, word) for word in str(name).strip().split("_"))
    return words[:1].upper() + words[1:]


def scalar(value: Any) -> str:
    """A plain value of a mapping that the report does not know by name."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _typeset(f"{value:,}")
    if isinstance(value, float):
        return _typeset(f"{value:,.6g}") if math.isfinite(value) else "n/a"
    return str(value)


def quote_coin(symbols: Iterable[str]) -> str:
    """The coin in which money is counted, by the symbols' endings; "quote coin" where they do not tell."""
    coins = {next((coin for coin in QUOTE_COINS if symbol.endswith(coin)), "") for symbol in symbols}
    return coins.pop() or "quote coin" if len(coins) == 1 else "quote coin"


def sign_class(value: float) -> str:
    """The class that colours a number by its sign."""
    return "pos" if value > 0 else "neg" if value < 0 else "zero"


def missing(reason: str | None) -> str:
    """A figure that is null: "n/a", with its reason where the pointer rests."""
    return f'<span class="na" tabindex="0" title="{esc(reason or "no reason was recorded")}">n/a</span>'


def table(head: Iterable[str], rows: Iterable[str], *, classes: str = "") -> str:
    """A table out of ready cells of its head and ready rows."""
    return f'<table class="{classes}"><thead><tr>{"".join(head)}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def is_synthetic(trust: Mapping[str, Any] | list[Any] | object) -> bool:
    """Whether any source that a trust record names is synthetic: a flag or a count under such a key, or such a value."""
    if isinstance(trust, Mapping):
        return any(
            is_synthetic(value) or (str(key).lower().startswith("synthetic") and bool(value))
            for key, value in trust.items()
            if key != "not_modelled"
        )
    if isinstance(trust, (list, tuple)):
        return any(is_synthetic(item) for item in trust)
    return isinstance(trust, str) and trust.lower().startswith("synthetic")


def _typeset(text: str) -> str:
    if text[0] in "+-" and not any(character in "123456789" for character in text):
        text = text[1:]  # nothing has no sign
    return text.replace("-", MINUS)
