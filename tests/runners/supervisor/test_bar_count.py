"""``--bars`` under a supervisor: a restart goes on counting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keel.core.errors import SafetyError
from keel.runners.live.live_account import run_live
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.supervisor.bar_count import bars_before, of_run
from keel.runners.live.supervisor.heartbeat import RESTARTS_NAME, RUN_NAME
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of, options, promoted, token_for

RUN = "ab" * 16


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


def test_a_restart_closes_only_the_bars_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_NAME, RUN)
    home = home_of(tmp_path)
    promoted(home)

    seen: list[Live] = []

    async def breaks_off(live: Live, stop: Stop) -> AsyncIterator[None]:
        """The first after four bars."""
        seen.append(live)
        look = live.gate.look

        def then() -> None:
            if len(seen) == 1 and len(live.books.engine.closes) >= 4:
                stop.ask("it breaks off")
            look()

        live.gate.look = then
        yield

    with account_at_sandbox() as sandbox:
        token = token_for(home, sandbox, tmp_path / "token")
        for restarts in ("0", "1", "2"):
            monkeypatch.setenv(RESTARTS_NAME, restarts)
            run_live(armed_system(home), home, options(sandbox, token, max_bars=9), beside=breaks_off)
    closed = [len(live.books.engine.closes) for live in seen]
    assert closed[0] < 9 and closed[1:] == [9, 9], "the third finds nothing left to do"


def test_it_counts_from_where_the_first_trader_began_and_says_where_that_is_not_known(tmp_path: Path) -> None:
    def before(restarts: int, closes: int, journal: str = "j") -> int:
        return bars_before(tmp_path / journal, closes, {RUN_NAME: RUN, RESTARTS_NAME: str(restarts)})

    assert bars_before(tmp_path, 7, {}) == 0
    assert [before(0, 100), before(1, 104), before(2, 109)] == [0, 4, 9]
    with pytest.raises(SafetyError, match="in another journal"):
        before(3, 2, "other")
    place = of_run(RUN)
    assert place is not None
    place.write_text("{")
    with pytest.raises(SafetyError, match="does not say where the count began"):
        before(3, 110)
