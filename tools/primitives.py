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

`--cell 26/grad` is the gradient of the sum at opset 26; the forms are those of `primitives_forms`. It may be repeated:
`--cell all/grad` is that form at every opset, `--cell 26` every form at one, and `--cell all` is all.
`--other FOLDER` runs each model with another release of ONNX Runtime, too (see two_runtimes.py).
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from primitives_forms import FORMS, Case, jax_lowers, prepare
from primitives_grades import GRADES, as_near, complaint
from two_runtimes import Failed, Here, Other, installed, release

Outcome = tuple[str, str, float]  # its name, details, seconds of export
Outcomes = dict[str, Outcome]  # by the release of ONNX Runtime
Cell = tuple[int, str]  # opset, form
Task = tuple[str, Cell]  # a harness in a cell
Batch = list[Task]  # of one harness in one form
OPSETS = (18, 20, 21, 22, 23, 24, 25, 26)
CELLS: tuple[Cell, ...] = tuple((opset, form) for form in FORMS for opset in OPSETS)
# The rates that are reported, by the harness's dtype.
PARTS: dict[str, Callable[[str], bool]] = {
    "float32, int32, bool": lambda dtype: dtype in ("float32", "int32", "bool", "bool_"),
    "without complex": lambda dtype: not dtype.startswith("complex"),
    "all": lambda dtype: True,
}
BAD = ("value", "error", "crash")
# In the details of a case that passes: `primitives_grades.as_near` says so.
BY_FLOAT64 = "as near to float64 as JAX"
# The folder of the npm package onnxruntime-web, where that is to run the programs; `..._PLACE` says node or chromium.
WEB = "ONNXRUNTIME_WEB"


# -- One case ----------------------------------------------------------------------------------------------------------


def export_j2o(fn: Any, specs: Sequence[Any], path: str, opset: int) -> None:
    """Through j2o with all installed plugins."""
    import j2o_core

    j2o_core.to_onnx(fn, list(specs), opset=opset).save(path)


def export_jax2onnx(fn: Any, specs: Sequence[Any], path: str, opset: int) -> None:
    """Through jax2onnx, for comparison, in an environment that has it."""
    from jax2onnx import to_onnx

    wide = any(spec.dtype.name in ("float64", "complex128") for spec in specs)  # its switch widens everything
    to_onnx(fn, inputs=list(specs), opset=opset, enable_double_precision=wide, return_mode="file", output_path=path)


EXPORTERS = {"j2o": export_j2o, "jax2onnx": export_jax2onnx}


def run_harness(
    harness: Any, exporter: str, cells: Sequence[Cell], runtimes: Sequence[Here | Other]
) -> Iterator[Outcomes]:
    """The outcomes in each of the cells, which differ by their opsets: JAX computes once for all."""
    from j2o_core import J2oError

    form = cells[0][1]
    try:
        case = prepare(harness, form)
        expected = jax_results(case)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the outcome)
        for _ in cells:
            yield {runtime.release: ("jax", repr(error)[:300], 0.0) for runtime in runtimes}
        return
    for opset, _ in cells:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            begin = time.perf_counter()
            try:
                exported = export(exporter, case, path, opset)
            except Exception as error:  # noqa: BLE001
                outcome = "refused" if isinstance(error, J2oError) and not os.listdir(folder) else "error"
                if outcome == "refused" and form == "symbolic" and not jax_lowers(case):
                    outcome = "jax"
                failure = outcome, f"{type(error).__name__}: {error}"[:600], time.perf_counter() - begin
                yield {runtime.release: failure for runtime in runtimes}
                continue
            seconds = time.perf_counter() - begin
            wanted = expected if exported is case else jax_results(exported)
            yield {
                runtime.release: (*compared(harness, exported, wanted, runtime, path), seconds) for runtime in runtimes
            }


def compared(harness: Any, case: Case, expected: list[list[Any]], runtime: Here | Other, path: str) -> tuple[str, str]:
    """Outcome and details of a model in a file."""
    try:
        answers = runtime.run(path, case.inputs)
    except Failed as error:
        return error.stage, str(error)
    how = ""
    for arrays, results, wanted in zip(case.inputs, answers, expected, strict=True):
        signed, wrong = as_signed(results, wanted)
        if wrong:
            return "signature", wrong
        for part in case.parts(arrays, signed, wanted):
            if wrong := complaint(case.group, harness.params, *part):
                break
        if wrong and (case.group in GRADES or not as_near(signed, wanted, wide_results(case, arrays))):
            return "value", wrong[:600]
        how = how or (BY_FLOAT64 if wrong else "")
    return "pass", how


def export(exporter: str, case: Case, path: str, opset: int) -> Case:
    """The case that was exported: if its code has to know more about the sizes, one with fewer sizes."""
    from j2o_core import J2oError

    *others, last = (case, *case.narrower)
    for tried in others:
        try:
            EXPORTERS[exporter](tried.fn, tried.specs, path, opset)
        except J2oError as error:
            if "constraints" not in str(error):
                raise
        else:
            return tried
    EXPORTERS[exporter](last.fn, last.specs, path, opset)
    return last


def jax_results(case: Case) -> list[list[Any]]:
    """The leaves of JAX's results for each list of inputs."""
    return [_leaves(case, arrays) for arrays in case.inputs]


def _leaves(case: Case, arrays: Sequence[Any]) -> list[Any]:
    import jax
    import numpy as np

    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(case.fn)(*arrays))]


def wide_results(case: Case, arrays: Sequence[Any]) -> list[Any]:
    """The leaves of JAX's results in float64; none where JAX has none."""
    import jax
    import numpy as np

    def widened(array: Any) -> Any:
        inexact = jax.numpy.issubdtype(array.dtype, jax.numpy.inexact)
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        return array.astype(wide) if inexact else array

    try:
        return _leaves(case, list(map(widened, arrays)))
    except Exception:  # noqa: BLE001 (JAX's own reasons)
        return []


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


def work(connection: Connection, exporter: str, other: str | None) -> None:
    """Answer batches of tasks with outcomes for each task until told to stop."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    harnesses = load_harnesses()
    if folder := os.environ.get(WEB):
        import webruntime

        webruntime.use(folder, os.environ.get(f"{WEB}_PLACE", "node"))
    runtimes = [Here(), *([Other(other)] if other else [])]
    connection.send([runtime.release for runtime in runtimes])
    while (batch := connection.recv()) is not None:
        for outcomes in run_harness(harnesses[batch[0][0]], exporter, [cell for _, cell in batch], runtimes):
            connection.send(outcomes)


class Worker:
    """A process that runs one batch of tasks at a time."""

    def __init__(self, exporter: str, other: str | None):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, exporter, other), daemon=True)
        self.process.start()
        theirs.close()
        self.releases: list[str] = []  # of ONNX Runtime, once it is ready
        self.batch: Batch = []  # without outcomes so far
        self.begin = time.monotonic()

    def give(self, batch: Batch) -> None:
        """Begin with a batch."""
        self.batch, self.begin = list(batch), time.monotonic()
        self.connection.send(batch)

    def answered(self) -> Task:
        """The task that it was at; the next begins."""
        self.begin = time.monotonic()
        return self.batch.pop(0)

    def stop(self, *, kill: bool = False) -> None:
        """End the process, after its task or at once."""
        if kill:
            self.process.kill()
        else:
            self.connection.send(None)
        self.process.join()
        self.connection.close()


def batches(tasks: Sequence[Task]) -> list[Batch]:
    """The tasks by harness and form, of which JAX's part is done once."""
    found: dict[tuple[str, str], Batch] = {}
    for name, (opset, form) in tasks:
        found.setdefault((name, form), []).append((name, (opset, form)))
    return list(found.values())


def run_tasks(
    tasks: Sequence[Task], exporter: str, *, other: str | None, jobs: int, timeout: float
) -> Iterator[tuple[Task, Outcomes]]:
    """(task, outcomes) as they come; a process that dies or hangs costs its task only."""
    todo = batches(tasks)[::-1]
    workers = [Worker(exporter, other) for _ in range(min(jobs, len(todo)))]
    while workers:
        answered = wait([worker.connection for worker in workers], timeout=1.0)
        for worker in list(workers):
            failure: Outcome | None = None
            if worker.connection in answered:
                try:
                    answer = worker.connection.recv()
                    if worker.batch:
                        yield worker.answered(), answer
                    else:
                        worker.releases = answer
                except EOFError:
                    worker.process.join()
                    failure = "crash", f"the process ended with {worker.process.exitcode}", 0.0
            elif worker.batch and time.monotonic() - worker.begin > timeout:
                failure = "timeout", f"more than {timeout:.0f} s", timeout
            if failure is not None:
                if not worker.batch:
                    raise RuntimeError("A worker ended before it was given a task.")
                yield worker.answered(), dict.fromkeys(worker.releases, failure)
                worker.stop(kill=True)
                workers.remove(worker)
                todo += [worker.batch] if worker.batch else []
                workers += [Worker(exporter, other)] if todo else []
                continue
            if worker.releases and not worker.batch:
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
    parser.add_argument(
        "--cell", action="append", metavar="OPSET/FORM", help="such as 21/grad, all/grad or all; 21/none if none"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th case only")
    parser.add_argument("--offset", type=int, default=0, metavar="K", help="begin with the K-th")
    parser.add_argument("--groups", metavar="A,B", help="these groups of harnesses only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="seconds for a case")
    parser.add_argument("--other", metavar="FOLDER", help="run each model with the ONNX Runtime in this folder, too")
    parser.add_argument("--resume", action="store_true", help="keep the lines of OUT and run the cases it lacks")
    parser.add_argument("--retry", action="store_true", help="keep those that pass and run the others (again)")
    parser.add_argument("--minimum", type=float, default=75, metavar="P", help="percentage that has to pass")
    options = parser.parse_args()

    cells = chosen_cells(options.cell or ["21/none"], parser.error)
    harnesses = load_harnesses()
    wanted = set(options.groups.split(",")) if options.groups else None
    names = [name for name, h in harnesses.items() if wanted is None or h.group_name in wanted]
    # Each cell begins elsewhere, so that samples of several cells are of other harnesses.
    tasks = [
        (name, cell)
        for cell in cells
        for name in names[
            (options.offset + (CELLS.index(cell) if len(cells) > 1 else 0)) % options.every :: options.every
        ]
    ]
    if not tasks:
        parser.error("no case fits")
    runtimes = [Here().release, *([installed(options.other)] if options.other else [])]
    known = read_rows(options.out) if options.resume or options.retry else {}
    rows = {(task, one): known[task, one] for task in tasks for one in runtimes if (task, one) in known}
    kept = {key for key, row in rows.items() if not options.retry or row["outcome"] in ("pass", "jax")}
    todo = [task for task in tasks if not all((task, one) in kept for one in runtimes)]
    print(f"{len(tasks)} cases, {len(todo)} to run, {options.jobs} processes", file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    common = {"jax": jax_release(), "harnesses": len(harnesses)}
    how = {"other": options.other, "jobs": options.jobs, "timeout": options.timeout}
    with open(options.out, "a" if options.resume or options.retry else "w", encoding="utf-8") as file:
        for task, outcomes in run_tasks(todo, options.exporter, **how):
            for runtime, outcome in outcomes.items():
                row = {**as_row(task, harnesses[task[0]], outcome), "runtime": runtime, **common}
                rows[task, runtime] = row
                file.write(json.dumps(row) + "\n")
                if outcome[0] in BAD:
                    print(f"{outcome[0]}: {task} with {runtime}: {outcome[1]}", file=sys.stderr)
            file.flush()
    lines = summary(list(rows.values()))
    options.out.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    counts = Counter(row["outcome"] for row in rows.values())
    counted = counts.total() - counts["jax"]
    if counted < counts["jax"] and all(form == "none" for _, form in cells):
        print("JAX itself cannot run most of these cases: see the details.", file=sys.stderr)
        return 1
    return 1 if 100 * counts["pass"] < options.minimum * counted or any(counts[name] for name in BAD) else 0


def chosen_cells(words: Sequence[str], complain: Callable[[str], Any]) -> list[Cell]:
    """The cells of words such as `21/grad` and `all`."""
    cells: list[Cell] = []
    for word in words:
        opset, _, form = word.partition("/")
        fitting = [one for one in CELLS if opset in ("all", str(one[0])) and form in ("", one[1])]
        if not fitting:
            complain(f"{word!r} is no cell: OPSET/FORM with {OPSETS} and {tuple(FORMS)}, or all")
        cells += fitting
    return list(dict.fromkeys(cells))


def as_row(task: Task, harness: Any, outcome: Outcome) -> dict[str, Any]:
    """The line of a case."""
    name, (opset, form) = task
    what, detail, seconds = outcome
    dtype = str(getattr(harness.dtype, "__name__", harness.dtype))
    row = {"group": harness.group_name, "case": name, "dtype": dtype, "outcome": what, "detail": detail}
    return {**row, "export_s": round(seconds, 4), "opset": opset, "form": form}


def jax_release() -> str:
    """Of JAX, such as 0.12."""
    return release(metadata.version("jax"))


def read_rows(path: Path) -> dict[tuple[Task, str], dict[str, Any]]:
    """The last line of each case with each ONNX Runtime in a file of lines, of the installed JAX."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    here = [row for row in rows if row["jax"] == jax_release()]
    return {((row["case"], (row["opset"], row["form"])), row["runtime"]): row for row in here}


if __name__ == "__main__":
    sys.exit(main())
