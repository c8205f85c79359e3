"""`expect_graph`: the nodes that a program must have, as text that a tool regenerates."""

from __future__ import annotations

import difflib
import json
import os
import sys
import textwrap
from typing import TYPE_CHECKING

import onnx_ir as ir

from ..program._summary import operator_counts
from ._graph_text import graph_text

if TYPE_CHECKING:
    from ..program._program import OnnxProgram

# When set, nothing is compared: each call appends where it stands and what the graph is to this file.
EMIT_VARIABLE = "J2O_EMIT_EXPECT_GRAPH"

_MISMATCH = """The graph is not the expected one (- expected, + actual):
{diff}
If the change is meant: python tools/emit_expect_graph.py {file}"""


def expect_graph(program: OnnxProgram | ir.Model, expected: str, *, detail: str = "graph") -> None:
    """Assert that a program has exactly these nodes.

    Args:
        program: an exported program or a model.
        expected: the text; indentation and empty lines around it do not matter. Write `""` first and let
            `emit_expect_graph` fill it in. It must be a string literal for that.
        detail: `"graph"` for nodes, edges, dtypes and shapes; `"operators"` for how often each operator occurs, which
            says enough of a large model.

    The text of `"graph"` has one line per chain of nodes:

        x:f32[B,3] -> MatMul(w)[B,4] -> %1
        %1 -> Sigmoid -> Mul(%1) -> output

    Types stand where they change, other operands in parentheses (`_` is the chain's own value where it is not the
    first operand), and `%1` names what several nodes read. Attributes are not shown: their effect is on the numbers.

    Raises:
        AssertionError: with the difference, if the graph is another one.
    """
    model = program if isinstance(program, ir.Model) else program.model
    if detail not in ("graph", "operators"):
        raise ValueError(f'detail is {detail!r}. Expected "graph" or "operators".')
    actual = graph_text(model) if detail == "graph" else operators_text(model)
    frame = sys._getframe(1)
    file, line = frame.f_code.co_filename, frame.f_lineno
    emit = os.environ.get(EMIT_VARIABLE)
    if emit:
        record = {"file": os.path.abspath(file), "line": line, "text": actual}
        with open(emit, "a", encoding="utf-8") as records:
            records.write(json.dumps(record) + "\n")
        return
    wanted = [line.strip() for line in textwrap.dedent(expected).strip().splitlines() if line.strip()]
    got = [line.strip() for line in actual.splitlines()]
    if wanted != got:
        diff = "\n".join(list(difflib.unified_diff(wanted, got, lineterm="", n=2))[2:])
        raise AssertionError(_MISMATCH.format(diff=diff, file=os.path.relpath(file)))


def operators_text(model: ir.Model) -> str:
    """How often each operator occurs, in alphabetical order, a few to a line."""
    counts = sorted(operator_counts(model).items())
    words = [f"{count} {op_type}," for op_type, count in counts]
    return textwrap.fill(" ".join(word.replace(" ", "\0") for word in words).rstrip(","), 100).replace("\0", " ")
