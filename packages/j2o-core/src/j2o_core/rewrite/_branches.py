"""Choices by one truth value are branches: only what is chosen is computed.

    before: Where(done, fresh_x, x), Where(done, fresh_y, y)        done is one boolean
    after:  If(done), then: fresh_x, fresh_y, else: x, y

What nothing but `fresh_x` and `fresh_y` is computed from moves into the branch: the new state of an environment, which
most steps do not need, or a step of a line search that is not taken. JAX computes both operands of a `select`, XLA too.
The numbers are the same bits. ONNX Runtime takes 1.25 us for a Where of a few numbers and 0.44 for an Add, 0.7 for an
If and 0.3 for each of its results.

Declines for float16 and bfloat16, of which a chain is rounded at its end.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._constants import Constants
from ..graph._infer import same_shape
from ..graph._values import made_by, shape_of, stamp, static_shape
from ..graph._walk import all_graphs, bodies, read_by, remove, set_outputs
from ..trace._modules import common_module
from ._invariants import has_half
from ._regions import replace

# In units of an elementwise node: a Where, and an If, of which each result takes one more. A Where takes one more for
# so many numbers, which an If copies in a quarter of the time.
_WHERE = 3
_IF = 2
_NUMBERS = 1024
# The units that branches have to spare if each is taken as often as the other: fewer are not worth the nested graphs.
_SPARED = 4
# Numbers of a constant that is stored again in the shape of the result.
_MOST_NUMBERS = 1024
# Nodes between the choices of a condition that are looked at, and how often a graph is sorted for an If of several.
_MOST_NODES = 4096
_MOST_SORTS = 32


@dataclass(frozen=True)
class _Choice:
    """A Where by one truth value.

    Attributes:
        node: the node.
        slots: the inputs that it chooses where the condition is true and where it is false.
    """

    node: ir.Node
    slots: tuple[int, int]


def choose_branches(graph: ir.Graph, constants: Constants) -> dict[ir.Value, ir.Value]:
    """Make branches of the choices of a graph and of those nested in it, in place.

    Returns:
        The results of choices, and the values that took their places.
    """
    replaced: dict[ir.Value, ir.Value] = {}
    waiting = list(all_graphs(graph))
    while waiting:
        part = _Part(waiting.pop(), constants, replaced)
        for node in part.make_branches():
            waiting += bodies(node)
    return replaced


@dataclass
class _Part:
    """A graph without those nested in it.

    Attributes:
        graph: the graph.
        constants: the table of constants.
        replaced: results of choices, and those of If that took their places.
        order: the places of its nodes.
        holders: for a nested graph the node of this one that holds it.
        sorts: how often the graph was sorted.
    """

    graph: ir.Graph
    constants: Constants
    replaced: dict[ir.Value, ir.Value]
    order: dict[ir.Node, int] = field(default_factory=dict)
    holders: dict[ir.Graph | None, ir.Node] = field(default_factory=dict)
    sorts: int = 0

    def make_branches(self) -> Iterator[ir.Node]:
        """Put each If in the place of choices that it spares enough of; those of later ones come first."""
        conditions: dict[ir.Value, list[_Choice]] = {}
        for node in self.graph:
            if node.op_type == "Where" and (found := self._choice(node)) is not None:
                conditions.setdefault(found[0], []).append(found[1])
        if conditions:
            self._settle()
        for condition, choices in reversed(conditions.items()):
            left = choices
            # Some may have gone into a branch.
            while left := [choice for choice in left if choice.node.graph is self.graph]:
                together = self._independent(left)
                left = [choice for choice in left if choice not in together]
                made = self._branches(condition, together)
                if made is not None:
                    yield made

    def _choice(self, node: ir.Node) -> tuple[ir.Value, _Choice] | None:
        """The condition and the choice of a Where, None if that has several conditions or operands are broadcast."""
        condition, sizes, slots = node.inputs[0], static_shape(node.inputs[0]), (1, 2)
        if sizes is None or math.prod(sizes) != 1 or has_half(node):
            return None
        while (source := made_by(condition, "Not", *traits.RESHAPES)) is not None:
            condition = source.inputs[0]
            if source.op_type == "Not":
                slots = (slots[1], slots[0])
        if condition is None or any(self._whole(node, slot) is None for slot in slots):
            return None
        return condition, _Choice(node, slots)

    def _whole(self, node: ir.Node, slot: int) -> ir.Value | None:
        """An operand of a Where with the shape of the result, None if it would have to be broadcast."""
        value, (result,) = node.inputs[slot], node.outputs
        if value is None or same_shape(shape_of(value), shape_of(result)):
            return value
        array, sizes = self.constants.array(value), static_shape(result)
        if array is None or sizes is None or math.prod(sizes) > _MOST_NUMBERS:
            return None
        return self.constants.get(np.broadcast_to(array, sizes))

    def _settle(self) -> None:
        """Note the order of the nodes, and which of them hold graphs."""
        self.order = {node: place for place, node in enumerate(self.graph)}
        self.holders = {inner: node for node in self.graph for body in bodies(node) for inner in all_graphs(body)}

    def _user(self, node: ir.Node) -> ir.Node:
        """The node of this graph that is, or holds, one that uses a value of it."""
        return self.holders.get(node.graph, node)

    def _independent(self, choices: Sequence[_Choice]) -> list[_Choice]:
        """The choices that follow from no other of them, at least the first."""
        if self.sorts >= _MOST_SORTS:
            return list(choices[:1])
        last, seen = self.order[choices[-1].node], set[ir.Node]()
        taken: list[_Choice] = []
        for choice in choices:
            if choice.node in seen or len(seen) > _MOST_NODES:  # cost: of the search
                continue
            taken.append(choice)
            waiting = [choice.node]
            while waiting:
                for value in waiting.pop().outputs:
                    users = {self._user(user) for user, _ in value.uses()}
                    new = [user for user in users - seen if self.order[user] <= last]
                    seen.update(new)
                    waiting += new
        return taken

    def _branches(self, condition: ir.Value, choices: Sequence[_Choice]) -> ir.Node | None:
        """The If that took the place of choices, None if it would spare too little."""
        sides = [self._only_for(choices, side) for side in (0, 1)]
        numbers = [math.prod(static_shape(choice.node.outputs[0]) or ()) for choice in choices]
        spared = sum(_WHERE - 1 + count // _NUMBERS for count in numbers) - _IF
        if spared + sum(sum(map(_units, side)) for side in sides) / 2 < _SPARED:
            return None
        branches = []
        for side, (name, moved) in enumerate(zip(("then_branch", "else_branch"), sides, strict=True)):
            self.graph.remove(moved)
            branch = ir.Graph([], [], nodes=moved, name=name)
            for choice in choices:
                value = self._whole(choice.node, choice.slots[side])
                assert value is not None, "as when the choice was found"
                set_outputs(branch, [value])
            branches.append(ir.AttrGraph(name, branch))
        last = choices[-1].node
        module = common_module(choice.node.metadata_props for choice in choices)
        metadata = {**last.metadata_props, **module}
        node = ir.Node("", "If", [condition], branches, num_outputs=len(choices), metadata_props=metadata)
        self._put(node, [choice.node for choice in choices])
        return node

    def _put(self, node: ir.Node, wheres: Sequence[ir.Node]) -> None:
        """Put an If in the place of the last of these nodes, and its results in the places of theirs."""
        place = self.order[wheres[-1]]
        pairs = {where.outputs[0]: new for where, new in zip(wheres, node.outputs, strict=True)}
        for old, new in pairs.items():
            stamp(new, old.dtype, shape_of(old))
        is_sorted = all(self.order[self._user(user)] > place for old in pairs for user, _ in old.uses())
        self.graph.insert_after(wheres[-1], [node])
        replace(self.graph, pairs)
        self.replaced |= pairs
        for where in wheres:
            remove(self.graph, where)
        if is_sorted:
            self.order[node] = place
            self.holders |= {inner: node for body in bodies(node) for inner in all_graphs(body)}
        else:
            self.graph.sort()
            self.sorts += 1
            self._settle()

    def _only_for(self, choices: Sequence[_Choice], side: int) -> list[ir.Node]:
        """The nodes that nothing but one side of choices is computed from, in order."""
        slots = {choice.node: choice.slots[side] for choice in choices}
        found: set[ir.Node] = set()
        # The last first: when a node is looked at, it is known of all its users.
        waiting: list[tuple[int, ir.Node]] = []
        known: set[ir.Node] = set(slots)

        def add(values: Iterable[ir.Value | None]) -> None:
            for node in map(made_by, values):
                if node is not None and node not in known and node.graph is self.graph:
                    known.add(node)
                    heapq.heappush(waiting, (-self.order[node], node))

        add([choice.node.inputs[choice.slots[side]] for choice in choices])
        while waiting:
            _, node = heapq.heappop(waiting)
            if has_half(node) or not all(self._is_for(value, slots, found) for value in node.outputs):
                continue
            found.add(node)
            add(read_by(node))
        return sorted(found, key=self.order.__getitem__)

    def _is_for(self, value: ir.Value, slots: Mapping[ir.Node, int], found: set[ir.Node]) -> bool:
        if value.is_graph_output():
            return False
        return all(slots.get(user) == index or self._user(user) in found for user, index in value.uses())


def _units(node: ir.Node) -> int:
    """How many nodes a node is with those of its graphs."""
    return 1 + sum(len(inner) for body in bodies(node) for inner in all_graphs(body))
