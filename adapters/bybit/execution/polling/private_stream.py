"""The private stream: orders, executions, positions and the wallet, row by row into the account's tracker.

It has no snapshot and no replay. So after each (re)connection, before it counts as ready, ``resync`` reads what may have been missed.
A row that cannot be read is quarantined, and the lists are read instead: what it said must not be lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from keel.adapters.bybit.execution.access import Access
from keel.adapters.bybit.execution.sending.trade_stream import AUTH_AHEAD_MS
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.signing import stream_auth
from keel.adapters.bybit.transport.streams import Stream
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import PayloadError

T = TypeVar("T")

TOPICS: Final = ("order", "execution", "position", "wallet")


class PrivateStream:
    """Feeds an OrderTracker. ``resync``: awaited after each connection; ``on_row_lost``: called when a row was lost to us."""

    def __init__(
        self,
        access: Access,
        tracker: OrderTracker,
        around: Surroundings,
        *,
        resync: Callable[[], Awaitable[None]],
        on_row_lost: Callable[[], None],
        **stream_options: Any,
    ) -> None:
        self._category, self._tracker, self._around, self._on_row_lost = access.category, tracker, around, on_row_lost
        clock, credentials = access.rest.clock, access.credentials
        self._clock = clock
        url = access.where.check_url(access.where.private_url(), private=True)
        self.stream = Stream(
            "private",
            url,
            access.session,
            TOPICS,
            self._on_data,
            notify=around.notify,
            hide=credentials.without,
            auth=lambda: stream_auth(credentials, clock.now_ms + AUTH_AHEAD_MS, f"auth-{clock.now_ms}"),
            on_ready=resync,
            **stream_options,
        )

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        await self.stream.run()

    def _on_data(self, topic: str, frame: wire.WebSocketFrame) -> None:
        ts = frame.creationTime or self._clock.now_ms
        tracker, now = self._tracker, self._around.moment()
        if topic == "order":
            self._each(wire.OrderRow, frame, lambda row: tracker.on_order(row, now, is_pushed=True))
        elif topic == "execution":
            self._each(wire.ExecutionRow, frame, lambda row: tracker.on_execution(row, now, is_pushed=True))
        elif topic == "position":
            self._each(wire.PositionRow, frame, lambda row: tracker.stated.on_position(row, ts, is_pushed=True))
        else:
            self._each(wire.WalletRow, frame, lambda row: tracker.stated.on_wallet(row, ts, is_pushed=True))

    def _each(self, shape: type[T], frame: wire.WebSocketFrame, apply: Callable[[T], object]) -> None:
        """Every row by itself: a bad one spoils no other."""
        try:
            rows = wire.decode_rows(shape, frame.data, self._refuse)
        except PayloadError as error:
            self._refuse(error)
            return
        for row in rows:
            if getattr(row, "category", "") not in (self._category, "", None):
                continue  # the account trades something else, too
            try:
                apply(row)
            except PayloadError as error:
                self._refuse(error)

    def _refuse(self, error: PayloadError) -> None:
        self.stream.quarantined += 1
        self._around.notify(Notice(self._clock.now_ms, "bad_message", f"private stream: {str(error)[:300]}"))
        self._on_row_lost()
