"""Drop guards of matchers and workarounds, one at a time, and count which the same package's tests notice.

    python tools/drop_guards.py packages/j2o-core/src/j2o_core/graph/_peephole.py --tests packages/j2o-core/tests/graph

A guard is an `if` whose body only declines (`return None`, `return False`, `return`, `continue`, `raise`). Its
condition, or one operand of a condition joined by `or`, is made False. The sources are put back afterwards, also when
the program is told to stop. Of 40 guards that are drawn 38 are to be noticed; the others are listed, as tests to write.
"""

import argparse
import ast
import random
import signal
import subprocess
import sys
from pathlib import Path


def guards(path: Path) -> list[tuple[int, str, str]]:
    """(line, condition, source without it) of each guard of a file."""
    source = path.read_text()
    lines = source.splitlines(keepends=True)
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.If) or node.orelse or not _declines(node.body):
            continue
        one = node.test
        parts = one.values if isinstance(one, ast.BoolOp) and isinstance(one.op, ast.Or) else [one]
        for part in parts:
            text = ast.get_source_segment(source, part)
            if "is None" in text and not isinstance(part, ast.BoolOp):
                continue  # without it the next line fails by itself
            found.append((part.lineno, text, _without(lines, part)))
    return found


def _declines(body: list[ast.stmt]) -> bool:
    (first, *rest) = body
    if isinstance(first, ast.Return):
        return not rest and (first.value is None or isinstance(first.value, ast.Constant))
    return not rest and isinstance(first, (ast.Continue, ast.Raise))


def _without(lines: list[str], node: ast.expr) -> str:
    """The source with an expression made False; columns count bytes."""
    before, after = lines[node.lineno - 1].encode(), lines[node.end_lineno - 1].encode()
    new = before[: node.col_offset] + b"False" + after[node.end_col_offset :]
    return "".join([*lines[: node.lineno - 1], new.decode(), *lines[node.end_lineno :]])


def main() -> int:
    """Drop the guards and print what was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="sources with guards")
    parser.add_argument("--tests", nargs="+", required=True, help="tests of the same package, as for pytest")
    parser.add_argument("--count", type=int, default=40, help="how many guards; 40 unless told otherwise")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args()
    every = [(path, *guard) for path in options.files for guard in guards(path)]
    drawn = random.Random(options.seed).sample(every, min(options.count, len(every)))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *options.tests]
    unchanged = subprocess.run(command, capture_output=True, check=False, text=True)
    if unchanged.returncode:
        sys.exit(f"The tests do not pass as they are, so they show nothing of a guard:\n{unchanged.stdout[-2000:]}")
    missed = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for path, line, condition, mutated in sorted(drawn, key=lambda one: (str(one[0]), one[1])):
        original = path.read_text()
        try:
            path.write_text(mutated)
            noticed = subprocess.run(command, capture_output=True, check=False).returncode != 0
        finally:
            path.write_text(original)
        print(f"{'noticed' if noticed else 'MISSED '}  {path.name}:{line}  {' '.join(condition.split())}", flush=True)
        if not noticed:
            missed.append((path, line))
    print(f"{len(drawn) - len(missed)} of {len(drawn)} noticed")
    return int(len(missed) * 20 > len(drawn))


if __name__ == "__main__":
    sys.exit(main())
