"""Keys, accounts and payloads that are wrong: said in clear words, with the right kind of error, and no order comes of any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import ConfigError, KeelError, SafetyError
from keel.core.model.messages import OrderUpdate
from tests.faults.checker import check
from tests.faults.conftest import Stage, Turns, fills_of, http, system_of, ws
from tests.runners.live.conftest import plan_of, run_session

KEY = "/v5/user/query-api"


def test_a_demo_key_is_no_key_of_the_live_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SECRET"):
        monkeypatch.setenv(f"BYBIT_DEMO_{name}", "a demo key")
        monkeypatch.delenv(f"BYBIT_LIVE_{name}", raising=False)
    plan = plan_of(system_of(), Turns, None, "", tmp_path, environment=Environment.LIVE, sandbox_url=None)
    with pytest.raises(ConfigError, match="BYBIT_LIVE_KEY"):
        run_session(plan)


@pytest.mark.parametrize("code", [10003, 10004, 33004])
def test_a_key_that_is_wrong_altered_or_expired(code: int, stage: Stage) -> None:
    """A demo key under the live name, or the other way round, is answered with the first of these."""
    stage.sandbox.faults(http({"kind": "error", "ret_code": code}, KEY, "before_apply"))
    with pytest.raises(SafetyError, match=f"refuses the key.*{code}.*nothing was sent"):
        stage.play()
    assert stage.sandbox.truth()["creates"] == []


@pytest.mark.parametrize("code", [10005, 10010])
def test_a_key_without_rights_or_from_another_address(code: int, stage: Stage) -> None:
    stage.sandbox.faults(http({"kind": "error", "ret_code": code}, KEY, "before_apply"))
    with pytest.raises(KeelError, match=str(code)):
        stage.play()
    assert stage.sandbox.truth()["creates"] == []


@pytest.mark.parametrize("code", [10003, 10005, 10010])
def test_a_key_that_is_taken_away_in_the_middle_stops_everything_that_adds(code: int, stage: Stage) -> None:
    """One order hears of it; none is sent after it, and the reason is told."""
    played = stage.play(http({"kind": "error", "ret_code": code}, "/v5/order/create", "before_apply", nth=2), patience_s=1.0)
    assert played.ending.failure is None
    received = len(played.truth["creates"])
    refused = [update.reason for update in played.of(OrderUpdate) if update.status == "rejected"]
    assert refused[0].startswith(str(code))
    assert all(reason.startswith(("denied: ", "frozen: ")) for reason in refused[1:]) and len(refused) > 2
    assert "denied" in played.codes() and "frozen" in played.state
    assert received < len(stage.without_faults().truth["creates"])


VALUES: dict[str, Any] = {
    "NaN": "NaN", "infinite": "1e999", "negative": "-1", "empty": "", "null": None, "a word": "ten", "a list": ["1"], "huge": "9" * 400,
}  # fmt: skip
FIELDS = [
    ("kline", "/data/0/close"), ("kline", "/data/0/start"), ("tickers", "/data/markPrice"),
    ("order", "/data/0/cumExecQty"), ("order", "/data/0/updatedTime"),
    ("execution", "/data/0/execQty"), ("execution", "/data/0/execPrice"), ("execution", "/data/0/execTime"),
    ("position", "/data/0/size"), ("wallet", "/data/0/coin/0/walletBalance"),
]  # fmt: skip
LONG_VALUES = ("negative", "empty", "a list", "huge", "a word", "infinite", "null")


@pytest.mark.parametrize(("topic", "path"), FIELDS)
@pytest.mark.parametrize("value", [pytest.param(name, marks=[pytest.mark.long] if name in LONG_VALUES else []) for name in VALUES])
def test_a_frame_with_nonsense_in_it(value: str, topic: str, path: str, stage: Stage) -> None:
    """It is quarantined and the lists are read instead; nothing is ordered because of it."""
    patch = [{"op": "replace", "path": path, "value": VALUES[value]}]
    played = stage.play(ws({"kind": "mutate", "patch": patch}, topic, nth=2, times=2)).check()
    if topic in ("kline", "tickers"):
        assert fills_of(played) == fills_of(stage.without_faults())


def test_a_status_that_nobody_knows_freezes_the_symbol(stage: Stage) -> None:
    """It may mean anything: a person looks. The order itself is followed on."""
    patch = [{"op": "replace", "path": "/data/0/orderStatus", "value": "Surprised"}]
    played = stage.play(ws({"kind": "mutate", "patch": patch}, "order", nth=2), patience_s=1.0)
    assert check(played.truth, played.folder, settled=False) == []
    assert "'Surprised' is not known" in played.state
