"""Drop guards of matchers and workarounds, one at a time, and count which the same package's tests notice.

    python tools/drop_guards.py packages/j2o-core/src/j2o_core/graph --tests packages/j2o-core/tests/graph

A guard is an `if` whose body only declines (`return None`, `return False`, `return`, `continue`, `raise`). Its
condition, or one operand of a condition joined by `or`, counts as False. A guard with a comment `# cost: ...` on its
line chooses between two right forms, which no numbers tell apart: it is counted by itself. No source is changed: the
files are compiled with each condition passed through `_Guards.ask`. The tests run once as they are, which shows the
tests in which each guard is ever true; only these run again without it, the quick ones first. Of 40 guards that are
drawn 38 are to be noticed; the others are listed, as tests to write or guards to delete.
"""

import argparse
import ast
import builtins
import importlib.machinery
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ASK = "__j2o_guard__"
# A guard may be all that ends a loop: a test that takes so many seconds of the processor without it has noticed.
LONGEST = 20
# All tests of one guard.
SECONDS = 120


class Guard(NamedTuple):
    """One operand of a guard's condition."""

    path: Path
    line: int
    condition: str


class _Instrument(ast.NodeTransformer):
    """Passes the conditions of guards through `ASK`, with the guard's number."""

    def __init__(self, path: Path, found: list[Guard]):
        self.path, self.found = path, found
        self.of_cost = 0
        self._lines = path.read_text().splitlines()

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if node.orelse or not _declines(node.body):
            return node
        if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or):
            node.test.values = [self._asked(one) for one in node.test.values]
        else:
            node.test = self._asked(node.test)
        return node

    def _asked(self, condition: ast.expr) -> ast.expr:
        text = ast.unparse(condition)
        if "is None" in text and not isinstance(condition, ast.BoolOp):
            return condition  # without it the next line fails by itself
        if "# cost:" in self._lines[condition.lineno - 1]:
            self.of_cost += 1
            return condition
        self.found.append(Guard(self.path, condition.lineno, text))
        number = ast.Constant(len(self.found) - 1)
        return ast.Call(ast.Name(ASK, ast.Load()), [number, condition], [])


def _declines(body: list[ast.stmt]) -> bool:
    (first, *rest) = body
    if isinstance(first, ast.Return):
        return not rest and (first.value is None or isinstance(first.value, ast.Constant))
    return not rest and isinstance(first, (ast.Continue, ast.Raise))


class _Guards:
    """The pytest plugin: runs all tests, then for each guard those that it decides."""

    def __init__(self, paths: list[Path]):
        self.found: list[Guard] = []
        self.of_cost = 0
        self.codes: dict[str, Any] = {}
        for path in paths:
            instrument = _Instrument(path, self.found)
            tree = instrument.visit(ast.parse(path.read_text()))
            self.of_cost += instrument.of_cost
            self.codes[str(path)] = compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)
        self.drawn: list[int] = []
        self.missed: list[Guard] = []
        self._dropped: int | None = None
        self._true = set[int]()
        self._failures: list[str] = []
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w")  # pytest captures standard output

    def say(self, *lines: str) -> None:
        """Prints past the capture of pytest."""
        print(*lines, sep="\n", file=self._out, flush=True)

    def ask(self, number: int, condition: Any) -> Any:
        """The condition of a guard, False for the one that is dropped."""
        if condition:
            self._true.add(number)
        return False if number == self._dropped else condition

    def install(self) -> None:
        """Have the files imported with their guards asked."""
        setattr(builtins, ASK, self.ask)
        get_code = importlib.machinery.SourceFileLoader.get_code

        def asked(loader: Any, name: str) -> Any:
            code = self.codes.get(str(Path(loader.path).resolve()))
            return get_code(loader, name) if code is None else code

        importlib.machinery.SourceFileLoader.get_code = asked  # type: ignore[method-assign]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of the loop of pytest, which runs each test once."""
        tests: dict[int, list[tuple[float, pytest.Item]]] = {}
        for item in session.items:
            self._true.clear()
            start = time.process_time()
            if self._fails(item):
                self.say(f"{item.nodeid} does not pass as it is, so it shows nothing of a guard:", *self._failures)
                raise session.Failed
            seconds = time.process_time() - start
            for number in self._true:
                tests.setdefault(number, []).append((seconds, item))
        for number in sorted(self.drawn):
            self._report(number, sorted(tests.get(number, ()), key=lambda one: one[0]))
        self.say(f"\n{len(self.drawn)} guards; {len(self.drawn) - len(self.missed)} noticed", f"{self.of_cost} of cost")
        return True

    def _report(self, number: int, tests: list[tuple[float, pytest.Item]]) -> None:
        guard, tried, start = self.found[number], 0, time.process_time()
        self._dropped, noticed = number, False
        for _, item in tests:
            tried += 1
            noticed = self._fails(item)
            if noticed or time.process_time() - start > SECONDS:
                break
        self._dropped = None
        if not noticed:
            self.missed.append(guard)
        seen = "" if noticed else f"  ({tried} of {len(tests)} tests in which it is true)"
        self.say(f"{'noticed' if noticed else 'MISSED '}  {guard.path.name}:{guard.line}  {guard.condition}{seen}")

    def _forget(self) -> None:
        """Empties the caches of functions with guards: what one remembers is not asked again."""
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None) in self.codes:
                for function in vars(module).values():
                    if hasattr(function, "cache_clear") and ASK in function.__wrapped__.__code__.co_names:
                        function.cache_clear()

    def _fails(self, item: pytest.Item) -> bool:
        """Runs a test, again perhaps."""
        self._failures.clear()
        self._forget()
        item._initrequest()  # type: ignore[attr-defined]
        signal.signal(signal.SIGPROF, _too_long)
        # Again and again: the first may fall into a callback, which ignores it.
        signal.setitimer(signal.ITIMER_PROF, LONGEST if self._dropped is not None else 0, 1)
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return bool(self._failures)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Stops the timer of a test that has failed: its next signal would fall into the report."""
        if call.excinfo is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps what failed."""
        if report.failed:
            self._failures.append(report.longreprtext)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Says which file cannot be collected: without it a guard that is noticed looks as if it were not."""
        if report.failed:
            self.say(report.longreprtext)
            raise pytest.UsageError("The tests cannot be collected as they are.")

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Only this plugin prints: tests fail on purpose."""
        session.config.pluginmanager.unregister(name="terminalreporter")


class Endless(BaseException):
    """A test does not end; no `except Exception` keeps this."""


def _too_long(*_: Any) -> None:
    raise Endless


def main() -> int:
    """Drop the guards and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="files with guards, or folders of them")
    parser.add_argument("--tests", nargs="+", required=True, help="tests of the same package, as for pytest")
    parser.add_argument("--count", type=int, default=40, help="how many guards; 40 unless told otherwise")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", nargs="+", metavar="FILE:LINE", help="these guards instead of a draw")
    parser.add_argument("--every", type=int, default=1, help="run about every Nth case of a parametrized test")
    options = parser.parse_args()
    folders = [source.resolve() for source in options.sources]
    guards = _Guards([path for one in folders for path in (sorted(one.rglob("*.py")) if one.is_dir() else [one])])
    numbers = [
        number
        for number, guard in enumerate(guards.found)
        if not options.only or f"{guard.path.name}:{guard.line}" in options.only
    ]
    guards.drawn = random.Random(options.seed).sample(numbers, min(options.count, len(numbers)))
    guards.install()
    plain = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--every={options.every}"]
    status = pytest.main([*plain, *options.tests], plugins=[guards])
    return int(status != pytest.ExitCode.OK or len(guards.missed) * 20 > len(guards.drawn))


if __name__ == "__main__":
    sys.exit(main())
