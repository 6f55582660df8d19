"""An arming token arms what it was made for, on this machine, for this user, within its life, and never past a panic."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import SafetyError
from keel.runners.live.arming.token import LONGEST_MS, Terms, Token, make_token, note_use, put_token, read_token, usual_place, was_used
from keel.runners.live.panic.latch import latch_path

NOW = 1_800_000_000_000
TERMS = Terms("live", "https://api.bybit.com", "mine", "c" * 64, "d" * 64)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def latch() -> Path:
    return latch_path(Environment.LIVE, TERMS.host)


def kept(path: Path, terms: Terms = TERMS, life_ms: int = 60_000) -> Token:
    token = make_token(terms, 7, NOW, life_ms)
    put_token(token, path)
    return token


def read(path: Path, terms: Terms = TERMS, now_ms: int = NOW) -> Token:
    return read_token(path, terms, now_ms, latch())


def test_it_is_read_as_it_was_made(path: Path) -> None:
    token = kept(path)
    assert read(path) == token and stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.parent / "state" / "arming" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and secret.read_bytes().hex() not in path.read_text()


def test_two_are_never_the_same(path: Path) -> None:
    assert make_token(TERMS, 7, NOW, 1000).nonce != make_token(TERMS, 7, NOW, 1000).nonce


def test_it_lives_twelve_hours_at_most() -> None:
    make_token(TERMS, 7, NOW, LONGEST_MS)
    for life in (LONGEST_MS + 1, 0, -1):
        with pytest.raises(SafetyError, match="at most 12 h"):
            make_token(TERMS, 7, NOW, life)


@pytest.mark.parametrize("name", Terms.__struct_fields__)
def test_it_arms_nothing_else(path: Path, name: str) -> None:
    kept(path)
    with pytest.raises(SafetyError, match=f"arms something else: {name} differs"):
        read(path, msgspec.structs.replace(TERMS, **{name: "another"}))


def test_it_expires(path: Path) -> None:
    kept(path)
    assert read(path, now_ms=NOW + 59_999)
    with pytest.raises(SafetyError, match="has expired"):
        read(path, now_ms=NOW + 60_000)
    with pytest.raises(SafetyError, match="made in the future"):
        read(path, now_ms=NOW - 60_001)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uid", 8),
        ("expires_ms", NOW + LONGEST_MS),
        ("made_ms", NOW - 1),
        ("nonce", "0" * 32),
        ("by", "somebody else"),
        ("version", 2),
        ("seal", "0" * 64),
    ],
)
def test_whatever_is_edited_breaks_the_seal(path: Path, key: str, value: Any) -> None:
    kept(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: value}))
    with pytest.raises(SafetyError, match="seal does not fit"):
        read(path)


def test_another_machine_s_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(path)
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "another"))
    with pytest.raises(SafetyError, match="not made on this machine"):
        read(path)


def test_a_file_that_others_may_read_is_none(path: Path, tmp_path: Path) -> None:
    kept(path)
    for mode in (0o640, 0o604, 0o700, 0o666):
        path.chmod(mode)
        with pytest.raises(SafetyError, match="yours alone"):
            read(path)
    path.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(path)
    for other in (link, tmp_path, tmp_path / "nothing"):
        with pytest.raises(SafetyError):
            read(other)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SafetyError, match="yours alone"):
        read(tmp_path / "fifo")


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[" * 60_000, b"\xff\xfe", b'{"version": 1}', b"x" * 100_000])
def test_a_damaged_one_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SafetyError, match="no arming token"):
        read(path)


def test_a_secret_that_others_may_read_seals_nothing(path: Path) -> None:
    kept(path)
    (path.parent / "state" / "arming" / "secret").chmod(0o644)
    with pytest.raises(SafetyError, match="the secret that seals"):
        read(path)


@pytest.mark.parametrize("name", ["live.latch", "live.latch.20270115"])
def test_no_arming_survives_a_panic(path: Path, name: str) -> None:
    """The latch stands, or lies there under another name since a person re-armed."""
    folder = latch().parent
    folder.mkdir(parents=True)
    now = int(path.parent.stat().st_mtime * 1000)
    put_token(make_token(TERMS, 7, now - 1000, 60_000), path)
    assert read_token(path, TERMS, now, latch())
    (folder / "demo.latch").touch()
    (folder / "live.ready").touch()
    assert read_token(path, TERMS, now, latch()), "another environment's, and what a session lays there for a panic"
    (folder / name).touch()
    with pytest.raises(SafetyError, match="before a panic"):
        read_token(path, TERMS, now, latch())
    later = make_token(TERMS, 7, now + 60_000, 60_000)
    put_token(later, path)
    assert read_token(path, TERMS, now + 60_001, latch()) == later, "one that was made after it"


def test_a_session_notes_that_it_began_with_it(path: Path) -> None:
    token = kept(path)
    assert not was_used(token)
    note_use(token)
    other = kept(path)
    assert was_used(token) and not was_used(other)
    folder = path.parent / "state" / "arming"
    os.utime(folder / f"used-{token.nonce}", (1, 1))
    note_use(other)
    assert was_used(other) and not was_used(token), "a mark of yesterday is tidied away: its token has expired"


def test_the_usual_place_is_no_one_else_s() -> None:
    assert usual_place(TERMS).parent.name == "arming" and "/" not in usual_place(TERMS).name
    assert usual_place(TERMS) != usual_place(msgspec.structs.replace(TERMS, system="other"))
