"""The benchmark of a recovery writes a journal with orders in it, and hears it again both ways."""

from __future__ import annotations

import sys

import pytest

from benchmarks import recovery


def test_a_small_journal_is_recovered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["recovery", "--records", "5400"])  # 1800 minutes: the snapshot is made in between
    recovery.main()
    wrote, whole, short = capsys.readouterr().out.splitlines()
    assert wrote.startswith("snapshot")
    heard = [int(line.split(" records heard again")[0].rsplit(", ", 1)[1].replace(",", "")) for line in (whole, short)]
    assert whole.startswith("whole") and heard[0] >= 5400 > heard[1] >= 4320
    assert whole.split()[-3] == short.split()[-3] != "0"  # the same fills are known
