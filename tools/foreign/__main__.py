"""Exports programs of other libraries, compares them with JAX, times them, and writes a line for each.

    python -m foreign build/foreign.jsonl [--domain robots] [--library brax] [--name step] [--opsets 21 23]

A program that does not agree ends the run with an error, unless the catalogue says why it cannot.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import j2o_core
from j2o_core.program._report import operator_counts
from latency import latency

from .catalogue import PROGRAMS, Program

# All but hugging_face, which has an environment of its own.
DOMAINS = ("robots", "games", "graphs", "probability", "solvers", "physics", "models")


def main() -> None:
    """Run the chosen programs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--domain", action="append", help="a file of programs of this folder; may be repeated")
    parser.add_argument("--library", dest="packages", action="append", help="only this library; may be repeated")
    parser.add_argument("--name", default="", help="only programs whose name has this part")
    parser.add_argument("--opsets", type=int, nargs="+", default=[21, 23])
    parser.add_argument("--rounds", type=int, default=30, help="of timing")
    arguments = parser.parse_args()
    for domain in arguments.domain or DOMAINS:
        importlib.import_module(f"{__package__}.{domain}")
    chosen = [
        program
        for program in PROGRAMS
        if (not arguments.packages or program.package in arguments.packages) and arguments.name in program.name
    ]
    failed = 0
    with arguments.output.open("w", encoding="utf-8") as file:
        for program in chosen:
            row = examine(program, arguments.opsets, arguments.rounds)
            failed += row["result"] == "differs"
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(
                f"{row['result']:8} {program.package:12} {program.name:50} {row.get('message', '')[:150]!r}", flush=True
            )
    print(f"{len(chosen)} programs, {failed} without agreement or reason")
    sys.exit(1 if failed else 0)


def examine(program: Program, opsets: list[int], rounds: int) -> dict[str, Any]:
    """One row of the table: agreement, nodes and latency of a program."""
    row: dict[str, Any] = {
        "library": program.package,
        "version": metadata.version(program.package),
        "program": program.name,
    }
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    exported = None
    try:
        fn, args = program.make()
    except Exception as error:  # noqa: BLE001 - whatever a library does
        return {
            **row,
            "result": "not run",
            "message": f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc(),
        }
    try:
        for opset in opsets:
            exported = j2o_core.to_onnx(fn, list(args), opset=opset, **program.options)
            exported.check()
            verified = exported.verify(*args, **program.tolerances)
            row[f"relative_{opset}"] = verified.relative
            row[f"nodes_{opset}"] = sum(operator_counts(exported.model).values())
    except Exception as error:  # noqa: BLE001 - the row says what it is
        result = "known" if program.known else "differs"
        message = program.known or f"{type(error).__name__}: {error}"
        return {**row, "result": result, "message": message, "trace": traceback.format_exc()}
    row["export_s"] = round(time.perf_counter() - start, 2)
    if rounds:
        row["latency"] = latency(exported, fn, args, rounds)
    return {**row, "result": "agrees"}


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with contextlib.suppress(KeyboardInterrupt):
        main()
