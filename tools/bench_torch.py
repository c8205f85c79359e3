"""The time of our graphs on one thread over those that torch.onnx writes for the same architectures and sizes.

    python tools/bench_torch.py                all rows, written to docs/benchmarks-torch.md and tools/peers.json
    python tools/bench_torch.py LSTM resize    rows with a word in their name, printed only
    python tools/bench_torch.py --again        takes torch's files of last time

Torch is installed below build/peers, or in the folder that `--folder` names: minutes, and gigabytes. Both files run in
one process on one core, in turns, and in a second process that opens them in the other order; a ratio is the median of
those of single rounds, in CPU time. Weights are random, and equal in neither: architectures and shapes are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import bench_peers
import one_thread
import torch_twins
from bench_measures import operators

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks-torch.md"
PEERS = ROOT / "tools" / "peers.json"
MODELS = ROOT / "tools" / "torch_models.py"
NOISE = 0.02
ROUNDS = (9, 400)


@dataclasses.dataclass(frozen=True)
class Figure:
    """The measurements of a row.

    Attributes:
        ratio: our time over the other, the median of single rounds.
        spread: the quarters of these ratios.
        milliseconds: ours and the other, medians.
        nodes: of our file and of the other.
    """

    ratio: float
    spread: tuple[float, float]
    milliseconds: tuple[float, float]
    nodes: tuple[int, int]


# -- Files -------------------------------------------------------------------------------------------------------------


def torch_files(python: str, folder: Path, names: Sequence[str]) -> None:
    """Write rows as torch has them: ONNX files, and what they are fed."""
    folder.mkdir(exist_ok=True)
    subprocess.run([python, str(MODELS), str(folder), *names], check=True, stdout=subprocess.DEVNULL)


def our_files(row: torch_twins.Row, folder: Path, torch_folder: Path) -> dict[str, tuple[Path, Path]]:
    """The two files of a row with the files of what they are fed, in order."""
    import numpy as np

    import j2o_core

    path = torch_folder / f"{row.torch}.onnx"
    fed = path.with_suffix(".npz")
    arrays = [*np.load(fed).values()] if fed.exists() else []
    made = {"ours": row.make(*arrays)}
    if row.other is not None:
        made["other"] = row.other()
    files = {"other": (path, fed)}
    for name, (fn, inputs) in made.items():
        file = folder / f"{name}.onnx"
        j2o_core.to_onnx(fn, list(inputs), opset=row.opset).save(file)
        np.savez(file.with_suffix(".npz"), *inputs)
        files[name] = file, file.with_suffix(".npz")
    return files


# -- Times -------------------------------------------------------------------------------------------------------------


def measure(row: torch_twins.Row, folder: Path, torch_folder: Path, seconds: float) -> Figure:
    """Export our file of a row and run it beside the other."""
    files = our_files(row, folder, torch_folder)
    times: list[tuple[float, float]] = []
    for order in (("ours", "other"), ("other", "ours")):
        each = json.dumps({name: [str(path) for path in files[name]] for name in order})
        command = [sys.executable, __file__, "--seconds", str(seconds), "--pair", each]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        times += json.loads(done.stdout.splitlines()[-1])
    low, middle, high = statistics.quantiles((ours / other for ours, other in times), n=4)
    ours, other = (1e3 * statistics.median(one) for one in zip(*times, strict=True))
    nodes = operators(files["ours"][0]).total(), operators(files["other"][0]).total()
    return Figure(middle, (low, high), (ours, other), nodes)


def _rounds(files: dict[str, tuple[str, str]], seconds: float) -> list[tuple[float, float]]:
    """Seconds of our file and of the other, for each round; the sessions are opened in the order of the files."""
    import numpy as np
    import onnxruntime

    one_thread.keep_to_one_core()
    runs: dict[str, Callable[[], Any]] = {}
    for name, (path, fed) in files.items():
        session = one_thread.session(path)
        feed = {
            value.name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for value, array in zip(session.get_inputs(), np.load(fed).values(), strict=True)
        }
        runs[name] = lambda session=session, feed=feed: session.run_with_ort_values(None, feed)

    def taken(run: Callable[[], Any], count: int) -> float:
        begin = time.thread_time()
        for _ in range(count):
            run()
        return (time.thread_time() - begin) / count

    for run in runs.values():
        taken(run, 2)
    # Short runs several times a round: the clock ticks in microseconds.
    count = max(1, round(1e-3 / taken(runs["ours"], 3)))
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(times) < ROUNDS[0] or (time.perf_counter() < until and len(times) < ROUNDS[1]):
        names = ("ours", "other") if len(times) % 2 else ("other", "ours")
        round_ = {name: taken(runs[name], count) for name in names}
        times.append((round_["ours"], round_["other"]))
    return times


# -- The page ----------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the command; returns 1 if a row takes longer than it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="rows whose name has one of these; all by default")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "peers", help="of torch's environment and files"
    )
    parser.add_argument("--again", action="store_true", help="take torch's files of last time")
    parser.add_argument("--seconds", type=float, default=3.0, help="that each of two processes takes for a row")
    parser.add_argument("--pair", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pair:
        print(json.dumps(_rounds(json.loads(options.pair), options.seconds)))
        return 0
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    rows = [row for row in torch_twins.rows() if not options.words or any(word in row.name for word in options.words)]
    folder = options.folder / "torch"
    python = bench_peers.environment(folder, "torch")
    if not options.again:
        torch_files(python, folder / "rows", sorted({row.torch for row in rows if row.torch}))
    lines, kept, figures = [], [], {}
    for row in rows:
        with tempfile.TemporaryDirectory() as place:
            figure = measure(row, Path(place), folder / "rows", options.seconds)
        kept.append(figure.ratio <= 1 + NOISE)
        lines.append(_line(row, figure, kept[-1]))
        figures[row.name] = {
            "ratio": round(figure.ratio, 3),
            "quarters": [round(quarter, 3) for quarter in figure.spread],
            "nodes": figure.nodes,
        }
        print(lines[-1], flush=True)
    if not options.words:
        exporter = bench_peers.exporter(python)
        peers = json.loads(PEERS.read_text())
        peers.setdefault(exporter, {})["our latency over it"] = {
            "measured": datetime.date.today().isoformat(),
            "rows": figures,
        }
        PEERS.write_text(json.dumps(peers, indent=1) + "\n")
        PAGE.write_text(_page(lines, exporter, [row for row, fine in zip(rows, kept, strict=True) if not fine]))
    print(f"{sum(kept)} of {len(kept)} rows take at most the time of the other graph")
    return int(not all(kept))


def _line(row: torch_twins.Row, figure: Figure, kept: bool) -> str:
    low, high = figure.spread
    ours, other = figure.milliseconds
    return (
        f"| {row.name} | {figure.ratio:.3f} | {low:.3f} to {high:.3f} | {'yes' if kept else '**no**'} | "
        f"{ours:.3f} | {other:.3f} | {figure.nodes[0]} | {figure.nodes[1]} |"
    )


def _page(lines: Sequence[str], exporter: str, slower: Sequence[torch_twins.Row]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "onnxruntime", "equinox", "flax"))
    reasons = [f"- **{row.name}**: {row.floor}" for row in slower if row.floor]
    return "\n".join(
        [
            f"# Beside {exporter.partition(' ')[0]}",
            "",
            "Written by `tools/bench_torch.py`, which `nox -s bench -- --peers` runs. The time of our graphs on one "
            f"thread over that of the graphs that {exporter} writes for the same architectures and sizes "
            "(`tools/torch_models.py`, `tools/torch_twins.py`), with random weights. Measured "
            f"{datetime.date.today().isoformat()} ({platform.machine()}), Python {platform.python_version()}, "
            f"{versions}. Both run in one process on one core, in turns: a ratio is the median of those of single "
            f"rounds, beside it are their quarters. Each must be at most 1.00; {NOISE:.0%} are noise.",
            "",
            "| model | of its time | quarters | | our ms | its ms | our nodes | its nodes |",
            "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            *(["Why rows take longer, and what was tried:", "", *reasons, ""] if reasons else []),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
