"""A worker process of a local sweep: tasks come as lines of JSON on stdin, outcomes go as lines of JSON to stdout.

It ends when stdin does, so that a parent that was killed leaves none behind. What a strategy prints goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from runners.sweep.columns import FolderShelf
from runners.sweep.evaluate import Bench
from runners.sweep.packing import open_saved
from runners.sweep.task import Code, Task

CODE_FILE = "code.json"
COLUMNS = "columns"


def main(cache: Path) -> None:
    """Serve a sweep's cache folder: ``code.json``, a folder per data set, ``columns/``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    code = msgspec.json.decode((cache / CODE_FILE).read_bytes(), type=Code)
    tasks = msgspec.json.Decoder(Task)
    with tempfile.TemporaryDirectory(prefix="keel-worker-") as folder:
        bench = Bench(code, lambda name: open_saved(cache / name), FolderShelf(cache / COLUMNS), Path(folder))
        for line in sys.stdin.buffer:
            answers.write(msgspec.json.encode(bench.run(tasks.decode(line))) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
