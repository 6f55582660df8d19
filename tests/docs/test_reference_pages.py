"""The reference pages say what the code says: keys and defaults, metrics, tables of the store, commands, trust lines."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, get_args

import click
import duckdb
import msgspec
import pytest

from keel.adapters.store.schema import CREATE
from keel.core.errors import KeelError
from keel.core.metrics import METRICS, proof_parts
from keel.core.risk.decision import Reason
from keel.core.system import config
from keel.runners.cli.main import INTERRUPTED, cli
from keel.runners.tools import backtest_run_tool
from keel.runners.tools.registry import all_tools
from tests.docs.page import PROJECT

_CODE = re.compile(r"`([^`]+)`")
_CELL = re.compile(r"(?<!\\)\|")


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    level = heading.split(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading!r}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row whose first cell is a name in backticks."""
    for line in text.split("\n"):
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]
        if cells and _CODE.fullmatch(cells[0]):
            yield [cells[0].strip("`"), *cells[1:]]


# --- the system file -------------------------------------------------------------------------------------------------

SECTIONS = {
    "## The system": config.SystemConfig,
    "## `exits`": config.ExitsConfig,
    "### A distance": config.Distance,
    "## `sizing`": config.SizingConfig,
    "## `risk`": config.RiskConfig,
    "## `execution`": config.ExecutionConfig,
    "### `impact`": config.ImpactConfig,
    "### `costs`": config.CostsConfig,
    "### `costs.fees`, `costs.slippage`, `costs.impact`, `costs.funding`": config.CostModelConfig,
    "### `funding: {constant: RATE}`": config.ConstantFunding,
    "## `demo`": config.DemoConfig,
    "## `supervision`": config.SupervisionConfig,
    "## `live`": config.LiveConfig,
    "## `windows`": config.Window,
}


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """A key's default as the page writes it."""
    if field.required:
        return "required"
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(default, config.Strict):
        return "its keys' defaults"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, dict):
        return "`{}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`" if default != "" else "empty"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_the_system_file_with_its_default(heading: str) -> None:
    text = section(page("system-file.md"), heading)
    own = text.split("\n### ")[0]
    documented = {cells[0]: cells[1] for cells in rows(own)}
    assert documented == {field.name: default_text(field) for field in msgspec.structs.fields(SECTIONS[heading])}


def test_every_part_of_the_system_file_has_a_section() -> None:
    parts = {value for value in vars(config).values() if inspect.isclass(value) and issubclass(value, config.Strict)}
    assert parts - {config.Strict} == set(SECTIONS.values())


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_every_metric_with_its_formula() -> None:
    documented = {cells[0]: cells[1] for cells in rows(section(page("metrics.md"), "## Standard metrics"))}
    assert documented == METRICS


@pytest.mark.parametrize("part", [name for name in vars(proof_parts) if name.endswith("Metrics")])
def test_every_proof_metric_with_its_formula(part: str) -> None:
    """The formulas are the strings below the fields in core/metrics/proof_parts.py."""
    tree = ast.parse(inspect.getsource(getattr(proof_parts, part)))
    body = tree.body[0].body  # type: ignore[attr-defined]  # the class
    formulas = {field.target.id: text.value.value for field, text in pairwise(body) if isinstance(field, ast.AnnAssign)}
    documented = {cells[0]: cells[1] for cells in rows(section(page("metrics.md"), f"### {part}"))}
    assert documented == formulas


# --- the store -------------------------------------------------------------------------------------------------------


def test_every_table_and_column_of_the_store() -> None:
    text = section(page("data.md"), "## Tables")
    with duckdb.connect() as connection:
        for statement in CREATE:
            connection.execute(statement)
        stored = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
        ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in stored:
        tables.setdefault(table, {})[column] = kind
    for table, columns in tables.items():
        assert {cells[0]: cells[1] for cells in rows(section(text, f"### `{table}`"))} == columns, table
    assert {name.strip("`") for name in re.findall(r"^### (`\w+`)", text, re.MULTILINE)} == set(tables)


# --- commands --------------------------------------------------------------------------------------------------------


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """(full name, command) of every command that does something."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def test_every_command_has_an_example_and_its_options() -> None:
    text = page("commands.md")
    everywhere = section(text, "## Options of every command")
    for name, command in commands(cli, "keel"):
        about = section(text, f"## `{name}`")
        called = name.replace("keel ", r"keel (--home \w+ )?", 1)
        assert re.search(rf"^\$ {called}\b", about, re.MULTILINE) or name in ("keel run", "keel menu"), f"{name} has no example"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert any(f"`{option}" in about or f"`{option}" in everywhere for option in parameter.opts), f"{name}: {parameter.opts}"
    headings = set(re.findall(r"^## `(keel [\w -]+)`$", text, re.MULTILINE))
    assert headings == {name for name, _ in commands(cli, "keel")}


def test_every_exit_code() -> None:
    codes = {cells[0] for cells in rows(section(page("commands.md"), "## Exit codes"))}
    assert codes == {str(code) for code in {0, 1, INTERRUPTED, *(kind.exit_code for kind in (KeelError, *KeelError.__subclasses__()))}}


def test_every_tool_is_named() -> None:
    text = section(page("commands.md"), "## `keel tools list`")
    assert {name for name in all_tools() if f"`{name}`" not in text} == set()


# --- what a result rests on ------------------------------------------------------------------------------------------


def test_every_trust_line_and_artifact_is_explained(enter_home: Callable[[], Any]) -> None:
    with enter_home() as home:
        answer = backtest_run_tool(
            "ema_cross", overrides={"warmup_bars": 200}, start="2024-02-01", end="2024-02-05", report=True, home=home
        )
        assert answer["ok"], answer
        files = {path.name for path in (home / answer["data"]["artifacts"]).iterdir()}
    trust = answer["data"]["trust"]
    explained = {cells[0] for cells in rows(section(page("fills.md"), "## What a result rests on"))}
    assert explained == {*trust, *(f"symbols.{line}" for line in trust["symbols"]["BTCUSDT"])}
    assert {cells[0] for cells in rows(section(page("epochs.md"), "## Artifacts, file by file"))} == files


def test_every_reason_of_a_denial() -> None:
    documented = [cells[0] for cells in rows(section(page("life-of-an-order.md"), "## Denied and rejected"))]
    assert documented == list(get_args(Reason))
