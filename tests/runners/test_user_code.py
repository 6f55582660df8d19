"""Functions of users' own files."""

from __future__ import annotations

from pathlib import Path

from runners.user_code import load_function


def test_an_edit_counts_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Within one second, and of the same length: bytecode that was kept would not be seen to be old."""
    path = tmp_path / "own.py"
    for level in range(5):
        path.write_text(f"def level(frame):\n    return {level}\n")
        assert load_function(f"{path}:level")(None) == level
    assert list(tmp_path.iterdir()) == [path]
