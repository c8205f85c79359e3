"""Regenerate the texts of `expect_graph` in test files: run the tests, write what came out into the calls.

    python -m j2o_core.testing.emit_expect_graph tests/test_attention.py [--check] [-- pytest arguments]

Look at the difference before committing it.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ._expect_graph import EMIT_VARIABLE


class NotRegenerated(Exception):
    """A call of `expect_graph` cannot be rewritten."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="emit_expect_graph", description=__doc__)
    parser.add_argument("paths", nargs="+", help="test files or folders")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    own, pytest_arguments = _split_at_dashes(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(own)
    records, status = _run_tests(options.paths, pytest_arguments)
    if status not in (0, 5):
        print("Some tests fail for other reasons; their expectations stay as they are.", file=sys.stderr)
    changed, problems = 0, []
    for file, texts in _by_file(records).items():
        source = Path(file).read_text(encoding="utf-8")
        try:
            new = regenerate(source, texts, file)
        except NotRegenerated as error:
            problems.append(str(error))
            continue
        if new != source:
            changed += 1
            print(f"{'would change' if options.check else 'changed'} {os.path.relpath(file)}")
            if not options.check:
                Path(file).write_text(new, encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(
        f"{len(records)} graphs, {changed} file{'s' if changed != 1 else ''} {'differ' if options.check else 'written'}"
    )
    return 1 if problems or status not in (0, 5) or (options.check and changed) else 0


def _split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(arguments)
    if "--" not in words:
        return words, []
    position = words.index("--")
    return words[:position], words[position + 1 :]


def _run_tests(paths: Iterable[str], pytest_arguments: Sequence[str]) -> tuple[list[dict[str, object]], int]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graphs.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", *paths, *pytest_arguments]
        status = subprocess.run(command, env={**os.environ, EMIT_VARIABLE: str(file)}, check=False).returncode
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) for line in lines], status


def _by_file(records: Iterable[dict[str, object]]) -> dict[str, dict[int, set[str]]]:
    files: dict[str, dict[int, set[str]]] = {}
    for record in records:
        lines = files.setdefault(str(record["file"]), {})
        lines.setdefault(int(str(record["line"])), set()).add(str(record["text"]))
    return files


def regenerate(source: str, texts: dict[int, set[str]], file: str = "<source>") -> str:
    """The source with new texts in its calls of `expect_graph`.

    Args:
        source: Python code.
        texts: for the line of a call, all texts that it was seen with.
        file: the name for errors.

    Raises:
        NotRegenerated: if a call is not found, its text is no literal, or it saw different graphs.
    """
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _is_expect_graph(node)]
    lines = source.splitlines(keepends=True)
    for line, seen in sorted(texts.items(), reverse=True):
        where = f"{os.path.relpath(file) if os.path.isabs(file) else file}:{line}"
        if len(seen) > 1:
            raise NotRegenerated(
                f"{where}: this expect_graph sees {len(seen)} different graphs (a parametrized test?). "
                f"Give each graph a call of its own."
            )
        fitting = [call for call in calls if call.lineno <= line <= (call.end_lineno or call.lineno)]
        if not fitting:
            raise NotRegenerated(f"{where}: no call of expect_graph stands here.")
        literal = _literal(min(fitting, key=lambda call: (call.end_lineno or 0) - call.lineno))
        if literal is None:
            raise NotRegenerated(f"{where}: the expected graph is not a string literal, so it cannot be written.")
        _replace(lines, literal, seen.pop())
    return "".join(lines)


def _is_expect_graph(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "expect_graph"


def _literal(call: ast.Call) -> ast.Constant | None:
    candidates = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "expected")]
    literal = candidates[0] if candidates else None
    return literal if isinstance(literal, ast.Constant) and isinstance(literal.value, str) else None


def _replace(lines: list[str], literal: ast.Constant, text: str) -> None:
    """Put a literal for `text` where `literal` stands; several lines become an indented block."""
    assert literal.end_lineno is not None
    assert literal.end_col_offset is not None
    first, last = literal.lineno - 1, literal.end_lineno - 1
    # Columns of `ast` count bytes.
    before = lines[first].encode()[: literal.col_offset].decode()
    after = lines[last].encode()[literal.end_col_offset :].decode()
    if "\n" in text:
        indent = " " * (len(lines[first]) - len(lines[first].lstrip()))
        inner = "".join(f"{indent}    {line}\n" for line in text.splitlines())
        new = f'"""\n{_escaped(inner)}{indent}    """'
    else:
        new = f'"{_escaped(text)}"'
    lines[first : last + 1] = (before + new + after).splitlines(keepends=True)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


if __name__ == "__main__":
    sys.exit(main())
