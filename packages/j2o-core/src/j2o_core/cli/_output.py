"""Output of the command line: progress on standard error while it works, tables on standard output at the end."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Section = tuple[str, Sequence[tuple[str, str]]]


class Stages:
    """Announces stages of a long piece of work and remembers how long each took.

    Call it with a stage's name when the stage begins. On a terminal there is a bar, with `rich` if it is installed;
    elsewhere nothing is shown.
    """

    def __init__(self, expected: Sequence[str]):
        self.seconds: dict[str, float] = {}
        self._expected = list(expected)
        self._current: tuple[str, float] | None = None
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, stage: str) -> None:
        self._finish_current()
        self._current = (stage, time.perf_counter())
        done = len(self.seconds)
        total = max(len(self._expected), done + 1)
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=done, total=total)
        elif sys.stderr.isatty():
            print(f"[{done + 1}/{total}] {stage}", file=sys.stderr, flush=True)

    def _finish_current(self) -> None:
        if self._current is not None:
            stage, begin = self._current
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin
            self._current = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[Stages]:
        """Show the bar until the block is left."""
        with contextlib.ExitStack() as stack:
            progress = _rich("progress") if sys.stderr.isatty() else None
            if progress is not None:
                columns = (
                    progress.SpinnerColumn(),
                    progress.BarColumn(),
                    progress.TextColumn("{task.description}"),
                    progress.TimeElapsedColumn(),
                )
                console = _rich("console").Console(stderr=True)
                self._bar = stack.enter_context(progress.Progress(*columns, console=console, transient=True))
                self._task = self._bar.add_task("", total=len(self._expected))
            try:
                yield self
            finally:
                self._finish_current()
                self._bar = None


def show(sections: Sequence[Section], *, as_json: bool = False, numbers: Mapping[str, Any] | None = None) -> None:
    """Print a table of sections, each a heading and rows of two columns; or an object of objects in JSON.

    A name that a section has several times has a list there.

    Args:
        sections: the table.
        as_json: whether it is printed in JSON.
        numbers: by heading, what a section is in JSON where its rows are sentences for people.
    """
    if as_json:
        found = {heading: _as_object(rows) for heading, rows in sections} | dict(numbers or {})
        print(json.dumps(found, indent=2))
        return
    rich_table = _rich("table") if sys.stdout.isatty() else None
    if rich_table is not None:
        from rich.text import Text  # a name in brackets is not markup

        table = rich_table.Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold")
        for heading, rows in sections:
            for index, (left, right) in enumerate(rows):
                table.add_row(heading if index == 0 else "", Text(left), Text(right))
        _rich("console").Console().print(table)
        return
    for line in table_lines(sections):
        print(line)


def _as_object(rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for left, right in rows:
        found.setdefault(left, []).append(right)
    return {left: rights[0] if len(rights) == 1 else rights for left, rights in found.items()}


def table_lines(sections: Sequence[Section]) -> list[str]:
    """The table as plain lines."""
    first = max((len(heading) for heading, rows in sections if rows), default=0)
    second = max((len(left) for _, rows in sections for left, _ in rows), default=0)
    return [
        f"{heading if index == 0 else '':{first}}  {left:{second}}  {right}".rstrip()
        for heading, rows in sections
        for index, (left, right) in enumerate(rows)
    ]


def _rich(module: str) -> Any:
    """A module of `rich`, or None if it is not installed."""
    import importlib

    try:
        return importlib.import_module(f"rich.{module}")
    except ImportError:
        return None
