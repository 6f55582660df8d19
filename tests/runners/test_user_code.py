"""Functions of users' own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.core.errors import ConfigError
from keel.runners.user_code import load_function


def test_an_edit_counts_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Within one second, and of the same length: bytecode that was kept would not be seen to be old."""
    path = tmp_path / "own.py"
    for level in range(5):
        path.write_text(f"def level(frame):\n    return {level}\n")
        assert load_function(f"{path}:level")(None) == level
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "words"), [("Own", "Own is a class, and a function is needed"), ("levle", "has no function 'levle'")])
def test_what_is_no_function_is_told_with_those_that_are(name: str, words: str, tmp_path: Path) -> None:
    """A strategy's class can be called, too, and is none."""
    path = tmp_path / "own.py"
    path.write_text("from keel.strategies.base import BaseStrategy\n\ndef level(frame): ...\n\nclass Own(BaseStrategy): ...\n")
    with pytest.raises(ConfigError) as caught:
        load_function(f"{path}:{name}")
    assert words in str(caught.value) and str(caught.value).endswith("; it has: level")
