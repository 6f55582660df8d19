"""What is formatted of a curve while its run goes on is what the whole curve gives, or is not taken."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from keel.adapters.curve_draft import CurveDraft
from keel.adapters.curve_files import CSV, new_draft, read_equity, write_curve
from keel.core.errors import DataError, InvariantError
from keel.core.frame import Frame

ROWS = 1000


def curve_of(rows: int = ROWS) -> Frame:
    rng = np.random.default_rng(3)
    distance = np.where(rng.random(rows) < 0.5, np.nan, rng.random(rows))
    columns = {"equity": rng.normal(1e4, 1e3, rows), "margin": np.round(rng.random(rows)), "liquidation_distance_pct": distance}
    return Frame(60_000 * np.arange(rows), columns, kind="equity")


def written(folder: Path, curve: Frame, draft: CurveDraft | None) -> bytes:
    folder.mkdir()
    write_curve(folder, curve, draft)
    assert {path.name for path in folder.iterdir()} == {"equity.csv", "equity.parquet"}
    assert read_equity(folder)["equity"].tobytes() == curve["equity"].tobytes()
    return (folder / CSV).read_bytes()


@pytest.mark.parametrize("blocks", [[400], [400, 300], [300, 300, 400], [1000], [1, 999]])
def test_a_curve_in_blocks_is_the_whole_curve(tmp_path: Path, blocks: Sequence[int]) -> None:
    curve, begun = curve_of(), 0
    with new_draft() as draft:
        for rows in blocks:
            draft.add(partial(curve.__getitem__, slice(begun, begun + rows)))
            begun += rows
        assert draft.take(curve)[1] == begun
        assert written(tmp_path / "begun", curve, draft) == written(tmp_path / "whole", curve, None)


def test_a_block_that_is_not_the_curve_s_and_those_after_it_are_not_taken(tmp_path: Path) -> None:
    curve = curve_of()
    other = Frame(curve.ts, {name: curve[name] + (name == "margin") for name in curve.columns}, kind="equity")
    with new_draft() as draft:
        for source, begin in ((curve, 0), (other, 200), (curve, 400)):
            draft.add(partial(source.__getitem__, slice(begin, begin + 200)))
        assert draft.take(curve)[1] == 200
        assert written(tmp_path / "begun", curve, draft) == written(tmp_path / "whole", curve, None)
        assert draft.take(curve_of(150)) == ([], 0)  # a curve that ended before the block did


def test_what_could_not_be_written_ahead_is_written_at_the_end(tmp_path: Path) -> None:
    class Refuses:
        def __call__(self, path: Path, rows: Frame, is_first: bool, /) -> None:
            raise DataError("no room")

        def close(self) -> None:
            pass

    with CurveDraft(Refuses()) as draft:
        draft.add(lambda: curve_of(5))
        assert written(tmp_path / "begun", curve_of(5), draft) == written(tmp_path / "whole", curve_of(5), None)


def test_a_mistake_of_ours_in_the_thread_is_raised() -> None:
    def wrong() -> Frame:
        raise InvariantError("no curve")

    with new_draft() as draft:
        draft.add(wrong)
        with pytest.raises(InvariantError, match="no curve"):
            draft.take(curve_of())


def test_nothing_is_left_of_it() -> None:
    with new_draft() as draft:
        draft.add(lambda: curve_of(5))
        (path,) = draft.take(curve_of(5))[0]
        assert path.exists()
    assert not path.parent.exists()
