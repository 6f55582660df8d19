"""Python's own waits are short while a session trades, and as before after it."""

from __future__ import annotations

import gc
import sys

import pytest

from keel.runners.process.attentive import attentive


def test_threads_wait_less_and_what_was_there_is_not_collected_again() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), attentive():
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert gc.get_freeze_count() > 10_000
        raise KeyError
    assert sys.getswitchinterval() == before
    assert gc.get_freeze_count() == 0
