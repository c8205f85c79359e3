"""Names for everything, and for every node the module that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from ..graph import traits
from ..graph._domains import FUNCTION_DOMAIN, bare
from ..graph._walk import used_constants
from ..trace._modules import MODULE, common_place
from ..trace._names import unique_names
from ..trace._source import SOURCE

# A weight behind these is the weight.
_KEEPS = frozenset({"Cast", *traits.LAYOUT})


def name_values(graphs: Sequence[ir.Graph], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Names for everything: outputs as asked, weights by their path, nodes by the weight's module and their operator.

    Constants become initializers.

    Args:
        graphs: a graph, whose inputs have their names, and all graphs nested in it.
        inputs: these names.
        outputs: names of the outputs; one that is taken gets a number.
    """
    graph = graphs[0]
    taken, initializers = list(inputs), used_constants(graphs)
    outputs = unique_names([*taken, *outputs])[len(taken) :]
    hints = [value.meta.get("j2o_name") or f"const_{i}" for i, value in enumerate(initializers)]
    names = unique_names([*taken, *outputs, *hints])[len(taken) + len(outputs) :]
    for value, name in zip(initializers, names, strict=True):
        value.name = name
        assert value.const_value is not None
        value.const_value.name = name
        graph.initializers.add(value)
    used = {*taken, *outputs, *names}
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name
    named = set(graph.outputs)
    counts: dict[str, int] = {}
    for inner in graphs:
        for value in inner.inputs if inner is not graph else ():
            value.name = _fresh(f"{inner.name or 'body'}_in", counts, used)
        for node in inner:
            module = node.metadata_props.get(MODULE)
            node.name = _fresh(f"{module}/{bare(node.op_type)}" if module else bare(node.op_type), counts, used)
            for index, value in enumerate(node.outputs):
                if value not in named:  # onnx_ir named it when it was added: that name is unique in one graph only
                    value.name = _fresh(node.name if index == 0 else f"{node.name}:{index}", counts, used, exact=True)


def place_nodes(graphs: Iterable[ir.Graph]) -> None:
    """Every node gets the module that was being called, or the one that holds its weight where that is deeper inside.

    Nodes that a stage added without one, such as the copy of a result, belong where their operands do; those that
    compute a size of the inputs belong to the module that all their readers have in common.
    """
    for graph in graphs:
        unplaced: list[ir.Node] = []
        for node in graph:
            place = node.metadata_props.get(MODULE)
            held = _module_of_weight(node, in_box=place is not None) if node.domain != FUNCTION_DOMAIN else None
            if held is not None and (not place or held.startswith(f"{place}.")):
                place = held
            if place is None and SOURCE not in node.metadata_props:
                producers = [value.producer() for value in node.inputs if value is not None]
                places = [other.metadata_props.get(MODULE) for other in producers if other is not None]
                place = next((one for one in places if one is not None), None)
            if place is not None:
                node.metadata_props[MODULE] = place
            elif SOURCE not in node.metadata_props:
                unplaced.append(node)
        for node in reversed(unplaced):
            readers = [use.node.metadata_props.get(MODULE) for value in node.outputs for use in value.uses()]
            known = [one for one in readers if one is not None]
            common = common_place(known) if len(known) == len(readers) else None
            if common is not None:
                node.metadata_props[MODULE] = common


def _module_of_weight(node: ir.Node, *, in_box: bool) -> str | None:
    """The place of the first named weight that a node reads, cast or not, without the weight's own name.

    Args:
        node: the node.
        in_box: whether an array named `value` may lie in a box, such as `nnx.Param`, that has the name of the weight.
    """
    for value in node.inputs:
        while value is not None and (producer := value.producer()) is not None and producer.op_type in _KEEPS:
            value = producer.inputs[0]
        hint = value.meta.get("j2o_name") if value is not None else None
        if hint and "." in hint:
            leaf = str(hint).partition("[")[0]  # weight[0:384], weight[scaled]
            name = leaf.removesuffix(".value") if in_box else leaf
            return name.rpartition(".")[0]
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
