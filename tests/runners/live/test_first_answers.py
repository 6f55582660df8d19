"""A first answer that is none of the API's (a ban, a maintenance page, a redirect) ends a start by what it is, and by what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keel.core.errors import VenueError
from keel.sim.sandbox.settings import AccountSettings
from tests.builders import builtin
from tests.runners.live.conftest import plan_of, run_session
from tests.sim.sandbox.conftest import KEY, SECRET, lockstep, made_bars
from tests.virtual.sandbox import running_virtually

TIME = "/v5/market/time"
ANSWERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ban": ({"http": 403}, ["HTTP 403", "refuses this address", "ten minutes"]),
    "ban in words": ({"ret_code": 10018, "ret_msg": "Exceeded the IP Rate Limit."}, ["10018 Exceeded the IP Rate Limit"]),
    "maintenance": ({"http": 503}, ["HTTP 503", "maintenance", "try again later"]),
    "redirect": ({"http": 302}, ["HTTP 302", "redirect", "is the address right"]),
    "page": ({"http": 200, "ret_msg": "<html><h1>Back\nsoon"}, ["not the API's JSON", "<html><h1>Back soon", "try again later"]),
    "refused": ({"http": 401}, ["HTTP 401", "refuses the key"]),
    "limited": ({"ret_code": 10006, "ret_msg": "Too many visits!"}, ["10006 Too many visits!"]),
}
PATHS = (TIME, "/v5/user/query-api", "/v5/market/instruments-info", "/v5/account/info")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", ANSWERS)
def test_a_start_says_what_came(case: str, path: str, journals: Path) -> None:
    action, words = ANSWERS[case]
    system, strategy = builtin("ema_cross", "timeframe=1m", "execution_timeframe=1m", "warmup_bars=20", "params.fast=2", "params.slow=5")
    settings, feed = lockstep(made_bars(60, first=40), accounts=(AccountSettings(key=KEY, secret=SECRET),))
    with running_virtually(settings, feed) as sandbox:
        sandbox.faults({"match": {"side": "http", "path": path}, "action": {"kind": "error", **action}, "when": "before_apply"})
        with pytest.raises(VenueError) as caught:
            run_session(plan_of(system, strategy, None, sandbox.url, journals))
        assert sandbox.truth()["orders"] == []
    text = str(caught.value)
    assert all(word in text for word in [path, *words]) and len(text) < 400, text
    assert ("does not tell its time" in text) == (path == TIME)
    assert caught.value.exit_code == 5


def test_a_moment_of_trouble_ends_no_start(journals: Path) -> None:
    """The first two questions for the time are cut off and answered by a gateway in between."""
    system, strategy = builtin("ema_cross", "timeframe=1m", "execution_timeframe=1m", "warmup_bars=20", "params.fast=2", "params.slow=5")
    settings, feed = lockstep(made_bars(60, first=40), accounts=(AccountSettings(key=KEY, secret=SECRET),))
    with running_virtually(settings, feed) as sandbox:
        match = {"side": "http", "path": TIME, "nth": 1, "times": 1}
        sandbox.faults(
            {"match": match, "action": {"kind": "abort"}, "when": "before_apply"},
            {"match": match | {"nth": 2}, "action": {"kind": "error", "http": 502}, "when": "before_apply"},
        )
        ran = run_session(plan_of(system, strategy, None, sandbox.url, journals), max_bars=3)
    assert ran.ending.failure is None
