"""How one account is reached, and what a venue is connected with inside the program."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from keel.adapters.bybit.notices import Notify
from keel.adapters.bybit.transport.credentials import Credentials
from keel.adapters.bybit.transport.endpoints import Endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.machine import monotonic_ms
from keel.core.model.instrument import Category
from keel.core.model.messages import Message, SubmitOrder

Journal = Callable[[Message], Awaitable[None] | None]


LastLook = Callable[[SubmitOrder, Callable[[str], float | None]], str | None]
"""(order, what another order was filled by: None while more may come) -> "" it may leave, None not yet; else why it may not."""


def leaves_at_once(command: SubmitOrder, fate: Callable[[str], float | None]) -> str:
    """Where nothing is asked again before an order leaves."""
    return ""


async def _no_witness(symbol: str) -> str:
    """Where nobody keeps books beside this adapter, the lists are all there is."""
    return ""


@dataclass(frozen=True, slots=True)
class Access:
    """One account of one category: where, with which key, by which client. market: the time of the market's data.  settle_coin: bounds
    linear lists, which the exchange demands."""

    where: Endpoints
    session: aiohttp.ClientSession
    credentials: Credentials
    rest: RestClient
    category: Category
    market: MarketClock
    settle_coin: str = "USDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a venue asks and tells. publish: takes the events, in order.  journal: makes a command durable; it is awaited before the
    command's first byte leaves.  notify: tells people.  note: takes evidence on orders whose fate was unknown.  witness: what position and
    wallet show of a symbol that our books do not explain; "" for nothing; it may raise what reads raise.  on_ready: hears whether the venue
    is ready, at each change.  current_price: last price of a symbol, where known.  on_unprotected: takes
    (symbol, why) of a position whose exits were not set (None: it is told, and its symbol frozen).  last_look: asked when an order that may
    add could leave."""

    publish: Callable[[Message], None]
    journal: Journal
    notify: Notify = lambda notice: None
    note: Callable[[Message], None] = lambda message: None
    witness: Callable[[str], Awaitable[str]] = _no_witness
    on_ready: Callable[[bool], None] = lambda is_ready: None
    current_price: Callable[[str], float | None] = lambda symbol: None
    on_unprotected: Callable[[str, str], None] | None = None
    last_look: LastLook = leaves_at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOptions:
    """use_trade_stream: orders go by the trade stream where the environment has one.  sleep, now_ms: how it waits, and a clock that never
    jumps.  streams: options of its streams (``keel.adapters.bybit.transport.streams.Stream``)."""

    use_trade_stream: bool = True
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now_ms: Callable[[], int] = monotonic_ms
    streams: Mapping[str, Any] = field(default_factory=dict)
