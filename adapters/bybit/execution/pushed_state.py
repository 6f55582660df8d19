"""What the private stream pushed last of positions and wallet, and whether our books have moved since.

Lists may lag, and overwrite what a push told; as a witness a push is kept by itself. It says nothing any more once an execution or payment
was booked after it: another push should follow, and may be lost.
"""

from __future__ import annotations

from keel.core.model.messages import BalanceReport, PositionReport


class Pushes:
    """The latest of each, with how much had been booked by then."""

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
