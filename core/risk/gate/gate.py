"""Whether this symbol may trade now, and why not: one answer in one place. It says why it is as it is, and closes before it opens.

Every entry has a cause out of ``keel.core.risk.gate.causes``, a scope (a symbol or the whole account), a time, what ends it and who may
lift it. ACTIVE means that an order that adds could be sent now for at least one symbol; else the state is REDUCING or HALTED, with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from keel.core.errors import InvariantError
from keel.core.risk.gate.causes import CAUSES, Cause, TradingState

STARTING: Final = "starting"
KEEL: Final = "keel"


class Entry(msgspec.Struct, frozen=True):
    """One thing that stands in the way. symbol None: of all; key: which one, where a cause may stand several times (an order's id);
    since_ms: ms UTC."""

    cause: str
    symbol: str | None
    key: str
    text: str
    since_ms: int

    @property
    def row(self) -> Cause:
        """What the table says of it."""
        return CAUSES[self.cause]

    @property
    def label(self) -> str:
        """The cause, and which one."""
        return f"{self.cause}:{self.key}" if self.key else self.cause


OnState = Callable[[TradingState, str], None]
OnEntry = Callable[[Entry, str | None], None]


class Gate:
    """The entries, and what follows from them. symbols: those of the system. Nobody is told of a change before ``listen``."""

    def __init__(
        self, symbols: Iterable[str] = (), *, now_ms: Callable[[], int] = lambda: 0, look: Callable[[], None] = lambda: None
    ) -> None:
        self._symbols = tuple(symbols)
        self._now_ms = now_ms
        self._on_state: OnState = lambda state, why: None
        self._on_entry: OnEntry = lambda entry, by: None
        self._entries: dict[tuple[str | None, str, str], Entry] = {}
        self.look = look
        """Called before an order is asked about: what depends on the moment (ages, counts, the day) is looked at anew."""

    def listen(self, *, on_state: OnState = lambda state, why: None, on_entry: OnEntry = lambda entry, by: None) -> None:
        """Tell from here on, and what stands already. on_state(state, why): each change of the state; on_entry(entry, by): each entry that
        comes (by None) and goes (by: who lifted it)."""
        self._on_state, self._on_entry = on_state, on_entry
        for entry in self.entries():
            on_entry(entry, None)
        self._notify(TradingState.ACTIVE)

    # --- raising and ending ---

    def close(self, cause: str, text: str, symbol: str | None = None, key: str = "", *, since_ms: int = 0) -> bool:
        """Let something stand in the way; returns whether it is new. What stands keeps its time and takes the new words. since_ms: of
        what stood before this process (ms UTC), 0: from now on. Raises InvariantError for a cause that the table does not have."""
        if cause not in CAUSES:
            raise InvariantError(f"{cause!r} is no cause of core/risk/gate/causes.py: what raises it, and what ends it?")
        place = (symbol, cause, key)
        standing = self._entries.get(place)
        before = self.state
        entry = Entry(cause, symbol, key, text, (since_ms or self._now_ms()) if standing is None else standing.since_ms)
        self._entries[place] = entry
        if standing is None:
            self._on_entry(entry, None)
        self._notify(before)
        return standing is None

    def open(self, cause: str, symbol: str | None = None, key: str | None = "", *, by: str = KEEL) -> bool:
        """Take a cause back (key None: each of it); returns whether it stood."""
        found = [place for place in self._entries if place[:2] == (symbol, cause) and key in (None, place[2])]
        before = self.state
        for place in found:
            self._on_entry(self._entries.pop(place), by)
        if found:
            self._notify(before)
        return bool(found)

    def hold(self, cause: str, is_well: bool, text: str, symbol: str | None = None) -> None:
        """Close for a cause while it is not well, and take that back when it is."""
        if is_well:
            if self._entries:
                self.open(cause, symbol)
        elif not self.has(cause, symbol):
            self.close(cause, text, symbol)

    # --- questions ---

    def entries(self, *causes: str) -> list[Entry]:
        """What stands in the way, oldest first; of these causes only, where some are named."""
        return [entry for entry in self._entries.values() if not causes or entry.cause in causes]

    def has(self, cause: str, symbol: str | None = None) -> bool:
        """Whether this cause stands for this symbol (None: for the account)."""
        return bool(self._entries) and any(place[:2] == (symbol, cause) for place in self._entries)

    def against(self, symbol: str, *, is_allowed: bool = False) -> list[Entry]:
        """What keeps an entry of this symbol from leaving now; empty: nothing does. is_allowed: of one that the controls have let pass, and
        that has not left yet."""
        if not self._entries:
            return []
        return [entry for entry in self._entries.values() if entry.symbol in (None, symbol) and not (is_allowed and entry.row.counts)]

    @property
    def account_state(self) -> TradingState:
        """The strictest that any cause of the whole account asks for: what an order of any symbol meets."""
        return max((entry.row.state for entry in self._entries.values() if entry.symbol is None), default=TradingState.ACTIVE)

    @property
    def state(self) -> TradingState:
        """ACTIVE only if an entry could leave now for some symbol."""
        state = self.account_state
        if state is TradingState.ACTIVE and self._symbols and all(self.against(symbol) for symbol in self._symbols):
            return TradingState.REDUCING
        return state

    @property
    def why(self) -> str:
        """The words of what makes the state what it is; "" while ACTIVE."""
        state = self.state
        if state is TradingState.ACTIVE:
            return ""
        found = [entry for entry in self._entries.values() if entry.symbol is None and entry.row.state is state]
        return "; ".join(f"{entry.cause}: {entry.text}" for entry in found or self._entries.values())

    @property
    def frozen(self) -> dict[str, dict[str, str]]:
        """Symbol ("*": all) -> cause -> words."""
        found: dict[str, dict[str, str]] = {}
        for entry in self._entries.values():
            found.setdefault(entry.symbol or "*", {})[entry.label] = entry.text
        return found

    def _notify(self, before: TradingState) -> None:
        if self.state is not before:
            self._on_state(self.state, self.why)
