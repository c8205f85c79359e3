"""A row of the table of workarounds: a fault of a runtime, the program that shows it, and what is done about it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import onnx_ir as ir

Version = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Witness:
    """A graph that the runtime computes wrongly without legalize: the test of its workaround.

    Attributes:
        graph: the graph as ONNX text. Narrow types are made inside it, by Cast.
        feeds: the inputs, as nested lists of numbers.
        expected: the right value of its one output.
        opset: the opset of the model.
        rtol: how far from the right value a right kernel may be, relative to it.
    """

    graph: str
    feeds: tuple[Any, ...]
    expected: Any
    opset: int = 21
    rtol: float = 0.0


@dataclasses.dataclass(frozen=True)
class Workaround:
    """A fault of ONNX Runtime, and the workaround for it.

    Attributes:
        name: a name for tests and pages, such as `reduce-sum-integers`.
        op_types: the operators.
        dtypes: the element types of their first operands.
        kind: whether a kernel is wrong, or what the graph optimizer makes of several nodes.
        gives: a sentence: the wrong result.
        instead: a sentence: what is written instead.
        witness: a graph that shows it.
        unusable: whether the kernel counts as missing for these element types, so that a cast to a wider one or a
            composition takes its place; else `legalize/workarounds` has nodes to write under the row's name.
        fails: whether the runtime stops with an error there, rather than give a wrong result.
        fixed: the first release without the fault; None as long as no release is.
        upstream: the issue at the runtime's repository, if there is one.
        cost: time of what is written over that of the operator, measured as `docs/runtime-faults.md` says.
    """

    name: str
    op_types: tuple[str, ...]
    dtypes: tuple[ir.DataType, ...]
    kind: Literal["kernel", "optimizer"]
    gives: str
    instead: str
    witness: Witness
    unusable: bool = False
    fails: bool = False
    fixed: Version | None = None
    upstream: str | None = None
    cost: float | None = None

    def needed(self, release: Version) -> bool:
        """Whether a release of the runtime has the fault."""
        return self.fixed is None or release < self.fixed
