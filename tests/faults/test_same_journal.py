"""The same seed gives the same journal, byte for byte: with faults, in lock-step and in a market that moves by itself, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from keel.adapters.journal import read
from keel.core.model.messages import Fill, OrderUpdate
from keel.runners.live.memory.records import TYPES
from keel.runners.live.session.session import Session
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.settings import SandboxSettings
from tests.faults.virtual import Turns, World, http, playing, running_in, system_of, ws
from tests.runners.live.conftest import plan_of
from tests.sim.sandbox.conftest import walk_feed
from tests.virtual.sandbox import MEMORY

FAULTS = (
    http("drop", "/v5/order/create", prob=0.3), http({"kind": "error", "http": 503}, "/v5/execution/list", "before_apply", prob=0.5),
    http({"kind": "delay", "ms": 700}, "/v5/order/create", prob=0.3), ws({"kind": "reorder", "window": 5}, "execution", prob=0.3),
    ws("abort", "order", nth=3), ws("abort", "kline", nth=4), ws({"kind": "dup", "n": 2, "gap_ms": 300}, "position", prob=0.5),
)  # fmt: skip


def bytes_of(folder: Path) -> bytes:
    """Everything that a journal's folder holds but its lock, which names a process."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("lock", "ballast")]
    assert files
    return b"".join(path.name.encode() + path.read_bytes() for path in files)


def in_lockstep(seed: int) -> bytes:
    """Two sessions with faults, the second a restart."""
    with playing(world_seed=seed) as stage:
        stage.play(*FAULTS, seed=seed, bars=16, until=12)
        played = stage.play(*FAULTS, seed=seed + 100, bars=16, until=12)
        assert len(played.of(Fill)) > 4 and played.live.journal.session == 2
        return bytes_of(played.folder)


def moving(seed: int) -> bytes:
    """A market that moves by itself, 20 minutes of it, 20 times as fast as life."""
    settings = SandboxSettings(factor=20.0, tick_ms=500, limit_factor=20.0)
    notices: list[Any] = []
    with TemporaryDirectory(dir=MEMORY) as folder, World(seed) as world, running_in(world, settings, feed) as sandbox:
        sandbox.faults(*FAULTS, seed=seed)
        plan = plan_of(system_of(), Turns, None, sandbox.url, Path(folder), grace_ms=400)
        live, ending = world.run(Session(plan, notices.append, max_bars=20).run())
        assert ending.failure is None
        found = [record.message for record in read(live.journal.folder, types=TYPES)]
        assert sum(isinstance(message, OrderUpdate) for message in found) > 5
        return bytes_of(live.journal.folder)


def feed(now_ms: int) -> Feed:
    return walk_feed(start_ms=now_ms)


KINDS: dict[str, Callable[[int], bytes]] = {"in lock-step": in_lockstep, "moving": moving}
QUICK_AND_LONG = ["in lock-step", pytest.param("moving", marks=pytest.mark.long)]


@pytest.mark.parametrize("kind", QUICK_AND_LONG)
def test_it_is_the_seed_s(kind: str) -> None:
    first = KINDS[kind](1)
    assert KINDS[kind](1) == first and KINDS[kind](1) == first
    assert KINDS[kind](2) != first


@pytest.mark.parametrize("kind", QUICK_AND_LONG)
def test_in_another_process_too(kind: str) -> None:
    """Whatever the hashes of texts and the addresses of objects are there."""
    code = f"from tests.faults.test_same_journal import KINDS; from hashlib import sha256; print(sha256(KINDS[{kind!r}](1)).hexdigest())"
    env = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == sha256(KINDS[kind](1)).hexdigest()
