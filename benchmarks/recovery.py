"""How long a session takes to know again what it knew: by its whole journal, and by its snapshot and what came after.

    python -m benchmarks.recovery [--records 200000] [--system ema_cross] [--timeframe 1h]

The journal is that of a real session but for its market: minutes of a random walk, and orders that fill at once.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keel.adapters.bybit.execution.tracking.realized_pnl import RealizedBooks
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.journal import Journal
from keel.adapters.store import HistoricalDataStore
from keel.adapters.synthetic import generate_sample
from keel.core.actors.bar_builder import BarBuilder
from keel.core.engine.clock import ReplayClock
from keel.core.engine.instant import InstantClosed
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar, CancelOrder, Fill, MarkPrice, Message, OrderUpdate, SubmitOrder
from keel.core.model.money import UNIT, mul_div_ceil
from keel.core.model.time_range import to_ms
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import STARTING, Gate
from keel.runners.live.memory import state
from keel.runners.live.memory.history import replay_journal, session_prefix
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.memory.records import TYPES, Opened
from keel.runners.live.session.books import Books, make_books
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.warmup import WarmUp
from keel.runners.systems import load_system

MINUTE = 60_000
START = to_ms("2024-03-01")


class Filling:
    """A venue where every market order is filled at once, at the last price."""

    def __init__(self, books: Books, instruments: dict[str, Instrument], recorder: Recorder, say: Callable[[Message], None]) -> None:
        self._books, self._instruments, self._journal, self._say = books, instruments, recorder, say
        self._realized = RealizedBooks(instruments)

    def submit_order(self, command: SubmitOrder) -> None:
        hear, instrument = self._say, self._instruments[command.symbol]
        price = self._books.portfolio.last(command.symbol)
        notional = instrument.notional(instrument.price_grid.count(price), instrument.qty_grid.count(command.qty))
        fee = mul_div_ceil(notional, instrument.taker_fee, UNIT)
        name, ts = command.client_order_id, command.ts
        fill = Fill(f"f-{name}", name, command.symbol, ts, command.side, command.qty, price, fee, 0, False, price)
        pnl = self._realized.apply(fill)
        self._journal.append(command)
        hear(OrderUpdate(name, command.symbol, ts, "accepted", side=command.side))
        hear(Fill(f"f-{name}", name, command.symbol, ts, command.side, command.qty, price, fee, pnl, False, price))
        hear(OrderUpdate(name, command.symbol, ts, "filled", command.qty, side=command.side))

    def cancel_order(self, command: CancelOrder) -> None:
        raise AssertionError("nothing rests here")

    amend_order = cancel_all = set_trading_stop = cancel_order


class Nobody:
    """All history is in the store."""

    async def bars(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the store has no warm-up")

    columns = bars


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--system", default="ema_cross")
    parser.add_argument("--timeframe", default="1h")
    options = parser.parse_args()
    minutes = options.records // 3
    made = generate_sample(7, START - 40 * 1440 * MINUTE, START + (minutes + 1440) * MINUTE, ["BTCUSDT"]).series["BTCUSDT"]
    with tempfile.TemporaryDirectory() as name, HistoricalDataStore(":memory:") as store:
        store.upsert_bars("BTCUSDT", "1m", made.last, source="benchmark")
        texts = ["execution_timeframe=1m", f"timeframe={options.timeframe}"]
        loaded = load_system(options.system, _home(Path(name)), texts)
        plan = Plan(loaded, loaded.config, "ab12cd34ef56", Environment.SANDBOX, Path(name), store)
        bench = Bench(plan, {"BTCUSDT": made.instrument}, Path(name) / "journal")
        bench.write(made.last, minutes)
        bench.measure()


def _home(folder: Path) -> Any:
    from keel.runners.home import Home

    return Home(folder)


class Bench:
    """One journal, written once and recovered twice."""

    def __init__(self, plan: Plan, instruments: dict[str, Instrument], folder: Path) -> None:
        self._plan, self._instruments, self._folder = plan, instruments, folder
        self._opened = Opened(START, START, "benchmark", plan.uid, 10_000 * UNIT)

    def _journal(self) -> Journal:
        return Journal.open(self._folder, clock=ReplayClock(START), session={}, types=TYPES, disk_reserve_bytes=0)

    def _books(self, kept: state.SessionState | None = None, note: Callable[[Message], None] = lambda _: None) -> tuple[Books, Gate]:
        plan, strategy = self._plan, self._plan.loaded.strategy()
        warm_up = WarmUp(plan.system, strategy, plan.loaded.params, START)
        if kept is None:
            asyncio.run(warm_up.load(plan.store, Nobody(), Nobody()))
        else:
            warm_up.restore(kept.series)
        gate, limits = Gate(), ControlLimits.of(plan.system)
        books = make_books(plan, self._instruments, self._opened, warm_up, strategy, gate, limits=limits, say=lambda _: None, note=note)
        if kept is not None:
            state.restore(books, kept)
        return books, gate

    def write(self, columns: Any, minutes: int) -> None:
        """Live through the minutes; the snapshot is a day old at the end."""
        with self._journal() as journal:
            recorder = Recorder(journal, _raise)
            books, gate = self._books(note=recorder.note)
            journal.append(self._opened)
            books.executor.begin_session(session_prefix(self._opened, journal.session))
            recorder.begin(books.history, lambda: books.clock.now_ms)
            said: deque[Message] = deque()
            books.gateway.open(Filling(books, self._instruments, recorder, said.append))  # type: ignore[arg-type]  # a venue, as far as it is asked
            gate.open(STARTING)

            def hear(message: Message) -> None:
                books.engine.take(message, recorder)
                while said:
                    books.engine.take(said.popleft(), recorder)

            first = int(columns["ts"].searchsorted(START))
            names = ("open", "high", "low", "close", "volume")
            coarser = BarBuilder("BTCUSDT", "1m", self._plan.system.timeframe)
            for row in range(first, first + minutes):
                ts = int(columns["ts"][row])
                hear(MarkPrice("BTCUSDT", ts + MINUTE, float(columns["close"][row])))
                bar = Bar("BTCUSDT", "1m", ts, ts + MINUTE, *(float(columns[name][row]) for name in names))
                hear(bar)
                if (decided := coarser.add(bar)) is not None:
                    hear(decided)
                hear(InstantClosed(ts + MINUTE, True))
                if row == first + minutes - 1440:
                    began = time.perf_counter()
                    content = state.encode(state.take(books))
                    journal.write_snapshot(content)
                    print(f"snapshot   {time.perf_counter() - began:8.3f} s for {len(content):,} bytes after {journal.seq:,} records")

    def measure(self) -> None:
        """Both ways."""
        for whole in (True, False):
            began = time.perf_counter()
            with self._journal() as journal:
                opened = time.perf_counter()
                kept = None if whole or journal.state is None else state.decode(journal.state)
                books, _ = self._books(kept if isinstance(kept, state.SessionState) else None)
                count = replay_journal(books, journal.recovered(whole=whole))
                state.encode(state.take(books))
            took = time.perf_counter() - began
            print(
                f"{'whole' if whole else 'by snapshot':<11}{took:8.3f} s: {opened - began:.3f} s to check, {count:,} records heard again,"
                f" {len(books.tape.fills):,} fills known"
            )


def _raise(error: BaseException) -> None:
    raise error


if __name__ == "__main__":
    main()
