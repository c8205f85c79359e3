"""Nodes that cancel, merge or do nothing, and need not be built.

Only local, exact simplifications belong here, on nodes as they are added. Fusions are rewrites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..simplify._identities import one_number
from . import traits
from ._constants import Constants
from ._identities import NAMES, operand_or_constant
from ._infer import infer_shapes, same_dimension, same_shape, sizes_in
from ._values import is_empty, is_integer, made_by, shape_of

Inputs = Sequence["ir.Value | None"]


class Simpler(NamedTuple):
    """A node to be added in place of another."""

    op_type: str
    inputs: Inputs
    attrs: dict[str, Any]


Rule = Callable[[Constants, Inputs, dict[str, Any]], ir.Value | Simpler | None]


def simplify_node(
    constants: Constants, op_type: str, inputs: Inputs, attrs: dict[str, Any]
) -> ir.Value | Simpler | None:
    """A value that equals the node's output and is there already or needs a simpler node."""
    rule = _SIMPLER.get(op_type)
    if rule is None or inputs[0] is None:
        return None
    return rule(constants, inputs, attrs)


def _cast(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    (x,) = inputs
    assert x is not None
    if x.dtype is not None and int(x.dtype) == int(attrs["to"]):
        return x
    cast = made_by(x, "Cast")
    origin = cast.inputs[0] if cast is not None else None
    if x.dtype is None or origin is None or origin.dtype is None or int(origin.dtype) != int(attrs["to"]):
        return None
    return origin if _holds(x.dtype.numpy(), origin.dtype.numpy()) else None  # there and back


def _holds(wide: np.dtype[Any], narrow: np.dtype[Any]) -> bool:
    """Whether a type has every value of another."""
    if narrow.name == "bfloat16":
        return wide.name in ("float32", "float64")
    if narrow.kind in "iu" and wide.kind == "f" and narrow.itemsize == 8:
        return False  # NumPy calls it safe; float64 has 53 bits
    return narrow.kind in "biuf" and wide.kind in "biuf" and np.can_cast(narrow, wide)


def _transpose(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    (x,) = inputs
    assert x is not None
    shape, perm = shape_of(x), attrs.get("perm")
    if perm is None:  # all that read it expect the attribute
        return None if shape is None else Simpler("Transpose", [x], {"perm": tuple(range(len(shape)))[::-1]})
    perm = tuple(int(axis) for axis in perm)
    if perm == tuple(range(len(perm))):
        return x
    before = made_by(x, "Transpose")
    if before is not None and "perm" in before.attributes:
        first = before.attributes["perm"].as_ints()
        merged = tuple(first[axis] for axis in perm)
        return Simpler("Transpose", [before.inputs[0]], {"perm": merged})
    if shape is not None and moves_only_ones(shape, perm):
        return Simpler("Reshape", [x, constants.get(np.array([shape[a] for a in perm], np.int64))], {})
    return None


def moves_only_ones(shape: tuple[Any, ...], perm: tuple[int, ...]) -> bool:
    """Whether a Transpose leaves the elements in their order."""
    if not all(isinstance(size, (int, np.integer)) and size > 0 for size in shape):
        return False
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _reshape(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    x, target = inputs
    assert x is not None
    assert target is not None
    shape = shape_of(x)
    sizes, wanted = constants.array(target), sizes_in(target, constants.array)
    if wanted is not None and (source := _of_shape(x, wanted)) is not None:
        return source
    producer = made_by(x, *traits.RESHAPES)
    if producer is None:
        return None
    if sizes is not None and not attrs.get("allowzero"):
        # A zero copies the size at its place: that has to be the same one further up.
        before = shape_of(producer.inputs[0]) if producer.inputs[0] is not None else None
        places = [int(axis) for axis in np.flatnonzero(sizes == 0)]
        if places and (before is None or shape is None):
            return None
        if any(axis >= len(before or ()) or not same_dimension(before[axis], shape[axis]) for axis in places):  # type: ignore[index]
            return None
    return Simpler("Reshape", [producer.inputs[0], target], attrs)


def _of_shape(x: ir.Value | None, wanted: tuple[Any, ...]) -> ir.Value | None:
    """The first operand of a chain of Reshape, Squeeze and Unsqueeze, if it has the wanted shape already."""
    while x is not None and not same_shape(shape_of(x), wanted):
        producer = made_by(x, *traits.RESHAPES)
        x = producer.inputs[0] if producer is not None else None
    return x


def _axes_changed(op_type: str) -> Rule:
    """Squeeze and Unsqueeze: back to a shape that was there already."""

    def rule(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
        (wanted,) = infer_shapes(op_type, inputs, attrs, 1, constants.array)
        return _of_shape(inputs[0], wanted) if wanted is not None else None

    return rule


def _expand(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    x, target = inputs
    assert x is not None
    assert target is not None
    return x if same_shape(shape_of(x), sizes_in(target, constants.array)) else None


def _concat(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    if len(inputs) == 1:
        return inputs[0]
    kept = [value for value in inputs if not is_empty(value)]
    if len(kept) in (0, len(inputs)):
        return None
    return kept[0] if len(kept) == 1 else Simpler("Concat", kept, attrs)


def _gather(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    """Places of an axis whose parts were joined or gathered are places of what that was made of."""
    x, indices = inputs
    assert x is not None
    assert indices is not None
    places, producer, shape = constants.array(indices), x.producer(), shape_of(x)
    if places is None or not places.size or not shape:
        return None
    axis = attrs.get("axis", 0) % len(shape)
    if places.ndim == 1 and places.size == shape[axis] and (places == np.arange(places.size)).all():
        return x
    if producer is None:
        return None
    if producer.op_type == "Concat" and producer.attributes["axis"].as_int() % len(shape) == axis:
        return _gather_of_joined(constants, producer.inputs, places, axis)
    if producer.op_type != "Gather" or not isinstance(shape[axis], int):
        return None
    source, first = producer.inputs[0], constants.array(producer.inputs[1])
    along = producer.attributes["axis"].as_int() if "axis" in producer.attributes else 0
    if first is None or first.ndim != 1 or along % len(shape) != axis or not _inside(places, shape[axis]):
        return None
    return Simpler("Gather", [source, constants.get(first[places])], {"axis": axis})


def _gather_of_joined(constants: Constants, parts: Inputs, places: Any, axis: int) -> Simpler | None:
    """Places that are all in one part."""
    low, high, start = int(places.min()), int(places.max()), 0
    for part in parts:
        shape = shape_of(part) if part is not None else None
        size = shape[axis] if shape else None
        if not isinstance(size, int) or low < start:
            return None
        if high < start + size:
            if size == 1 and not places.ndim:
                return Simpler("Squeeze", [part, constants.get(np.array([axis], np.int64))], {})
            return Simpler("Gather", [part, constants.get(np.asarray(places - start, places.dtype))], {"axis": axis})
        start += size
    return None


def _inside(places: Any, size: int) -> bool:
    """Whether all places are those of an axis, counted from either end."""
    return bool((-size <= places).all() and (places < size).all())


def _neg(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    negation = made_by(inputs[0], "Neg")
    return negation.inputs[0] if negation is not None else None


def _not(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    producer = made_by(inputs[0], "Not", *traits.OPPOSITES)
    if producer is None:
        return None
    if producer.op_type == "Not":
        return producer.inputs[0]
    return Simpler(traits.OPPOSITES[producer.op_type], producer.inputs, {}) if is_integer(producer.inputs[0]) else None


def _abs(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    producer = made_by(inputs[0], "Abs", "Neg")
    if producer is None:
        return None
    return inputs[0] if producer.op_type == "Abs" else Simpler("Abs", producer.inputs, {})


def _where(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | Simpler | None:
    condition, x, y = inputs
    flag = one_number(constants.array(condition))
    if x is y or flag is not None:
        chosen = y if flag is not None and not flag else x
        (shape,) = infer_shapes("Where", inputs, attrs, 1, constants.array)
        return chosen if chosen is not None and same_shape(shape_of(chosen), shape) else None
    # An inner choice by the same condition is made already.
    choices = [condition, _chosen(x, condition, 1), _chosen(y, condition, 2)]
    if choices[1] is x and choices[2] is y:
        return None
    shapes = [infer_shapes("Where", operands, attrs, 1, constants.array)[0] for operands in (inputs, choices)]
    return Simpler("Where", choices, {}) if same_shape(*shapes) else None


def _chosen(value: ir.Value | None, condition: ir.Value | None, place: int) -> ir.Value | None:
    where = made_by(value, "Where")
    return where.inputs[place] if where is not None and where.inputs[0] is condition else value


_SIMPLER: dict[str, Rule] = {
    "Identity": lambda constants, inputs, attrs: inputs[0],
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Concat": _concat,
    "Gather": _gather,
    "Not": _not,
    "Neg": _neg,
    "Abs": _abs,
    "Where": _where,
    "Squeeze": _axes_changed("Squeeze"),
    "Unsqueeze": _axes_changed("Unsqueeze"),
    **{op_type: operand_or_constant(op_type) for op_type in NAMES},
}

SIMPLIFIED = frozenset(_SIMPLER)
"""Operators that may have a simpler form."""
