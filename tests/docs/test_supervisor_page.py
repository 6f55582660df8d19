"""What docs/supervisor.md has an administrator type belongs together with the unit, the package and the command line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click

from keel.runners.cli.main import cli

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "supervisor.md").read_text(encoding="utf-8")
UNIT = (PROJECT / "deploy" / "keel@.service").read_text(encoding="utf-8")
TYPED = [line.removeprefix("# ") for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def parsed(words: list[str]) -> click.Context:
    """The context of a command line of ours. Raises click's errors for one that it does not take."""
    context = click.Context(cli, info_name="keel")
    while isinstance(context.command, click.Group):
        found = context.command.get_command(context, words[0])
        assert found is not None, words
        context = found.make_context(words[0], words[1:], parent=context) if not isinstance(found, click.Group) else click.Context(found)
        words = words[1:]
    return context


def test_every_command_of_keel_that_is_shown_is_taken() -> None:
    lines = [line.split(".venv/bin/keel ")[1].split() for line in TYPED if ".venv/bin/keel " in line]
    assert len(lines) == 3
    for words in lines:
        parsed(words)


def test_a_service_takes_the_token_that_a_person_is_shown_to_make() -> None:
    (options,) = [line.removeprefix("KEEL_OPTIONS=") for line in TYPED if line.startswith("KEEL_OPTIONS=")]
    (makes,) = [line.split(".venv/bin/keel ")[1].split() for line in TYPED if " --arm " in line]
    made = parsed(makes).params
    assert made["arm"] and made["arm_token"] == parsed(["live", "ema_cross", *options.split()]).params["arm_token"]
    assert options.replace("ema_cross", "%i") in UNIT
    for name, folder in re.findall(r"(KEEL_HOME|KEEL_STATE)=(\S+)", UNIT):
        assert all(f"--setenv={name}={folder} " in line for line in TYPED if " --arm " in line)
        assert any(line.startswith("install -d ") and folder in line.split() for line in TYPED)


def test_what_is_installed_is_what_there_is() -> None:
    """keel is on no index: the checkout or the wheel, with an extra that exists; into the place of which the unit speaks."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = [line for line in TYPED if "pip install" in line]
    wheel = f"./dist/{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
    assert re.findall(r'"(\S+)\[(\w+)\]"', line) == [(".", "alerts"), (wheel, "alerts")] and "alerts" in project["optional-dependencies"]
    assert line.startswith("/opt/keel/.venv/bin/pip ") and "ExecStart=/opt/keel/.venv/bin/keel " in UNIT
    assert "install -D -m 600 ema_cross.env /etc/keel/ema_cross.env" in TYPED and "EnvironmentFile=/etc/keel/%i.env" in UNIT
    assert wheel in (PROJECT / "docs" / "alerts.md").read_text(encoding="utf-8")
