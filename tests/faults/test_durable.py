"""I-6, exactly: when the exchange receives an order, its intent lies within what a completed fsync has put on the medium."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.journal.disk import Disk
from keel.core.model.messages import AmendOrder, CancelOrder, SubmitOrder
from tests.faults.conftest import Stage, http


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    """Inode -> how many bytes of the file completed syncs have covered."""
    sizes: dict[int, int] = {}
    sync = Disk.sync

    def noted(disk: Disk, descriptor: int) -> None:
        before = os.fstat(descriptor)
        sync(disk, descriptor)
        sizes[before.st_ino] = before.st_size

    monkeypatch.setattr(Disk, "sync", noted)
    yield sizes


def on_medium(folder: Path, sizes: dict[int, int], kind: str, name: str) -> bool:
    """Whether a command of this kind and client id is safe: a record begins with the two, a byte or two of length between them."""
    command = re.compile(re.escape(kind.encode()) + b".{1,2}" + re.escape(name.encode()), re.DOTALL)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(command.search(path.read_bytes()[: sizes.get(path.stat().st_ino, 0)]) for path in files)


def test_every_command_is_on_the_medium_when_the_exchange_hears_it(stage: Stage, durable: dict[int, int]) -> None:
    desk = stage.sandbox.server.engine.order_requests
    heard: list[tuple[str, bool]] = []

    def around(name: str, kind: str) -> None:
        original = getattr(desk, name)

        def received(account: Any, params: Any) -> Any:
            heard.append((name, on_medium(stage.plan().journals, durable, kind, str(params.get("orderLinkId")))))
            return original(account, params)

        setattr(desk, name, received)

    around("create", "SubmitOrder")
    around("cancel", "CancelOrder")
    played = stage.play(http({"kind": "error", "ret_code": 10002}, "/v5/order/create", "before_apply", nth=2)).check()
    assert heard and all(is_there for _, is_there in heard), heard
    assert len([name for name, _ in heard if name == "create"]) == len(played.of(SubmitOrder))
    assert len([name for name, _ in heard if name == "cancel"]) == len(played.of(CancelOrder))
    assert not played.of(AmendOrder)
