"""A path that a person gave, by an option, an argument or an environment variable."""

from __future__ import annotations

from pathlib import Path

from keel.core.errors import ConfigError
from keel.core.system.file_names import name_problem, shown


def user_path(text: str | Path) -> Path:
    """The path, with ``~`` as the user's home. Raises ConfigError for what no file can be called."""
    given = str(text)
    problem = name_problem(given)
    if problem:
        raise ConfigError(f"the path {shown(given)} {problem}")
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # ~somebody, where there is no such user
        raise ConfigError(f"the path {shown(given)} begins at somebody's home folder, and there is none: {error}") from error
