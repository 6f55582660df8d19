"""Ray with two workers beside one, on this machine: the same sweep of actor runs, the same results, and how much sooner.

    python -m benchmarks.ray_workers [--runs 200] [--gate 1.7]

Starting and ending Ray is timed apart: a sweep pays it once. The figure is runs per second between the first and the last outcome.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import ray

from benchmarks.gates import Gate, hold
from keel.runners.home import Home
from keel.runners.sample import write_sample
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.research.sweep import SweepRequest, SweepResponse, sweep_run_tool

_SYSTEM = """
system: lively
strategy: ema_cross
symbols: [BTCUSDT]
timeframe: 5m
warmup_bars: 500
sizing: {model: percent_equity, percent: 50}
risk: {leverage: 3}
windows: {all: {start: 2024-01-08, end: 2024-04-01}}
"""


class Clock:
    """Notes when the first and the last outcome came."""

    def __init__(self) -> None:
        self.first, self.last, self.outcomes = 0.0, 0.0, 0

    def __call__(self, label: str, done: int, total: int) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.outcomes += 1

    @property
    def rate(self) -> float:
        """Runs per second."""
        return (self.outcomes - 1) / (self.last - self.first)


def measure(home: Home, runs: int, workers: int) -> tuple[SweepResponse, float]:
    """A sweep of so many runs on Ray, and its rate; the workers have run something before."""
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        warm, clock = ToolContext(home), Clock()
        place = {"on": "ray", "workers": workers, "engine": "actors"}
        sweep_run_tool.run(SweepRequest("lively", (f"fast=2:{1 + 4 * workers}:1", "slow=50"), **place), warm)  # type: ignore[arg-type]
        request = SweepRequest("lively", (f"fast=5:{4 + runs // 10}:1", "slow=30:120:10"), **place)  # type: ignore[arg-type]
        return sweep_run_tool.run(request, ToolContext(home, clock)), clock.rate
    finally:
        ray.shutdown()


def main() -> None:
    """Both, side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--gate", type=float, default=0.0, help="fail below this ratio three times")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        write_sample(home, ["BTCUSDT"], "2024-01-01", "2024-04-01")
        home.systems.mkdir()
        (home.systems / "lively.yaml").write_text(_SYSTEM)

        def both() -> list[Gate]:
            (one, alone), (two, together) = (measure(home, options.runs, workers) for workers in (1, 2))
            if Path(one.results).read_bytes() != Path(two.results).read_bytes():
                raise SystemExit("one worker and two did not find the same results")
            print(f"{one.points} runs, the same results: one worker {alone:.2f} runs/s, two {together:.2f} runs/s")
            return [Gate("two workers, times one", together / alone, options.gate)]

        hold(both)


if __name__ == "__main__":
    main()
