"""A pytest plugin that runs the examples of Markdown pages: `pytest -p doc_examples PAGE.md ...`.

What happens to a fenced block is decided by its language:

python   is executed; blocks of a page share their names. Lines with a prompt (`>>>`) must print what follows them.
console  each line behind `$ ` is run in a shell and must print what follows it, `...` stands for anything.
py       must be found, word for word, in the sources of the plugin template.

Everything else (`sh`, `toml`, plain) is for reading. A page runs in an empty folder of its own.
"""

import doctest
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_ROOT = Path(__file__).parent.parent
_QUOTED = _ROOT / "tests-integration" / "plugin-template" / "src"


def _run_console(example: Example) -> None:
    checker = doctest.OutputChecker()
    steps = f"\n{example.parsed.strip()}".split("\n$ ")[1:]
    assert steps, "a console block needs a line that begins with '$ '"
    for step in steps:
        command, _, wanted = step.partition("\n")
        done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        got = done.stdout.strip()
        assert done.returncode == 0 or "rror" in wanted, f"$ {command}\nexit status {done.returncode}\n{got}"
        assert checker.check_output(wanted.strip(), got, _FLAGS), f"$ {command}\nexpected:\n{wanted}\ngot:\n{got}"


def _find_quote(example: Example) -> None:
    quoted = example.parsed.strip()
    assert any(quoted in source.read_text() for source in _QUOTED.rglob("*.py")), (
        f"not found below {_QUOTED}:\n{quoted}"
    )


class _EmptyFolder:
    """A working directory for one page."""

    def enter(self, namespace: dict[str, Any]) -> None:
        del namespace
        self._before = os.getcwd()
        self._folder = tempfile.TemporaryDirectory()
        os.chdir(self._folder.name)

    def leave(self, namespace: dict[str, Any]) -> None:
        del namespace
        os.chdir(self._before)
        self._folder.cleanup()


_folder = _EmptyFolder()

pytest_collect_file = Sybil(
    name="examples",
    path=str(_ROOT),
    pattern="*.md",
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=_FLAGS),
        CodeBlockParser("console", _run_console),
        CodeBlockParser("py", _find_quote),
    ],
    setup=_folder.enter,
    teardown=_folder.leave,
).pytest()
