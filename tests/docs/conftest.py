"""A home folder with a small synthetic history, in which the snippets of the documents and the examples run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keel.runners.home import Home
from keel.runners.sample import write_sample


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 105 days of BTCUSDT and 19 of ETHUSDT: the first part of the sample that ``keel run`` makes."""
    home = Home(tmp_path_factory.mktemp("sample"))
    write_sample(home, ["BTCUSDT"], "2024-01-01", "2024-04-15")
    write_sample(home, ["ETHUSDT"], "2024-01-01", "2024-01-20")
    return home.store


@pytest.fixture
def enter_home(sample_store: Path, tmp_path: Path, pytestconfig: pytest.Config, compiled_kernel: None) -> Callable[[], object]:
    """Makes the current folder a home with that history, a copy of its own, for the length of a ``with``. The compiled kernel is shared."""

    @contextmanager
    def enter() -> Iterator[Path]:
        home, before = Home(tmp_path / "home"), Path.cwd()
        home.store.parent.mkdir(parents=True)
        shutil.copyfile(sample_store, home.store)
        (home.root / "cache").mkdir()
        (home.root / "cache" / "kernel").symlink_to(pytestconfig.cache.mkdir("keel-kernel"))
        environment = dict(os.environ)
        os.environ.pop("KEEL_HOME", None)
        os.chdir(home.root)
        try:
            yield home.root
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)

    return enter
