"""The walk: every node of every graph is left alone, or replaced by what computes the same and runs."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from .._errors import LegalizeError
from ..graph._builder import Builder, in_graph
from ..graph._ranges import dtype_range
from ..graph._sizes import may_be_zero
from ..graph._values import attribute_of, shape_of, stamp
from ..graph._walk import bodies, replace_output
from ..lower._lowered import Lowered
from ..plugin._plugin import HIGHEST_OPSET
from ..rewrite import Rewriter
from ..target import NARROW_FLOATS, Signature, Target, Workaround
from ..trace._source import source_of
from . import _composed
from ._arrays import check_arrays
from ._declined import Declined
from ._detours import DTYPE_ATTRIBUTES, Carrier, Detour, find_detour
from ._problem import Problem, message, spell
from .workarounds import REPLACEMENTS, Replacement

_SIGN_BIT = np.asarray(1 << 63, np.uint64)


def legalize(lowered: Lowered, target: Target) -> None:
    """Replaces, in place, every node that ONNX forbids or that the target cannot run.

    What is inserted is exact: the bits are those of the operator in its own element type. Nodes that are fine are not
    touched; new ones carry the metadata of the node they stand for.

    Args:
        lowered: the graph; element types and shapes of values should be set.
        target: where it is to run.

    Raises:
        LegalizeError: if nodes have no exact form for the target, all of them listed, or if the target takes no arrays
            of an input's or output's element type.
    """
    check_arrays(lowered.graph, target)
    legalizer = _Legalizer(lowered, target)
    legalizer.graph(lowered.graph, None)
    if legalizer.problems:
        raise LegalizeError(message(legalizer.problems, target, legalizer.opset_without_problems()))
    if legalizer.asked_for_sizes:  # they are computed at the end of the main graph
        lowered.graph.sort()


class _Scope:
    """A graph that is walked: its builder adds nodes in front of the one that is being replaced."""

    def __init__(self, lowered: Lowered, target: Target, outer: _Scope | None):
        self.outer = outer
        self.anchor: ir.Node | None = None
        above = None if outer is None else outer.builder
        self.builder: Builder = Builder(lowered.constants, target, append=self._insert, outer=above)
        self.rewriter = Rewriter(self.builder, lowered.dims)
        # Wide forms of narrow values: of those that were cast, and of those that a detour computed.
        self.carried: dict[tuple[ir.Value, Carrier], ir.Value] = {}

    def _insert(self, node: ir.Node) -> None:
        assert self.anchor is not None
        self.anchor.prepend(node)


class _Legalizer:
    """Walks the graph and those inside it."""

    def __init__(self, lowered: Lowered, target: Target):
        self.target = target
        self.problems: list[Problem] = []
        self.asked_for_sizes = False
        self._lowered = lowered
        self._scope: _Scope
        self._plans: dict[Any, Detour | str | None] = {}
        # Results of nodes that were replaced, and what replaced them.
        self._replaced: dict[ir.Value, ir.Value] = {}
        # For each operator, the attributes that decide which element types run.
        self._deciding: dict[str, tuple[str, ...]] = {}
        self._workarounds: dict[str, list[tuple[Workaround, Replacement]]] = {}
        for row in target.workarounds:
            for op_type in row.op_types if row.name in REPLACEMENTS else ():
                self._workarounds.setdefault(op_type, []).append((row, REPLACEMENTS[row.name]))

    def graph(self, graph: ir.Graph, outer: _Scope | None) -> None:
        """Legalizes every node of a graph and of the graphs inside."""
        scope = _Scope(self._lowered, self.target, outer)
        for node in graph:
            self._scope = scope
            if node.domain == "" and node not in scope.builder.plain_nodes:
                self.node(node)
            for body in bodies(node):
                self.graph(body, scope)
        self.asked_for_sizes |= scope.rewriter.asked_for_sizes

    def node(self, node: ir.Node) -> None:
        """Legalizes one node, and those that replace it."""
        for row, replacement in self._workarounds.get(node.op_type, ()):
            if not any(value is not None and value.dtype in row.dtypes for value in node.inputs):
                continue
            try:
                if self._replace(node, replacement):
                    self._note(node, f"a workaround, for the runtime's is wrong: {row.name}")
                    return
            except Declined as reason:
                self.problems.append(Problem(node, str(reason)))
                return
        plan = self._plan(node)
        if plan is None:
            return
        if isinstance(plan, Detour):
            self._note(node, f"computed in {spell({one.dtype for one in plan.carriers.values()})}")
            self._carry(node, plan)
            return
        compose = _composed.COMPOSED.get(node.op_type)
        if compose is None:
            self.problems.append(Problem(node, plan))
            return
        try:
            self._replace(node, compose)
            self._note(node, f"composed of others, for {plan}")
        except Declined as reason:
            self.problems.append(Problem(node, f"{plan}; {reason}"))

    def _note(self, node: ir.Node, instead: str) -> None:
        """For the report: the operator with its first type of numbers, what stands for it, and the user's line."""
        dtypes = [value.dtype for value in (*node.inputs, *node.outputs) if value is not None]
        numbers = [dtype for dtype in dtypes if dtype not in (None, ir.DataType.BOOL)]
        operator = f"{node.op_type}({spell(numbers[:1])})"
        self._lowered.detours.append((operator, instead, source_of(node) or "unknown source"))

    def _replace(self, node: ir.Node, replacement: Callable[[Rewriter, ir.Node], Any]) -> bool:
        """Whether a replacement wrote the node with others, which are legalized in turn."""
        scope = self._scope
        builder = scope.builder
        scope.anchor, builder.metadata, builder.added = node, dict(node.metadata_props), []
        values = None
        try:
            values = replacement(scope.rewriter, node)
        finally:
            added = builder.added
            if values is None:
                for new in reversed(added):
                    new.graph.remove(new, safe=True)  # type: ignore[union-attr]
        if values is None:
            return False
        graph = node.graph
        assert graph is not None
        for old, new in zip(node.outputs, values if isinstance(values, (list, tuple)) else [values], strict=True):
            if new.producer() is not None and (shape_of(new) is None or new.producer() in added):
                stamp(new, None, shape_of(old))
            replace_output(graph, old, new, node)
            old.replace_all_uses_with(new)
            self._replaced[old] = new
        graph.remove(node, safe=True)
        for new in added:
            if new not in builder.plain_nodes:
                self.node(new)
            for body in bodies(new):
                self.graph(body, scope)
                self._scope = scope
        return True

    def _current(self, value: ir.Value) -> ir.Value:
        while value in self._replaced:
            value = self._replaced[value]
        return value

    # The treatment of a node

    def _plan(self, node: ir.Node) -> Detour | str | None:
        """None if the node is fine, the detour, or the reason why there is none."""
        op_type = node.op_type
        key: Any = (
            op_type,
            tuple([value.dtype if value is not None else None for value in node.inputs]),
            tuple([value.dtype for value in node.outputs]),
        )
        try:
            deciding = self._deciding[op_type]
        except KeyError:
            known = self.target.signature(op_type)
            deciding = self._deciding[op_type] = tuple(known.defaults) if known is not None else ()
        if deciding:
            key += tuple([attribute_of(node, name) for name in deciding])
        try:
            return self._plans[key]
        except KeyError:
            plan = self._plans[key] = self._find_plan(node, key[1], key[2])
            return plan

    def _find_plan(
        self, node: ir.Node, inputs: Sequence[ir.DataType | None], outputs: Sequence[ir.DataType | None]
    ) -> Detour | str | None:
        known = self.target.signature(node.op_type)
        if known is None:
            return f"opset {self.target.opset} does not have this operator"
        bindings = known.bind(inputs, outputs)
        if bindings is None:
            return "its operands have different element types where ONNX wants one"

        attribute = functools.partial(attribute_of, node)
        slow = bool(self.target.releases) and any(types in _SLOW.get(node.op_type, ()) for types in bindings)
        if all(self.target.runs_types(node.op_type, types, attribute) for types in bindings) and not slow:
            return None
        if len(bindings) == 1 and (node.op_type, bindings[0].get("T")) not in _composed.FASTER:
            types = bindings[0]
            slots = _count_slots(known, inputs, outputs)
            detour = find_detour(node.op_type, types, known, attribute, self.target.runs_types, slots)
            if detour is None and node.op_type in _composed.COMPOSED:
                # A float of few bits is composed in float32, so that only the result is rounded.
                wide = {v: Carrier(ir.DataType.FLOAT) for v, dtype in types.items() if dtype in NARROW_FLOATS}
                if wide:
                    return Detour({**types, **{v: c.dtype for v, c in wide.items()}}, wide, frozenset())
            if detour is not None:
                return detour
        return self._why_not(node.op_type, known, bindings)

    def _why_not(self, op_type: str, known: Signature, bindings: list[dict[str, ir.DataType]]) -> str:
        for types in bindings:
            for variable, dtype in types.items():
                allowed = known.allowed[variable]
                if dtype not in allowed:
                    return f"ONNX allows {spell(allowed)}"
        signatures = [release.signature(op_type, self.target.opset) for release in self.target.releases]
        slot = known.outputs[0].rstrip("+*")
        taken = set.intersection(
            *({dtype for box in s.boxes for dtype in box.types.get(slot, ())} if s else set() for s in signatures)
        )
        where = self.target.describe()
        return f"{where} runs {spell(taken)}" if taken else f"{where} has no kernel for it"

    def opset_without_problems(self) -> int | None:
        """The first later opset at which each node with a problem runs, or has a detour; None if there is none."""
        for opset in range(self.target.opset + 1, HIGHEST_OPSET + 1):
            later = _Legalizer(self._lowered, dataclasses.replace(self.target, opset=opset))
            if not any(isinstance(later._plan(problem.node), str) for problem in self.problems):
                return opset
        return None

    # Detours

    def _carry(self, node: ir.Node, detour: Detour) -> None:
        known = self.target.signature(node.op_type)
        assert known is not None
        carriers = [detour.carriers.get(_slot(known.outputs, index)) for index in range(len(node.outputs))]
        scope, olds, pairs = self._scope, list(node.outputs), []

        def write(rw: Rewriter, node: ir.Node) -> list[ir.Value]:
            inputs = [
                None if value is None else self._carried(rw, value, detour.carriers.get(_slot(known.inputs, index)))
                for index, value in enumerate(node.inputs)
            ]
            attributes = rw.attrs(node)
            if node.op_type in DTYPE_ATTRIBUTES:
                name, variable = DTYPE_ATTRIBUTES[node.op_type]
                if variable in detour.types:
                    attributes[name] = _typed_attribute(attributes.get(name), name, detour.types[variable])
            wide = rw.op(node.op_type, *inputs, outputs=len(olds), **attributes)
            results = []
            for old, new, carrier in zip(olds, wide if isinstance(wide, tuple) else [wide], carriers, strict=True):
                if carrier is None or old.dtype is None:
                    results.append(new)
                    continue
                if new.producer() in rw.op.added:
                    stamp(new, carrier.dtype, shape_of(old))
                bounded = new if carrier.flips else _within(rw, node, new, old.dtype)
                results.append(_narrow(rw, bounded, old.dtype, carrier))
                pairs.append((len(results) - 1, new, carrier))
            return results

        self._replace(node, write)
        for index, wide, carrier in pairs:
            if _slot(known.outputs, index) in detour.exact:
                scope.carried[self._current(olds[index]), carrier] = self._current(wide)

    def _carried(self, rw: Rewriter, value: ir.Value, carrier: Carrier | None) -> Any:
        """The value in a carrier's element type, cast once for all nodes of a graph and those inside."""
        if carrier is None or (value.dtype is carrier.dtype and not carrier.flips):
            return value
        scope: _Scope | None = self._scope
        while scope is not None:
            wide = scope.carried.get((value, carrier))
            if wide is not None and in_graph(wide):
                return wide
            scope = scope.outer
        array = rw.constant(value)
        if carrier.flips:
            wide = rw.op.Cast(rw.op.BitwiseXor(value, rw.const(_SIGN_BIT)), to=carrier.dtype)
        elif array is not None and array.size > _FEW:
            wide = rw.op.plain("Cast", value, to=carrier.dtype)  # not folded, but legalized
            rw.op.plain_nodes.discard(wide.producer())
        else:
            wide = rw.op.cast(value, carrier.dtype)
        self._scope.carried[value, carrier] = wide
        return wide


def _narrow(rw: Rewriter, value: ir.Value, dtype: ir.DataType, carrier: Carrier) -> Any:
    if dtype is ir.DataType.FLOAT8E8M0:  # only moved: nothing is between two of its numbers
        return rw.op.Cast(value, to=dtype)
    narrow = rw.op.cast(value, dtype)
    return rw.op.BitwiseXor(narrow, rw.const(_SIGN_BIT)) if carrier.flips else narrow


# Kernels that give the same numbers as those for float32 between casts, but take longer: 4.7 times.
_SLOW = {"LayerNormalization": ({"T": ir.DataType.BFLOAT16},)}

# Constants of up to so many numbers are stored in the carrier's element type, larger ones are cast when they are read.
_FEW = 64


def _within(rw: Rewriter, node: ir.Node, wide: Any, dtype: ir.DataType) -> Any:
    """An extreme in the range of a narrow type: that of no elements is a bound of the wide type."""
    bound, x = {"ReduceMax": "Max", "ReduceMin": "Min"}.get(node.op_type), node.inputs[0]
    if bound is None or x is None or not any(map(may_be_zero, shape_of(x) or ())):
        return wide
    low, high = dtype_range(dtype)[:2]
    if dtype.is_floating_point():
        if np.isinf(np.asarray(np.inf, dtype.numpy())):
            return wide
        info = ml_dtypes.finfo(dtype.numpy())
        low, high = float(info.min), float(info.max)
    return rw.op(bound, wide, rw.const(low if bound == "Max" else high, wide))


def _slot(slots: Sequence[str], index: int) -> str:
    return slots[min(index, len(slots) - 1)].rstrip("+*")


def _count_slots(
    known: Signature, inputs: Sequence[ir.DataType | None], outputs: Sequence[ir.DataType | None]
) -> Counter[str]:
    """How many operands and results each type variable has."""
    sides = ((known.inputs, inputs), (known.outputs, outputs))
    return Counter(_slot(slots, i) for slots, dtypes in sides for i, dtype in enumerate(dtypes) if dtype is not None)


def _typed_attribute(value: Any, name: str, dtype: ir.DataType) -> Any:
    if name != "value":
        return dtype
    array = np.zeros((1,), np.float32) if value is None else value.numpy()
    return ir.Tensor(array.astype(dtype.numpy()), dtype=dtype)
