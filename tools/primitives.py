"""JAX's own test harnesses for primitives, each exported, run by ONNX Runtime and compared with JAX.

    python tools/primitives.py j2o build/primitives.jsonl --every 20

Writes one JSON line per case and beside it a summary by group. Outcomes:

    pass       the numbers, dtypes and shapes are JAX's
    export     the exporter refused, with its message
    load, run  ONNX Runtime refused the model, or failed on the inputs
    signature  outputs of other number, dtype or shape
    value      other numbers: a silent wrong answer
    crash      the process died
    timeout    the case took too long
    jax        JAX itself cannot run the case; it does not count

Ends with 1 if fewer pass than `--minimum` percent, or if any case is a `value` or a `crash`.
Needs absl-py, which JAX's harnesses import.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# (relative, absolute) tolerances by dtype: the harnesses feed ordinary numbers, sums may be ordered otherwise.
TOLERANCES = {
    "float64": (1e-6, 1e-6),
    "complex128": (1e-6, 1e-6),
    "float32": (2e-3, 2e-4),
    "complex64": (2e-3, 2e-4),
    "float16": (2e-2, 2e-2),
    "bfloat16": (5e-2, 5e-2),
}
NARROW = (5e-2, 5e-2)  # float8 and smaller; integers and booleans have to be equal

Outcome = tuple[str, str, float]


# -- One case ----------------------------------------------------------------------------------------------------------


def export_j2o(fn: Any, arrays: Sequence[Any], path: str, opset: int) -> None:
    """Through j2o with all installed plugins."""
    import jax

    import j2o_core

    j2o_core.to_onnx(fn, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays], opset=opset).save(path)


def export_jax2onnx(fn: Any, arrays: Sequence[Any], path: str, opset: int) -> None:
    """Through jax2onnx, for comparison, in an environment that has it."""
    import jax
    from jax2onnx import to_onnx

    specs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    wide = any(a.dtype.name in ("float64", "complex128") for a in arrays)  # its switch widens everything
    to_onnx(fn, inputs=specs, opset=opset, enable_double_precision=wide, return_mode="file", output_path=path)


EXPORTERS = {"j2o": export_j2o, "jax2onnx": export_jax2onnx}


def run_case(harness: Any, exporter: str, opset: int) -> Outcome:
    """Export, run and compare one harness."""
    import jax
    import numpy as np
    import onnx_ir as ir

    from j2o_core._session import Session, as_fed

    try:
        arguments = harness.dyn_args_maker(np.random.RandomState(zlib.adler32(harness.fullname.encode())))
        leaves, structure = jax.tree.flatten(list(arguments))
        if any(jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.extended) for leaf in leaves):
            return "jax", "takes a key", 0.0
        arrays = [np.asarray(leaf) for leaf in leaves]

        def fn(*values: Any) -> Any:
            return harness.dyn_fun(*jax.tree.unflatten(structure, values))

        expected = [as_fed(leaf) for leaf in jax.tree.leaves(jax.jit(fn)(*arrays))]
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the outcome)
        return "jax", repr(error)[:300], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        begin = time.perf_counter()
        try:
            EXPORTERS[exporter](fn, arrays, path, opset)
        except Exception as error:  # noqa: BLE001
            return "export", f"{type(error).__name__}: {error}"[:600], time.perf_counter() - begin
        seconds = time.perf_counter() - begin
        try:
            session = Session(ir.load(path), threads=1)
        except Exception as error:  # noqa: BLE001
            return "load", str(error)[:600], seconds
        try:
            results = session.run(arrays)
        except Exception as error:  # noqa: BLE001
            return "run", str(error)[:600], seconds
    return (*compare(results, expected), seconds)


def compare(results: Sequence[Any], expected: Sequence[Any]) -> tuple[str, str]:
    """`pass`, or what is wrong with the results. Complex numbers are trailing pairs on both sides."""
    import numpy as np

    if len(results) != len(expected):
        return "signature", f"{len(results)} outputs for {len(expected)}"
    for index, (got, want) in enumerate(zip(results, expected, strict=True)):
        if got.dtype != want.dtype or got.shape != want.shape:
            return "signature", f"output {index} is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
        exact = want.dtype.kind in "biu" or "int" in want.dtype.name
        relative, absolute = (0, 0) if exact else TOLERANCES.get(want.dtype.name, NARROW)
        if not exact:
            got, want = got.astype(np.float64), want.astype(np.float64)
        try:
            np.testing.assert_allclose(got, want, rtol=relative, atol=absolute, equal_nan=True)
        except AssertionError as error:
            return "value", " ".join(str(error).split())[:600]
    return "pass", ""


# -- Many cases, in processes of their own ---------------------------------------------------------------------------


def load_harnesses() -> list[Any]:
    """JAX's harnesses, with 64-bit types on."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    arguments, sys.argv = sys.argv, sys.argv[:1]  # absl would read ours
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        from jax._src.internal_test_util import test_harnesses

        return list(test_harnesses.all_harnesses)
    finally:
        sys.argv = arguments


def work(connection: Connection, exporter: str, opset: int) -> None:
    """Answer indices of harnesses with outcomes until told to stop."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    harnesses = load_harnesses()
    connection.send(None)
    while (index := connection.recv()) is not None:
        connection.send(run_case(harnesses[index], exporter, opset))


class Worker:
    """A process that runs one case at a time."""

    def __init__(self, exporter: str, opset: int):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, exporter, opset), daemon=True)
        self.process.start()
        other.close()
        self.case: int | None = None
        self.begin = time.monotonic()
        self.ready = False

    def give(self, case: int) -> None:
        """Begin a case."""
        self.case, self.begin = case, time.monotonic()
        self.connection.send(case)

    def stop(self, *, kill: bool = False) -> None:
        """End the process, after its case or at once."""
        if kill:
            self.process.kill()
        else:
            self.connection.send(None)
        self.process.join()
        self.connection.close()


def run_cases(
    cases: Sequence[int], *, exporter: str, opset: int, jobs: int, timeout: float
) -> Iterator[tuple[int, Outcome]]:
    """(case, outcome) as they come; a process that dies or hangs costs its case only."""
    todo = list(reversed(cases))
    workers = [Worker(exporter, opset) for _ in range(min(jobs, len(cases)))]
    while workers:
        answered = wait([worker.connection for worker in workers], timeout=1.0)
        for worker in list(workers):
            outcome: Outcome | None = None
            dead = False
            if worker.connection in answered:
                try:
                    answer = worker.connection.recv()
                    worker.ready, outcome = True, answer
                except EOFError:
                    worker.process.join()
                    dead, outcome = True, ("crash", f"the process ended with {worker.process.exitcode}", 0.0)
            elif worker.case is not None and time.monotonic() - worker.begin > timeout:
                dead, outcome = True, ("timeout", f"more than {timeout:.0f} s", timeout)
            if dead:
                worker.stop(kill=True)
                workers.remove(worker)
                if worker.case is None:
                    raise RuntimeError("A worker ended before it was given a case.")
                if todo:
                    workers.append(Worker(exporter, opset))
            if outcome is not None and worker.case is not None:
                yield worker.case, outcome
                worker.case = None
            if not dead and worker.ready and worker.case is None:
                if todo:
                    worker.give(todo.pop())
                else:
                    worker.stop()
                    workers.remove(worker)


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each group, the worst first, and one for all."""
    groups: dict[str, Counter[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], Counter())[row["outcome"]] += 1

    def passed(counts: Counter[str]) -> tuple[int, int]:
        return counts["pass"], counts.total() - counts["jax"]

    def rate(item: tuple[str, Counter[str]]) -> tuple[float, str]:
        good, total = passed(item[1])
        return (good / total if total else 1.0), item[0]

    lines = []
    width = max(map(len, groups), default=0)
    for name, counts in sorted(groups.items(), key=rate):
        good, total = passed(counts)
        others = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common() if outcome != "pass")
        lines.append(f"{name:{width}}  {good:4}/{total:<4}  {others}".rstrip())
    total_counts = sum(groups.values(), Counter())
    good, total = passed(total_counts)
    lines.append(f"{good}/{total} = {100 * good / max(total, 1):.1f}%   {dict(total_counts.most_common())}")
    return lines


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exporter", choices=EXPORTERS)
    parser.add_argument("out", type=Path, help="file of JSON lines")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th case only")
    parser.add_argument("--offset", type=int, default=0, metavar="K", help="begin with the K-th")
    parser.add_argument("--groups", metavar="A,B", help="these groups of harnesses only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="seconds for a case")
    parser.add_argument("--opset", type=int, default=21, metavar="N")
    parser.add_argument("--minimum", type=float, default=75, metavar="P", help="percentage that has to pass")
    options = parser.parse_args()

    harnesses = load_harnesses()
    wanted = set(options.groups.split(",")) if options.groups else None
    cases = [i for i, h in enumerate(harnesses) if h.filter("cpu") and (wanted is None or h.group_name in wanted)]
    cases = cases[options.offset :: options.every]
    if not cases:
        parser.error("no case fits")
    print(f"{len(cases)} cases, {options.jobs} processes", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    outcomes = run_cases(
        cases, exporter=options.exporter, opset=options.opset, jobs=options.jobs, timeout=options.timeout
    )
    with open(options.out, "w", encoding="utf-8") as file:
        for case, (outcome, detail, seconds) in outcomes:
            harness = harnesses[case]
            dtype = str(getattr(harness.dtype, "__name__", harness.dtype))
            row = {"group": harness.group_name, "case": harness.fullname, "dtype": dtype, "outcome": outcome}
            rows.append({**row, "detail": detail, "export_s": round(seconds, 4)})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            if outcome in ("value", "crash"):
                print(f"{outcome}: {harness.fullname}: {detail}", file=sys.stderr)
    lines = summary(rows)
    options.out.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    counts = Counter(row["outcome"] for row in rows)
    counted = counts.total() - counts["jax"]
    if counted < counts["jax"]:
        print("JAX itself cannot run most of these cases: see the details.", file=sys.stderr)
        return 1
    return 1 if 100 * counts["pass"] < options.minimum * counted or counts["value"] or counts["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
