"""Runs rewrites to a fixed point with a work list, so that time stays linear in the graph."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from .._errors import J2oError, PluginError, RewriteError
from ..graph import traits
from ..graph._builder import Builder
from ..graph._domains import INTERNAL_DOMAIN, domain_of
from ..graph._infer import may_equal, same_shape
from ..graph._schemas import check_operator
from ..graph._values import shape_of, stamp
from ..graph._walk import HOLDS_GRAPHS, all_graphs, detach, remove, remove_unused_nodes, replace_output
from ..plugin._budget import limited
from ..plugin._plugin import Rewrite
from ..plugin._rule_mistakes import advice_for, defined_at
from ..simplify import FOLD_LIMIT_BYTES
from ..trace._failure import raised_at
from ..trace._modules import common_module
from ..trace._source import source_of
from ._branches import choose_branches
from ._invariants import move_invariants
from ._items import move_item_maps
from ._kept_layouts import store_layouts
from ._lanes import plugin as lanes
from ._plugin import plugin as clean_ups
from ._regions import read_places, reshape_regions
from ._rewriter import Rewriter
from ._tied import tie
from ._transposes import transpose_regions

if TYPE_CHECKING:
    from ..lower._lowered import Lowered
    from ..plugin._registry import Registry
    from ..target import Target

# More replacements per node than this mean that two rules undo each other.
_REPLACEMENTS_PER_NODE = 20
# How many of the last replacements the error looks at then.
_NAMED_IF_UNSETTLED = 20
_STEP = "  {rule.name} of plugin {rule.plugin.name!r} at {node.op_type} ({line})"
_UNSETTLED = """The rewrites do not settle. The last ones were
{rules}
Expected that a rewrite declines what it has made itself, and that no two of them undo each other: return None there."""


@dataclass
class Steps:
    """How many rewrites are applied: a program without the last ones is right too, so that a wrong one can be found.

    Attributes:
        limit: the number; rules that expand an internal operator run in any case.
        applied: those that were applied, as (rule, source line).
    """

    limit: int | None = None
    applied: list[tuple[Rewrite, str]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether no more are applied."""
        return self.limit is not None and len(self.applied) >= self.limit


# Whose steps are counted, in this thread or task.
counted: ContextVar[Steps | None] = ContextVar("counted", default=None)


def rewrite(lowered: Lowered, registry: Registry, target: Target, *, keep_weights: bool = False) -> None:
    """Apply all rewrites of a registry to a lowered graph, in place.

    Args:
        lowered: the graph, and what is known of it.
        registry: the plugins.
        target: where the graph is to run.
        keep_weights: whether each leaf is stored as it is, and nothing is computed from leaves.

    Raises:
        PluginError: if a rule names an operator that ONNX does not have.
        RewriteError: if a rule raises, replaces a value by one of another dtype or shape, or rules do not settle.
    """
    early, late, of_bodies = _tables(registry, target.opset)
    packing = _by_operator(lanes.rewrites)
    asked_for_sizes = False
    declined: dict[tuple[ir.Node, Rewrite], str] = {}
    remove_unused_nodes(lowered.graph)
    graphs = list(all_graphs(lowered.graph))
    present = _Present(lowered, graphs)

    def drive(graph: ir.Graph, rules: _Table, start: Sequence[ir.Node]) -> None:
        nonlocal asked_for_sizes
        if not start:  # cost: of a driver with nothing to do
            return
        driver = _Driver(graph, lowered, rules, target, present, start)
        driver.run()
        asked_for_sizes |= driver.asked_for_sizes
        declined.update(driver.declined)

    for graph in graphs:
        for rules in (early, packing, late):
            if not present.has(rules):  # cost: of the walk below
                continue
            # Of nested vectors the outermost is the widest.
            nodes = reversed(graph) if rules is packing else graph
            drive(graph, rules, [node for node in nodes if node.op_type in rules])
        left = sorted({node.op_type for node in graph if node.domain == INTERNAL_DOMAIN} if present.has_domains else ())
        if left:
            raise RewriteError(f"The internal operators {left} are left: a late rewrite that expands them is missing.")
    may_nest = present.has_domains or present.has(HOLDS_GRAPHS)
    if may_nest:
        move_invariants(lowered.graph)
        move_item_maps(lowered.graph)
    graphs = list(all_graphs(lowered.graph)) if of_bodies and may_nest else []
    # The rules of control flow read bodies, whose layouts have to be settled.
    _move_layouts([graph for graph in graphs if graph is not lowered.graph], lowered, target)
    present = _Present(lowered, graphs)
    for graph in graphs:
        # The other rules run on what these add, and around it.
        drive(graph, {**early, **of_bodies}, [node for node in graph if node.op_type in of_bodies])
    if may_nest:  # after the rules of control flow, which read the layout of items
        move_item_maps(lowered.graph, lowered.constants)
    _move_layouts(all_graphs(lowered.graph), lowered, target, last=True)
    if asked_for_sizes:  # they are computed at the end of the main graph, whichever graph asked
        lowered.graph.sort()
    remove_unused_nodes(lowered.graph)
    if target.name is not None and (chosen := choose_branches(lowered.graph, lowered.constants)):
        _note(lowered, chosen)
        lowered.dims.forget()
        remove_unused_nodes(lowered.graph)
    lowered.constants.forget_wide()
    if lowered.constants.has_kept or lowered.constants.largest > FOLD_LIMIT_BYTES:  # the others are folded
        store_layouts(lowered.graph, lowered.constants, keep_weights=keep_weights)
    if not lowered.functions:  # which store weights in other layouts in the end
        tie(lowered.graph, lowered.constants)
    lowered.declined = [
        (rule.makes or rule.name, reason, source_of(node) or "unknown source")
        for (node, rule), reason in declined.items()
        if node.graph is not None
    ]


def _move_layouts(graphs: Iterable[ir.Graph], lowered: Lowered, target: Target, *, last: bool = False) -> None:
    """Move Transposes and Reshapes around regions of nodes; the last time, places are read without them."""
    for graph in graphs:
        op_types = {node.op_type for node in graph}
        if op_types.isdisjoint(traits.LAYOUT):  # cost: there is nothing to gain
            continue
        builder = Builder(lowered.constants, target, append=graph.append, share=False)
        if "Transpose" in op_types:
            transpose_regions(graph, builder, lowered.dims)
        _note(lowered, reshape_regions(graph, builder, lowered.dims))
        if last:
            read_places(graph, builder, lowered.dims)
        if builder.added:
            graph.sort()


def _note(lowered: Lowered, replaced: Mapping[ir.Value, ir.Value]) -> None:
    """Note which values took the places of others."""
    if replaced:
        lowered.values = [tuple([replaced.get(value, value) for value in values]) for values in lowered.values]


_Table = Mapping[str, Sequence[Rewrite]]


@functools.lru_cache(maxsize=8)
def _tables(registry: Registry, opset: int) -> tuple[_Table, _Table, _Table]:
    """The rules of each operator: those that run first, those that are late, and the late ones of control flow."""
    for rule in registry.rewrites:
        _check_operators(rule)
    rewrites = [rule for rule in (*clean_ups.rewrites, *registry.rewrites) if rule.opset <= opset]
    early = _by_operator([rule for rule in rewrites if not rule.late])
    late = _by_operator([rule for rule in rewrites if rule.late])
    of_bodies = {op_type: late.pop(op_type) for op_type in traits.CONTROL_FLOW if op_type in late}
    return early, late, of_bodies


def _check_operators(rule: Rewrite) -> None:
    """Refuse a rewrite that no graph could need: a misspelt operator is none."""
    for op_type in (*rule.op_types, *rule.needs):
        try:
            check_operator(op_type)
        except ValueError as error:
            raise PluginError(f"{rule.plugin!r} has the rewrite {rule.name} at {op_type!r}. {error}") from None


def _by_operator(rewrites: list[Rewrite]) -> dict[str, list[Rewrite]]:
    table: dict[str, list[Rewrite]] = {}
    for rule in rewrites:
        for op_type in rule.op_types:
            table.setdefault(op_type, []).append(rule)
    return table


class _Present:
    """Which operators a model may have: those that it had, and those that were added since."""

    def __init__(self, lowered: Lowered, graphs: Iterable[ir.Graph]):
        self._op_types = {node.op_type for graph in graphs for node in graph}
        self._of_sizes = lowered.dims.builder.added
        self._known_sizes = len(self._of_sizes)
        self.version = 0

    def add(self, nodes: Iterable[ir.Node]) -> None:
        """Note nodes that a rule added, and those of symbolic sizes that it asked for."""
        new = {node.op_type for node in (*nodes, *self._of_sizes[self._known_sizes :])}
        self._known_sizes = len(self._of_sizes)
        if not new <= self._op_types:
            self._op_types |= new
            self.version += 1

    def has(self, op_types: Iterable[str]) -> bool:
        """Whether there may be one of these operators."""
        return not self._op_types.isdisjoint(op_types)

    @property
    def has_domains(self) -> bool:
        """Whether there may be operators of other domains than ONNX's own."""
        return any(map(domain_of, self._op_types))

    def usable(self, rules: Iterable[Rewrite]) -> list[Rewrite]:
        """The rules that find one of the operators that they need."""
        return [rule for rule in rules if not rule.needs or not self._op_types.isdisjoint(rule.needs)]


class _Driver:
    def __init__(
        self,
        graph: ir.Graph,
        lowered: Lowered,
        rules: _Table,
        target: Target,
        present: _Present,
        start: Iterable[ir.Node],
    ):
        self._graph = graph
        self._rules = rules
        self._present = present
        self._version = present.version
        # The rules of an operator that find what they need.
        self._usable: dict[str, list[Rewrite]] = {}
        self._new: list[ir.Node] = []
        self._builder = Builder(lowered.constants, target, append=self._new.append, share=False)
        self._rewriter = Rewriter(self._builder, lowered.dims)
        self._queue: deque[ir.Node] = deque(start)
        self._queued = set(self._queue)
        self._unsorted = False
        self._steps = counted.get()
        # Why rules left nodes alone the last time they saw them.
        self.declined: dict[tuple[ir.Node, Rewrite], str] = {}
        self._running: tuple[Rewrite, ir.Node] | None = None
        self._limit = limited(self._describe, RewriteError)

    def run(self) -> None:
        with self._limit:
            self._run()

    def _run(self) -> None:
        budget = _REPLACEMENTS_PER_NODE * (len(self._graph) + 1)
        last: deque[tuple[Rewrite, ir.Node]] = deque(maxlen=_NAMED_IF_UNSETTLED)
        while self._queue:
            node = self._queue.popleft()
            self._queued.discard(node)
            if node.graph is not self._graph:
                continue  # it is removed
            rules = self._rules_of(node.op_type)
            if not rules:  # cost: of metadata that nothing takes
                continue
            self._builder.metadata = dict(node.metadata_props)
            steps = self._steps
            if steps is not None and node.domain == INTERNAL_DOMAIN:
                steps = None
            for rule in rules:
                if (steps is None or not steps.done) and self._try(rule, node):
                    if steps is not None:
                        steps.applied.append((rule, source_of(node) or "unknown source"))
                    budget -= 1
                    last.append((rule, node))
                    break
            if budget < 0:
                steps_back = [
                    _STEP.format(rule=rule, node=node, line=source_of(node) or "unknown source") for rule, node in last
                ]
                raise RewriteError(_UNSETTLED.format(rules="\n".join(dict.fromkeys(steps_back))))
        if self._unsorted or self._rewriter.reused:
            self._graph.sort()

    def _rules_of(self, op_type: str) -> list[Rewrite]:
        if self._version != self._present.version:
            self._version = self._present.version
            self._usable.clear()
        rules = self._usable.get(op_type)
        if rules is None:
            rules = self._usable[op_type] = self._present.usable(self._rules.get(op_type, ()))
        return rules

    @property
    def asked_for_sizes(self) -> bool:
        """Whether a rule needed a symbolic size as a value."""
        return self._rewriter.asked_for_sizes

    def _try(self, rule: Rewrite, node: ir.Node) -> bool:
        self._new.clear()
        self._rewriter.reason = None
        self._limit.restart()
        self._running = rule, node
        try:
            result = rule.rule(self._rewriter, node)
        except J2oError:
            raise
        except Exception as error:
            how = advice_for(error)
            raise RewriteError(
                f"The rewrite {rule.name} of plugin {rule.plugin.name!r} raised {type(error).__name__} at "
                f"{node.op_type} ({source_of(node) or 'unknown source'}): {error}\n"
                f"  in the rewrite at {raised_at(error) or defined_at(rule.rule) or 'a line without source'}"
                + (f"\n{how}" if how is not None else "")
            ) from error
        if self.declined:
            self.declined.pop((node, rule), None)
        if result is None:
            if self._new:
                self._discard()
            if self._rewriter.reason is not None:
                self.declined[node, rule] = self._rewriter.reason
            return False
        if isinstance(result, dict):
            self._unsorted = True  # some of the replaced values may be made further up
        elif not isinstance(result, (list, tuple)):
            result = [result]
        if not isinstance(result, dict) and len(result) != len(node.outputs):
            raise RewriteError(
                f"The rewrite {rule.name} of plugin {rule.plugin.name!r} returned {len(result)} values for "
                f"{node.op_type}, which has {len(node.outputs)} outputs."
            )
        pairs = result if isinstance(result, dict) else dict(zip(node.outputs, result, strict=True))
        if not all(isinstance(value, ir.Value) for pair in pairs.items() for value in pair):
            raise RewriteError(
                f"The rewrite {rule.name} of plugin {rule.plugin.name!r} returned {result!r} for {node.op_type}. "
                f"Expected values of the graph, a dict from old to new ones, or None."
            )
        self._check(rule, node, pairs)
        added = [new for new in self._new if new.graph is None]
        self._present.add(added)
        self._graph.insert_before(node, added)
        removed = [node.metadata_props, *(dead.metadata_props for dead in self._replace(node, pairs))]
        module = common_module(removed)
        for new in added:
            new.metadata_props.update(module)
        for new in reversed(added):
            self._remove_dead(new)
        for new in added:
            self._push(new)
        return True

    def _describe(self) -> str:
        assert self._running is not None
        rule, node = self._running
        return f"The rewrite {rule.name} of plugin {rule.plugin.name!r} at {node.op_type}"

    def _discard(self) -> None:
        """Take back the nodes that a rule built before it declined."""
        for node in self._new:
            detach(node)
        self._new.clear()

    def _check(self, rule: Rewrite, node: ir.Node, pairs: dict[ir.Value, Any]) -> None:
        for old, new in pairs.items():
            if new.dtype is None and new.producer() is not None:  # of an operator of another domain
                stamp(new, old.dtype, None)
            shapes = shape_of(old), shape_of(new)
            wrong_shape = shapes[0] is not None and shapes[1] is not None and not may_equal(shapes[0], shapes[1])
            if old.dtype != new.dtype or wrong_shape:
                raise RewriteError(
                    f"The rewrite {rule.name} of plugin {rule.plugin.name!r} replaced {node.op_type} of "
                    f"{old.dtype}{shapes[0]} by {new.dtype}{shapes[1]}, at {source_of(node) or 'unknown source'}. "
                    f"Expected the same dtype and shape: convert or reshape the replacement, or return None to decline."
                )
            if new.producer() is not None and not same_shape(*shapes) and shapes[0] is not None:
                stamp(new, old.dtype, shapes[0])

    def _replace(self, node: ir.Node, pairs: dict[ir.Value, ir.Value]) -> list[ir.Node]:
        """Replace the uses by the new values; returns the nodes that had no other use and were removed."""
        for old, new in pairs.items():
            for user, index in list(old.uses()):
                user.replace_input_with(index, new)
                self._push(user)
                self._push_users(user)
            replace_output(self._graph, old, new, node)
        removed = []
        for old in pairs:
            dead = old.producer()
            if dead is not None:
                removed += self._remove_dead(dead)
        return removed

    def _push(self, node: ir.Node) -> None:
        if node.op_type in self._rules and node not in self._queued and node.graph is self._graph:
            self._queue.append(node)
            self._queued.add(node)

    def _push_users(self, node: ir.Node) -> None:
        for value in node.outputs:
            for user, _ in value.uses():
                self._push(user)

    def _remove_dead(self, node: ir.Node) -> list[ir.Node]:
        """Remove a node without uses, and the producers that only it used; returns them."""
        stack = [node]
        removed = []
        while stack:
            dead = stack.pop()
            if dead.graph is not self._graph:
                continue
            if any(value.uses() or value.is_graph_output() for value in dead.outputs):
                continue
            producers = [value.producer() for value in dead.inputs if value is not None]
            remove(self._graph, dead)
            removed.append(dead)
            for producer in producers:
                if producer is not None:
                    # One reader fewer may be what a rule at a remaining reader waits for.
                    self._push_users(producer)
                    stack.append(producer)
        return removed
