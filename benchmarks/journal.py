"""What the journal costs: records appended and recovered per second, and how long a durable append takes.

    python -m benchmarks.journal [--records 1000000] [--durable 2000] [--folder FOLDER]

The records are 1m bars, a third of them order commands. Durable figures are the disk's: name a folder on the disk that matters.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from keel.adapters.journal import Journal
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import Bar, Message, SubmitOrder

START_MS = 1_735_689_600_000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--durable", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        _durable(Path(name) / "durable", options.durable)
        _bulk(Path(name) / "bulk", options.records)


def _bulk(folder: Path, records: int) -> None:
    messages = [_message(number) for number in range(1000)]
    with _open(folder) as journal:
        begin = time.perf_counter()
        for number in range(records):
            journal.append(messages[number % 1000])
        journal.sync()
        spent = time.perf_counter() - begin
    size = sum(path.stat().st_size for path in folder.glob("*.journal"))
    print(f"append    {records / spent:12,.0f} records/s, {size / records:.0f} bytes each, the last sync included")
    begin = time.perf_counter()
    with _open(folder) as journal:
        opened = time.perf_counter() - begin
        count = sum(1 for _ in journal.recovered())
        spent = time.perf_counter() - begin
    print(f"recovery  {spent:12.2f} s for {count:,} records: {opened:.2f} s to check them all, {spent - opened:.2f} s to decode them")


def _durable(folder: Path, appends: int) -> None:
    with _open(folder) as journal:
        taken = np.empty(appends)
        for number in range(appends):
            message = _message(number)
            begin = time.perf_counter()
            journal.append_durable(message)
            taken[number] = time.perf_counter() - begin
    p50, p99 = np.percentile(taken * 1000, [50, 99])
    rate, longest = appends / taken.sum(), taken.max() * 1000
    print(f"durable   {rate:12,.0f} records/s one by one, p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {longest:.1f} ms")


def _open(folder: Path) -> Journal:
    return Journal.open(folder, clock=ReplayClock(START_MS), session={"system": "benchmark"}, disk_reserve_bytes=0)


def _message(number: int) -> Message:
    ts = START_MS + 60_000 * number
    if number % 3 == 2:
        return SubmitOrder(f"a1b2c3d4-1-{number}", "BTCUSDT", "BUY", "limit", 0.001, ts, 94_000.1)
    return Bar("BTCUSDT", "1m", ts - 60_000, ts, 94_000.1, 94_010.5, 93_990.0, 94_001.2, 12.345)


if __name__ == "__main__":
    main()
