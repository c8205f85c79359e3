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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._constants import Constants
from ..graph._infer import same_shape
from ..graph._values import shape_of, stamp, static_shape
from ..graph._walk import all_graphs, bodies, detach, replace_output, set_outputs
from ..trace._modules import MODULE, common_place
from ._invariants import has_half

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
        part = _Part(waiting.pop(), constants)
        for node in part.make_branches():
            waiting += bodies(node)
        replaced |= part.replaced
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
    replaced: dict[ir.Value, ir.Value] = field(default_factory=dict)
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
        condition, *values = node.inputs
        shape, sizes, slots = shape_of(node.outputs[0]), static_shape(condition), (1, 2)
        if condition is None or shape is None or sizes is None or math.prod(sizes) != 1 or has_half(node):
            return None
        source = condition.producer()
        while source is not None and source.op_type in ("Not", *traits.RESHAPES) and source.inputs[0] is not None:
            if source.op_type == "Not":
                slots = (slots[1], slots[0])
            condition = source.inputs[0]
            source = condition.producer()
        if any(self._whole(value, shape) is None for value in values):
            return None
        return condition, _Choice(node, slots)

    def _whole(self, value: ir.Value | None, shape: tuple[object, ...]) -> ir.Value | None:
        """An operand with the shape of the result, None if it would have to be broadcast."""
        if value is None or same_shape(shape_of(value), shape):
            return value
        array, sizes = self.constants.array(value), [size for size in shape if isinstance(size, int)]
        if array is None or len(sizes) < len(shape) or math.prod(sizes) > _MOST_NUMBERS:
            return None
        return self.constants.get(np.broadcast_to(array, sizes))

    def _operand(self, choice: _Choice, side: int) -> ir.Value:
        value = self._whole(choice.node.inputs[choice.slots[side]], shape_of(choice.node.outputs[0]) or ())
        assert value is not None
        return value

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
        taken = sum(
            _WHERE - 1 + math.prod(static_shape(choice.node.outputs[0]) or ()) // _NUMBERS for choice in choices
        )
        if taken - _IF + sum(sum(map(_units, side)) for side in sides) / 2 < _SPARED:
            return None
        last = choices[-1].node
        branches = []
        for side, (name, moved) in enumerate(zip(("then_branch", "else_branch"), sides, strict=True)):
            self.graph.remove(moved)
            branch = ir.Graph([], [], nodes=moved, name=name)
            set_outputs(branch, [self._operand(choice, side) for choice in choices])
            branches.append(ir.AttrGraph(name, branch))
        node = ir.Node(
            "",
            "If",
            [condition],
            branches,
            num_outputs=len(choices),
            metadata_props=dict(last.metadata_props),
        )
        places = [place for choice in choices if (place := choice.node.metadata_props.get(MODULE)) is not None]
        if (place := common_place(places)) is not None:
            node.metadata_props[MODULE] = place
        self.graph.insert_after(last, [node])
        self._replace(choices, node)
        return node

    def _replace(self, choices: Sequence[_Choice], node: ir.Node) -> None:
        is_sorted = True
        for choice, new in zip(choices, node.outputs, strict=True):
            (old,) = choice.node.outputs
            stamp(new, old.dtype, shape_of(old))
            for user, index in list(old.uses()):
                is_sorted &= self.order[self._user(user)] > self.order[choices[-1].node]
                user.replace_input_with(index, new)
            replace_output(self.graph, old, new, node)
            self.replaced[old] = new
            detach(choice.node)
            self.graph.remove(choice.node)
        self.order[node] = self.order[choices[-1].node]
        for body in bodies(node):
            self.holders.update(dict.fromkeys(all_graphs(body), node))
        if not is_sorted:
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

        def add(values: Sequence[ir.Value | None]) -> None:
            for value in values:
                node = value.producer() if value is not None else None
                if node is not None and node not in known and node.graph is self.graph:
                    known.add(node)
                    heapq.heappush(waiting, (-self.order[node], node))

        add([choice.node.inputs[choice.slots[side]] for choice in choices])
        while waiting:
            _, node = heapq.heappop(waiting)
            if has_half(node) or not all(self._is_for(value, slots, found) for value in node.outputs):
                continue
            found.add(node)
            add(node.inputs)
            for body in bodies(node):
                for inner in all_graphs(body):
                    add([value for other in inner for value in other.inputs])
        return sorted(found, key=self.order.__getitem__)

    def _is_for(self, value: ir.Value, slots: Mapping[ir.Node, int], found: set[ir.Node]) -> bool:
        if value.is_graph_output():
            return False
        return all(slots.get(user) == index or self._user(user) in found for user, index in value.uses())


def _units(node: ir.Node) -> int:
    """How many nodes a node is with those of its graphs."""
    return 1 + sum(len(inner) for body in bodies(node) for inner in all_graphs(body))
