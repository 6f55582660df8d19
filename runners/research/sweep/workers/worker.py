"""A worker process of a local sweep: tasks come as lines of JSON on stdin, outcomes go as lines of JSON to stdout.

It ends when stdin does, in the middle of a task, too: a parent that was killed leaves none behind, whatever a strategy is doing. What a
strategy prints goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Never

import msgspec

from keel.runners.research.sweep.workers.columns import FolderShelf
from keel.runners.research.sweep.workers.evaluate import Bench
from keel.runners.research.sweep.workers.packing import open_saved
from keel.runners.research.sweep.workers.task import Code, Task

CODE_FILE = "code.json"
COLUMNS = "columns"


def main(cache: Path) -> Never:
    """Serve a sweep's cache folder: ``code.json``, a folder per data set, ``columns/``; the user's sources are written there as well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    code = msgspec.json.decode((cache / CODE_FILE).read_bytes(), type=Code)
    tasks = msgspec.json.Decoder(Task)
    folder = cache / f"code-{os.getpid()}"  # goes with the cache, however this process ends
    folder.mkdir(exist_ok=True)
    bench = Bench(code, lambda name: open_saved(cache / name), FolderShelf(cache / COLUMNS), folder)
    lines: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(lines,), daemon=True).start()
    while True:
        answers.write(msgspec.json.encode(bench.run(tasks.decode(lines.get()))) + b"\n")


def _listen(lines: SimpleQueue[bytes]) -> Never:
    """Pass tasks on. After the last line no one reads outcomes any more: the process ends at once."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
