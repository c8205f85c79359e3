"""The time that ONNX files take on one thread, side by side. Run as a script, it is the measurement in one process.

A session's time depends on when it was opened: files of weights that are opened first lie elsewhere in memory, and were
found up to 4% slower. So the files are opened in several processes, each time in another order, and all times count.
"""

from __future__ import annotations

import importlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import one_thread

ORDERS = 4
WARM_UP = 2  # rounds that are not counted


@dataclass(frozen=True)
class Times:
    """Milliseconds of one thread: the median of all runs, and the least."""

    median: float
    least: float


def latencies(files: Mapping[str, Path], feeds: str, rounds: int) -> dict[str, dict[str, Times]]:
    """The times of each file, by what it is fed.

    Args:
        files: ONNX files by name.
        feeds: `module:function`; the function takes a session and gives, by name, what to feed and how often a round.
        rounds: in how many rounds all files run, one after the other, in all processes together.
    """
    taken: dict[str, dict[str, list[float]]] = {}
    for order in range(ORDERS):
        start = order * len(files) // ORDERS
        names = [*files][start:] + [*files][:start]
        each = json.dumps({name: str(files[name]) for name in names})
        command = [sys.executable, __file__, each, feeds, str(-(-rounds // ORDERS))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for name, by_feed in json.loads(done.stdout.splitlines()[-1]).items():
            for feed, times in by_feed.items():
                taken.setdefault(name, {}).setdefault(feed, []).extend(times)
    return {
        name: {feed: Times(statistics.median(times), min(times)) for feed, times in taken[name].items()}
        for name in files
    }


def _times_here(files: Mapping[str, str], feeds: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    import onnxruntime

    one_thread.keep_to_one_core()
    module, _, function = feeds.partition(":")
    feeds_of = getattr(importlib.import_module(module), function)
    runs: list[tuple[str, str, Any, Any, int]] = []
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in files}
    for name, path in files.items():
        session = one_thread.session(path)
        for feed, (arrays, times) in feeds_of(session).items():
            values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(array) for key, array in arrays.items()}
            runs.append((name, feed, session, values, times))
            taken[name][feed] = []
    shuffled = random.Random(0)
    for round_ in range(rounds + WARM_UP):
        shuffled.shuffle(runs)  # the run just before has filled the processor's caches
        for name, feed, session, values, times in runs:
            for _ in range(times):
                begin = time.thread_time()  # other work of the machine counts as little as it can
                session.run_with_ort_values(None, values)
                if round_ >= WARM_UP:
                    taken[name][feed].append(1e3 * (time.thread_time() - begin))
    return taken


if __name__ == "__main__":
    print(json.dumps(_times_here(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
