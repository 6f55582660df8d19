"""What a file is: by its name, and by its first bytes, which must not contradict each other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from keel.adapters.store.words import printable
from keel.core.errors import DataError

TEXT, JSON, PARQUET, FEATHER, GZIP, ZIP = "text", "JSON", "Parquet", "Feather", "gzip", "zip"
SUFFIXES = {
    ".csv": TEXT, ".txt": TEXT, ".tsv": TEXT, ".json": JSON, ".parquet": PARQUET, ".pq": PARQUET, ".feather": FEATHER, ".arrow": FEATHER,
}  # fmt: skip
"""The ends of names that can be imported, and the format that each means; with .gz or .zip behind them, too."""
PACKED = {".gz": GZIP, ".zip": ZIP}
TAKEN = ".csv, .txt, .tsv, .json, .parquet and .feather files, also in .gz or .zip"
_MAGIC = (
    (b"PAR1", PARQUET), (b"ARROW1", FEATHER), (b"\x1f\x8b", GZIP), (b"PK\x03\x04", ZIP), (b"PK\x05\x06", ZIP), (b"FEA1", "Feather 1"),
    (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"(\xb5/\xfd", "zstd"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"), (b"\x89HDF", "HDF5"),
    (b"SQLite format 3", "SQLite"), (b"\x93NUMPY", "numpy"), (b"\xd0\xcf\x11\xe0", "old Excel"), (b"\x80\x04\x95", "pickle"),
)  # fmt: skip
_HEAD = 512
_JSON_HEAD = re.compile(r'\s*(\[\s*([\[{]|$)|\{\s*("|$))')
"""How JSON begins: with a list of lists or objects, or with an object; a table of text does not."""
_ABOUT = ("readme", "license", "licence", "notice", "changelog", "checksum", "requirements")
"""How names begin of what is told about data."""
_ELSEWHERE = {
    "Excel": "save it there as CSV",
    "old Excel": "save it there as CSV",
    "HDF5": "write it as Parquet or CSV (in pandas: pandas.read_hdf(name).to_parquet)",
    "numpy": "write it as CSV (numpy.savetxt)",
    "pickle": "write it as Parquet or CSV (in pandas: pandas.read_pickle(name).to_parquet); a pickle runs code when it is read",
    "SQLite": "export its table as CSV",
    "Feather 1": "write it again with today's pandas or pyarrow (Feather 2)",
}
_FOREIGN_SUFFIXES = {
    ".xlsx": "Excel", ".xls": "old Excel", ".ods": "Excel", ".h5": "HDF5", ".hdf5": "HDF5", ".hdf": "HDF5", ".npy": "numpy",
    ".jsonl": "JSON lines", ".ndjson": "JSON lines",
    ".npz": "numpy", ".pkl": "pickle", ".pickle": "pickle", ".db": "SQLite", ".sqlite": "SQLite", ".bz2": "bzip2", ".xz": "xz",
    ".zst": "zstd", ".7z": "7z", ".rar": "rar", ".tar": "tar", ".tgz": "tar",
}  # fmt: skip


def is_data_name(name: str) -> bool:
    """Whether a name is that of a file to import: its end is known, also below .gz or .zip."""
    lowered, own = name.lower(), Path(name).name
    return not own.startswith(".") and not own.lower().startswith(_ABOUT) and any(lowered.endswith(end) for end in (*SUFFIXES, *PACKED))


def format_by_content(path: Path) -> str:
    """What the first bytes of a file say; TEXT where they say nothing else."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[257:262] == b"ustar":
        return "tar"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), TEXT)


def agreed_format(shown: str, name: str, path: Path) -> str:
    """The format of a file called ``name`` whose content is at ``path``: TEXT, JSON, PARQUET, FEATHER, GZIP or ZIP.

    Raises DataError, which begins with ``shown``, where name and content contradict each other or the format cannot be imported.
    """
    suffix = Path(name.lower()).suffix
    said = SUFFIXES.get(suffix) or PACKED.get(suffix)
    found = format_by_content(path)
    foreign = _FOREIGN_SUFFIXES.get(suffix) or (found if found not in (*SUFFIXES.values(), *PACKED.values()) else None)
    if foreign is not None:
        way_out = _renamed(shown, name) if foreign == "JSON lines" else _way_out(foreign)
        raise DataError(f"{shown}: this is a file of {foreign}, and only {TAKEN} can be imported: {way_out}")
    if said in (None, TEXT) and found == TEXT and _begins_as_json(path):
        raise DataError(f"{shown}: its content is JSON, and its name does not say so: {_renamed(shown, name)}. Nothing was imported")
    if said is None and found == TEXT and suffix:
        raise DataError(f"{shown}: only {TAKEN} can be imported: if it is text with columns, give it a name that ends in .csv")
    if said is None:
        return found
    if said == PARQUET and found != PARQUET:
        raise DataError(f"{shown}: truncated or not a Parquet file{_instead(found)}; nothing was imported")
    if found != (TEXT if said == JSON else said):
        raise DataError(f"{shown}: truncated or not a {said} file{_instead(found)}; nothing was imported")
    return said


def _begins_as_json(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    code = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return _JSON_HEAD.match(head.decode(code, errors="replace")) is not None


def _renamed(shown: str, name: str) -> str:
    """How a file called ``name`` gets a name that ends in .json, with the command. shown: its path, or that of the archive around it."""
    path, inside = Path(shown), Path(name)
    around = format_by_content(path)
    advice = "give it a name that ends in .json"
    if around == ZIP and printable(name) != name:
        return f"unpack it, and {advice}"
    first = ""
    if around == ZIP:
        folder = path.with_name(path.stem if path.suffix.lower() == ".zip" else f"{path.name}_unpacked")
        first, path = f"python3 -m zipfile -e {shlex.quote(shown)} {shlex.quote(str(folder))} && ", folder / inside
    stem = inside.stem if inside.suffix.lower() in (*SUFFIXES, *_FOREIGN_SUFFIXES) else inside.name
    target = path.with_name(f"{stem}.json{'.gz' if around == GZIP else ''}")
    old, new = shlex.quote(str(path)), shlex.quote(str(target))
    return f"{advice} ({first}mv -n {old} {new} && keel data import {new})"


def _instead(found: str) -> str:
    ends = {**{kind: end for end, kind in reversed(SUFFIXES.items())}, **{kind: end for end, kind in PACKED.items()}}
    return f" (its content is {found}): if that is right, give it a name that ends in {ends[found]}, else fetch or write it again"


def _way_out(foreign: str) -> str:
    return _ELSEWHERE.get(foreign) or "unpack it, and import what is inside"
