"""Archives: one file of data inside, whatever else is wrong is one line, and nothing of it is imported or left on the disk."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import shlex
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import duckdb
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError, KeelError
from tests.adapters.store.test_import_fuzz import contents

START = 1_735_689_600_000
NOW = START + 40 * 86_400_000


def bars(count: int = 20, first: int = 0) -> bytes:
    rows = (f"{START + n * 60_000},2,3,1,2.5,{n + 1}.5\n" for n in range(first, first + count))
    return ("ts,open,high,low,close,volume\n" + "".join(rows)).encode()


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return target.getvalue()


def tarred(entries: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def encrypted(data: bytes) -> bytes:
    """The flag of encryption set in both of a zip's headers."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(mark) + offset] |= 1
    return bytes(changed)


def packed_by(data: bytes, method: int) -> bytes:
    """A zip that says its content is packed by another method."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", changed, data.index(mark) + offset, method)
    return bytes(changed)


def lying(data: bytes, size: int) -> bytes:
    """A zip that states another size of its content."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", changed, data.index(mark) + offset, size)
    return bytes(changed)


def parquet() -> bytes:
    """The same bars in Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.parquet"
        sql = f"SELECT {START} + 60000 * i AS ts, 2.0 AS open, 3.0 AS high, 1.0 AS low, 2.5 AS close, i + 1.5 AS volume FROM range(20) t(i)"  # noqa: S608
        duckdb.sql(sql).write_parquet(str(path))
        return path.read_bytes()


def packed_zeros(count: int) -> bytes:
    """gzip of so many zeros."""
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as file:
        for _ in range(count >> 20):
            file.write(bytes(1 << 20))
    return target.getvalue()


JSON = json.dumps([[START + n * 60_000, 2, 3, 1, 2.5, n + 1.5] for n in range(20)]).encode()
PARQUET = parquet()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("BTCUSDT_1m.zip", zipped({"BTCUSDT_1m.csv": bars()})),
        ("any.zip", zipped({"BTCUSDT_1m.csv": bars()})),
        ("BTCUSDT_1m.zip", zipped({"data.csv": bars()})),
        ("BTCUSDT_1m.csv.zip", zipped({"BTCUSDT_1m.csv": bars()}, zipfile.ZIP_STORED)),
        ("BTCUSDT_1m.zip", zipped({"__MACOSX/._BTCUSDT_1m.csv": b"\x00", "BTCUSDT_1m.csv": bars(), "README.txt": b"words", "a.pdf": b"%"})),
        ("BTCUSDT_1m.zip", zipped({"deep/folder/BTCUSDT_1m.csv": bars()}, zipfile.ZIP_BZIP2)),
        ("BTCUSDT_1m.csv.gz", gzip.compress(bars())),
        ("BTCUSDT_1m.gz", gzip.compress(bars())),
        ("BTCUSDT_1m.csv.gz", gzip.compress(bars()[:200]) + gzip.compress(bars()[200:])),
        ("BTCUSDT_1m.txt.gz", gzip.compress(bars())),
        ("BTCUSDT_1m.json.zip", zipped({"BTCUSDT_1m.json": JSON})),
        ("BTCUSDT_1m.json.gz", gzip.compress(JSON)),
        ("BTCUSDT_1m.parquet.gz", gzip.compress(PARQUET)),
        ("BTCUSDT_1m.zip", zipped({"BTCUSDT_1m.parquet": PARQUET})),
    ],
)  # fmt: skip
def test_one_file_inside_is_imported(store, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    report = store.import_file(tmp_path / name, now_ms=NOW)
    assert (report.rows, report.symbol, report.timeframe) == (20, "BTCUSDT", "1m")


REFUSED = {
    "a bomb of zip": ("x.zip", lambda: zipped({"BTCUSDT_1m.csv": bytes(80 << 20)}), "unpacks to more than 64 MiB"),
    "a bomb of gzip": ("BTCUSDT_1m.csv.gz", lambda: packed_zeros(80 << 20), "unpacks to more than 64 MiB"),
    "a size that is a lie": ("x.zip", lambda: lying(zipped({"BTCUSDT_1m.csv": bars(400)}), 100), "truncated or damaged"),
    "a path that climbs": ("x.zip", lambda: zipped({"../../BTCUSDT_1m.csv": bars()}), "leads out of it"),
    "a path from the root": ("x.zip", lambda: zipped({"/etc/BTCUSDT_1m.csv": bars()}), "leads out of it"),
    "a path of Windows": ("x.zip", lambda: zipped({"C:\\BTCUSDT_1m.csv": bars()}), "leads out of it"),
    "a zip in a zip": ("x.zip", lambda: zipped({"inner.zip": zipped({"BTCUSDT_1m.csv": bars()})}), "holds another archive"),
    "a gzip in a zip": ("x.zip", lambda: zipped({"BTCUSDT_1m.csv.gz": gzip.compress(bars())}), "holds another archive"),
    "a zip called csv in a zip": ("x.zip", lambda: zipped({"a.csv": zipped({"b.csv": bars()})}), "holds another archive"),
    "a gzip in a gzip": ("BTCUSDT_1m.csv.gz", lambda: gzip.compress(gzip.compress(bars())), "holds another archive"),
    "a tar in a gzip": ("x.csv.gz", lambda: gzip.compress(tarred({"BTCUSDT_1m.csv": bars()})), "holds another archive"),
    "a tar": ("x.tar.gz", lambda: gzip.compress(tarred({"BTCUSDT_1m.csv": bars()})), "holds another archive"),
    "two files": ("x.zip", lambda: zipped({"BTCUSDT_1m.csv": bars(), "ETHUSDT_1m.csv": bars()}), "holds 2 files"),
    "no file": ("x.zip", lambda: zipped({}), "nothing in the archive"),
    "no data": ("x.zip", lambda: zipped({"readme.md": b"x", "photo.png": b"x"}), "nothing in the archive"),
    "an empty file": ("x.zip", lambda: zipped({"BTCUSDT_1m.csv": b""}), "the file inside is empty"),
    "a password": ("x.zip", lambda: encrypted(zipped({"BTCUSDT_1m.csv": bars()})), "encrypted"),
    "a method of others": ("x.zip", lambda: packed_by(zipped({"BTCUSDT_1m.csv": bars()}), 9), "packed in a way that is not known"),
    "two files without an end of the name": ("x", lambda: zipped({"a.csv": bars(), "b.csv": bars()}), "holds 2 files.*x_unpacked"),
    "a zip called csv": ("BTCUSDT_1m.csv", lambda: zipped({"BTCUSDT_1m.csv": bars()}), r"its content is zip.*ends in \.zip"),
    "a zip called gz": ("BTCUSDT_1m.csv.gz", lambda: zipped({"BTCUSDT_1m.csv": bars()}), r"its content is zip.*ends in \.zip"),
    "text called gz": ("BTCUSDT_1m.csv.gz", bars, r"its content is text.*ends in \.csv"),
    "text called zip": ("BTCUSDT_1m.zip", bars, r"its content is text.*ends in \.csv"),
    "gzip called csv": ("BTCUSDT_1m.csv", lambda: gzip.compress(bars()), r"its content is gzip.*ends in \.gz"),
    "text called Parquet": ("BTCUSDT_1m.parquet", bars, r"not a Parquet file \(its content is text.*ends in \.csv"),
    "text called Feather": ("BTCUSDT_1m.feather", bars, r"not a Feather file"),
    "Parquet called csv": ("BTCUSDT_1m.csv", lambda: b"PAR1" + bytes(40) + b"PAR1", r"its content is Parquet.*ends in \.parquet"),
    "half a zip": ("x.zip", lambda: zipped({"BTCUSDT_1m.csv": bars(400)})[:300], "truncated or damaged"),
    "half a gzip": ("BTCUSDT_1m.csv.gz", lambda: gzip.compress(bars(400))[:300], "the file is truncated"),
    "xz": ("BTCUSDT_1m.csv.xz", lambda: b"\xfd7zXZ\x00" + bytes(30), "file of xz.*unpack it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_archive_is_refused_in_one_line_and_leaves_nothing(store, tmp_path, case, monkeypatch):
    name, content, words = REFUSED[case]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / name).write_bytes(content())
    before = contents(store)
    with pytest.raises(DataError, match=words) as error:
        store.import_file(tmp_path / name, now_ms=NOW)
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)
    assert contents(store) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([name, "temporary"])


@pytest.mark.parametrize("name", ["history.zip", "my 'own' history.ZIP", "history"])
def test_the_advice_about_several_files_works_when_pasted(store, tmp_path, name):
    """The command that unpacks, and then the folder: the tool's own test imports it."""
    path = tmp_path / name
    path.write_bytes(zipped({"BTCUSDT_1m.csv": bars(), "ETHUSDT_1m.csv": bars()}))
    with pytest.raises(DataError) as error:
        store.import_file(path)
    command = re.search(r"unpack it \((python3 .*)\) and give the folder \(keel data import (.*)\)$", str(error.value))
    assert command is not None
    subprocess.run([sys.executable, *shlex.split(command[1])[1:]], check=True)
    for inside in sorted(Path(*shlex.split(command[2])).iterdir()):
        assert store.import_file(inside, now_ms=NOW).rows == 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("BTCUSDT_1m.csv", gzip.compress(bars())),
        ("BTCUSDT_1m.csv", zipped({"BTCUSDT_1m.csv": bars()})),
        ("BTCUSDT_1m.zip", bars()),
    ],
)
def test_the_advice_about_a_wrong_name_works_when_followed(store, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        store.import_file(path)
    end = re.search(r"give it a name that ends in (\.\w+)", str(error.value))
    assert end is not None
    stem = path.with_suffix("") if end[1] == ".csv" else path
    assert store.import_file(path.rename(stem.with_name(stem.name + end[1])), now_ms=NOW).rows == 20


# --- a hundred of them -----------------------------------------------------------------------------------------------


NAMES = ["../x.csv", "a/b/c.csv", "ETHUSDT_1m.csv", "x.zip", "y.csv.gz", "z", "é\u202e.csv", "n" * 200 + ".csv", "BTCUSDT_1m.json"]
INSIDE = [b"", bytes(1000), gzip.compress(bars()), zipped({"q.csv": bars()}), b"[[1,2]]", "ts,öpen\n".encode("utf-16"), bars()[:77]]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def damaged_archive(rng: random.Random) -> tuple[str, bytes]:
    """A name, and an archive of one to three files, most with something wrong about it."""
    entries = {
        rng.choice(["BTCUSDT_1m.csv", rng.choice(NAMES)]): rng.choice([bars(), bars(), rng.choice(INSIDE)])
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    }
    whole = zipped(entries, rng.choice(METHODS))
    name, data = rng.choice(
        [
            ("BTCUSDT_1m.zip", whole),
            ("BTCUSDT_1m.zip", whole),
            ("BTCUSDT_1m.csv.gz", gzip.compress(next(iter(entries.values())))),
            ("BTCUSDT_1m.zip", encrypted(whole)),
            ("BTCUSDT_1m.zip", lying(whole, rng.choice((0, 1, 2**31)))),
            (rng.choice(("BTCUSDT_1m.csv", "BTCUSDT_1m.parquet", "BTCUSDT_1m.json.zip", "x.feather", "BTCUSDT_1m.csv.gz")), whole),
            (rng.choice(("BTCUSDT_1m.csv", "BTCUSDT_1m.tar")), tarred(entries)),
        ]
    )
    changed = bytearray(data)
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return name, bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.2 else changed)


def try_archives(store: HistoricalDataStore, folder: Path, seeds: range) -> int:
    taken = 0
    for seed in seeds:
        name, data = damaged_archive(random.Random(seed))
        path = folder / name
        path.write_bytes(data)
        before = contents(store)
        try:
            report = store.import_file(path, now_ms=NOW, kind="last")
        except KeelError as error:
            said = str(error)
            assert "\n" not in said and len(said) < 1500 and said.startswith(str(path)), (seed, said[:300])
            assert contents(store) == before, seed
        except Exception as error:
            raise AssertionError(f"seed {seed}: {name}") from error
        else:
            taken += 1
            assert 0 < report.rows <= report.rows_in_file <= 20, seed
    return taken


def test_some_damaged_archives(store, tmp_path):
    assert 0 < try_archives(store, tmp_path, range(15)) < 15


@pytest.mark.long
def test_a_hundred_damaged_archives_and_more(store, tmp_path):
    assert 10 < try_archives(store, tmp_path, range(100, 400)) < 200
