"""The memory of a session, made again out of its journal: whole, twice, after a prefix, and in another process.

``python -m tests.faults.matrix.rebuilt FOLDER...`` prints, for each journal beside which ``keep`` has left what it needs, the hash of what
this process makes of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keel.adapters.journal import Record, read
from keel.adapters.journal.snapshots import newest_snapshot
from keel.core.engine.instant import InstantClosed
from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Message
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.runners.live.memory import state
from keel.runners.live.memory.history import replay_journal
from keel.runners.live.memory.records import TYPES, Opened
from keel.runners.live.session.books import Books, make_books
from keel.runners.live.startup.warmup import WarmUp
from tests.faults.matrix import script

BESIDE: Final = "rebuilt.pickle"


class _Nobody:
    """History that must not be needed: there is no warm-up."""

    async def bars(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the exchange was asked")

    async def columns(self, *_: Any) -> Any:
        raise AssertionError("the exchange was asked")


@dataclass(frozen=True)
class Rebuilder:
    """Of one journal. ``instruments`` are those of its session."""

    opened: Opened
    instruments: dict[str, Instrument]
    strategy: type[script.Script]

    def heard(self, records: Sequence[Record], kept: bytes | None = None) -> Books:
        """Books that have heard records, after a memory if one is given. Raises what hearing raises."""
        plan = script.plan("http://127.0.0.1:1", Path(), self.strategy)
        strategy = plan.loaded.strategy()
        warm_up = WarmUp(plan.system, strategy, plan.loaded.params, self.opened.start_ms)
        memory = state.decode(kept) if kept is not None else None
        assert not isinstance(memory, str), memory
        if memory is None:
            asyncio.run(warm_up.load(None, _Nobody(), _Nobody()))
        else:
            warm_up.restore(memory.series)
        limits = ControlLimits.of(plan.system)
        books = make_books(plan, self.instruments, self.opened, warm_up, strategy, Gate(), limits=limits, say=_nothing, note=_nothing)
        if memory is not None:
            state.restore(books, memory)
        replay_journal(books, records)
        return books

    def memory(self, records: Sequence[Record], kept: bytes | None = None) -> bytes:
        """What they remember. Raises InvariantError in the middle of an instant."""
        return state.encode(state.take(self.heard(records, kept)))


def _nothing(message: Message) -> None:
    """What controls said is in the journal."""


def memories(folder: Path, instruments: dict[str, Instrument], strategy: type[script.Script], *, of_prefixes: bool) -> dict[str, str]:
    """Where a memory came from -> its hash: the snapshot with which the session ended, where it kept one, and what its journal gives.
    of_prefixes: every prefix is heard, too (slow), not a few of them only."""
    records = list(read(folder, types=TYPES))
    made = Rebuilder(next(each.message for each in records if isinstance(each.message, Opened)), instruments, strategy)
    found: dict[str, str] = {}
    kept, _ = newest_snapshot(folder)
    if kept is not None and kept.seq == records[-1].seq:
        found["the session"] = _hash(kept.state)
    whole = made.memory(records)
    found["its journal"] = _hash(whole)
    found["its journal, once more"] = _hash(made.memory(records))
    closed = [place for place, record in enumerate(records, start=1) if isinstance(record.message, InstantClosed)]
    for cut in range(2, len(records)) if of_prefixes else closed[len(closed) // 2 :][:1]:
        try:
            content = made.memory(records[:cut])
        except InvariantError:
            continue  # inside an instant nothing is remembered; it was heard
        found[f"record {cut} and those after it"] = _hash(made.memory(records[cut:], content))
    return found


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def keep(folder: Path, instruments: dict[str, Instrument], strategy: type[script.Script]) -> None:
    """Leave beside a journal what another process needs."""
    (folder / BESIDE).write_bytes(pickle.dumps((instruments, strategy.__name__)))


def kept(folder: Path) -> tuple[dict[str, Instrument], type[script.Script]]:
    """What was left there: instruments and strategy."""
    instruments, name = pickle.loads((folder / BESIDE).read_bytes())
    return instruments, getattr(script, name)


def main(folders: Sequence[str]) -> None:
    """A line for each."""
    for folder in map(Path, folders):
        print(f"{folder} {memories(folder, *kept(folder), of_prefixes=False)['its journal']}")


if __name__ == "__main__":
    main(sys.argv[1:])
