"""keel imports talib without pandas and polars, and talib takes their Series and tables all the same."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keel.core.errors import ConfigError
from keel.core.features.talib_import import talib_module

ROOT = Path(__file__).parents[3]

BEGIN = """
import sys, threading
import numpy as np
from keel.core.features.talib_import import talib_module
finders = list(sys.meta_path)
column = np.cumsum(np.random.default_rng(1).normal(size=60)) + 100.0
"""
LIGHT = """
talib = talib_module()
assert not {"pandas", "polars"} & set(sys.modules)
assert sys.meta_path == finders
"""
SAME = """
whole = talib.EMA(column, timeperiod=5)
assert type(whole) is np.ndarray
series = library.Series(column)
answer = talib.EMA(series, timeperiod=5)
assert type(answer) is library.Series
np.testing.assert_array_equal(answer.to_numpy(), whole)
several = talib.BBANDS(real=series, timeperiod=5)
assert [type(each) for each in several] == [library.Series] * 3
table = library.DataFrame({"close": column, "high": column + 1, "low": column - 1})
np.testing.assert_array_equal(abstract.EMA(table, timeperiod=5).to_numpy(), whole)
np.testing.assert_array_equal(abstract.EMA({"close": column}, timeperiod=5), whole)
assert type(abstract.EMA(table, timeperiod=5)) is library.Series
assert type(abstract.BBANDS(table, timeperiod=5)) is library.DataFrame
assert stream.EMA(series, timeperiod=5).value == whole[-1]
filled = stream.EMA.open_and_fill(series, timeperiod=5)[1]
assert type(filled) is library.Series
"""


def holds(code: str) -> None:
    """The code runs without an error in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_talib_takes_what_is_imported_after_it(library: str) -> None:
    pytest.importorskip(library)
    holds(f"{BEGIN}{LIGHT}\nimport {library} as library\nfrom talib import abstract, stream\nassert talib is sys.modules['talib']\n{SAME}")


def test_series_keep_their_index() -> None:
    holds(
        f"{BEGIN}{LIGHT}\nimport pandas as pd, talib\nseries = pd.Series(column, index=range(7, 67))\n"
        "assert list(talib.EMA(series, 5).index) == list(series.index)\n"
    )


def test_two_libraries_in_one_call_are_refused_as_talib_refuses_them() -> None:
    pytest.importorskip("polars")
    holds(
        f"{BEGIN}{LIGHT}\nimport pandas as pd, polars as pl\n"
        "try:\n    talib.ADD(pd.Series(column), pl.Series(column))\n"
        "except TypeError as error:\n    assert str(error) == 'Cannot mix polars and pandas'\nelse:\n    raise AssertionError\n"
    )


def test_what_is_no_series_is_refused_by_talib_itself() -> None:
    holds(f"{BEGIN}{LIGHT}\ntry:\n    talib.EMA([1.0, 2.0])\nexcept TypeError as error:\n    assert 'numpy.ndarray' in str(error)\n")


def test_a_library_that_is_imported_already_is_talib_s_own_affair() -> None:
    holds(
        f"{BEGIN}\nimport pandas as library\nbefore = sys.modules['pandas']\ntalib = talib_module()\nfrom talib import abstract, stream\n"
        f"assert sys.modules['pandas'] is before and sys.meta_path == finders and 'polars' not in sys.modules\n{SAME}"
    )


def test_another_thread_finds_pandas_while_it_is_refused_here() -> None:
    holds(
        f"{BEGIN}\nfrom keel.core.features.talib_import import _without\nfound = []\n"
        "def look():\n    import pandas\n    found.append(pandas)\n"
        "with _without(('pandas',)) as refused:\n"
        "    try:\n        import pandas\n    except ModuleNotFoundError as error:\n        assert error.name == 'pandas'\n"
        "    else:\n        raise AssertionError\n"
        "    thread = threading.Thread(target=look)\n    thread.start()\n    thread.join()\n"
        "import pandas\nassert found == [pandas] and refused == ['pandas'] and sys.meta_path == finders\n"
    )


def test_without_talib_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    talib_module.cache_clear()
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(ConfigError, match=r"TA-Lib cannot be imported \(.*\): pip install 'TA-Lib>=0\.8\.2'"):
        talib_module()


def test_there_is_no_other_place_that_imports_it_first() -> None:
    """Elsewhere only a part of it is imported, by a function that asked for talib before."""
    for folder in ("core", "sim", "strategies", "adapters", "runners"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if any(name.split(".")[0] == "talib" for name in names) and path.name != "talib_import.py":
                    assert (path.name, names) == ("indicators.py", ["talib._ta_lib"]), path
