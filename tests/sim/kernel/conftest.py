"""The compiled kernel, kept between test runs: compiling it takes longer than all these tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def kernel(compiled_kernel: None) -> None:
    """It is there."""
