"""A torn tail is cut off and reported; damage anywhere else is refused with its offset, and nothing is changed.

The oracle for where records begin is the file's own length after each of them was written.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from keel.adapters.journal import DamagedJournal, read
from keel.core.errors import DataError


class Written:
    """A closed journal of one segment, its bytes, and the offsets at which its records end, the session's first."""

    def __init__(self, folder: Path, ends: list[int]) -> None:
        self.folder = folder
        [self.path] = folder.glob("*.journal")
        self.content = self.path.read_bytes()
        self.ends = ends

    def put(self, content: bytes) -> None:
        for path in self.folder.glob("*.journal"):
            path.unlink()
        self.path.write_bytes(content)


@pytest.fixture
def written(folder, open_journal, message) -> Written:
    with open_journal() as journal:
        [path] = folder.glob("*.journal")
        ends = [path.stat().st_size]
        for number in range(99):
            journal.append(message(number))
            journal.flush()
            ends.append(path.stat().st_size)
    return Written(folder, ends)


def _refused(written: Written, open_journal) -> DamagedJournal:
    before = {path.name: path.read_bytes() for path in written.folder.iterdir() if path.name != "lock"}
    with pytest.raises(DamagedJournal, match=r"byte \d+: .*refused and nothing was changed") as caught:
        open_journal()
    assert caught.value.exit_code == 3
    assert before == {path.name: path.read_bytes() for path in written.folder.iterdir() if path.name != "lock"}
    with pytest.raises(DamagedJournal) as read_caught:
        list(read(written.folder))
    assert read_caught.value.offset == caught.value.offset
    return caught.value


def test_cut_at_every_byte_of_its_last_three_records_it_recovers_and_says_so(written, open_journal):
    for length in range(written.ends[-4], written.ends[-1]):
        whole = [end for end in written.ends if end <= length]
        written.put(written.content[:length])
        assert [record.seq for record in read(written.folder)] == list(range(1, len(whole) + 1))
        with open_journal() as journal:
            report = journal.recovery
            assert (report.records, report.cut_bytes) == (len(whole), length - whole[-1])
            assert report.cut_records == (1 if length > whole[-1] else 0)
            if report.cut_bytes:
                assert f"{report.cut_bytes} bytes" in report.text() and f"byte {whole[-1]}" in report.text()
            assert journal.session == 2 and journal.seq == len(whole) + 1
        assert written.path.stat().st_size == whole[-1]
        assert [record.seq for record in read(written.folder)] == list(range(1, len(whole) + 2))


def test_each_of_1000_flipped_bits_is_refused_with_its_record_or_in_the_last_record_cut(written, open_journal):
    generator = random.Random(20_251_120)
    head = _head_size(written)
    for _ in range(1000):
        bit = generator.randrange(8 * len(written.content))
        damaged = bytearray(written.content)
        damaged[bit // 8] ^= 1 << bit % 8
        written.put(bytes(damaged))
        if bit // 8 >= written.ends[-2]:
            assert [record.seq for record in read(written.folder)] == list(range(1, len(written.ends)))
            with open_journal() as journal:
                assert journal.recovery.cut_bytes == written.ends[-1] - written.ends[-2]
        else:
            start = max((end for end in [0, head, *written.ends] if end <= bit // 8), default=0)
            assert _refused(written, open_journal).offset == start


def _head_size(written: Written) -> int:
    from keel.adapters.journal.layout import read_head

    return read_head(written.path, written.content).size


@pytest.mark.parametrize("page", [1, 2])
@pytest.mark.parametrize("what", ["zeroed", "doubled", "overwritten by the one before", "dropped"])
def test_a_damaged_page_in_the_middle_is_refused(written, open_journal, page, what):
    content, start, end = written.content, page * 4096, (page + 1) * 4096
    assert end < written.ends[-3]
    written.put(
        {
            "zeroed": content[:start] + bytes(4096) + content[end:],
            "doubled": content[:end] + content[start:end] + content[end:],
            "overwritten by the one before": content[:start] + content[start - 4096 : start] + content[end:],
            "dropped": content[:start] + content[end:],
        }[what]
    )
    found = _refused(written, open_journal)
    changed = end if what == "doubled" else start
    assert max(offset for offset in written.ends if offset <= changed) == found.offset


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda records: records[:40] + records[41:], "a record was dropped, doubled or replaced"),
        (lambda records: records[:41] + records[40:], "a record was dropped, doubled or replaced"),
        (lambda records: [*records[:40], records[41], records[40], *records[42:]], "a record was dropped, doubled or replaced"),
        (lambda records: [*records, records[-1]], "a record was dropped, doubled or replaced"),
    ],
    ids=["dropped", "doubled", "swapped", "the last doubled"],
)
def test_records_that_are_whole_but_out_of_place_are_refused(written, open_journal, change, reason):
    spans = [written.content[start:end] for start, end in zip(written.ends, written.ends[1:], strict=False)]
    written.put(written.content[: written.ends[0]] + b"".join(change(spans)))
    assert reason in _refused(written, open_journal).reason


def test_a_tail_of_zeros_or_noise_is_torn(written, open_journal):
    noise = random.Random(1).randbytes(5000)
    for tail in (bytes(9000), noise, b"\xa5K" * 300):
        written.put(written.content + tail)
        with open_journal() as journal:
            assert journal.recovery.cut_bytes == len(tail) and journal.recovery.records == len(written.ends)


def test_a_record_that_is_replaced_with_a_right_checksum_breaks_the_chain(tmp_path, open_journal, message):
    """Two journals differ in one record: the other's, put in its place, is whole itself, and its successor refuses it."""
    contents, ends = [], []
    for name, changed in (("ours", 3), ("theirs", 4)):
        with open_journal(folder=tmp_path / name) as journal:
            [path] = (tmp_path / name).glob("*.journal")
            for number in (0, changed, 6, 7):
                journal.append(message(number))
                journal.flush()
                ends.append(path.stat().st_size)
        contents.append(path.read_bytes())
    ours, theirs = contents
    start, end = ends[:2]
    assert ends[:4] == ends[4:] and ours[start:end] != theirs[start:end]
    path.write_bytes(ours[:start] + theirs[start:end] + ours[end:])
    with pytest.raises(DamagedJournal, match="replaced") as caught:
        list(read(path.parent))
    assert caught.value.offset == end


@pytest.fixture
def three_segments(folder, open_journal, message) -> list[Path]:
    for start in (0, 10, 20):
        with open_journal() as journal:
            for number in range(start, start + 10):
                journal.append(message(number))
    return sorted(folder.glob("*.journal"))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_segment_is_refused(folder, three_segments, open_journal, missing):
    three_segments[missing].unlink()
    with pytest.raises(DamagedJournal, match="missing"):
        open_journal()


def test_a_torn_end_of_a_segment_that_is_not_the_last_is_refused(three_segments, open_journal):
    middle = three_segments[1]
    middle.write_bytes(middle.read_bytes()[:-5])
    with pytest.raises(DamagedJournal, match="another segment follows"):
        open_journal()


def test_a_renamed_segment_is_refused(folder, three_segments, open_journal):
    shutil.copy(three_segments[1], folder / "000000000099.journal")
    with pytest.raises(DamagedJournal, match="renamed"):
        open_journal()


@pytest.mark.parametrize("content", [b"", b"KEELJRNL", b"not a journal at all" * 10])
def test_a_file_that_is_no_segment_is_refused(folder, three_segments, open_journal, content):
    three_segments[-1].write_bytes(content)
    with pytest.raises(DamagedJournal, match="byte 0"):
        open_journal()


def test_a_newer_format_is_refused_by_name(folder, three_segments, open_journal):
    from keel.adapters.journal.layout import digest_of, read_head

    path = three_segments[-1]
    content = path.read_bytes()
    size = read_head(path, content).size
    head = content[:8] + (2).to_bytes(2, "little") + content[10 : size - 8]
    path.write_bytes(head + digest_of(head) + content[size:])
    with pytest.raises(DataError, match="format version 2, this program reads up to 1"):
        open_journal()
