"""Several faults at once, drawn by a seed: whatever comes together, the rules hold, and the session is READY again or says why not.

A seed that ever broke a rule is kept in CORPUS. A failure names its seed: the test's own name.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.faults.conftest import Stage, http, ws

ORDERS = ("/v5/order/create", "/v5/order/cancel")
READS = ("/v5/order/realtime", "/v5/execution/list", "/v5/position/list", "/v5/account/wallet-balance", "/v5/market/kline")
PRIVATE = ("order", "execution", "position", "wallet")
CORPUS: tuple[int, ...] = ()


def drawn(rng: random.Random) -> dict[str, Any]:
    """One fault."""
    path, topic, when = rng.choice(ORDERS), rng.choice(PRIVATE), rng.choice(("before_apply", "after_apply"))
    reset = rng.choice(("future", "past", "absent"))
    few = {"prob": rng.choice((0.2, 0.4)), "times": rng.randint(1, 4)}
    lost: list[Any] = ["drop", {"kind": "error", "ret_code": 10000}, {"kind": "error", "ret_code": 10016}, {"kind": "error", "http": 503}]
    kinds: dict[str, dict[str, Any]] = {
        "lost": http(rng.choice(lost), path, when, **few),
        "cut short": http({"kind": "truncate", "bytes": rng.randint(0, 80)}, path, **few),
        "limited": http({"kind": "error", "ret_code": 10006, "reset": reset}, path, "before_apply", **few),
        "clock": http({"kind": "error", "ret_code": 10002}, path, "before_apply", **few),
        "taken twice": http({"kind": "dup", "n": 1}, ORDERS[0], "before_apply", **few),
        "slow": http({"kind": "delay", "ms": rng.choice((200, 7_000))}, path, when, **few),
        "reads fail": http({"kind": "error", "http": 503}, rng.choice(READS), "before_apply", **few),
        "reads are cut": http("drop", rng.choice(READS), **few),
        "lists lag": {"action": {"kind": "lag_query", "ms": rng.choice((1_000, 5_000))}},
        "frames lost": ws("drop", topic, **few),
        "frames twice": ws({"kind": "dup", "n": rng.randint(1, 5), "gap_ms": rng.choice((0, 300))}, topic, prob=0.5),
        "frames late": ws({"kind": "delay", "ms": rng.choice((200, 2_000))}, topic, **few),
        "frames mixed": ws({"kind": "reorder", "window": 20}, topic, nth=rng.randint(1, 4)),
        "frames cut": ws({"kind": "truncate", "bytes": rng.randint(10, 200)}, topic, **few),
        "socket cut": ws("abort", topic, nth=rng.randint(1, 6)),
        "socket closed": ws({"kind": "close", "code": 1001}, topic, nth=rng.randint(1, 6)),
        "socket frozen": ws({"kind": "freeze", "keep_pong": rng.random() < 0.7}, topic, nth=rng.randint(1, 6)),
        "candles lost": ws("drop", "kline", **few),
        "public cut": ws("abort", rng.choice(("kline", "tickers")), nth=rng.randint(1, 8)),
        "restart": http({"kind": "restart", "clear_closed": True}, path, nth=rng.randint(1, 3)),
    }
    return kinds[rng.choice(sorted(kinds))]


def storm(seed: int, stage: Stage) -> None:
    rng = random.Random(f"storm {seed}")
    rules = [drawn(rng) for _ in range(rng.randint(2, 4))]
    stage.play(*rules, at=rng.randint(0, 6), until=20, bars=26, seed=seed, pace_s=rng.choice((0.0, 0.0, 0.5))).check(must_act=False)


@pytest.mark.parametrize("seed", [*CORPUS, *range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 8))])
def test_faults_together(seed: int, stage: Stage) -> None:
    storm(seed, stage)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8, 68))
def test_more_faults_together(seed: int, stage: Stage) -> None:
    storm(seed, stage)
