"""The result of lowering, for the stages after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from ..graph._constants import Constants
from ..graph._dims import Dimensions


@dataclass
class Lowered:
    """A lowered graph and what later stages want to know of it.

    Attributes:
        graph: inputs, nodes and outputs; constants are values that are not registered yet.
        constants: the table of constants.
        dims: symbolic dimensions as values of the graph.
        jaxpr: the simplified jaxpr that was lowered.
        values: for each equation of the jaxpr, the values of its results, or of the same elements in another shape.
        declined: (operator, reason, source line) of each pattern that a rewrite recognized and left as it was.
        detours: (operator, what stands for it, source line) of each node that the target cannot run as it is.
        functions: the functions that the graph calls, and those that they call before them.
    """

    graph: ir.Graph
    constants: Constants
    dims: Dimensions
    jaxpr: Any
    values: list[tuple[ir.Value, ...]]
    declined: list[tuple[str, str, str]] = field(default_factory=list)
    detours: list[tuple[str, str, str]] = field(default_factory=list)
    functions: list[LoweredFunction] = field(default_factory=list)

    def parts(self) -> list[Lowered]:
        """The bodies of the functions, each behind those that it calls, and the main graph."""
        return [*(function.body for function in self.functions), self]


@dataclass
class LoweredFunction:
    """A function of the file.

    Attributes:
        name: its name in the file.
        sizes: symbols of the sizes that are its last inputs.
        body: its graph, which reads nothing but its inputs and constants.
    """

    name: str
    sizes: list[str]
    body: Lowered
