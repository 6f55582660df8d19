"""``keel live`` is supervised: what a person has armed at the terminal survives a restart by the supervisor, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.runners.home import Home
from keel.runners.live.arming.supervised import armed_before, arming_place
from keel.runners.live.arming.token import Token
from keel.runners.live.supervisor.heartbeat import RESTARTS_NAME, RUN_NAME
from tests.runners.live.live_account import uid_of
from tests.runners.live.test_live_terminal import Typed, arguments, home, sandbox  # noqa: F401  # fixtures
from tests.sim.sandbox.conftest import Sandbox

RUN = "0123456789abcdef" * 2


def test_only_a_restart_finds_the_arming_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path))
    first, second = {RUN_NAME: RUN, RESTARTS_NAME: "0"}, {RUN_NAME: RUN, RESTARTS_NAME: "1"}
    place = arming_place(first)
    assert place is not None and place == arming_place(second)
    assert armed_before(second) is None
    place.touch()
    assert (armed_before(first), armed_before(second), armed_before({})) == (None, place, None)
    assert armed_before({RUN_NAME: "f" * 32, RESTARTS_NAME: "1"}) is None
    assert arming_place({RUN_NAME: "../../etc/passwd"}) is None


def until(what: Callable[[], Any], told: Callable[[], str], timeout_s: float = 40.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end, told()
        time.sleep(0.05)
    return found


@pytest.mark.long
def test_an_arming_at_the_terminal_survives_a_supervised_restart(
    home: Home,  # noqa: F811
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = tmp_path / "own-state"
    monkeypatch.setenv("KEEL_STATE", str(state))
    typed = Typed(home, *arguments(sandbox))
    typed.until("type the UID of the account")
    typed.type(str(uid_of(sandbox)))
    typed.until("type 'trade play money' to arm")
    typed.type("trade play money")

    def lines() -> list[dict[str, Any]]:
        path = home.logs / "live.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def armed() -> list[str]:
        return [line["event"] for line in lines() if line.get("code") == "armed"]

    until(lambda: len(armed()) == 1 and sandbox.truth()["orders"], lambda: typed.shown)
    (card,) = (state / "supervisors").glob("*.json")
    os.kill(json.loads(card.read_text())["process"], signal.SIGKILL)
    until(lambda: len(armed()) == 2, lambda: f"{typed.shown}\n{lines()[-5:]}")
    assert armed()[0].split(" until ")[1] == armed()[1].split(" until ")[1], "its life is the same"
    (token,) = (state / "arming").glob("supervised-*.token")
    assert token.stat().st_mode & 0o077 == 0
    assert msgspec.json.decode(token.read_bytes(), type=Token).uid == uid_of(sandbox)
    until(lambda: len({line["run_id"] for line in lines() if "run_id" in line}) == 2, lambda: typed.shown)
    typed.process.send_signal(signal.SIGTERM)
    code, _ = typed.ended()
    assert code == 0, typed.shown
    assert not list((state / "arming").glob("supervised-*.token"))
