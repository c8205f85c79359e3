"""The walk: every node of every graph is left alone, or replaced by what computes the same and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .._errors import LegalizeError
from ..graph._domains import bare, qualify
from ..graph._walk import bodies
from ..target import NARROW_FLOATS, SIGNED, Signature, Target, Workaround, opsets
from ..trace._source import SOURCE
from . import _composed
from ._composer import Composer, Declined
from ._detours import DTYPE_ATTRIBUTES, Carrier, Detour, find_detour
from ._emitter import Emitter, Names, read_attribute, read_constant
from .workarounds import REPLACEMENTS, Replacement

# In the metadata of the model: where it runs.
TARGET = "j2o.target"

_SIGN_BIT = np.asarray(1 << 63, np.uint64)


def legalize(model: ir.Model, target: Target) -> None:
    """Replaces, in place, every node that ONNX forbids or that the target cannot run.

    What is inserted is exact: the bits are those of the operator in its own element type. Nodes that are fine are not
    touched; new ones carry the metadata of the node they stand for, and results keep their names.

    Args:
        model: The model; element types and shapes of values should be set.
        target: where it is to run.

    Raises:
        LegalizeError: if nodes have no exact form for the target; all of them are listed.
    """
    foreign = qualify(model)
    try:
        problems = _legalize_roots(model, target)
    finally:
        for node in foreign:
            node.op_type = bare(node.op_type)
    if problems:
        raise LegalizeError(_message(problems, target))
    model.metadata_props[TARGET] = target.describe()


def _legalize_roots(model: ir.Model, target: Target) -> list[_Problem]:
    names = Names(model)
    problems: list[_Problem] = []
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for root in roots:
        opset = root.opset_imports.get("")
        if opset is None:
            # No operator of the default domain.
            continue
        first, last = opsets()
        if not first <= opset <= last:
            raise LegalizeError(
                f"the model has opset {opset}. Which nodes are legal is known for opsets {first} to {last}; "
                f"export with one of these."
            )
        emitter = Emitter(root, names)
        legalizer = _Legalizer(emitter, dataclasses.replace(target, opset=opset))
        legalizer.graph(root)
        emitter.remove_unused()
        problems += legalizer.problems
    return problems


@dataclasses.dataclass(frozen=True)
class _Problem:
    """A node without a legal form."""

    op_type: str
    dtypes: str
    reason: str
    place: str


class _Legalizer:
    """Walks one graph of the model, or one function."""

    def __init__(self, emitter: Emitter, target: Target):
        self.opset = target.opset
        self.target = target
        self.problems: list[_Problem] = []
        self._emitter = emitter
        # Wide forms of narrow values, for the graph being walked and those around it.
        self._carried: list[dict[tuple[ir.Value, Carrier], ir.Value]] = []
        self._plans: dict[Any, Detour | str | None] = {}
        # For each operator, the attributes that decide which element types run.
        self._deciding: dict[str, tuple[str, ...]] = {}
        self._workarounds: dict[str, list[tuple[Workaround, Replacement]]] = {}
        for row in target.workarounds:
            for op_type in row.op_types if row.name in REPLACEMENTS else ():
                self._workarounds.setdefault(op_type, []).append((row, REPLACEMENTS[row.name]))

    def graph(self, graph: ir.Graph | ir.Function) -> None:
        """Legalizes every node of a graph and of the graphs inside."""
        self._carried.append({})
        for node in graph:
            if node.domain == "":
                self.node(node)
            for body in bodies(node):
                self.graph(body)
        self._carried.pop()

    def node(self, node: ir.Node) -> Sequence[ir.Value]:
        """Legalizes one node; returns its results, which are others if it was replaced."""
        for row, replacement in self._workarounds.get(node.op_type, ()):
            if not any(value is not None and value.dtype in row.dtypes for value in node.inputs):
                continue
            try:
                values = replacement(self._composer(node), node)
            except Declined as reason:
                return self._give_up(node, str(reason))
            if values is not None:
                self._emitter.replace(node, values)
                return values
        plan = self._plan(node)
        if plan is None:
            return node.outputs
        if isinstance(plan, Detour):
            return self._carry(node, plan)
        compose = _composed.COMPOSED.get(node.op_type)
        if compose is None:
            return self._give_up(node, plan)
        try:
            values = compose(self._composer(node), node)
        except Declined as reason:
            return self._give_up(node, f"{plan}; {reason}")
        self._emitter.replace(node, values)
        return values

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
            key += tuple([read_attribute(node, name, None) for name in deciding])
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
            return f"opset {self.opset} does not have this operator"
        if not known.checked:
            return None
        bindings = known.bind(inputs, outputs)
        if bindings is None:
            return "its operands have different element types where ONNX wants one"

        def attribute(name: str, default: Any) -> Any:
            return read_attribute(node, name, default)

        slow = bool(self.target.releases) and any(types in _SLOW.get(node.op_type, ()) for types in bindings)
        if all(self.target.runs_types(node.op_type, types, attribute) for types in bindings) and not slow:
            return None
        if len(bindings) == 1:
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
                    return f"ONNX allows {_spell(allowed)}"
        signatures = [release.signature(op_type, self.opset) for release in self.target.releases]
        slot = known.outputs[0].rstrip("+*")
        taken = set.intersection(
            *({dtype for box in s.boxes for dtype in box.types.get(slot, ())} if s else set() for s in signatures)
        )
        where = self.target.describe()
        return f"{where} runs {_spell(taken)}" if taken else f"{where} has no kernel for it"

    def _give_up(self, node: ir.Node, reason: str) -> Sequence[ir.Value]:
        place = node.metadata_props.get(SOURCE)
        name = f'node "{node.name}"' if node.name else "a node without a name"
        dtypes = [value.dtype for value in node.inputs if value is not None] or [v.dtype for v in node.outputs]
        spelled = dict.fromkeys("?" if dtype is None else str(dtype.numpy()) for dtype in dtypes)
        self.problems.append(_Problem(node.op_type, ", ".join(spelled), reason, f"{place} ({name})" if place else name))
        return node.outputs

    # Detours

    def _carry(self, node: ir.Node, detour: Detour) -> Sequence[ir.Value]:
        if node.op_type in ("ReduceMax", "ReduceMin") and _starts_elsewhere(node):
            return self._give_up(node, "the largest or smallest of nothing is another one in a wider type")
        known = self.target.signature(node.op_type)
        assert known is not None
        inputs = [
            value if value is None else self.carried(node, value, detour.carriers.get(_slot(known.inputs, index)))
            for index, value in enumerate(node.inputs)
        ]
        carriers = [detour.carriers.get(_slot(known.outputs, index)) for index in range(len(node.outputs))]
        outputs = [
            (old.dtype if carrier is None else carrier.dtype, old.shape)
            for old, carrier in zip(node.outputs, carriers, strict=True)
        ]
        attributes = dict(node.attributes)
        if node.op_type in DTYPE_ATTRIBUTES:
            name, variable = DTYPE_ATTRIBUTES[node.op_type]
            if variable in detour.types:
                attributes[name] = _typed_attribute(attributes.get(name), name, detour.types[variable])
        # The operator keeps its name; the casts around it get names of their own.
        wide_node = self._emitter.node(
            node, node.op_type, inputs, attributes.values(), outputs, f"{node.name or node.op_type}/wide"
        )
        wide_node.name = node.name or wide_node.name
        wide = self.node(wide_node)
        results = []
        for index, (old, new, carrier) in enumerate(zip(node.outputs, wide, carriers, strict=True)):
            if carrier is None or old.dtype is None:
                results.append(new)
                continue
            results.append(self._narrow(node, new, old.dtype, carrier))
            if _slot(known.outputs, index) in detour.exact:
                self._carried[-1][results[-1], carrier] = new
        self._emitter.replace(node, results)
        return results

    def carried(self, anchor: ir.Node, value: ir.Value, carrier: Carrier | None) -> ir.Value:
        """The value in a carrier's element type, cast once for all nodes of a graph and those inside."""
        if carrier is None or (value.dtype is carrier.dtype and not carrier.flips):
            return value
        for known in reversed(self._carried):
            if (value, carrier) in known:
                return known[value, carrier]
        composer = self._composer(anchor)
        array = None if carrier.flips else read_constant(value)
        if array is not None and array.size <= _FEW and _is_exact(array.dtype, carrier.dtype):
            return composer.const(array.astype(carrier.dtype.numpy()))
        bits = value
        if carrier.flips:
            bits = composer.op("BitwiseXor", value, composer.const(_SIGN_BIT), shape=value.shape)
        wide = composer.cast(bits, carrier.dtype)
        self._carried[-1][value, carrier] = wide
        return wide

    def _narrow(self, anchor: ir.Node, value: ir.Value, dtype: ir.DataType, carrier: Carrier) -> ir.Value:
        composer = self._composer(anchor)
        narrow = composer.cast(value, dtype)
        if carrier.flips:
            return composer.op("BitwiseXor", narrow, composer.const(_SIGN_BIT), shape=value.shape)
        return narrow

    def _composer(self, anchor: ir.Node) -> Composer:
        return Composer(self._emitter, anchor, self.target, self.node)


# Kernels that give the same numbers as those for float32 between casts, but take longer: 4.7 times.
_SLOW = {"LayerNormalization": ({"T": ir.DataType.BFLOAT16},)}

# Constants of up to so many numbers are stored in the carrier's element type, larger ones are cast when they are read.
_FEW = 64


def _is_exact(narrow: np.dtype[Any], wide: ir.DataType) -> bool:
    """Whether NumPy converts between the types as they are meant: floats that are small to float32."""
    return wide is ir.DataType.FLOAT and narrow.name in ("float16", "bfloat16")


def _starts_elsewhere(node: ir.Node) -> bool:
    """Whether a reduction of nothing would start from a value that the narrow type does not have."""
    x = node.inputs[0]
    return x is not None and x.dtype in SIGNED and x.shape is not None and 0 in x.shape


def _slot(slots: Sequence[str], index: int) -> str:
    return slots[min(index, len(slots) - 1)].rstrip("+*")


def _count_slots(
    known: Signature, inputs: Sequence[ir.DataType | None], outputs: Sequence[ir.DataType | None]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for slots, dtypes in ((known.inputs, inputs), (known.outputs, outputs)):
        for index, dtype in enumerate(dtypes):
            if dtype is not None:
                variable = _slot(slots, index)
                counts[variable] = counts.get(variable, 0) + 1
    return counts


def _typed_attribute(attribute: ir.Attr | None, name: str, dtype: ir.DataType) -> ir.Attr:
    if name != "value":
        return ir.AttrInt64(name, int(dtype))
    array = np.zeros((1,), np.float32) if attribute is None else attribute.as_tensor().numpy()
    return ir.AttrTensor(name, ir.Tensor(array.astype(dtype.numpy()), dtype=dtype))


def _spell(dtypes: Any) -> str:
    return ", ".join(str(dtype.numpy()) for dtype in sorted(dtypes)) or "nothing"


def _message(problems: Sequence[_Problem], target: Target) -> str:
    count = f"{len(problems)} nodes have" if len(problems) > 1 else "1 node has"
    groups: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.op_type, problem.dtypes, problem.reason), []).append(problem.place)
    lines = [f"{count} no exact form in {target.describe()} at opset {target.opset}."]
    for (op_type, dtypes, reason), places in groups.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"  {op_type}({dtypes})   {'; '.join(places[:3])}{more}")
        lines.append(f"      {reason}")
    advice = "Compute these parts in another element type"
    lines.append(advice + (", or pass target=None and run the model elsewhere." if target.releases else "."))
    return "\n".join(lines)
