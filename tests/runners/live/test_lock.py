"""One session per account: whatever the home, TMPDIR, the user or a tidy-up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keel.core.errors import SafetyError
from keel.runners.live.startup.lock import AccountLock
from keel.runners.process.state_folder import state_folder


@pytest.fixture
def account(tmp_path: Path) -> str:
    return f"demo {tmp_path}"


def test_one_holder_per_account(tmp_path: Path, account: str) -> None:
    with AccountLock(account, "one", tmp_path):
        with pytest.raises(SafetyError, match=r"demo .* is traded already, by process \d+ \(one\)"):
            AccountLock(account, "two", tmp_path)
        AccountLock(f"{account} other", "other", tmp_path).release()
    AccountLock(account, "three", tmp_path).release()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has names of sockets without files")
def test_another_state_folder_is_no_way_round(tmp_path: Path, account: str) -> None:
    """As of another user."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    with AccountLock(account, "one", one), pytest.raises(SafetyError, match="another process on this machine"):
        AccountLock(account, "two", two)
    AccountLock(account, "two", two).release()


def test_it_does_not_lie_in_tmpdir(tmp_path: Path, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    with AccountLock(account, "one"):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with pytest.raises(SafetyError, match="traded already"):
            AccountLock(account, "two")


def test_a_file_that_was_tidied_away_is_made_anew(tmp_path: Path, account: str) -> None:
    with AccountLock(account, "one", tmp_path) as lock:
        lock.path.unlink()
        assert lock.look() == ""
        with pytest.raises(SafetyError, match=r"\(one\)"):
            AccountLock(account, "two", tmp_path)


def test_a_file_that_another_took_meanwhile_is_told(tmp_path: Path, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but the file holds the account."""
    monkeypatch.setattr(AccountLock, "_claim_machine", lambda self, name: None)
    with AccountLock(account, "one", tmp_path) as lock:
        lock.path.unlink()
        with AccountLock(account, "two", tmp_path):
            assert "(two)" in lock.look()
        assert lock.look() == ""  # it is ours again


@pytest.mark.parametrize(("name", "value", "place"), [("KEEL_STATE", "own", "own"), ("XDG_STATE_HOME", "xdg", "xdg/keel")])
def test_where_the_state_lies(name: str, value: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEEL_STATE")
    monkeypatch.setenv(name, str(tmp_path / value))
    assert state_folder("locks") == tmp_path / place / "locks"


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path))
    (tmp_path / "locks").mkdir(mode=0o700)
    (tmp_path / "locks").chmod(0o777)
    with pytest.raises(SafetyError, match="chmod 700"):
        state_folder("locks")
