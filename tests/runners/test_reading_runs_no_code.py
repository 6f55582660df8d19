"""Reading never runs code: what a kept run's file names is imported only where it is the code that ran then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keel.strategies.base import BaseStrategy, VectorStrategy
from keel.strategies.registry import load_strategy, source_fingerprint
from keel.strategies.verification import matches

Keel = Callable[..., Any]
OWN = """
from keel.strategies.base import BaseStrategy


class Own(BaseStrategy):
    defaults = {"fast": 3}

    def generate_signal(self, snapshot, params):
        return None
"""
FEATURE = "def half(frame):\n    return frame['close'] / 2\n"
WINDOW = ("--start", "2024-01-15", "--end", "2024-01-17", "--set", "warmup_bars=20")


def evil(folder: Path, body: str = "") -> Path:
    """A file that leaves a mark where it is run."""
    path = folder / "evil.py"
    path.write_text(f"import pathlib\npathlib.Path({str(folder / 'mark')!r}).write_text('run')\n{body or OWN}")
    return path


@pytest.fixture
def made(home: Path, keel: Keel) -> Path:
    """The folder of a run of a strategy of one's own, with a feature of one's own, without a report."""
    for name in ("strategies", "systems"):
        (home / name).mkdir()
    (home / "strategies" / "own.py").write_text(OWN)
    (home / "half.py").write_text(FEATURE)
    system = (
        "system: mine\nstrategy: own\nsymbols: [BTCUSDT]\ntimeframe: 1h\nsizing: {model: fixed_usd, usd: 1000}\n"
        f"features: {{half: {{fn: '{home / 'half.py'}:half'}}}}\n"
    )
    (home / "systems" / "mine.yaml").write_text(system)
    answer = keel("backtest", "mine", *WINDOW, "--no-report", "--json")
    assert answer.code == 0, answer
    return Path(answer.data["artifacts"])


def doctor(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text())
    change(config["config"])
    path.write_text(json.dumps(config))


def test_a_run_that_nobody_touched_is_reported(made: Path, keel: Keel) -> None:
    answer = keel("runs", "report", "last")
    assert answer.code == 0 and (made / "report.html").exists(), answer


CHANGES: dict[str, Callable[[dict[str, Any], str], None]] = {
    "strategy by path": lambda config, path: config["system"].update(strategy=path),
    "strategy by path and class": lambda config, path: config["system"].update(strategy=f"{path}:Own"),
    "strategy beside the system file": lambda config, path: (
        config["system"].update(strategy="evil"), config.update(system_file=str(Path(path).parent / "mine.yaml")),
    )[0],
    "feature": lambda config, path: config["system"]["features"]["half"].update(fn=f"{path}:half"),
    "feature by a parameter": lambda config, path: (
        config["system"]["features"]["half"].update(fn="$fast"), config["system"]["params"].update(fast=f"{path}:half"),
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_doctored_run_runs_nothing(change: str, made: Path, keel: Keel, tmp_path: Path) -> None:
    path = evil(tmp_path, OWN + FEATURE)
    doctor(made, lambda config: CHANGES[change](config, str(path)))
    for command in (("show", "last"), ("compare", "last", "last")):
        assert keel("runs", *command).code == 0 and not (tmp_path / "mark").exists()
    answer = keel("runs", "report", "last")
    assert answer.code in (2, 3) and not (made / "report.html").exists(), answer
    assert not (tmp_path / "mark").exists()


def test_own_code_that_has_changed_is_not_run_either(made: Path, keel: Keel, home: Path, tmp_path: Path) -> None:
    (home / "strategies" / "own.py").write_text(evil(tmp_path).read_text())
    answer = keel("runs", "report", "last")
    assert answer.code == 3 and "has changed since" in answer.err and not (tmp_path / "mark").exists()
    (home / "strategies" / "own.py").write_text(OWN)
    (home / "half.py").write_text(evil(tmp_path, FEATURE).read_text())
    answer = keel("runs", "report", "last")
    assert answer.code == 3 and "half.py:half has changed since" in answer.err and not (tmp_path / "mark").exists()


SOURCES = {
    "one class": OWN,
    "by module": "import keel.strategies.base as base\nimport keel.strategies\n\nclass Own(base.VectorStrategy):\n    pass\n",
    "out of the package": "from keel.strategies import BaseStrategy as B\n\nclass Parent(B):\n    pass\n\nclass Own(Parent):\n    pass\n",
    "of a built-in one": "from keel.strategies.ema_cross import EmaCross\n\nclass Own(EmaCross):\n    pass\n",
    "with a plain base": (
        "import abc\nfrom keel.strategies.base import BaseStrategy\n\n"
        "class Part(abc.ABC):\n    pass\n\nclass Own(Part, BaseStrategy):\n    pass\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_the_fingerprint_without_running_is_that_after_running(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SOURCES[name])
    reference = f"{path}:Own"
    fingerprint = source_fingerprint(load_strategy(reference))
    assert matches(reference, [], fingerprint)
    assert not matches(reference, [], fingerprint[::-1])
    path.write_text(SOURCES[name] + "# a word\n")
    assert not matches(reference, [], fingerprint)


def test_what_cannot_be_followed_without_running_it_does_not_match(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from elsewhere import Base\n\nclass Own(Base):\n    pass\n")
    assert not matches(str(tmp_path / "own.py"), [], "0" * 64)
    (tmp_path / "own.py").write_text("class Own(make()):\n    pass\n(((")
    assert not matches(str(tmp_path / "own.py"), [], "0" * 64)
    assert BaseStrategy.__module__ == VectorStrategy.__module__ == "keel.strategies.base"  # what the shells' digests rest on


def test_a_sweep_is_not_resumed_with_other_code(home: Path, keel: Keel, tmp_path: Path) -> None:
    for name in ("strategies", "systems"):
        (home / name).mkdir()
    (home / "strategies" / "own.py").write_text(OWN)
    (home / "systems" / "mine.yaml").write_text(
        "system: mine\nstrategy: own\nsymbols: [BTCUSDT]\ntimeframe: 1h\nwarmup_bars: 20\n"
        "windows: {first: {start: 2024-01-15, end: 2024-01-17}}\n"
    )
    keel("sweep", "mine", "--param", "fast=2:3:1", "--workers", "1", "--windows", "first")
    (record,) = home.rglob("sweep.json")
    content = json.loads(record.read_text())
    content["system"]["strategy"] = str(evil(tmp_path))
    record.write_text(json.dumps(content))
    answer = keel("sweep", "--resume", record.parent.name)
    assert answer.code == 3 and "nothing of it was run" in answer.err, answer
    assert not (tmp_path / "mark").exists()
