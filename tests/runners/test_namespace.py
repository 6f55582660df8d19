"""keel takes one name in a user's environment: his folders core, strategies and runners stand beside it, and the face imports little."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keel as face
from keel.runners.home import Home

PROJECT = Path(__file__).resolve().parents[2]
OLD = "from core.messages import Signal\nfrom strategies.base import BaseStrategy\n\nclass Mine(BaseStrategy):\n    seen = Signal\n"
SYSTEM = "system: mine\nstrategy: mine\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
OWN = {
    "core/__init__.py": "",
    "core/model/messages.py": "raise SystemExit('the user has a core of his own')\n",
    "runners/__init__.py": "raise SystemExit('and runners')\n",
    "strategies/__init__.py": "",
    "strategies/levels.py": "FAST = 8\n",
    "mine.py": (
        "from keel import BaseStrategy, Signal\nfrom strategies.levels import FAST\n\n\n"
        "class Mine(BaseStrategy):\n    defaults = {'fast': FAST}\n\n"
        "    def generate_signal(self, snapshot, params):\n        hour, fast = snapshot.bar_ltf.ts_close // 3_600_000, params['fast']\n"
        "        return Signal(snapshot.symbol, 'LONG' if hour // fast % 2 else 'SHORT') if hour % fast == 0 else None\n"
    ),
    "mine.yaml": (
        "system: mine\nstrategy: mine.py:Mine\nsymbols: [BTCUSDT]\ntimeframe: 1h\nwarmup_bars: 2\n"
        "windows: {all: {start: 2024-01-02, end: 2024-01-20}}\n"
    ),
}  # fmt: skip


def test_every_name_of_the_face_is_there_and_is_looked_up_when_it_is_asked_for() -> None:
    looked_for = ("keel", "numpy", "duckdb", "msgspec")
    code = f"import sys, keel; print(sorted(name for name in sys.modules if name.partition('.')[0] in {looked_for}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['keel']"
    assert all(getattr(face, name) is not None for name in face.__all__) and set(face.__all__) <= set(dir(face))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = face.Nothing


def test_migrate_rewrites_the_homes_files_and_says_which(home: Path, keel: Callable[..., Any]) -> None:
    for folder in (Home(home).strategies, Home(home).systems):
        folder.mkdir(exist_ok=True)
    strategy, system = Home(home).strategies / "mine.py", Home(home).systems / "mine.yaml"
    strategy.write_text(OLD)
    system.write_text(SYSTEM)
    refused = keel("systems", "validate", "mine")
    assert refused.code != 0 and f"{strategy}:1: from core.messages import Signal" in refused.err
    assert f"keel systems migrate {strategy}" in refused.err
    dry = keel("systems", "migrate", "--dry")
    assert dry.code == 0 and dry.out == f"would rewrite {strategy}: 2 lines\n" and strategy.read_text() == OLD
    done = keel("systems", "migrate")
    assert done.code == 0 and done.out == f"rewrote {strategy}: 2 lines\n"
    assert strategy.read_text() == OLD.replace("from core.messages", "from keel.core.model.messages").replace(
        "from strategies", "from keel.strategies"
    )
    assert keel("systems", "validate", "mine").code == 0
    assert keel("systems", "migrate").out == "nothing to rewrite in 2 files\n"
    lacking = keel("systems", "migrate", str(home / "no.py"))
    assert lacking.code != 0 and "No such file" in lacking.err and "nothing was rewritten" in lacking.err


def test_migrate_keeps_a_link_and_a_mode_and_leaves_what_it_may_not_write(home: Path, keel: Callable[..., Any]) -> None:
    kept, link, read_only, note = home / "kept.py", home / "link.py", home / "read_only.py", home / "note.ipynb"
    for path in (kept, read_only, note):
        path.write_text(OLD)
    kept.chmod(0o750)
    link.symlink_to(kept)
    read_only.chmod(0o444)
    for refused, why in (
        (read_only, f"{read_only} is read-only: chmod u+w {read_only}"),
        (note, f"{note} is neither Python (.py) nor a system file"),
        (home, f"{home} is a folder: name its files, such as {home}/*.py"),
    ):
        for dry in ((), ("--dry",)):
            answer = keel("systems", "migrate", str(link), str(refused), *dry)
            assert answer.code == 2 and why in answer.err and "; nothing was rewritten" in answer.err
            assert kept.read_text() == read_only.read_text() == note.read_text() == OLD
    answer = keel("systems", "migrate", str(link), "--json")
    assert answer.data["rewritten"] == [{"file": str(link), "lines": 2}] and answer.data["looked_at"] == 1
    assert link.is_symlink() and kept.read_text() == OLD.replace("from core.messages", "from keel.core.model.messages").replace(
        "from strat", "from keel.strat"
    )
    assert kept.stat().st_mode & 0o777 == 0o750


def test_a_checkout_without_links_says_so_and_how_to_have_them(tmp_path: Path) -> None:
    (tmp_path / "keel").mkdir()
    (tmp_path / "keel" / "__init__.py").write_text((PROJECT / "src" / "keel" / "__init__.py").read_text())
    (tmp_path / "keel" / "core").write_text("../../core")  # what git leaves where it may not make links
    code = "import keel.core.model.money"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        f"ImportError: {tmp_path / 'keel'} has no links to the folders core, sim, strategies, adapters and runners of its checkout: "
        "git config core.symlinks true && git checkout -- src (on Windows in developer mode), or install the wheel: make wheel"
    )


@pytest.mark.long
def test_the_wheel_runs_beside_packages_of_the_users_own_that_have_the_rooms_names(tmp_path: Path) -> None:
    """The wheel is built, unpacked before everything else on the path, and used from a folder whose packages would break another layout."""
    built = tmp_path / "dist"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
        names = packed.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"keel"}
    rooms = {name.split("/")[1] for name in names if name.startswith("keel/") and name.count("/") > 1}
    assert rooms == {"core", "sim", "strategies", "adapters", "runners"}
    expected = {f"keel/{path.relative_to(PROJECT)}" for room in rooms for path in (PROJECT / room).rglob("*.py")}
    assert expected <= set(names) and "keel/py.typed" in names and "keel/strategies/systems/ema_cross.yaml" in names
    folder = tmp_path / "mine"
    for name, text in OWN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    environment = {"PYTHONPATH": f"{site}:{folder}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def keel_says(*words: str) -> str:
        line = [sys.executable, "-c", "import keel, sys; from keel.runners.cli.main import main; sys.argv[0] = 'keel'; main()", *words]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    asked = [sys.executable, "-c", "import keel.core.model.money as money; print(money.__file__)"]
    where = subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(site))
    keel_says("--home", ".", "data", "synth", "--symbol", "BTCUSDT", "--start", "2024-01-01", "--end", "2024-01-21")
    assert "mine" in keel_says("--home", ".", "backtest", "mine.yaml", "--no-report")
    for more in ((), ("--on", "ray")):
        assert "2 runs over all" in keel_says("--home", ".", "sweep", "mine.yaml", "--param", "fast=4,8", "--workers", "2", *more)
