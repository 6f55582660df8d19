"""The proof refuses what was not asked for in full; on a sandbox it passes, and finds what is not so."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.core.errors import SafetyError
from tests.live_proof.__main__ import chosen, main
from tests.live_proof.proof import STEPS
from tests.sim.sandbox.conftest import KEY, Sandbox, running, walk_feed, walking


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    for name in ("KEEL_LIVE_PROOF", "KEEL_LIVE_PROOF_UID", "KEEL_LIVE_PROOF_COSTS", "KEEL_LIVE_PROOF_SYMBOL", "KEEL_LIVE_PROOF_MOST_USD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"KEEL_LIVE_PROOF": "yes", "KEEL_LIVE_PROOF_UID": "1"},
        {"KEEL_LIVE_PROOF": "demo"},
        {"KEEL_LIVE_PROOF": "live", "KEEL_LIVE_PROOF_UID": "1"},
        {"KEEL_LIVE_PROOF": "live", "KEEL_LIVE_PROOF_UID": "1", "KEEL_LIVE_PROOF_COSTS": "yes"},
    ],
)
def test_it_refuses_what_was_not_said_in_full(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SafetyError):
        chosen(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 4


def prove(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main(["--sandbox", sandbox.url])
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.long
def test_it_passes_on_a_sandbox_and_leaves_it_flat(capsys: pytest.CaptureFixture[str]) -> None:
    with running(walking(limit_factor=100.0), walk_feed()) as sandbox:
        code, lines = prove(sandbox, capsys)
        truth = sandbox.truth(KEY)
    assert code == 0, lines
    assert [line.split("  (")[0].removeprefix("ok").strip() for line in lines[1:-1]] == list(STEPS)
    assert all(float(position["size"] or 0) == 0 for position in truth["positions"])
    assert {order["orderStatus"] for order in truth["orders"] if order["_refusal"] is None or not order["_refusal"]} <= {
        "Filled",
        "Cancelled",
    }


@pytest.mark.long
def test_what_is_not_so_is_named_and_the_rest_is_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Duplicates are taken for new orders: the answer to the second create is altered on its way."""
    fill = {"op": "replace", "path": "/retCode", "value": 0}
    with running(walking(limit_factor=100.0), walk_feed()) as sandbox:
        match = {"side": "http", "path": "/v5/order/create", "nth": 2, "times": 1}
        sandbox.faults({"match": match, "action": {"kind": "mutate", "patch": [fill]}})
        code, lines = prove(sandbox, capsys)
        resting = [order for order in sandbox.truth(KEY)["orders"] if order["orderStatus"] == "New"]
    failed = [line for line in lines if line.startswith("FAILED")]
    assert code == 1 and len(failed) == 1 and "the same name twice" in failed[0], lines
    assert sum(line.startswith("NOT RUN") for line in lines) == len(STEPS) - 8 and resting == [], lines


def test_the_page_shows_every_step_as_it_is_printed() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    shown = page.partition('$ make live-proof PROOF="--sandbox')[2].partition("```")[0].splitlines()
    assert [line.split("  (")[0].removeprefix("ok").strip() for line in shown if line.startswith("ok ")] == list(STEPS)
    assert shown[1].endswith("python -m tests.live_proof --sandbox http://127.0.0.1:8686")
    assert shown[-1] == "PASS on sandbox; nothing else was proven"
