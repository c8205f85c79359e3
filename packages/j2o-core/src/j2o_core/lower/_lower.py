"""Lower: a simplified jaxpr becomes a graph, one rule per equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from ..graph._builder import Builder
from ..graph._constants import Constants
from ..graph._dims import Dimensions
from ..graph._kept import kept_weight
from ..graph._values import stamp
from ..plugin._registry import Registry
from ..simplify import ConstantTable, close_weights
from ..target import Target
from ..trace._trace import Traced
from ._equations import Lowerer
from ._lowered import Lowered
from ._supported import check_supported


def lower(traced: Traced, jaxpr: Any, registry: Registry, target: Target, table: ConstantTable) -> Lowered:
    """Lower a simplified jaxpr.

    Raises:
        UnsupportedError: naming every primitive without a rule, before any rule runs.
        LoweringError: if a rule raises, or its results are not what the avals say.
    """
    check_supported(jaxpr, registry, target.opset)
    inputs = []
    given = jaxpr.jaxpr.invars[: len(traced.inputs.leaves)]
    for leaf, var in zip(traced.inputs.leaves, given, strict=True):
        value = ir.Value(name=leaf.name)
        stamp(value, var.aval.dtype, var.aval.shape)  # the leaf's own, but for keys and complex numbers
        inputs.append(value)
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": target.opset}, name="main")
    constants = Constants()
    builder = Builder(constants, target, append=graph.append)
    sources = [(value, leaf.shape) for value, leaf in zip(inputs, traced.inputs.leaves, strict=True)]
    dims = Dimensions(builder, sources)
    lowerer = Lowerer(registry, builder, dims, table)
    opened = jaxpr.jaxpr.invars[len(given) :]
    kept = [kept_weight(name, value, var.aval.dtype) for (name, value), var in zip(table.kept, opened, strict=True)]
    outputs = lowerer.run(jaxpr, [*inputs, *kept], record=True)
    graph.outputs.extend(_distinct_outputs(builder, graph, outputs, jaxpr))
    return Lowered(graph, constants, dims, close_weights(jaxpr, table.kept), lowerer.values)


def _distinct_outputs(builder: Builder, graph: ir.Graph, outputs: Sequence[ir.Value], jaxpr: Any) -> list[ir.Value]:
    """Outputs as values of their own: an input, a constant or a repeated value passes through an Identity."""
    taken: set[ir.Value] = set(graph.inputs)
    result = []
    for value, var in zip(outputs, jaxpr.jaxpr.outvars, strict=True):
        if value in taken or value.producer() is None:
            node = ir.Node("", "Identity", [value])
            stamp(node.outputs[0], var.aval.dtype, var.aval.shape)
            graph.append(node)
            value = node.outputs[0]
        taken.add(value)
        result.append(value)
    return result
