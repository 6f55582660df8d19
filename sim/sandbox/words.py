"""Parameters that take one of some words: a word that is none of them is refused, whatever else the request says, and never defaulted."""

from __future__ import annotations

from typing import Final

from keel.sim.sandbox.errors import params_error
from keel.sim.sandbox.params import Params, text

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


def check_words(params: Params) -> None:
    """Raise 10001 for the first parameter that holds none of its words."""
    for name, words in WORDS.items():
        given = text(params, name)
        if given and given not in words:
            raise params_error(f"{name} invalid")
    for name in FLAGS:
        given = text(params, name)
        if given and given.lower() not in _FLAGS:
            raise params_error(f"{name} invalid")
