"""keel by its names of before version 0.2: refused with the line to write, rewritten by ``keel systems migrate``, and the same code to
every fingerprint; a user's own packages of these names are left alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.core.errors import ConfigError, StrategyError
from keel.runners.user_code import load_function
from keel.strategies.moved import MOVED, NEW_PACKAGES
from keel.strategies.old_names import identity_bytes, is_old, old_imports, rewritten
from keel.strategies.registry import load_strategy, source_fingerprint
from keel.strategies.verification import matches

OLD = """import os, core.money
import strategies.base as base
from core.messages import (
    Signal,  # said twice: from core.messages
)
from strategies import BaseStrategy


class Mine(BaseStrategy):
    \"\"\"from core.messages import nothing\"\"\"

    def generate_signal(self, snapshot, params):
        from core.snapshot import RuntimeSnapshot

        return Signal(snapshot.symbol, "LONG") if core.money.UNIT and isinstance(snapshot, RuntimeSnapshot) else None
"""
NEW = """import os, keel.core.model.money
import keel.strategies.base as base
from keel.core.model.messages import (
    Signal,  # said twice: from core.messages
)
from keel.strategies import BaseStrategy


class Mine(BaseStrategy):
    \"\"\"from core.messages import nothing\"\"\"

    def generate_signal(self, snapshot, params):
        from keel.core.strategy.snapshot import RuntimeSnapshot

        return Signal(snapshot.symbol, "LONG") if keel.core.model.money.UNIT and isinstance(snapshot, RuntimeSnapshot) else None
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's that Python looks in; what is imported there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("core", "strategies"):
            del sys.modules[name]


def test_an_old_import_is_refused_with_the_line_to_write_and_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OLD)
    with pytest.raises(StrategyError) as told:
        load_strategy(f"{path}:Mine")
    assert str(told.value) == (
        f"{path}:1: import os, core.money: keel's modules have other names now: write import os, keel.core.model.money (and 4 more); "
        f"or let keel do it: keel systems migrate {path}"
    )
    with pytest.raises(ConfigError, match=r"write import os, keel\.core\.model\.money"):
        load_function(f"{path}:anything")


def test_a_rewrite_changes_names_and_nothing_else() -> None:
    assert rewritten(Path("mine.py"), OLD.encode()) == (NEW.encode(), 6)
    assert rewritten(Path("mine.py"), NEW.encode()) == (NEW.encode(), 0) and not old_imports(NEW.encode())
    system = b"strategy: strategies.momentum:MomentumStrategy\nfeatures:\n  own: {fn: a.py:f}\n  it:\n    fn: 'core.timeframe:tf_ms'\n"
    new, lines = rewritten(Path("mine.yaml"), system)
    moved = system.replace(b" strategies.", b" keel.strategies.").replace(b"core.timeframe", b"keel.core.model.timeframe")
    assert lines == 2 and new == moved


def test_letters_of_other_alphabets_do_not_move_the_rewrite() -> None:
    source = "import core.money\n\ndef f(x): return 'äöü€😀', core.money.UNIT\n".encode()
    assert (
        rewritten(Path("a.py"), source)[0].decode()
        == "import keel.core.model.money\n\ndef f(x): return 'äöü€😀', keel.core.model.money.UNIT\n"
    )


@pytest.mark.parametrize(
    ("source", "new"),
    [
        ("\ufeffimport core.money\r\ncore.money\r\n".encode(), "\ufeffimport keel.core.model.money\r\nkeel.core.model.money\r\n".encode()),
        (b"# coding: latin-1\ns='\xe4\xe4'; import core.money\n", b"# coding: latin-1\ns='\xe4\xe4'; import keel.core.model.money\n"),
        (b"import core.money\r\rx=1\rcore.money\r", b"import keel.core.model.money\r\rx=1\rkeel.core.model.money\r"),
        (b"if 1:\n\tfrom\\\n\t  core.money import UNIT\n", b"if 1:\n\tfrom\\\n\t  keel.core.model.money import UNIT\n"),
        (b"from  core import *\nfrom\tcore.money import *\n", b"from  keel.core import *\nfrom\tkeel.core.model.money import *\n"),
        (b"from core import money, orders\n", b"from keel.core.model import money, orders\n"),
        (b"import core as c, os\nc.core\n", b"import keel.core as c, os\nc.core\n"),
        (b"import core.money\nx.core=f(core=f'{core.money}')", b"import keel.core.model.money\nx.core=f(core=f'{keel.core.model.money}')"),
    ],
)  # fmt: skip
def test_files_as_people_have_them(source: bytes, new: bytes) -> None:
    assert rewritten(Path("a.py"), source)[0] == new and identity_bytes(new) == source


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ("try:\n    import core.money\nexcept ImportError:\n    core = None\n", 4),
        ("import core.money\ndef f(core): return core.money\n", 2),
        ("import core.money\nfrom mine import core\n", 2),
        ("import core.money\nimport core.own\n", 2),
        ("import core.money\ntry: pass\nexcept OSError as core: pass\n", 3),
        ("import core.money\nclass core: pass\n", 2),
        ("import core.money\nmatch x:\n    case core: pass\n", 3),
    ],
)
def test_a_package_s_name_that_is_something_else_too_is_left_to_its_writer(after: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"^a\.py:{line}: core is also what line \d imports of keel: write keel\. there by hand"):
        rewritten(Path("a.py"), after.encode())


def test_what_cannot_be_rewritten_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a\.ipynb is neither Python \(\.py\) nor a system file"):
        rewritten(Path("a.ipynb"), b'{"cells": [{"source": ["import core.money"]}]}')
    with pytest.raises(ConfigError, match=r"^a\.py:2: this is no Python, and cannot be rewritten: '\(' was never closed"):
        rewritten(Path("a.py"), b"import os\nfrom core.messages import (")


def test_names_that_have_gone_to_several_places_are_refused_with_the_lines_to_write() -> None:
    with pytest.raises(ConfigError) as told:
        rewritten(Path("a.py"), b"\nfrom core import money, features, system_file as files\n")
    lines = "from keel.core.model import money; from keel.core import features; from keel.core.system import file as files"
    assert str(told.value) == f"a.py:2: what is imported of core is in other places now: write {lines}"
    with pytest.raises(ConfigError, match=r"a\.py:1: core\.money stands there in pieces; write keel\.core\.model\.money by hand"):
        rewritten(Path("a.py"), b"import core . money\n")


def test_every_module_that_has_moved_is_where_the_table_says() -> None:
    from importlib.util import find_spec

    assert all(find_spec(new) is not None for new in MOVED.values())
    assert all(find_spec(new) is not None and find_spec(f"keel.{old}") is not None for new, old in NEW_PACKAGES.items())


def test_functions_in_any_form_of_yaml() -> None:
    old = 'features: {own: {fn: core.timeframe:tf_ms}, two: {n: 3, \'fn\': "core.timeframe:tf_ms"}}\n"strategy": strategies.hold:Hold\r\n'
    new = old.replace("core.timeframe", "keel.core.model.timeframe").replace("strategies.", "keel.strategies.")
    assert rewritten(Path("a.yaml"), old.encode()) == (new.encode(), 2)


def test_the_rewritten_file_runs_and_is_the_same_code_to_every_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NEW)
    fingerprint = source_fingerprint(load_strategy(f"{path}:Mine"))
    assert identity_bytes(OLD.encode()) == identity_bytes(NEW.encode()) == OLD.encode()
    path.write_text(OLD)
    assert not matches(f"{path}:Mine", [], fingerprint)  # its base is a name that leads nowhere now: it is not run
    path.write_text(NEW + "# more\n")
    assert source_fingerprint(load_strategy(f"{path}:Mine")) != fingerprint


def test_a_system_that_names_a_strategy_by_its_old_module_is_told_the_new_name() -> None:
    with pytest.raises(ConfigError, match=r"write keel\.strategies\.momentum:MomentumStrategy"):
        load_strategy("strategies.momentum:MomentumStrategy")
    with pytest.raises(ConfigError, match=r"write keel\.core\.timeframe"):
        load_function("core.timeframe:tf_ms")


def test_a_users_own_packages_of_these_names_are_his(elsewhere: Path) -> None:
    for name, text in {"core/__init__.py": "", "core/messages.py": "LEVEL = 7\n", "strategies/__init__.py": ""}.items():
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).write_text(text)
    (elsewhere / "strategies" / "own.py").write_text(
        "from core.messages import LEVEL\nfrom keel import BaseStrategy\n\nclass Own(BaseStrategy):\n    level = LEVEL\n"
    )
    assert not is_old("core.messages") and is_old("core.money")  # he has the first, and keel alone the second
    assert load_strategy("strategies.own:Own").level == 7  # type: ignore[attr-defined]
    assert load_strategy(str(elsewhere / "strategies" / "own.py")).level == 7  # type: ignore[attr-defined]
