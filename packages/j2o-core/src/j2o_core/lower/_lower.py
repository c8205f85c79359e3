"""Lower: a simplified jaxpr becomes a graph, one rule per equation."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ..graph._builder import Builder
from ..graph._constants import Constants
from ..graph._dims import Dimensions
from ..graph._kept import kept_weight
from ..graph._values import stamp
from ..graph._walk import set_outputs
from ..plugin._registry import Registry
from ..simplify import ConstantTable, close_weights
from ..target import Target
from ..trace._trace import Traced
from ._equations import Lowerer
from ._functions import FunctionTable
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
    functions = FunctionTable()
    lowerer = Lowerer(registry, builder, dims, table, functions)
    opened = jaxpr.jaxpr.invars[len(given) :]
    kept = [kept_weight(name, value, var.aval.dtype) for (name, value), var in zip(table.kept, opened, strict=True)]
    constants.has_kept = bool(kept)
    constants.largest = max((value.const_value.nbytes for value in kept if value.const_value), default=0)
    outputs = lowerer.run(jaxpr, [*inputs, *kept], record=True)
    set_outputs(graph, outputs)
    closed = close_weights(jaxpr, table.kept)
    return Lowered(graph, constants, dims, closed, lowerer.values, functions=functions.functions)
