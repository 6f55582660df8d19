"""kill -9 of a writer at random moments: what it was told is durable is there, every time, and the next writer goes on.

A kill takes the process, not the machine: what the system has is kept. The moments are drawn from a seed, by how many acknowledgements
are waited for; where in its work the writer is by then is up to the machine, which is the point.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

_KILLS = """
import os, random, signal, struct, sys
from pathlib import Path
from keel.adapters.journal import Journal, read
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import MarkPrice

folder, generator = Path(sys.argv[1]), random.Random(int(sys.argv[2]))

def write(pipe):
    journal = Journal.open(folder, clock=ReplayClock(1), session={}, disk_reserve_bytes=1000, segment_bytes=9000, buffer_bytes=300)
    os.write(pipe, struct.pack("<qq", journal.seq, journal.session))
    while True:
        for _ in range(generator.randrange(6)):
            journal.append(MarkPrice("BTCUSDT", journal.seq + 1, 0.5))
        os.write(pipe, struct.pack("<qq", journal.append_durable(MarkPrice("BTCUSDT", journal.seq + 1, 1.5)), journal.session))
        if generator.random() < 0.1:
            journal.write_snapshot(b"after %d" % journal.seq)

torn = session = acknowledged = 0
for kill in range(int(sys.argv[3])):
    wanted = generator.choice([0, 1, generator.randrange(60)])
    ours, theirs = os.pipe()
    if not (writer := os.fork()):
        write(theirs)
    os.close(theirs)
    heard = [os.read(ours, 16) for _ in range(wanted)]
    for _ in range(generator.randrange(20_000)):
        pass
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    while part := os.read(ours, 16):
        heard.append(part)
    os.close(ours)
    for part in heard:
        acknowledged, now = struct.unpack("<qq", part)
        assert now >= session, (now, session)
        session = now
    with Journal.open(folder, clock=ReplayClock(1), session={}, disk_reserve_bytes=1000) as journal:
        assert journal.session > session, (journal.session, session)
        session = journal.session
        assert journal.recovery.last_seq >= acknowledged, (journal.recovery, acknowledged)
        torn += journal.recovery.cut_records
        assert journal.state is None or journal.state == b"after %d" % journal.recovery.snapshot_seq
        found = [record.seq for record in journal.recovered()]
        assert found == list(range(journal.recovery.snapshot_seq + 1, journal.recovery.last_seq + 1))
    for number, record in enumerate(read(folder), 1):
        assert record.seq == number
        assert record.kind == "SessionStarted" or record.message.ts == number
print(torn, acknowledged, session)
"""


def _kill(folder: Path, seed: int, kills: int) -> tuple[int, ...]:
    command = [sys.executable, "-c", _KILLS, str(folder), str(seed), str(kills)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    return tuple(int(part) for part in done.stdout.split())


def test_after_20_kills_every_acknowledged_record_is_there(folder):
    _, acknowledged, session = _kill(folder, seed=7, kills=20)
    assert acknowledged > 20 and session >= 21


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_after_800_kills_every_acknowledged_record_is_there(folder, seed):
    _kill(folder, seed, kills=200)
