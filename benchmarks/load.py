"""A demo session under load: an exchange of this machine sends it thousands of messages a second while it trades.

usage: python -m benchmarks.load [--seconds 60] [--rate 10000] [--symbols 20] [--gate-ms 10]

The sandbox runs in a process of its own, at 60 times real time, so that a candle of each symbol closes every second, and fills each second
up with changed tickers to the rate that is asked for. The session is `keel demo` as a user runs it: its journal, its fsync, its report.

What is measured is stamped on the machine's monotonic clock, which both processes share, and outside of what is measured:
    socket to strategy   from the moment at which the last candle of an instant was handed to the socket to the call of the strategy
    signal to wire       from the strategy's return to the moment at which the order's bytes are handed to the socket: risk, controls,
                         journal, fsync, signature
    wire to exchange     from there until the exchange takes the order up; the exchange of this machine is busy with its own flood, so
                         that this is told and not judged
What must not be lost is counted at both ends: candles (in the journal), decisions (each bar of each symbol, asked once), signals (each has
its order, and each order its signal, by its bar), orders, fills. Exits 1 when anything was, or a p99 is above the gate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np

from keel.adapters.machine import wall_ms
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import SandboxSettings
from keel.sim.sandbox.ws.websocket import WebSocketConnection

FACTOR = 60.0
TURNS_MS = 2
"""How often the flood looks whether it has sent enough."""
GATE_MS = 10.0

STRATEGY = '''
import atexit, json, os, re, time
from asyncio.selector_events import _SelectorSocketTransport as Transport
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy

_stamps, _written = [], []
atexit.register(lambda: open(os.environ["LOAD_STAMPS"], "w").write(json.dumps({"asked": _stamps, "written": _written})))
_write, _id = Transport.write, re.compile(rb'"orderLinkId":"([^"]+)"')

def write(transport, data):
    """What the session sends is stamped in the moment in which it is handed to the socket."""
    if b"orderLinkId" in data and b"qty" in data:
        _written.extend((name.decode(), time.monotonic_ns()) for name in _id.findall(data))
    _write(transport, data)

Transport.write = write

class Load(BaseStrategy):
    """Each symbol turns round every fourth bar; when it was asked, and when it answered, is written down."""

    def generate_signal(self, snapshot, params):
        asked = time.monotonic_ns()
        bar = snapshot.bar_ltf.ts_close // 60_000
        place = sum(map(ord, snapshot.symbol))
        turn = (bar + place) % 4 == 0
        signal = Signal(snapshot.symbol, "LONG" if (bar + place) // 4 % 2 else "SHORT") if turn else None
        _stamps.append((snapshot.symbol, snapshot.bar_ltf.ts_close, asked, time.monotonic_ns(), turn))
        return signal
'''

SYSTEM = """
system: load
strategy: load
symbols: [{symbols}]
timeframe: 1m
initial_equity: 100000
warmup_bars: 2
sizing: {{model: fixed_usd, usd: 500}}
risk: {{leverage: 10}}
"""


class Watched(SandboxServer):
    """A sandbox that notes when it hands closed candles to the sockets and when orders arrive, and that floods its public streams."""

    def __init__(self, settings: SandboxSettings, feed: WalkFeed, rate: int) -> None:
        super().__init__(settings, feed, wall_ms)
        self.rate = rate
        self.candles: list[tuple[str, int, int]] = []
        """(symbol, close of the bar in ms, monotonic ns)."""
        self.orders: list[tuple[str, str, int]] = []
        """(orderLinkId, symbol, monotonic ns)."""
        self.marks: dict[str, tuple[int, list[str]]] = {}
        self.flooded = 0
        self.late_s = 0.0

    def watch(self) -> None:
        """Note what leaves and what comes from now on."""
        sent, apply = WebSocketConnection.send, self.gateway.apply

        def send(connection: WebSocketConnection, frame: dict[str, Any], name: str, **more: Any) -> None:
            if more.get("state") == "confirm":
                row = frame["data"][0]
                self.candles.append((more["symbol"], row["end"] + 1, time.monotonic_ns()))
            sent(connection, frame, name, **more)

        def applied(route: Any, name: str, params: Any, account: Any, received: int) -> Any:
            if name.startswith("/v5/order/create"):
                now = time.monotonic_ns()
                self.orders += [(item["orderLinkId"], item["symbol"], now) for item in params.get("request", [params])]
            return apply(route, name, params, account, received)

        WebSocketConnection.send = send  # type: ignore[method-assign]  # the measuring of this benchmark
        self.gateway.apply = applied  # type: ignore[method-assign]  # as above

    def _marks(self, symbol: str) -> list[str]:
        """Seven prices from the latest closed candle on; worked out once a minute of the market, since the flood is to cost little."""
        minute = self.engine.now_ms // 60_000
        known = self.marks.get(symbol)
        if known is None or known[0] != minute:
            market = self.engine.markets[symbol]
            close = market.candles.newest("1")[1][3]  # type: ignore[index]
            known = self.marks[symbol] = minute, [market.price(close + step * market.instrument.price_grid.value(1)) for step in range(7)]
        return known[1]

    async def flood(self) -> None:
        """Tickers with another mark price, as many a second as are missing to the rate."""
        began, number = time.monotonic(), 0
        while True:
            await asyncio.sleep(TURNS_MS / 1000)
            topics = [(connection, topic) for connection in self._connections for topic in connection.topics]
            subscribers = [(connection, topic) for connection, topic in topics if topic.startswith("tickers.")]
            if not subscribers:
                began = time.monotonic() - self.flooded / self.rate
                continue
            due = int((time.monotonic() - began) * self.rate) - self.flooded
            self.late_s = max(self.late_s, due / self.rate)
            for _ in range(min(due, self.rate)):
                connection, topic = subscribers[number % len(subscribers)]
                number += 1
                symbol = topic.partition(".")[2]
                data = {"symbol": symbol, "markPrice": self._marks(symbol)[number % 7]}
                frame = {"topic": topic, "type": "delta", "data": data, "cs": number, "ts": self.engine.now_ms}
                connection.send(frame, topic, symbol=symbol)
            self.flooded += min(due, self.rate)


async def _serve(pipe: Pipe, symbols: list[str], rate: int) -> None:
    settings = SandboxSettings(pace="real", factor=FACTOR, limit_factor=FACTOR, tick_ms=1000)
    server = Watched(settings, WalkFeed(symbols, wall_ms(), 7, spot=False), rate)
    server.watch()
    pipe.send(await server.start())
    flooding = asyncio.create_task(server.flood())
    waiting = asyncio.create_task(server.wait())
    while not waiting.done():
        await asyncio.sleep(0.1)
        if flooding.done():
            flooding.result()
    flooding.cancel()
    pipe.send({"candles": server.candles, "orders": server.orders, "flooded": server.flooded, "late_s": server.late_s})
    await server.stop()


def serve(pipe: Pipe, symbols: list[str], rate: int) -> None:
    """The exchange's process."""
    asyncio.run(_serve(pipe, symbols, rate))


def session(home: Path, url: str, symbols: list[str], bars: int) -> dict[str, Any]:
    """The session's process, as a user starts it; returns what it answered, with its stamps and its peak of memory."""
    (home / "systems").mkdir(parents=True)
    (home / "strategies").mkdir()
    (home / "strategies" / "load.py").write_text(STRATEGY)
    (home / "systems" / "load.yaml").write_text(SYSTEM.format(symbols=", ".join(symbols)))
    stamps = home / "stamps.json"
    environment = {**os.environ, "LOAD_STAMPS": str(stamps), "KEEL_STATE": str(home / "state"), "BYBIT_SANDBOX_KEY": "sandbox-key",
                   "BYBIT_SANDBOX_SECRET": "sandbox-secret"}  # fmt: skip
    options = ["--sandbox", url, "--bars", str(bars), "--home", str(home), "--json", "--log", "none", "--no-report"]
    command = [sys.executable, "-m", "keel.runners.cli.main", "demo", "load", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if not stamps.exists() or not json.loads(stamps.read_text())["asked"]:
        raise SystemExit(f"the session failed with exit code {done.returncode}:\n{done.stderr}\n{done.stdout[:2000]}")
    return {"answer": json.loads(done.stdout), **json.loads(stamps.read_text()), "exit": done.returncode, "errors": done.stderr}


def read(url: str, path: str) -> Any:
    """An admin endpoint of the sandbox."""
    with urllib.request.urlopen(url + path, timeout=60) as answer:
        return json.load(answer)


def percentiles(values: Iterable[float]) -> tuple[float, float, float]:
    """p50, p99 and the largest."""
    found = np.array(list(values))
    return float(np.percentile(found, 50)), float(np.percentile(found, 99)), float(found.max())


def main() -> None:
    """Measure, print, and hold the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--gate-ms", type=float, default=GATE_MS)
    options = parser.parse_args()
    symbols = [f"L{number:02}USDT" for number in range(options.symbols)]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    exchange = context.Process(target=serve, args=(there, symbols, options.rate), daemon=True)
    exchange.start()
    url = here.recv()
    with tempfile.TemporaryDirectory() as name:
        ran = session(Path(name), url, symbols, options.seconds)
        truth = read(url, "/admin/truth")["accounts"]["sandbox-key"]
        urllib.request.urlopen(urllib.request.Request(url + "/admin/stop", method="POST"), timeout=60).close()
        seen = here.recv()
        exchange.join(20)
        sys.exit(report(Path(name), ran, truth, seen, options))


def report(home: Path, ran: dict[str, Any], truth: dict[str, Any], seen: dict[str, Any], options: argparse.Namespace) -> int:
    """Print what was measured; 1 when something was lost or too slow."""
    from keel.adapters.journal import read as records
    from keel.core.model.messages import Bar, Fill, SubmitOrder
    from keel.runners.live.memory.records import TYPES

    (folder,) = [path.parent for path in home.glob("runs/journals/*/*/lock")]
    kept = [record.message for record in records(folder, types=TYPES)]
    asked = {(symbol, close): at for symbol, close, at, _, _ in ran["asked"]}
    answered = {(symbol, close): at for symbol, close, _, at, turn in ran["asked"] if turn}
    last: dict[int, int] = {}
    for _, close, at in seen["candles"]:
        last[close] = max(last.get(close, 0), at)
    to_strategy = [(at - last[close]) / 1e6 for (_, close), at in asked.items() if close in last]
    first = min(asked, key=lambda each: each[1])[1]
    end = max(asked, key=lambda each: each[1])[1]
    sent = {(symbol, close) for symbol, close, _ in seen["candles"] if first <= close <= end}
    bars = {(message.symbol, message.ts_close) for message in kept if isinstance(message, Bar)}
    executed = {row["execId"] for row in truth["executions"] if row["execType"] == "Trade"}
    booked = {message.fill_id for message in kept if isinstance(message, Fill)}
    placed = {row["orderLinkId"] for row in truth["orders"] if row["orderLinkId"]}
    bar_of = {message.client_order_id: (message.symbol, message.ts) for message in kept if isinstance(message, SubmitOrder)}
    """orderLinkId -> the bar whose answer it is."""
    written = dict(reversed(ran["written"]))
    """orderLinkId -> when its bytes were first written."""
    on_wire = {name: written[name] for name, _, _ in seen["orders"] if name in written}
    to_wire = [(at - answered[bar_of[name]]) / 1e6 for name, at in on_wire.items() if bar_of.get(name) in answered]
    to_exchange = [(arrived - written[name]) / 1e6 for name, _, arrived in seen["orders"] if name in written]
    lost = {
        "candles": len(sent - bars),
        "decisions": len(sent ^ set(asked)) + len(ran["asked"]) - len(asked),
        "signals": len(set(answered) ^ set(bar_of.values())),
        "orders": len(placed ^ set(bar_of)),
        "fills": len(executed ^ booked),
    }
    if len(on_wire) != len(seen["orders"]):
        raise SystemExit(f"{len(seen['orders'])} orders came to the exchange, of which {len(on_wire)} were seen to leave")
    count = len({symbol for symbol, _ in sent})
    print(f"{options.rate:,} messages a second for {options.seconds} s, {count} symbols; the exchange was late by {seen['late_s']:.2f} s")
    print(f"sent: {seen['flooded']:,} tickers, {len(seen['candles']):,} closed candles, {len(executed):,} fills of {len(bar_of):,} orders")
    rows = {"socket to strategy": percentiles(to_strategy), "signal to wire": percentiles(to_wire)}
    for what, (half, most, worst) in {**rows, "wire to exchange": percentiles(to_exchange)}.items():
        print(f"{what:20} p50 {half:6.2f} ms   p99 {most:6.2f} ms   max {worst:6.2f} ms")
    print("lost: " + ", ".join(f"{what} {count}" for what, count in lost.items()))
    is_well = not any(lost.values()) and all(most <= options.gate_ms for _, most, _ in rows.values()) and ran["exit"] == 0
    if ran["exit"]:
        print(f"the session ended with exit code {ran['exit']}: {ran['errors'][-500:]}")
    print("passed" if is_well else f"FAILED (p99 at most {options.gate_ms:g} ms, and nothing lost)")
    return 0 if is_well else 1


if __name__ == "__main__":
    main()
