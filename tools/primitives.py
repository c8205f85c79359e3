"""JAX's own test harnesses for primitives, each exported, run by ONNX Runtime and compared with JAX.

    python tools/primitives.py j2o build/primitives.jsonl --every 20

Writes one JSON line per case and beside it a summary by group. Outcomes:

    pass       the numbers, dtypes and shapes are JAX's; `primitives_grades` says where that means less than equal
    refused    the exporter raised its own error, and wrote no file
    error      the exporter raised something else, or left a file behind
    load, run  ONNX Runtime refused the model, or failed on the inputs
    signature  outputs of other number, dtype or shape
    value      other numbers: a silent wrong answer
    crash      the process died
    timeout    the case took too long
    jax        JAX itself cannot run the case; it does not count

`--transform` exports the harness under `vmap` (a new axis first or last) or the gradient of its sum instead.
`--resume` continues a run that was stopped; `--retry` also runs again what did not pass. A case's last line counts.

Ends with 1 if fewer pass than `--minimum` percent, or if any case is a `value`, an `error` or a `crash`.
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
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from primitives_grades import complaint, determined_outputs

Outcome = tuple[str, str, float]  # its name, details, seconds of export
Settings = tuple[str, int, str]  # exporter, opset, transform
# The rates that are reported, by the harness's dtype.
PARTS: dict[str, Callable[[str], bool]] = {
    "float32, int32, bool": lambda dtype: dtype in ("float32", "int32", "bool", "bool_"),
    "without complex": lambda dtype: not dtype.startswith("complex"),
    "all": lambda dtype: True,
}
BAD = ("value", "error", "crash")


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
AXES = {"vmap0": 0, "vmaplast": -1}
TRANSFORMS = ("none", *AXES, "grad")


def draw(harness: Any, seed: int) -> list[Any]:
    """The harness's arguments as a list of trees."""
    import numpy as np

    return list(harness.dyn_args_maker(np.random.RandomState(zlib.adler32(harness.fullname.encode()) + seed)))


def prepare(harness: Any, transform: str) -> tuple[Callable[..., Any], list[Any]]:
    """The function to export, and its arguments as flat arrays."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    leaves, structure = jax.tree.flatten(draw(harness, 0))
    arrays = [np.asarray(leaf) for leaf in leaves]

    def plain(*values: Any) -> Any:
        return harness.dyn_fun(*jax.tree.unflatten(structure, values))

    def total(*values: Any) -> Any:
        results = determined_outputs(harness.group_name, jax.tree.leaves(plain(*values)))
        real = [result for result in results if jnp.issubdtype(result.dtype, jnp.floating)]
        if not real:
            raise TypeError("no result is a real float")
        return sum(jnp.sum(result) for result in real)

    if transform == "grad":
        of = [k for k, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.inexact)]
        return jax.grad(total, tuple(of)), arrays
    if transform in AXES:
        axis = AXES[transform]
        others = [np.asarray(leaf) for leaf in jax.tree.leaves(draw(harness, 1))]
        return jax.vmap(plain, axis, axis), [np.stack(pair, axis) for pair in zip(arrays, others, strict=True)]
    return plain, arrays


def run_case(harness: Any, exporter: str, opset: int, transform: str) -> Outcome:
    """Export, run and compare one harness."""
    import jax
    import numpy as np
    import onnx_ir as ir

    from j2o_core import J2oError
    from j2o_core.program._session import Session

    try:
        fn, arrays = prepare(harness, transform)
        expected = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(fn)(*arrays))]
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the outcome)
        return "jax", repr(error)[:300], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        begin = time.perf_counter()
        try:
            EXPORTERS[exporter](fn, arrays, path, opset)
        except Exception as error:  # noqa: BLE001
            outcome = "refused" if isinstance(error, J2oError) and not os.listdir(folder) else "error"
            return outcome, f"{type(error).__name__}: {error}"[:600], time.perf_counter() - begin
        seconds = time.perf_counter() - begin
        try:
            session = Session(ir.load(path), threads=1)
        except Exception as error:  # noqa: BLE001
            return "load", str(error)[:600], seconds
        try:
            results = session.run(arrays)
        except Exception as error:  # noqa: BLE001
            return "run", str(error)[:600], seconds
    results, wrong = as_signed(results, expected)
    if wrong:
        return "signature", wrong, seconds
    for part in unbatched([arrays, results, expected], transform):
        if wrong := complaint(harness.group_name if transform != "grad" else "", harness.params, *part):
            return "value", wrong[:600], seconds
    return "pass", "", seconds


def as_signed(results: Sequence[Any], expected: Sequence[Any]) -> tuple[list[Any], str]:
    """The results, trailing pairs as the complex numbers they are, and what is wrong with their types."""
    import numpy as np

    if len(results) != len(expected):
        return [], f"{len(results)} outputs for {len(expected)}"
    signed = []
    for index, (got, want) in enumerate(zip(results, expected, strict=True)):
        if want.dtype.kind == "c" and got.dtype.kind == "f" and got.shape[-1:] == (2,):
            got = np.ascontiguousarray(got).view(np.result_type(got.dtype, np.complex64))[..., 0]
        if got.dtype != want.dtype or got.shape != want.shape:
            return [], f"output {index} is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
        signed.append(got)
    return signed, ""


def unbatched(arrays: list[list[Any]], transform: str) -> Iterator[list[list[Any]]]:
    """The lists of arrays, for each place on the axis that the transform added."""
    if transform not in AXES:
        yield arrays
        return
    axis = AXES[transform]
    for place in range(arrays[0][0].shape[axis]):
        yield [[array.take(place, axis) for array in group] for group in arrays]


# -- Many cases, in processes of their own ---------------------------------------------------------------------------


def load_harnesses() -> dict[str, Any]:
    """JAX's harnesses for the CPU by name, in the order of names (JAX's own changes from process to process)."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    arguments, sys.argv = sys.argv, sys.argv[:1]  # absl would read ours
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        from jax._src.internal_test_util import test_harnesses

        harnesses = {harness.fullname: harness for harness in test_harnesses.all_harnesses if harness.filter("cpu")}
        return dict(sorted(harnesses.items()))
    finally:
        sys.argv = arguments


def work(connection: Connection, settings: Settings) -> None:
    """Answer names of harnesses with outcomes until told to stop."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    harnesses = load_harnesses()
    connection.send(None)
    while (name := connection.recv()) is not None:
        connection.send(run_case(harnesses[name], *settings))


class Worker:
    """A process that runs one case at a time."""

    def __init__(self, settings: Settings):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, settings), daemon=True)
        self.process.start()
        other.close()
        self.case: str | None = None
        self.begin = time.monotonic()
        self.ready = False

    def give(self, case: str) -> None:
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


def run_cases(cases: Sequence[str], settings: Settings, *, jobs: int, timeout: float) -> Iterator[tuple[str, Outcome]]:
    """(case, outcome) as they come; a process that dies or hangs costs its case only."""
    todo = list(reversed(cases))
    workers = [Worker(settings) for _ in range(min(jobs, len(cases)))]
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
                    workers.append(Worker(settings))
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
    for name, chosen in PARTS.items():
        counts = Counter(row["outcome"] for row in rows if chosen(row["dtype"]))
        good, total = passed(counts)
        lines.append(f"{name}: {good}/{total} = {100 * good / max(total, 1):.2f}%   {dict(counts.most_common())}")
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
    parser.add_argument("--transform", choices=TRANSFORMS, default="none")
    parser.add_argument("--of", type=Path, metavar="FILE", help="only cases that pass plain in this file of lines")
    parser.add_argument("--resume", action="store_true", help="keep the lines of OUT and run the cases it lacks")
    parser.add_argument("--retry", action="store_true", help="keep those that pass and run the others (again)")
    parser.add_argument("--minimum", type=float, default=75, metavar="P", help="percentage that has to pass")
    options = parser.parse_args()

    harnesses = load_harnesses()
    wanted = set(options.groups.split(",")) if options.groups else None
    cases = [name for name, h in harnesses.items() if wanted is None or h.group_name in wanted]
    cases = cases[options.offset :: options.every]
    if options.of:
        passed = {
            name for name, row in read_rows(options.of, options.opset, "none").items() if row["outcome"] == "pass"
        }
        cases = [name for name in cases if name in passed]
    if not cases:
        parser.error("no case fits")
    known = read_rows(options.out, options.opset, options.transform) if options.resume or options.retry else {}
    rows = {name: known[name] for name in cases if name in known}
    kept = {name for name, row in rows.items() if not options.retry or row["outcome"] in ("pass", "jax")}
    todo = [name for name in cases if name not in kept]
    print(f"{len(cases)} cases, {len(todo)} to run, {options.jobs} processes", file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = (options.exporter, options.opset, options.transform)
    with open(options.out, "a" if options.resume or options.retry else "w", encoding="utf-8") as file:
        for case, (outcome, detail, seconds) in run_cases(todo, settings, jobs=options.jobs, timeout=options.timeout):
            harness = harnesses[case]
            dtype = str(getattr(harness.dtype, "__name__", harness.dtype))
            row = {"group": harness.group_name, "case": case, "dtype": dtype, "outcome": outcome, "detail": detail}
            rows[case] = {**row, "export_s": round(seconds, 4), "opset": options.opset, "transform": options.transform}
            file.write(json.dumps(rows[case]) + "\n")
            file.flush()
            if outcome in BAD:
                print(f"{outcome}: {case}: {detail}", file=sys.stderr)
    lines = summary(list(rows.values()))
    options.out.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    counts = Counter(row["outcome"] for row in rows.values())
    counted = counts.total() - counts["jax"]
    if counted < counts["jax"] and options.transform == "none":
        print("JAX itself cannot run most of these cases: see the details.", file=sys.stderr)
        return 1
    return 1 if 100 * counts["pass"] < options.minimum * counted or any(counts[name] for name in BAD) else 0


def read_rows(path: Path, opset: int, transform: str) -> dict[str, dict[str, Any]]:
    """The last line of each case in a file of lines, for an opset and a transform."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["case"]: row for row in rows if (row["opset"], row["transform"]) == (opset, transform)}


if __name__ == "__main__":
    sys.exit(main())
