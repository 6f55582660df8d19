"""Parameters that take one of some words: a word that is none of them is refused, whatever else the request says, and never defaulted."""

from __future__ import annotations

from typing import Final

from keel.sim.sandbox.http.errors import params_error
from keel.sim.sandbox.http.parameters import Params, text

_PRICES: Final = ("LastPrice", "MarkPrice", "IndexPrice")
_FLAGS: Final = ("true", "false", "1", "0")
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "side": ("Buy", "Sell"),
    "orderType": ("Market", "Limit"),
    "timeInForce": ("GTC", "IOC", "FOK", "PostOnly", "RPI"),
    "orderFilter": ("Order", "StopOrder", "tpslOrder", "OcoOrder", "BidirectionalTpslOrder", "OpenOrder"),
    "stopOrderType": ("Stop",),
    "triggerBy": _PRICES,
    "tpTriggerBy": _PRICES,
    "slTriggerBy": _PRICES,
    "triggerDirection": ("0", "1", "2"),
    "positionIdx": ("0", "1", "2"),
    "tpslMode": ("Full", "Partial"),
    "tpOrderType": ("Market", "Limit"),
    "slOrderType": ("Market", "Limit"),
    "marketUnit": ("baseCoin", "quoteCoin"),
    "slippageToleranceType": ("TickSize", "Percent"),
    "smpType": ("None", "CancelMaker", "CancelTaker", "CancelBoth"),
    "isLeverage": ("0", "1"),
    "orderStatus": (
        "New", "PartiallyFilled", "Untriggered", "Triggered", "Filled", "Cancelled", "PartiallyFilledCanceled", "Rejected", "Deactivated",
    ),
    "execType": (
        "Trade", "AdlTrade", "Funding", "BustTrade", "Delivery", "Settle", "BlockTrade", "MovePosition", "FutureSpread", "UNKNOWN",
    ),
}  # fmt: skip
"""Parameter -> its words; an empty or missing one is not given."""
FLAGS: Final = ("reduceOnly", "closeOnTrigger")
_ORDER: Final = (*WORDS, *FLAGS)


def check_words(params: Params) -> None:
    """Raise 10001 for the first parameter, in the order above, that holds none of its words."""
    wrong = [name for name in params if not _holds_its_word(params, name)]
    if wrong:
        raise params_error(f"{min(wrong, key=_ORDER.index)} invalid")


def _holds_its_word(params: Params, name: str) -> bool:
    words = WORDS.get(name)
    if words is not None:
        given = text(params, name)
        return not given or given in words
    return name not in FLAGS or text(params, name).lower() in ("", *_FLAGS)
