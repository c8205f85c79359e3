"""Element types and shapes of node outputs, so that no rule has to state them.

Dtypes are known for every operator; shapes for those whose shape follows without running anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .. import _compat
from . import traits
from ._domains import INTERNAL_DOMAIN, domain_of
from ._values import shape_of

Shape = tuple[Any, ...]
ConstantOf = Callable[[ir.Value | None], "np.ndarray[Any, Any] | None"]

_BROADCASTS = frozenset({*traits.BROADCASTS, "PRelu"})
_SAME_SHAPE = frozenset(traits.SAME_SHAPE)


def infer_dtypes(op_type: str, inputs: Sequence[ir.Value | None], attrs: Mapping[str, Any], outputs: int) -> list[Any]:
    """The element type of each output (None where it is not known)."""
    rule = _DTYPES.get(op_type)
    if rule is not None:
        return rule(inputs, attrs, outputs)
    if domain_of(op_type) not in ("", INTERNAL_DOMAIN):
        return [None] * outputs  # the rule says it, see `LoweringContext.shaped`
    return [_first_dtype(inputs)] * outputs


def _first_dtype(inputs: Sequence[ir.Value | None]) -> Any:
    for value in inputs:
        if value is not None:
            return value.dtype
    return None


def _always(dtype: ir.DataType) -> Callable[..., list[Any]]:
    return lambda inputs, attrs, outputs: [dtype]


def _like(position: int) -> Callable[..., list[Any]]:
    """The element type of an operand."""

    def rule(inputs: Sequence[ir.Value | None], attrs: Mapping[str, Any], outputs: int) -> list[Any]:
        operand = inputs[position]
        return [None if operand is None else operand.dtype]

    return rule


def _stated(name: str) -> Callable[..., list[Any]]:
    """The element type in an attribute, by default that of the first operand."""
    return lambda inputs, attrs, outputs: [ir.DataType(int(attrs[name])) if name in attrs else _first_dtype(inputs)]


def _filled(inputs: Sequence[ir.Value | None], attrs: Mapping[str, Any], outputs: int) -> list[Any]:
    value = attrs.get("value")
    return [value.dtype if value is not None else ir.DataType.FLOAT]


def _control_flow_dtypes(op_type: str, inputs: Any, attrs: Mapping[str, Any], outputs: int) -> list[Any]:
    values = _body_results(op_type, attrs)
    return [value.dtype for value in values] if len(values) == outputs else [None] * outputs


_DTYPES: dict[str, Callable[..., list[Any]]] = {
    **dict.fromkeys(traits.TRUTHS, _always(ir.DataType.BOOL)),
    **dict.fromkeys([*traits.COUNTS, "Size"], _always(ir.DataType.INT64)),
    **dict.fromkeys(["ConvInteger", "MatMulInteger"], _always(ir.DataType.INT32)),
    **dict.fromkeys(["Cast", "BitCast"], _stated("to")),
    **dict.fromkeys(["EyeLike", "RandomUniform", "RandomNormal"], _stated("dtype")),
    **dict.fromkeys(["Where", "CastLike", "DequantizeLinear"], _like(1)),
    "OneHot": _like(2),
    "QuantizeLinear": lambda inputs, attrs, outputs: [None],
    **dict.fromkeys(
        ["TopK", "MaxPool"], lambda inputs, attrs, outputs: [_first_dtype(inputs), ir.DataType.INT64][:outputs]
    ),
    "ConstantOfShape": _filled,
    **{op_type: functools.partial(_control_flow_dtypes, op_type) for op_type in traits.CONTROL_FLOW},
}


def _body_results(op_type: str, attrs: Mapping[str, Any]) -> list[ir.Value]:
    """The values of the nested graph for each output: results, final states, or one element of a stacked output."""
    if op_type == "If":
        return list(attrs["then_branch"].outputs)
    return list(attrs["body"].outputs[1 if op_type == "Loop" else 0 :])


def _control_flow_shapes(
    op_type: str, inputs: Sequence[ir.Value | None], attrs: Mapping[str, Any], outputs: int
) -> list[Shape | None]:
    """Shapes of results and final states; the length of stacked outputs is not known here."""
    values = _body_results(op_type, attrs)
    if len(values) != outputs:
        return [None] * outputs
    shapes = [shape_of(value) for value in values]
    if op_type == "If":
        others = [shape_of(value) for value in attrs["else_branch"].outputs]
        return [left if same_shape(left, right) else None for left, right in zip(shapes, others, strict=True)]
    states = len(inputs) - (2 if op_type == "Loop" else attrs["num_scan_inputs"])
    return [*shapes[:states], *[None] * (outputs - states)]


def infer_shapes(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attrs: Mapping[str, Any],
    outputs: int,
    constant: ConstantOf,
) -> list[Shape | None]:
    """The shape of each output, None where it is not known here."""
    shapes = [shape_of(value) if value is not None else None for value in inputs]
    first = shapes[0] if shapes else None
    if op_type in _SAME_SHAPE:
        return [first] + [None] * (outputs - 1)
    if op_type in _BROADCASTS:
        return [broadcast_shapes(shapes)]
    if op_type in traits.CONTROL_FLOW:
        return _control_flow_shapes(op_type, inputs, attrs, outputs)
    if first is None:
        return [None] * outputs
    rule = _RULES.get(op_type)
    if rule is None:
        return [None] * outputs
    result = rule(first, shapes, inputs, attrs, constant)
    return result if isinstance(result, list) else [result] * outputs


def broadcast_shapes(shapes: Sequence[Shape | None]) -> Shape | None:
    """NumPy's broadcasting, or None if a shape is missing or symbolic sizes cannot be compared."""
    if None in shapes:
        return None
    known = [shape for shape in shapes if shape]  # those of scalars change nothing
    if all(shape is known[0] for shape in known):
        return known[0] if known else ()
    rank = max(map(len, known))
    result = []
    for axis in range(rank):
        sizes = [shape[axis - rank + len(shape)] for shape in known if axis - rank + len(shape) >= 0]
        size = sizes[0]
        for other in sizes[1:]:
            if same_dimension(size, 1):
                size = other
            elif not same_dimension(other, 1) and not same_dimension(size, other):
                return None
        result.append(size)
    return tuple(result)


def same_dimension(left: Any, right: Any) -> bool:
    """Whether two dimensions are equal for all sizes; symbolic ones that cannot be decided are not."""
    if type(left) is int and type(right) is int:
        return left == right
    symbolic = _compat.is_symbolic(left)
    if symbolic != _compat.is_symbolic(right):
        return False
    return left is right or str(left) == str(right) if symbolic else bool(left == right)


def same_shape(left: Shape | None, right: Shape | None) -> bool:
    """Whether two known shapes are equal for all sizes."""
    if left is None or right is None or len(left) != len(right):
        return False
    return left is right or all(map(same_dimension, left, right))


def may_equal(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two shapes have the same rank and no known sizes that differ."""
    if len(left) != len(right):
        return False
    pairs = zip(left, right, strict=True)
    return all(_compat.is_symbolic(a) or _compat.is_symbolic(b) or int(a) == int(b) for a, b in pairs)


def _transpose(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape:
    return tuple(first[axis] for axis in attrs.get("perm", range(len(first))[::-1]))


def _axes(inputs: Any, constant: Any, rank: int) -> list[int] | None:
    values = constant(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else None
    return None if values is None else [axis % rank for axis in values.tolist()]


def _unsqueeze(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    axes = constant(inputs[1])
    if axes is None:
        return None
    rank = len(first) + len(axes)
    placed = {axis % rank for axis in axes.tolist()}
    rest = iter(first)
    return tuple(1 if axis in placed else next(rest) for axis in range(rank))


def _squeeze(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    axes = _axes(inputs, constant, len(first))
    return None if axes is None else tuple(size for axis, size in enumerate(first) if axis not in axes)


def _reduce(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    axes = _axes(inputs, constant, len(first)) if len(inputs) > 1 and inputs[1] is not None else []
    if axes is None:
        return None
    if not axes and not attrs.get("noop_with_empty_axes"):
        axes = list(range(len(first)))
    return _reduced(first, axes, attrs)


def _arg_reduce(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape:
    return _reduced(first, [attrs.get("axis", 0) % len(first)], attrs)


def _reduced(shape: Shape, axes: Sequence[int], attrs: Any) -> Shape:
    if attrs.get("keepdims", 1):
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _matmul(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    second = shapes[1]
    if second is None:
        return None
    batch = broadcast_shapes([first[:-2], second[:-2]])
    return None if batch is None else (*batch, *first[-2:-1], *(second[-1:] if len(second) > 1 else ()))


def _concat(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    if any(shape is None for shape in shapes):
        return None
    axis = attrs["axis"] % len(first)
    total = sum(shape[axis] for shape in shapes)
    return tuple(total if a == axis else size for a, size in enumerate(first))


def _split(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> list[Shape | None] | None:
    sizes = constant(inputs[1]) if len(inputs) > 1 else None
    if sizes is None:
        return None
    axis = attrs.get("axis", 0) % len(first)
    return [tuple(int(size) if a == axis else s for a, s in enumerate(first)) for size in sizes]


def _gather(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    if shapes[1] is None:
        return None
    axis = attrs.get("axis", 0) % len(first)
    return (*first[:axis], *shapes[1], *first[axis + 1 :])


def _gather_nd(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    indices = shapes[1]
    if indices is None or not isinstance(indices[-1], int):
        return None
    return (*indices[:-1], *first[attrs.get("batch_dims", 0) + indices[-1] :])


def _pad(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    amounts = constant(inputs[1])
    if amounts is None or len(inputs) > 3:
        return None
    low, high = amounts[: len(first)], amounts[len(first) :]
    return tuple(size + int(before) + int(behind) for size, before, behind in zip(first, low, high, strict=True))


def _of_constant_shape(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    target = constant(inputs[1])
    sizes = None if target is None else target.tolist()
    if sizes is None or 0 in sizes or -1 in sizes:
        sizes = inputs[1].meta.get("j2o_dims") if inputs[1] is not None else None
    return None if sizes is None else tuple(sizes)


def _expand(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    sizes = sizes_in(inputs[1], constant)
    return None if sizes is None else broadcast_shapes([first, sizes])


def sizes_in(vector: ir.Value, constant: ConstantOf) -> Shape | None:
    """The sizes that an int64 vector holds, symbolic ones included; None if they are not known."""
    sizes = constant(vector)
    known: Any = vector.meta.get("j2o_dims") if sizes is None else map(int, sizes)
    return None if known is None else tuple(known)


def _shape_op(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape:
    return (len(range(len(first))[attrs.get("start", 0) : attrs.get("end", len(first))]),)


def _slice(first: Shape, _: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    parts = [array.tolist() for part in inputs[1:] if part is not None and (array := constant(part)) is not None]
    if len(parts) < len(inputs) - 1 or len(parts) < 3:
        return None
    steps = parts[3] if len(parts) > 3 else [1] * len(parts[0])
    result = list(first)
    for start, end, axis, step in zip(*parts[:3], steps, strict=True):
        size = first[axis]
        if not isinstance(size, (int, np.integer)):
            return None
        result[axis] = _slice_length(int(size), start, end, step)
    return tuple(result)


def _slice_length(size: int, start: int, end: int, step: int) -> int:
    """How many elements ONNX's Slice takes: unlike Python, it starts backwards at 0 where that is below the axis."""
    start, end = (place + size if place < 0 else place for place in (start, end))
    first, last = (0, size) if step > 0 else (0, size - 1)
    start = min(max(start, first), last)
    end = min(max(end, 0 if step > 0 else -1), size)
    return max(0, -(-(end - start) // step))


def _attention(first: Shape, shapes: Any, inputs: Any, attrs: Any, constant: Any) -> Shape | None:
    if shapes[2] is None:
        return None
    if len(first) == 4:
        return (*first[:3], shapes[2][-1])
    return (*first[:2], shapes[2][-1] // attrs["kv_num_heads"] * attrs["q_num_heads"])


_RULES: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    **dict.fromkeys([*traits.REDUCTIONS, "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"], _reduce),
    **dict.fromkeys(traits.ARG_REDUCTIONS, _arg_reduce),
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "GatherElements": lambda first, shapes, *_: shapes[1],
    "GatherND": _gather_nd,
    "Pad": _pad,
    "Reshape": _of_constant_shape,
    "Expand": _expand,
    "ConstantOfShape": lambda first, shapes, inputs, attrs, constant: sizes_in(inputs[0], constant),
    "Shape": _shape_op,
    "Slice": _slice,
    "Attention": _attention,
}
