"""The commands that a live session prints work when they are pasted, and a token goes to the session that it is for."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

import pytest

from keel.runners.cli.session import Session
from keel.runners.cli.trading.live import live
from keel.runners.home import Home
from keel.runners.live import live_account
from keel.runners.live.arming.command_line import LiveCommand
from keel.runners.live.arming.token import Terms, terms_of, usual_place
from keel.runners.live.live_account import LiveOptions
from keel.runners.live.session_address import Card, bound, put_card
from keel.runners.live.session_run import without_symbols
from keel.runners.process.state_folder import state_folder
from keel.runners.systems import load_system
from tests.runners.live.live_account import SYSTEM, home_of

URL = "http://127.0.0.1:8686"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "a state"))


def arms(line: str) -> tuple[Terms, Path | None, Path | None]:
    """What a command line arms, with its key file and where its token goes: parsed as a shell and keel do."""
    variable, *words = shlex.split(line)
    assert variable == f"KEEL_STATE={os.environ['KEEL_STATE']}" and words[:2] == ["keel", "live"]
    session = Session()
    given = live.make_context("live", words[2:], obj=session).params
    loaded = without_symbols(load_system(given["system"], Home.find(session.home), list(given["overrides"])), given["without"])
    return terms_of(loaded, "sandbox", given["sandbox_url"]), given["key_file"], given["arm_token"]


@pytest.mark.parametrize("by_path", [False, True])
def test_the_command_that_renews_arms_the_same_from_any_folder(by_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of(tmp_path, SYSTEM.replace("[BTCUSDT]", "[BTCUSDT, ETHUSDT]"))
    monkeypatch.chdir(home.root)
    loaded = load_system("systems/armed.yaml" if by_path else "armed", home, ["description=two 'words'", "live.max_order_usd=2000"])
    options = LiveOptions(URL, Path("a key"), without=("ETHUSDT",), arm_token=Path("my token"))
    arming = live_account._arming_of(loaded, home, options)
    monkeypatch.chdir(tmp_path)
    assert arms(arming.command.arm()) == (arming.terms, home.root / "a key", home.root / "my token")
    assert arms(arming.command.start(tmp_path / "t"))[::2] == (arming.terms, tmp_path / "t")


def test_only_a_live_session_at_the_same_exchange_takes_the_token(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    arming = live_account._arming_of(load_system("armed", home), home, LiveOptions(URL))
    cards = [
        Card("armed", "sandbox", "sandbox a", 1, "", "demo", URL),
        Card("armed", "sandbox", "sandbox b", 2, "", "live", "http://127.0.0.1:8687"),
        Card("armed", "live", "live 9", 3, "", "live", "https://api.bybit.com"),
        Card("other", "sandbox", "sandbox c", 4, "", "live", URL),
        Card("armed", "sandbox", "sandbox d", 5, "", "live", "http://localhost:8686"),
    ]
    listeners = []
    for number, card in enumerate(cards):
        path = state_folder("sessions") / f"{number}.sock"
        listeners.append(bound(path))
        listeners[-1].listen(1)
        put_card(path, card)
        assert live_account._running(arming) == (card if card.process == 5 else None)
    for listener in listeners:
        listener.close()


def test_what_is_said_of_a_token_is_so(tmp_path: Path) -> None:
    """Whether a session takes it, and the command that is needed where none does."""
    home = home_of(tmp_path)
    arming = live_account._arming_of(load_system("armed", home), home, LiveOptions(URL))
    usual, own, other = usual_place(arming.terms), tmp_path / "own", tmp_path / "other"
    card = Card("armed", "sandbox", "sandbox d", 5, "", "live", URL, str(own))

    def said(card: Card | None, path: Path) -> str:
        return live_account._next_step(card, path, usual, arming.command)

    for path in (usual, own):
        assert said(card, path) == "the session that runs (process 5) takes it within seconds"
    assert (
        "does not look there" in said(card, other) and arms(arming.command.arm())[2] is None and arming.command.arm() in said(card, other)
    )
    alone = said(None, other)
    assert "no live session of armed runs" in alone and arms(alone.partition("starts one: ")[2])[2] == other


def test_where_every_terminal_finds_the_state_folder_the_command_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "keel"))
    assert LiveCommand("armed", Path("/h")).arm() == "keel live armed --home /h --arm"
