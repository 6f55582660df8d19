"""A dry run goes the whole way, says what it would do order by order, and sends nothing but reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.core.errors import KeelError
from keel.runners.cli.main import run
from keel.runners.home import Home
from keel.runners.live.live_account import DryEnding, run_dry, run_live
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of, options, private_posts, promoted, token_for
from tests.sim.sandbox.conftest import Sandbox


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with account_at_sandbox() as made:
        yield made


def dry(home: Home, sandbox: Sandbox, *overrides: str, bars: int = 40) -> tuple[DryEnding, list[str]]:
    said: list[str] = []
    return run_dry(armed_system(home, *overrides), home, options(sandbox, max_bars=bars), said.append), said


def test_it_says_each_order_and_sends_none(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    ending, said = dry(home, sandbox)
    orders = [line for line in ending.lines if line.startswith(("would buy", "would sell"))]
    assert ending.orders >= 2 and len(orders) >= ending.orders and set(orders) <= set(said)
    assert all("BTCUSDT market" in line for line in orders)
    assert private_posts(sandbox) == [] and sandbox.truth()["orders"] == [] and ending.missing == []
    assert not (home.runs / "live").exists() and not (home.runs / "journals").exists(), "no run and no journal is left"


def test_it_says_what_a_live_session_would_be_refused_for_and_goes_on(tmp_path: Path) -> None:
    with account_at_sandbox(wallet_rights=("Withdraw",)) as sandbox:
        home = home_of(tmp_path)
        ending, _ = dry(home, sandbox, "live.max_order_usd=null")
        assert [each.code for each in ending.missing] == ["limit", "promotion", "key_rights"] and ending.orders >= 2
        assert private_posts(sandbox) == []


def test_it_decides_on_the_account_as_it_is_and_leaves_its_journal_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """Beside a position that a live session has left: its journal is gone on with in a copy."""
    home = home_of(tmp_path)
    promoted(home)
    made = run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token")))
    assert made.ending.positions
    before = {path: path.read_bytes() for path in made.journal.rglob("*") if path.is_file() and path.name != "ballast"}
    sent, held = private_posts(sandbox), sandbox.truth()["positions"]
    ending, _ = dry(home, sandbox)
    (qty,) = made.ending.positions.values()
    flips = [line.split() for line in ending.lines if line.startswith(f"would {'sell' if qty > 0 else 'buy'}")]
    assert flips and float(flips[0][2]) > abs(qty), "it would turn what is held"
    anew = run_dry(armed_system(home), home, options(sandbox, max_bars=1, fresh=True), lambda line: None)
    assert anew.instants == 1 < ending.instants, "--fresh begins where no journal is"
    after = {path: path.read_bytes() for path in made.journal.rglob("*") if path.is_file() and path.name != "ballast"}
    assert (
        after == before
        and private_posts(sandbox) == sent
        and [p["size"] for p in sandbox.truth()["positions"]] == [p["size"] for p in held]
    )


def test_on_the_command_line_it_says_that_there_is_no_stop(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_of(tmp_path)
    promoted(home)
    words = ["--home", str(home.root), "live", "armed", "--sandbox", sandbox.url, "--dry", "--bars", "1"]
    assert run(words) == 0 and "NO STOP: the system sets no exits.stop_loss" in capsys.readouterr().out
    assert run([*words, "--set", "exits.stop_loss={percent: 5}", "--json"]) == 4, "another configuration than was promoted"
    assert '"no_stop":""' in capsys.readouterr().out


def test_without_a_key_it_says_so(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_SANDBOX_KEY", "nobody")
    monkeypatch.setenv("BYBIT_SANDBOX_SECRET", "nothing")
    with pytest.raises(KeelError, match="refuses the key"):
        dry(home_of(tmp_path), sandbox)
