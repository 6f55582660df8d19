"""``keel journal``: what there is, whether it is whole, and how to go on from one that is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.journal import Journal, read
from keel.core.engine.clock import ReplayClock
from keel.runners.cli.main import run
from tests.builders import START, bar

NAME = "demo_1/ema_cross-ab12cd34ef56"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Thirty records in two sessions, with a snapshot."""
    folder = tmp_path / "runs" / "journals" / NAME
    for session in range(2):
        with Journal.open(folder, clock=ReplayClock(START), session={}, disk_reserve_bytes=0) as opened:
            for number in range(14):
                opened.append(bar(number, 100.0 + session))
            if not session:
                opened.write_snapshot(b"state")
    return folder


def keel(home: Path, capsys: Any, *arguments: str) -> tuple[int, Any]:
    code = run(["--home", str(home), "journal", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def damage(folder: Path) -> Path:
    path = sorted(folder.glob("*.journal"))[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def test_list_and_verify_say_what_a_journal_holds(journal: Path, tmp_path: Path, capsys: Any) -> None:
    code, answer = keel(tmp_path, capsys, "list")
    (line,) = answer["journals"]
    assert code == 0 and (line["name"], line["records"], line["sessions"], line["problem"]) == (NAME, 30, 2, "")
    for which in (str(journal), "ema_cross", NAME):
        code, answer = keel(tmp_path, capsys, "verify", which)
        assert code == 0 and answer["ok"] and answer["found"]["records"] == 30 and answer["found"]["torn_bytes"] == 0


def test_damage_exits_with_3_and_names_the_offset(journal: Path, tmp_path: Path, capsys: Any) -> None:
    path = damage(journal)
    code, answer = keel(tmp_path, capsys, "verify", "ema_cross")
    assert code == 3 and answer["found"]["damaged_file"] == str(path) and answer["found"]["damaged_offset"] > 0
    assert keel(tmp_path, capsys, "list")[0] == 3
    assert run(["--home", str(tmp_path), "journal", "verify", "ema_cross"]) == 3
    shown = capsys.readouterr().out
    assert f"byte {answer['found']['damaged_offset']}" in shown and "DAMAGED" in shown


def test_repair_takes_its_place_and_keeps_the_original(journal: Path, tmp_path: Path, capsys: Any) -> None:
    damage(journal)
    before = {path.name: path.read_bytes() for path in journal.glob("*.journal")}
    code, answer = keel(tmp_path, capsys, "repair", "ema_cross")
    assert code == 0 and answer["path"] == str(journal) and answer["records"] == len(list(read(journal)))
    original = Path(answer["original"])
    assert {path.name: path.read_bytes() for path in original.glob("*.journal")} == before
    assert keel(tmp_path, capsys, "verify", str(journal))[0] == 0
    with Journal.open(journal, clock=ReplayClock(START), session={}, disk_reserve_bytes=0) as opened:
        assert opened.session == 3


def test_repair_to_a_folder_of_its_own(journal: Path, tmp_path: Path, capsys: Any) -> None:
    damage(journal)
    code, answer = keel(tmp_path, capsys, "repair", str(journal), "--out", str(tmp_path / "saved"))
    assert code == 0 and answer["original"] == str(journal) and answer["path"] == str(tmp_path / "saved")
    assert keel(tmp_path, capsys, "verify", str(journal))[0] == 3


@pytest.mark.parametrize(("which", "words"), [("nothing", "there is no journal"), ("run-000000000000", "there is no run")])
def test_what_is_not_there(which: str, words: str, journal: Path, tmp_path: Path, capsys: Any) -> None:
    code, answer = keel(tmp_path, capsys, "verify", which)
    assert code == 2 and words in answer["error"]["message"]


def test_a_whole_journal_is_not_repaired(journal: Path, tmp_path: Path, capsys: Any) -> None:
    code, answer = keel(tmp_path, capsys, "repair", "ema_cross")
    assert code == 2 and "there is nothing to repair" in answer["error"]["message"]
    assert journal.exists()


def test_last_is_the_one_written_last_and_names_that_fit_more_are_told_apart(journal: Path, tmp_path: Path, capsys: Any) -> None:
    other = journal.parents[1] / "demo_2" / journal.name
    with Journal.open(other, clock=ReplayClock(START), session={}, disk_reserve_bytes=0) as opened:
        opened.append(bar(0, 100.0))
    assert keel(tmp_path, capsys, "verify", "last")[1]["path"] == str(other)
    code, answer = keel(tmp_path, capsys, "verify", journal.name)
    assert code == 2 and "demo_1/" in answer["error"]["message"] and "demo_2/" in answer["error"]["message"]
    assert keel(tmp_path, capsys, "verify", "demo_1")[1]["path"] == str(journal)
