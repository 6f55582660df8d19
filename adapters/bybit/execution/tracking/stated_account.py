"""Positions and wallet as the exchange states them, each said once until it changes. What was pushed last is kept by itself: a witness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from keel.adapters.bybit.execution.tracking.queries import Output
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import PositionRow, WalletRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import BalanceReport, PositionReport


class Pushes:
    """What the private stream pushed last of positions and wallet, and whether our books have moved since. Lists may lag, and overwrite
    what a push told. It says nothing any more once something was booked after it: another push should follow, and may be lost."""

    def __init__(self) -> None:
        self._booked: dict[str, int] = {}
        self._total = 0
        self._positions: dict[str, tuple[PositionReport, int]] = {}
        self._balances: dict[str, tuple[BalanceReport, int]] = {}

    def booked(self, symbol: str) -> None:
        """An execution or payment of this symbol enters our books."""
        self._booked[symbol] = self._booked.get(symbol, 0) + 1
        self._total += 1

    def position(self, report: PositionReport) -> None:
        """A position was pushed."""
        self._positions[report.symbol] = (report, self._booked.get(report.symbol, 0))

    def balance(self, report: BalanceReport) -> None:
        """A coin of the wallet was pushed."""
        self._balances[report.coin] = (report, self._total)

    def latest_position(self, symbol: str) -> PositionReport | None:
        """The symbol's position as pushed last; None where something was booked since, or nothing was pushed."""
        report, booked = self._positions.get(symbol, (None, 0))
        return report if booked == self._booked.get(symbol, 0) else None

    def latest_balance(self, coin: str) -> BalanceReport | None:
        """The coin's balance as pushed last; None where something was booked since, or nothing was pushed."""
        report, booked = self._balances.get(coin, (None, 0))
        return report if booked == self._total else None


class StatedAccount:
    """The latest of each. ts: the market's ms."""

    def __init__(self, instruments: Mapping[str, Instrument], emit: Callable[[Output], None], counts: dict[str, int]) -> None:
        self._instruments, self._emit, self._counts = instruments, emit, counts
        self.positions: dict[tuple[str, int], PositionReport] = {}
        self.balances: dict[str, BalanceReport] = {}
        self.pushes = Pushes()
        self.liquidation_price: dict[str, float] = {}

    def on_position(self, row: PositionRow, ts: int, *, is_pushed: bool = False) -> None:
        """A position as stated (pushed: by the stream). Raises PayloadError."""
        instrument = self._instruments.get(row.symbol)
        if instrument is None:
            self._counts["foreign_symbol"] += 1
            return
        report = translate.position_report(row, instrument, ts)
        self.liquidation_price[row.symbol] = float(translate.number(row.liqPrice, "liqPrice") or 0)
        key = (row.symbol, report.position_idx)
        before = self.positions.get(key)
        if before is not None and report.ts < before.ts:
            self._counts["stale"] += 1
            return
        self.positions[key] = report
        if is_pushed:
            self.pushes.position(report)
        if report.position_idx and report.qty:
            text = f"{row.symbol}: a position of hedge mode appeared; this account was one-way"
            self._emit(Notice(ts, "position_mode", text, row.symbol, "error", freezes=True))
        if before is None or (before.qty, before.entry_price) != (report.qty, report.entry_price):
            self._emit(report)

    def on_position_list(self, rows: Iterable[PositionRow], ts: int) -> None:
        """Every open position; one that is no longer listed is flat. Raises PayloadError."""
        listed: set[tuple[str, int]] = set()
        for row in rows:
            self.on_position(row, ts)
            listed.add((row.symbol, row.positionIdx or 0))
        for key, known in list(self.positions.items()):
            if known.qty and key not in listed:
                report = PositionReport(key[0], ts, 0.0, 0.0, key[1])
                self.positions[key] = msgspec.structs.replace(report, ts=known.ts)  # listed again, it is no old news
                self._emit(report)

    def on_wallet(self, row: WalletRow, ts: int, *, is_pushed: bool = False) -> None:
        """The wallet as stated (pushed: by the stream). Raises PayloadError, with nothing changed, for one coin that cannot be read."""
        for report in [translate.balance_report(coin, ts) for coin in row.coin]:
            before = self.balances.get(report.coin)
            self.balances[report.coin] = report
            if is_pushed:
                self.pushes.balance(report)
            if before is None or before.wallet != report.wallet:
                self._emit(report)
