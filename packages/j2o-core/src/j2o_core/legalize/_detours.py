"""Casts through another element type, as data: for each operator, what has to survive the cast.

    uint16 Where     moves elements         through int32 and back
    int8 MatMul      wraps at 2^8           through int32; the cast back wraps
    uint64 ReduceMax compares               flip the top bit, through int64 and back
    bfloat16 Exp     computes with values   through float32; the cast back rounds, as bfloat16 arithmetic does

A detour is only here if it gives the same bits as the operator would in its own type. There is none from float64 (no
wider type) and none that computes integers in floating point.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx_ir as ir

from ..graph import traits
from ..target import INTEGERS, NARROW_FLOATS, SIGNED, UNSIGNED, Signature, Types, bits

T = ir.DataType
Attribute = Callable[[str, Any], Any]
Runs = Callable[[str, Types, Attribute], bool]


class Use(enum.Enum):
    """The way an operator uses the elements of one of its type variables."""

    MOVES = "places elements, unchanged"
    COMPARES = "orders elements and places them"
    WRAPS = "adds and multiplies, modulo 2^bits for integers"
    COMPUTES = "needs the values themselves"
    TESTS = "asks whether elements are zero"


@dataclasses.dataclass(frozen=True)
class Carrier:
    """An element type that stands in for another one; `flips` the top bit, so that unsigned order becomes signed."""

    dtype: ir.DataType
    flips: bool = False


_STANDARD_INTEGERS = (T.INT32, T.INT64, T.UINT32, T.UINT64, T.INT8, T.UINT8, T.INT16, T.UINT16)


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether an integer type has every value of another."""
    if narrow in UNSIGNED and wide in UNSIGNED:
        return bits(wide) >= bits(narrow)
    return wide in SIGNED and bits(wide) >= bits(narrow) + (narrow in UNSIGNED)


def _float_that_holds(dtype: ir.DataType) -> Iterator[ir.DataType]:
    if bits(dtype) <= 16:
        yield T.FLOAT
    if bits(dtype) <= 32:
        yield T.DOUBLE


def _carriers(use: Use, dtype: ir.DataType) -> Iterator[Carrier]:
    if use is Use.TESTS:
        yield Carrier(T.BOOL)
    elif dtype in NARROW_FLOATS or (dtype is T.FLOAT8E8M0 and use is Use.MOVES):
        yield Carrier(T.FLOAT)
    elif dtype is T.BOOL and use in (Use.MOVES, Use.COMPARES):
        yield from map(Carrier, (T.UINT8, T.INT32))
    elif dtype in INTEGERS:
        if use is Use.WRAPS:
            yield from (Carrier(t) for t in _STANDARD_INTEGERS if bits(t) >= max(bits(dtype), 32))
            return
        yield from (Carrier(t) for t in _STANDARD_INTEGERS if _holds(t, dtype))
        if use is Use.MOVES:
            yield from (Carrier(t) for t in _STANDARD_INTEGERS if bits(t) == bits(dtype))
        if use in (Use.MOVES, Use.COMPARES):
            yield from map(Carrier, _float_that_holds(dtype))
        if use is Use.COMPARES and dtype is T.UINT64:
            yield Carrier(T.INT64, flips=True)


# Operators


UseOf = Use | Callable[[Attribute], Use]


def _by(name: str, default: str, uses: Mapping[str, Use]) -> Callable[[Attribute], Use]:
    """A use that depends on an attribute."""
    return lambda attribute: uses[attribute(name, default)]


_SCATTER = _by(
    "reduction",
    "none",
    {"none": Use.MOVES, "add": Use.WRAPS, "mul": Use.WRAPS, "max": Use.COMPARES, "min": Use.COMPARES},
)
_RESIZE = _by("mode", "nearest", {"nearest": Use.MOVES, "linear": Use.COMPUTES, "cubic": Use.COMPUTES})
# Shifting right brings in the high bits of the value itself, shifting left only what wraps away.
_BIT_SHIFT = _by("direction", "", {"LEFT": Use.WRAPS, "RIGHT": Use.COMPUTES})

USES: dict[str, dict[str, UseOf]] = {}
"""For each operator: type variable to use. What is not listed is computed with, and only floats and indices change."""

_MOVING = (
    *(*traits.MOVES, "Where", "Pad", "Concat", "Trilu", "Compress", "ReverseSequence", "DepthToSpace"),
    *("SpaceToDepth", "TensorScatter", "CenterCropPad", "Shape", "Size"),
)
_COMPARING = (
    *(*traits.COMPARISONS, *traits.ARG_REDUCTIONS, "Max", "Min", "Clip", "ReduceMax", "ReduceMin", "TopK"),
    *("MaxPool", "GlobalMaxPool", "Unique"),
)
_WRAPPING = (
    *("Add", "Sub", "Mul", "Neg", "MatMul", "ReduceSum", "ReduceSumSquare", "ReduceProd", "CumSum", "CumProd"),
    *("Sum", "Einsum", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"),
)
for _kind, _variable, _names in (
    (Use.MOVES, "T", _MOVING),
    (Use.MOVES, "V", ("Identity",)),
    (Use.MOVES, "T3", ("OneHot",)),
    (Use.MOVES, "T2", ("ConstantOfShape", "EyeLike")),
    (Use.MOVES, "T1", ("EyeLike", "RandomNormalLike", "RandomUniformLike")),
    (Use.COMPARES, "T", _COMPARING),
    (Use.MOVES, "T", ("Equal",)),  # whatever their order
    (Use.WRAPS, "T", _WRAPPING),
    (Use.COMPUTES, "T", ("Abs", "Sign", "Div", "Mod", "Range", "Relu")),
    (Use.COMPUTES, "T1", ("Pow",)),
    (Use.TESTS, "T", ("NonZero",)),
):
    for _name in _names:
        USES.setdefault(_name, {})[_variable] = _kind

USES["ScatterND"] = USES["ScatterElements"] = {"T": _SCATTER}
USES["Resize"] = {"T1": _RESIZE}
USES["BitShift"] = {"T": _BIT_SHIFT}

# A float of few bits stays one under these: the wide result needs no rounding, and the next detour can start from it.
_ROUND_TO_THEMSELVES = frozenset(["Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Relu"])

# Which attribute holds the element type of an output, and of which type variable.
DTYPE_ATTRIBUTES = {
    "ConstantOfShape": ("value", "T2"),
    "EyeLike": ("dtype", "T2"),
    "HannWindow": ("output_datatype", "T2"),
    "HammingWindow": ("output_datatype", "T2"),
    "BlackmanWindow": ("output_datatype", "T2"),
    "RandomNormal": ("dtype", "T"),
    "RandomUniform": ("dtype", "T"),
    "RandomNormalLike": ("dtype", "T2"),
    "RandomUniformLike": ("dtype", "T2"),
    "Bernoulli": ("dtype", "T2"),
}

# Casts have no detour through casts.
_NO_DETOUR = frozenset(["Cast", "CastLike", "BitCast", "Constant", "If", "Loop", "Scan"])


@dataclasses.dataclass(frozen=True)
class Detour:
    """How the type variables of a node are carried.

    Attributes:
        types: Every type variable of the node with the detour made.
        carriers: Those that change.
        exact: Those whose wide results are values of the narrow type.
    """

    types: Types
    carriers: Mapping[str, Carrier]
    exact: frozenset[str]


def find_detour(
    op_type: str,
    types: Types,
    known: Signature,
    attribute: Attribute,
    runs: Runs,
    slots: Mapping[str, int],
) -> Detour | None:
    """The cheapest detour that leads to types for which `runs` is true.

    Args:
        op_type: The operator.
        types: Its type variables as they are.
        known: The operator's signature.
        attribute: Reads the node's attributes.
        runs: Whether the target runs an operator with other types: `Target.runs_types`.
        slots: How many operands each type variable has in the node; each one costs a cast.
    """
    if op_type in _NO_DETOUR:
        return None
    uses = {variable: _use(op_type, variable, known, dtype, attribute) for variable, dtype in types.items()}
    choices = [[None, *(_carriers(use, types[v]) if use is not None else ())] for v, use in uses.items()]
    best: tuple[tuple[int, int], dict[str, Carrier]] | None = None
    for combination in itertools.product(*(enumerate(c) for c in choices)):
        carriers = {v: carrier for v, (_, carrier) in zip(types, combination, strict=True) if carrier is not None}
        cost = (sum(slots[v] for v in carriers), sum(rank for rank, _ in combination))
        if not carriers or (best is not None and best[0] <= cost):
            continue
        wide = {**types, **{v: carrier.dtype for v, carrier in carriers.items()}}
        if runs(op_type, wide, attribute) and all(_castable(types[v], c.dtype, runs) for v, c in carriers.items()):
            best = (cost, carriers)
    if best is None:
        return None
    carriers = best[1]
    return Detour(
        {**types, **{v: carrier.dtype for v, carrier in carriers.items()}},
        carriers,
        frozenset(v for v in carriers if _is_exact(op_type, uses[v], types[v])),
    )


def _use(op_type: str, variable: str, known: Signature, dtype: ir.DataType, attribute: Attribute) -> Use | None:
    row = USES.get(op_type, {})
    if variable in row:
        use = row[variable]
        return use if isinstance(use, Use) else use(attribute)
    if dtype in NARROW_FLOATS:
        return Use.COMPUTES
    # Indices, axes and counts: whatever only takes int32 and int64.
    if known.allowed[variable] <= {T.INT32, T.INT64}:
        return Use.COMPUTES
    return None


def _is_exact(op_type: str, use: Use | None, dtype: ir.DataType) -> bool:
    return use in (Use.MOVES, Use.COMPARES) or (op_type in _ROUND_TO_THEMSELVES and dtype in NARROW_FLOATS)


def _castable(narrow: ir.DataType, wide: ir.DataType, runs: Runs) -> bool:
    nothing: dict[str, Any] = {}
    return all(runs("Cast", {"T1": a, "T2": b}, nothing.get) for a, b in ((narrow, wide), (wide, narrow)))
