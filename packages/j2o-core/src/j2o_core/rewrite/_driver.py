"""Runs rewrites to a fixed point with a work list, so that time stays linear in the graph."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from .._builder import Builder
from .._errors import J2oError, RewriteError
from .._finish import all_graphs, remove_unused_nodes
from .._infer import same_shape
from .._plugin import Rewrite
from .._values import shape_of, stamp
from ._rewriter import Rewriter

if TYPE_CHECKING:
    from .._discover import Registry
    from .._lower import Lowered

# More replacements per node than this mean that two rules undo each other.
_REPLACEMENTS_PER_NODE = 20


def rewrite(lowered: Lowered, registry: Registry, opset: int) -> None:
    """Apply all rewrites of a registry to a lowered graph, in place.

    Raises:
        RewriteError: if a rule raises, replaces a value by one of another dtype or shape, or rules do not settle.
    """
    rules: dict[str, list[Rewrite]] = {}
    for rule in registry.rewrites:
        if rule.opset <= opset:
            for op_type in rule.op_types:
                rules.setdefault(op_type, []).append(rule)
    for graph in list(all_graphs(lowered.graph)):
        remove_unused_nodes(graph)
        _Driver(graph, lowered, rules, opset).run()


class _Driver:
    def __init__(self, graph: ir.Graph, lowered: Lowered, rules: dict[str, list[Rewrite]], opset: int):
        self._graph = graph
        self._rules = rules
        self._new: list[ir.Node] = []
        self._builder = Builder(lowered.constants, opset, append=self._new.append, share=False)
        self._rewriter = Rewriter(self._builder)
        self._queue: deque[ir.Node] = deque(graph)
        self._queued = set(self._queue)
        self._gone: set[ir.Node] = set()

    def run(self) -> None:
        budget = _REPLACEMENTS_PER_NODE * (len(self._queue) + 1)
        while self._queue:
            node = self._queue.popleft()
            self._queued.discard(node)
            if node in self._gone:
                continue
            for rule in self._rules.get(node.op_type, ()):
                if node.domain == "" and self._try(rule, node):
                    budget -= 1
                    break
            if budget < 0:
                raise RewriteError("The rewrites do not settle: two of them undo each other's work.")

    def _try(self, rule: Rewrite, node: ir.Node) -> bool:
        self._new.clear()
        self._builder.metadata = dict(node.metadata_props)
        try:
            result = rule.rule(self._rewriter, node)
        except J2oError:
            raise
        except Exception as error:
            raise RewriteError(
                f"The rewrite {rule.name} of plugin {rule.plugin.name!r} raised {type(error).__name__} at "
                f"{node.op_type} ({node.metadata_props.get('j2o.source', 'unknown source')}): {error}"
            ) from error
        if result is None:
            return False
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        self._check(rule, node, results)
        added = [new for new in self._new if new.graph is None]
        self._graph.insert_before(node, added)
        self._replace(node, results)
        for new in added:
            self._push(new)
        return True

    def _check(self, rule: Rewrite, node: ir.Node, results: list[Any]) -> None:
        for old, new in zip(node.outputs, results, strict=True):
            shapes = shape_of(old), shape_of(new)
            wrong_shape = shapes[0] is not None and shapes[1] is not None and len(shapes[0]) != len(shapes[1])
            if old.dtype != new.dtype or wrong_shape:
                raise RewriteError(
                    f"The rewrite {rule.name} of plugin {rule.plugin.name!r} replaced {node.op_type} of "
                    f"{old.dtype}{shapes[0]} by {new.dtype}{shapes[1]}."
                )
            if new.producer() is not None and not same_shape(*shapes) and shapes[0] is not None:
                stamp(new, old.dtype, shapes[0])

    def _replace(self, node: ir.Node, results: list[ir.Value]) -> None:
        outputs = {value: index for index, value in enumerate(self._graph.outputs)}
        for old, new in zip(node.outputs, results, strict=True):
            for user, index in list(old.uses()):
                user.replace_input_with(index, new)
                self._push(user)
                self._push_users(user)
            if old in outputs:
                self._graph.outputs[outputs[old]] = self._as_output(node, new, outputs)
        self._remove_dead(node)

    def _as_output(self, node: ir.Node, value: ir.Value, outputs: dict[ir.Value, int]) -> ir.Value:
        if value.producer() is not None and value.producer().graph is self._graph and value not in outputs:  # type: ignore[union-attr]
            return value
        identity = ir.Node("", "Identity", [value], metadata_props=dict(node.metadata_props))
        stamp(identity.outputs[0], value.dtype, shape_of(value))
        self._graph.insert_after(node, [identity])
        return identity.outputs[0]

    def _push(self, node: ir.Node) -> None:
        if node not in self._queued and node not in self._gone and node.graph is self._graph:
            self._queue.append(node)
            self._queued.add(node)

    def _push_users(self, node: ir.Node) -> None:
        for value in node.outputs:
            for user, _ in value.uses():
                self._push(user)

    def _remove_dead(self, node: ir.Node) -> None:
        """Remove a node that nobody reads any more, and what only it read."""
        stack = [node]
        while stack:
            dead = stack.pop()
            if dead in self._gone or dead.graph is not self._graph:
                continue
            if any(value.uses() or value.is_graph_output() for value in dead.outputs):
                continue
            producers = [value.producer() for value in dead.inputs if value is not None]
            self._graph.remove(dead, safe=True)
            self._gone.add(dead)
            for producer in producers:
                if producer is not None:
                    # One reader fewer may be what a rule at a remaining reader waits for.
                    self._push_users(producer)
                    stack.append(producer)
