"""The page shows what the clients are run with, to the letter."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from tests.clients.__main__ import CLIENTS, HERE

PAGE = (HERE.parents[1] / "docs" / "sandbox.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def test_the_snippets_are_those_that_are_run() -> None:
    scripts = {path.name: path.read_text() for path in (HERE / "scripts").glob("*.py")}
    for beginning, script in (("def options", "ccxt_options.py"), ("class SandboxDataFactory", "nautilus_live.py")):
        block = next(block for block in BLOCKS if beginning in block)
        assert block[block.index(beginning) :].strip() in scripts[script]


def test_the_urls_of_freqtrade_are_those_of_ccxt() -> None:
    path = HERE / "scripts" / "ccxt_options.py"
    spec = importlib.util.spec_from_file_location("ccxt_options", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = json.loads(next(block for block in BLOCKS if '"ccxt_config"' in block))
    given = module.options("http://127.0.0.1:40883", "swap")
    assert (shown["key"], shown["secret"], shown["ccxt_config"]["urls"]) == (given["apiKey"], given["secret"], given["urls"])


def test_the_table_has_every_client_with_its_pinned_version() -> None:
    for name, client in CLIENTS.items():
        version = (HERE / "pins" / f"{client.pins}.txt").read_text().strip().partition("==")[2]
        assert (HERE / "scripts" / client.script[0]).exists()
        assert re.search(rf"(?mi)^\| {re.escape(name)}\w* \| {re.escape(version)} \|", PAGE), (name, version)


def test_scripts_know_nothing_of_keel() -> None:
    """They run where it is not installed."""
    for path in Path(HERE / "scripts").glob("*.py"):
        assert not re.search(r"^\s*(from|import) (core|sim|adapters|runners|strategies|tests)\b", path.read_text(), re.MULTILINE), path
