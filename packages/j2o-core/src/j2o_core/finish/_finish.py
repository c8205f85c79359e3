"""Finish: register constants, name everything, and wrap the graph as a model."""

from __future__ import annotations

from importlib import metadata

import onnx_ir as ir

from ..graph._domains import bare
from ..graph._nonfinite import DEFAULT, EXACT, NONFINITE
from ..graph._walk import all_graphs, remove_unused_nodes
from ..lower._lowered import Lowered
from ..target import Target
from ..trace._modules import MODULE
from ..trace._source import SOURCE
from ..trace._specs import unique_names
from ..trace._trace import Traced
from ._layouts_of_weights import store_layouts, write_records
from ._tied import tie

# The oldest IR version whose readers know the opset.
_IR_VERSIONS = {23: 11, 24: 12, 25: 13, 26: 13}
_OLDEST_IR_VERSION = 10


def finish(lowered: Lowered, traced: Traced, target: Target) -> ir.Model:
    """The finished model: initializers registered, unused nodes gone, unique readable names."""
    graph = lowered.graph
    remove_unused_nodes(graph)
    store_layouts(graph, lowered.constants)
    initializers = tie(graph, _used_constants(lowered), lowered.constants)
    _place_nodes(graph)
    _name_values(lowered, traced, initializers)
    for value in initializers:
        graph.initializers.add(value)
    write_records(graph)
    return ir.Model(
        graph,
        ir_version=_IR_VERSIONS.get(target.opset, _OLDEST_IR_VERSION),
        producer_name="j2o",
        producer_version=metadata.version("j2o-core"),
        metadata_props={NONFINITE: EXACT if target.exact_nonfinite else DEFAULT},
    )


def _used_constants(lowered: Lowered) -> list[ir.Value]:
    used: dict[ir.Value, None] = {}
    for graph in all_graphs(lowered.graph):
        for node in graph:
            for value in node.inputs:
                if value is not None and value.const_value is not None and value.producer() is None:
                    used[value] = None
    return list(used)


def _name_values(lowered: Lowered, traced: Traced, initializers: list[ir.Value]) -> None:
    """Inputs and outputs as asked, weights by their path, nodes by the weight's module and their operator."""
    graph = lowered.graph
    taken = [leaf.name for leaf in traced.inputs.leaves]
    outputs = unique_names([*taken, *traced.output_names])[len(taken) :]
    names = unique_names(
        [*taken, *outputs, *(lowered.constants.hint(value) or f"const_{i}" for i, value in enumerate(initializers))]
    )[len(taken) + len(outputs) :]
    for value, name in zip(initializers, names, strict=True):
        value.name = name
        assert value.const_value is not None
        value.const_value.name = name
    used = {*taken, *outputs, *names}
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name
    named = set(graph.outputs)
    counts: dict[str, int] = {}
    for inner in all_graphs(graph):
        for value in inner.inputs if inner is not graph else ():
            value.name = _fresh(f"{inner.name or 'body'}_in", counts, used)
        for node in inner:
            module = node.metadata_props.get(MODULE)
            node.name = _fresh(f"{module}/{bare(node.op_type)}" if module else bare(node.op_type), counts, used)
            for index, value in enumerate(node.outputs):
                if (
                    value not in named
                ):  # not the name that onnx_ir gave it when it was added: that is unique in one graph only
                    value.name = _fresh(node.name if index == 0 else f"{node.name}:{index}", counts, used, exact=True)


def _place_nodes(graph: ir.Graph) -> None:
    """Every node gets the module that was being called, or the one that holds its weight where that is deeper inside.

    Nodes that a stage added without one, such as the copy of a result, belong where their operands do.
    """
    for inner in all_graphs(graph):
        for node in inner:
            place, held = node.metadata_props.get(MODULE), _module_of_weight(node)
            if held is not None and (not place or held.startswith(f"{place}.")):
                place = held
            if place is None and SOURCE not in node.metadata_props:
                producers = [value.producer() for value in node.inputs if value is not None]
                places = [other.metadata_props.get(MODULE) for other in producers if other is not None]
                place = next((one for one in places if one is not None), None)
            if place is not None:
                node.metadata_props[MODULE] = place


def _module_of_weight(node: ir.Node) -> str | None:
    """The place of the first named weight that a node reads, without the weight's own name."""
    for value in node.inputs:
        if value is not None and value.producer() is None:
            hint = value.meta.get("j2o_name")
            if hint and "." in hint:
                return str(hint).rpartition(".")[0]
    return None


def _fresh(stem: str, counts: dict[str, int], used: set[str], *, exact: bool = False) -> str:
    name = stem
    if not exact or name in used:
        number = counts.get(stem, 0)
        name = f"{stem}_{number}"
        while name in used:
            number += 1
            name = f"{stem}_{number}"
        counts[stem] = number + 1
    used.add(name)
    return name
