"""What a person may lift, over the whole table of causes: everything else is refused with what ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from keel.core.errors import SafetyError
from keel.core.risk.gate.causes import CAUSES
from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.release import release
from keel.runners.live.reporting.restrictions import ADOPTED, restrictions

S = "BTCUSDT"
BY_ANOTHER_COMMAND = ("arming_expired", "panic")
KEEPS_ITSELF = [row for row in CAUSES.values() if row.lifted_by != "person" and row.name not in ADOPTED]
BY_HAND = [row for row in CAUSES.values() if row.lifted_by == "person" or row.name in ADOPTED]


def session(cause: str) -> Any:
    """As much of one as a refusal asks for."""
    gate = Gate([S])
    gate.close(cause, "made by the test", S if CAUSES[cause].scope == "symbol" else None)
    plan = SimpleNamespace(system=SimpleNamespace(system="mine"), arming=None)
    return SimpleNamespace(gate=gate, plan=plan, instruments={S: None, "ETHUSDT": None})


@pytest.mark.parametrize("cause", [row.name for row in KEEPS_ITSELF])
async def test_what_ends_otherwise_is_refused_with_its_end(cause: str) -> None:
    live = session(cause)
    with pytest.raises(SafetyError, match="is not lifted by hand") as refused:
        await release(live, cause, None, "a test")
    assert str(refused.value).endswith(f"it ends when {CAUSES[cause].ends_when}") and refused.value.exit_code == 4
    (shown,) = restrictions(live.gate, "mine")
    assert shown.release == "" and shown.ends_when in shown.line and live.gate.entries(cause)


@pytest.mark.parametrize("cause", [row.name for row in BY_HAND if row.name not in BY_ANOTHER_COMMAND])
def test_what_a_person_lifts_is_shown_with_the_whole_command(cause: str) -> None:
    (shown,) = restrictions(session(cause).gate, "mine")
    where = f" --symbol {S}" if CAUSES[cause].scope == "symbol" else ""
    assert shown.release == f"keel session release mine{where} --cause {cause}" and shown.line.endswith(shown.release)


@pytest.mark.parametrize(
    ("cause", "symbol", "words"),
    [
        ("another_writer", S, f"does not stand for {S}: it stands for all symbols: keel session release mine --cause another_writer"),
        ("overfilled", "ETHUSDT", f"it stands for {S}: keel session release mine --symbol {S} --cause overfilled"),
        ("leverage", "ETHUSDT", f"does not stand for ETHUSDT: it stands for {S}: made by the test"),
    ],
)
async def test_a_cause_that_stands_elsewhere_is_named_with_its_command(cause: str, symbol: str, words: str) -> None:
    live = session(cause)
    with pytest.raises(SafetyError, match=words):
        await release(live, cause, symbol, "a test")
    assert live.gate.entries(cause)


@pytest.mark.parametrize("cause", BY_ANOTHER_COMMAND)
async def test_what_another_command_lifts_is_refused_by_naming_it(cause: str) -> None:
    with pytest.raises(SafetyError, match="keel live mine --arm" if cause == "arming_expired" else "not lifted for a session that runs"):
        await release(session(cause), cause, None, "a test")
