"""The compiled kernel, kept between test runs: compiling it takes longer than all these tests."""

from __future__ import annotations

import pytest

from runners.kernel_run import kernel_fingerprint
from sim.kernel import load


@pytest.fixture(scope="session", autouse=True)
def kernel(pytestconfig: pytest.Config) -> None:
    """Compiled, or taken from pytest's cache."""
    load(str(pytestconfig.cache.mkdir("keel-kernel") / kernel_fingerprint()))
