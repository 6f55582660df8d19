"""Symbols as people and exchanges write them, in the store's spelling: BTC/USDT:USDT, btcusdt, BTC-USDT-SWAP, BYBIT:BTCUSDT.P -> BTCUSDT.

Kraken's XBT is BTC. A perpetual settled in USDC is called BTCPERP, as the exchange does. Inverse and dated contracts are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError

QUOTES = (
    "USDT", "USDC", "USDE", "USD1", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "GBP", "BRL", "TRY", "JPY", "AUD", "KRW", "BTC", "XBT", "ETH",
    "BNB", "DAI",
)  # fmt: skip
EXCHANGES = frozenset(
    {
        "BINANCE", "BINANCEUS", "BYBIT", "BITSTAMP", "BITFINEX", "BITGET", "BITMEX", "COINBASE", "COINBASEPRO", "GDAX", "KRAKEN",
        "GEMINI", "KUCOIN", "OKX", "OKEX", "HUOBI", "HTX", "POLONIEX", "DERIBIT", "FTX", "MEXC", "GATE", "GATEIO",
        "GATEIOFUTURES", "CRYPTOCOM", "CRYPTO", "HITBTC", "BITTREX", "EXMO", "CEXIO", "ITBIT", "OKCOIN", "PHEMEX", "UPBIT",
        "YAHOO", "TRADINGVIEW",
    }
)  # fmt: skip
_SLASHED = re.compile(r"^(?P<base>[A-Z0-9]{1,20})[/_-](?P<quote>[A-Z0-9]{2,6})(?:[:_-](?P<rest>.+))?$")
_PERPETUAL = ("SWAP", "PERP", "PERPETUAL", "FUTURES", "UMCBL")
_KRAKEN = re.compile(rf"^(?P<x>XXBT|XBT|XETH|XXRP|XLTC|XXLM|XXDG|XDG)(?P<z>Z?)(?P<quote>{'|'.join(QUOTES)})$")
_OTHER_NAMES = {"XBT": "BTC", "XXBT": "BTC", "XETH": "ETH", "XXRP": "XRP", "XLTC": "LTC", "XXLM": "XLM", "XXDG": "DOGE", "XDG": "DOGE"}
_DATED = re.compile(r"^\d{6,8}$|^\d{1,2}[A-Z]{3}\d{2,4}$")


@dataclass(frozen=True, slots=True)
class Symbol:
    """The store's spelling, and the category that the given one says; None where it says none."""

    name: str
    category: str | None = None


def read_symbol(text: str, where: str = "") -> Symbol:
    """A symbol in any usual spelling; what has no known form stays, in capitals. Raises DataError, which begins with ``where``, for inverse
    and dated contracts."""
    given = text.strip().upper()
    head, colon, tail = given.partition(":")
    if colon and "/" not in head and (head in EXCHANGES or "/" in tail or len(tail) > len(head)):
        given = tail
    if re.search(r"-\d{1,2}[A-Z]{3}\d{2}$", given):
        raise _dated(text, where)
    perpetual = given.endswith(".P")
    given = given.removesuffix(".P")
    match = _SLASHED.match(given)
    if match is None:
        return _unslashed(given, text, where, perpetual=perpetual)
    return _pair(match["base"], match["quote"], match["rest"] or "", text, where, perpetual=perpetual)


def _pair(base: str, quote: str, rest: str, text: str, where: str, *, perpetual: bool) -> Symbol:
    if quote in _PERPETUAL and not rest:
        stem, quoted = _split(base)
        if quoted in ("USD", "") and stem != base:
            raise _inverse(text, where)
        return Symbol(_plain(base) if quoted else f"{_coin(base)}PERP", "linear")
    if quote not in QUOTES:
        return Symbol(text.strip().upper())
    parts = re.split(r"[-_]", rest) if rest else []
    if any(_DATED.match(part) for part in parts):
        raise _dated(text, where)
    settle = next((part for part in parts if part in QUOTES or part == base), None)
    swap = perpetual or settle is not None or any(part in _PERPETUAL for part in parts)
    if settle == base or (swap and settle is None and quote == "USD"):
        raise _inverse(text, where)
    if swap and quote == "USDC":
        return Symbol(f"{_coin(base)}PERP", "linear")
    return Symbol(_coin(base) + _coin(quote), "linear" if swap else None)


def _unslashed(given: str, text: str, where: str, *, perpetual: bool) -> Symbol:
    """BTCUSDT, or BTCUSDT.P. A perpetual whose quote is the dollar itself is settled in its coin."""
    if perpetual and _split(given)[1] == "USD":
        raise _inverse(text, where)
    return Symbol(_plain(given), "linear" if perpetual else None)


def _plain(given: str) -> str:
    match = _KRAKEN.match(given)
    return given if match is None else _OTHER_NAMES[match["x"]] + _coin(match["quote"])


def _split(symbol: str) -> tuple[str, str]:
    quote = next((each for each in ("USDT", "USDC", "USD") if symbol.endswith(each) and symbol != each), "")
    return symbol.removesuffix(quote), quote


def _coin(coin: str) -> str:
    return _OTHER_NAMES.get(coin, coin) if coin in ("XBT", "XDG") else coin


def _inverse(text: str, where: str) -> DataError:
    return DataError(
        f"{where}{_shown(text)} is an inverse contract (settled in its coin), which keel does not trade: import the linear one or spot"
    )


def _dated(text: str, where: str) -> DataError:
    return DataError(f"{where}{_shown(text)} is a dated contract, which keel does not trade: import the perpetual or spot")


def _shown(text: str) -> str:
    return shortened(printable(text.strip()))


def symbol_in_name(name: str, where: str, *, is_stem: bool) -> set[Symbol]:
    """Symbols that a file's or folder's name says: BTCUSDT, BTC-USDT, XBTUSD, BTCUSDT.P. is_stem: of a file, where small letters count.

    Raises DataError, which begins with ``where``, for an inverse or dated contract.
    """
    found = {
        _pair(base, quote, rest[1:], f"{base}-{quote}{rest}", where, perpetual=False)
        for base, quote, rest in _PAIR_IN_NAME.findall(name)
        if _is_coin(base)
    }
    if is_stem and not found:
        found = {Symbol(f"{base}{quote}".upper()) for base, quote in _SMALL_PAIR_IN_NAME.findall(name) if base not in _WORDS}
    text = name.upper() if is_stem else name
    dated = _DATED_IN_NAME.search(text)
    if dated is not None:
        raise DataError(
            f"{where}{dated[0]} in a name reads as a dated contract, which keel does not trade: import the perpetual or spot; if "
            f"{dated['day']} is a day of the data, write it with its whole year (2025-01-31)"
        )
    inverse = _INVERSE_IN_NAME.search(text)
    if inverse is not None:
        raise _inverse(inverse[0], where)
    return found or {
        _unslashed(token, f"{token}{dotted}", where, perpetual=bool(dotted))
        for token, dotted in _SYMBOL_IN_NAME.findall(text)
        if _is_symbol(token)
    }


_ENDS = ("USDT", "USDC", "USD", "PERP", "EUR", "BTC", "ETH")
_SYMBOL_IN_NAME = re.compile(rf"(?<![A-Za-z0-9])([A-Z0-9]{{1,24}}(?:{'|'.join(_ENDS)}))(\.P)?(?![A-Za-z0-9])")
_PAIR_IN_NAME = re.compile(
    rf"(?<![A-Za-z0-9])([A-Z0-9]{{2,12}})[-_/]({'|'.join(QUOTES)})(?![A-Za-z0-9])((?:[-_](?:USDT|USDC|SWAP|PERP|PERPETUAL)(?![A-Za-z0-9]))?)"
)
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DATED_IN_NAME = re.compile(
    r"(?<![A-Za-z0-9])[A-Z0-9]{1,12}[-_]?(?:USDT|USDC|USD)(?:[-_](?:USDT|USDC))?[-_]"
    rf"(?P<day>\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|\d{{1,2}}(?:{_MONTHS})\d\d)(?![A-Za-z0-9])"
)
"""BTCUSDT_250328 (Binance), BTCUSDT-28MAR25 (Bybit), BTC-USDT-250328 (OKX), BTC_USDT_USDT_250328 (freqtrade)."""
_INVERSE_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z0-9]{2,12}USD_PERP|([A-Z0-9]{2,12})[-_]USD[-_]\1)(?![A-Za-z0-9])")
"""BTCUSD_PERP (Binance), BTC_USD_BTC (freqtrade)."""
_SMALL_PAIR_IN_NAME = re.compile(r"(?<![A-Za-z0-9])([a-z0-9]{2,12})[-_](usdt|usdc|usd)(?![A-Za-z0-9])")
_WORDS = frozenset(
    {
        "kline", "klines", "ohlc", "ohlcv", "data", "candle", "candles", "trade", "trades", "perp", "spot", "linear", "mark",
        "index", "funding", "futures", "test", "bars", "ticks",
    }
)  # fmt: skip
"""What stands before a quote coin in names and is no coin."""


def _is_symbol(token: str) -> bool:
    """Whether a word that ends in a quote coin is a symbol, and not an exchange's name before it (bitstampUSD), nor a coin (BUSD)."""
    if not re.search("[A-Z]", token) or token in EXCHANGES or token in QUOTES:
        return False
    return not any(token.removesuffix(end) in EXCHANGES for end in _ENDS if token.endswith(end))


def _is_coin(token: str) -> bool:
    is_symbol = any(token.endswith(quote) and token != quote for quote in ("USDT", "USDC"))
    return not is_symbol and token not in EXCHANGES and token not in QUOTES[:8] and not token.isdigit()
