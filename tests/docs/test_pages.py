"""Every snippet of the documents runs and prints what it is said to print; every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.page import PAGES, PROJECT, run_page

_LINK = re.compile(r"(?P<picture>!?)\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^\s*```(\w*)$", re.MULTILINE)
_PATH = re.compile(r"`((?:core|sim|adapters|runners|strategies|tests|docs|examples)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_snippets_run(page: Path, enter_home: Callable[[], Any]) -> None:
    with enter_home():
        run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_no_snippet_is_left_out(page: Path) -> None:
    """Every block begins with a language that the runner knows, or is text."""
    languages = _FENCE.findall(page.read_text(encoding="utf-8"))[::2]
    assert set(languages) <= {"python", "yaml", "sh", "output", "console", "text", "mermaid"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Pictures are drawn for a release: they are held to be there once their folder is."""
    for found in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / found["target"]).resolve()
        if "://" in found["target"] or (found["picture"] and not target.parent.exists()):
            continue
        assert target.exists(), f"{page.name} links to {found['target']}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_named_files_exist(page: Path) -> None:
    """A file of the project that is named in backticks is there."""
    missing = [name for name in _PATH.findall(page.read_text(encoding="utf-8")) if not (PROJECT / name.rstrip("/")).exists()]
    assert not missing


def test_every_page_says_what_it_is_for_and_is_in_the_index() -> None:
    index = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted((PROJECT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("# ")
        if page.name != "README.md":
            assert "After this page you know" in text.split("\n## ")[0], page.name
            assert f"({page.name})" in index, f"{page.name} is not in docs/README.md"
