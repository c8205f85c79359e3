"""Rewrite and legalize for models that were not exported here: tests and measurements of single nodes begin with it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import onnx_ir as ir

from ..finish._finish import TARGET
from ..finish._names import name_values
from ..graph._builder import Builder
from ..graph._constants import Constants
from ..graph._dims import Dimensions
from ..graph._domains import finish_domains, qualified
from ..graph._values import shape_of, stamp
from ..graph._walk import all_graphs, remove_unused_nodes
from ..legalize import legalize
from ..lower._lowered import Lowered
from ..plugin._discover import discover
from ..plugin._plugin import Plugin
from ..rewrite import rewrite
from ..target import Target


def legalize_model(model: ir.Model, target: Target) -> None:
    """Legalize a model in place. Inputs, outputs and initializers keep their names.

    Args:
        model: a model without functions; its values should have element types and shapes.
        target: where it is to run.

    Raises:
        LegalizeError: if nodes have no exact form for the target.
    """
    _through(lambda lowered: legalize(lowered, target), model, target)


def rewrite_model(model: ir.Model, target: Target, *plugins: Plugin) -> None:
    """Apply core's rewrites and those of plugins to a model in place. Inputs and outputs keep their names.

    Args:
        model: a model without functions; its inputs have element types and shapes.
        target: where it is to run.
        *plugins: those whose rewrites are applied, too.

    Raises:
        RewriteError: if a rewrite fails.
    """
    registry = discover(plugins)
    _through(lambda lowered: rewrite(lowered, registry, target), model, target)


def _through(stage: Callable[[Lowered], None], model: ir.Model, target: Target) -> None:
    graph, constants = model.graph, Constants()
    outputs = [value.name or f"output_{place}" for place, value in enumerate(graph.outputs)]
    scope = jax.export.SymbolicScope()
    for inner in all_graphs(graph):
        for value in (*inner.inputs, *(value for node in inner for value in node.outputs)):
            _stamp(value, scope)
        for name, value in list(inner.initializers.items()):
            assert value.const_value is not None
            ir.convenience.replace_all_uses_with(value, constants.get(value.const_value.numpy(), name))
            del inner.initializers[name]
        for node in inner:
            node.op_type = qualified(node)
            if node.op_type == "Constant":
                array = constants.get(_constant(node))
                ir.convenience.replace_all_uses_with(node.outputs[0], array, replace_graph_outputs=True)
                inner.remove(node, safe=True)
    builder = Builder(constants, target, append=graph.append)
    shapes = [(value, shape) for value in graph.inputs if (shape := shape_of(value)) is not None]
    stage(Lowered(graph, constants, Dimensions(builder, shapes), None, []))
    remove_unused_nodes(graph)
    graphs = list(all_graphs(graph))
    name_values(graphs, [value.name or "" for value in graph.inputs], outputs)
    finish_domains(graphs, {})
    model.metadata_props[TARGET] = target.describe()


def _stamp(value: ir.Value, scope: jax.export.SymbolicScope) -> None:
    sizes = [size.value if isinstance(size, ir.SymbolicDim) else size for size in value.shape or ()]
    if value.shape is not None and None not in sizes:
        stamp(value, value.dtype, jax.export.symbolic_shape(",".join(map(str, sizes)), scope=scope))


def _constant(node: ir.Node) -> np.ndarray:
    (attribute,) = node.attributes.values()
    if attribute.name == "value":
        return attribute.as_tensor().numpy()
    return np.asarray(attribute.value, np.int64 if "int" in attribute.name else np.float32)
