"""Who takes the suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.conformance.adapter import AdapterClient, TradeStreamAdapterClient
from tests.conformance.in_process import ExchangeClient
from tests.conformance.market import Market
from tests.conformance.over_pybit import PybitClient, TradeStreamPybitClient
from tests.conformance.words import Account, Client

CLIENTS: Final[dict[str, Callable[[Market, Account], Client]]] = {
    "exchange": ExchangeClient,
    "adapter": AdapterClient,
    "adapter by trade stream": TradeStreamAdapterClient,
    "pybit": PybitClient,
    "pybit by trade stream": TradeStreamPybitClient,
}


def kind(name: str) -> str:
    """pybit, adapter or exchange: what a table's differences speak of."""
    return name.partition(" ")[0]
