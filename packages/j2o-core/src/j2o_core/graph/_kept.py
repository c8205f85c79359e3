"""Weights that are kept: leaves of the model that no stage looks into, and how an initializer lies in its leaf."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import onnx_ir as ir

from .._errors import J2oError, warn
from ..trace._lazy import has_values, is_lazy
from ._placement import Placement, whole
from ._values import made_by, onnx_dtype, stamp

# In the metadata of an initializer.
WEIGHT = "j2o.weight"

# In the metadata of a model: which leaves it has no initializers of, as JSON.
LEAVES = "j2o.leaves"

# In `meta` of a value: a weight whose value no stage looks at.
KEPT = "j2o_kept"

# In `meta` of an input of a function: a weight, whose layout ONNX Runtime changes when it loads the model.
WEIGHT_INPUT = "j2o_weight_input"

# Operators whose result, for a weight that is kept, is stored: a view of it, or its numbers in a narrower dtype.
STORED_LAYOUTS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Cast"})

# Operators of weights whose result, too, is computed when the file is written: those that IEEE 754 rounds. JAX computes
# them, as it folds constants: XLA takes subnormal numbers for zero.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Add": jax.lax.add,
    "Sub": jax.lax.sub,
    "Mul": jax.lax.mul,
    "Div": jax.lax.div,
    "Neg": jax.lax.neg,
    "Abs": jax.lax.abs,
    "Sqrt": jax.lax.sqrt,
}

NO_VALUES = """{count} of its weights have no values, {names} for one: the model was exported from shapes alone.
Give them: program.with_weights(tree), or a flat dictionary of arrays by the names of the weights."""

_BEYOND = (
    """{leaf} has numbers beyond the range of {dtype}: they are infinite in the file. bfloat16 has that of float32."""
)

# In a record: an operator, and the records of its operands.
_COMPUTED, _FROM = "computed", "from"

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class KeptWeight:
    """A leaf of a model, or a view of it, as the file has it. Its numbers are read when somebody asks for the array.

    Attributes:
        leaf: path of the leaf; "" for a constant.
        source: the leaf: an array, or an object that becomes one; without `__array__` it has no values.
        placement: which elements of the leaf, and in which order.
        dtype: the dtype in the file, into which the leaf's numbers are cast.
    """

    leaf: str
    source: Any
    placement: Placement
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        return self.placement.shape

    @property
    def has_values(self) -> bool:
        """Whether the leaf has numbers."""
        return has_values(self.source)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for weights of equal numbers, as far as it is known without them."""
        return self.leaf or id(self.source), self.placement, self.dtype

    def views(self) -> list[KeptWeight]:
        """The views of leaves and constants that the numbers are computed from."""
        return [self]

    def moved(self, change: Callable[[Placement], Placement | None]) -> KeptWeight | None:
        """The weight in another layout, None if it has none."""
        placement = change(self.placement)
        return None if placement is None else dataclasses.replace(self, placement=placement)

    def stored(self) -> _Array:
        """The view in the dtype that the leaf has."""
        if not self.has_values:
            raise J2oError(NO_VALUES.format(count="Some", names=self.leaf))
        return self.placement.of(np.asarray(self.source))

    def compute(self, arrays: Iterator[_Array]) -> _Array:
        """The numbers, from those of `stored` or a part of them."""
        return cast(next(arrays), self.dtype, self.leaf)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array:
        del copy
        return cast(self.stored(), dtype or self.dtype, self.leaf)

    def record(self) -> dict[str, Any]:
        """How the elements lie in the leaf; of the whole leaf just its path."""
        record: dict[str, Any] = {"leaf": self.leaf} if self.leaf else {"numbers": _numbers(self.source)}
        shape = tuple(self.source.shape)
        if self.placement != whole(shape):
            record |= {"of": list(shape), "first": self.placement.first, "shape": list(self.shape)}
            record["strides"] = list(self.placement.strides)
        if self.dtype != self.source.dtype:
            record["dtype"] = str(np.dtype(self.source.dtype))
        return record


@dataclass(frozen=True, eq=False)
class ComputedWeight:
    """A weight that is computed from others, element by element, when somebody asks for the array.

    Attributes:
        op_type: one of `OPERATIONS`, or Cast.
        operands: weights of one shape.
        dtype: the dtype of the result.
    """

    op_type: str
    operands: tuple[Weight, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        return self.operands[0].shape

    @property
    def has_values(self) -> bool:
        """Whether all leaves have numbers."""
        return all(view.has_values for view in self.views())

    @property
    def leaf(self) -> str:
        """The path of the first leaf that it is computed from, "" if there is none."""
        return next(filter(None, (operand.leaf for operand in self.operands)), "")

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for weights of equal numbers, as far as it is known without them."""
        return self.op_type, self.dtype, *(operand.key for operand in self.operands)

    def views(self) -> list[KeptWeight]:
        """The views of leaves and constants that the numbers are computed from."""
        return [view for operand in self.operands for view in operand.views()]

    def moved(self, change: Callable[[Placement], Placement | None]) -> ComputedWeight | None:
        """The weight in another layout, None if an operand has none."""
        operands = [operand.moved(change) for operand in self.operands]
        if any(operand is None for operand in operands):
            return None
        return dataclasses.replace(self, operands=tuple(operand for operand in operands if operand is not None))

    def compute(self, arrays: Iterator[_Array]) -> _Array:
        """The numbers, from those of the views or a part of them, with the rounding of JAX."""
        operands = [operand.compute(arrays) for operand in self.operands]
        if self.op_type == "Cast":
            return cast(operands[0], self.dtype, self.leaf)
        return np.asarray(OPERATIONS[self.op_type](*operands))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array:
        del copy
        return self.compute(view.stored() for view in self.views()).astype(dtype or self.dtype, copy=False)

    def record(self) -> dict[str, Any]:
        """The operator, and the records of the operands with all their entries."""
        operands = []
        for operand in self.operands:
            record = operand.record()
            if isinstance(operand, KeptWeight):
                of, placement = operand.source, operand.placement
                record |= {"of": list(of.shape), "first": placement.first, "shape": list(operand.shape)}
                record |= {"strides": list(placement.strides), "dtype": str(np.dtype(of.dtype))}
            operands.append(record | {"as": str(operand.dtype)})
        return {_COMPUTED: self.op_type, _FROM: operands}


Weight = KeptWeight | ComputedWeight


def leaf_records(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of the leaves that a weight is computed from; that of a leaf itself."""
    if _COMPUTED in record:
        return [leaf for operand in record[_FROM] for leaf in leaf_records(operand)]
    return [record] if "leaf" in record else []


def weight_of(record: Mapping[str, Any], given: Mapping[str, Any], dtype: Any) -> Weight:
    """The weight that a record describes.

    Args:
        record: that of an initializer.
        given: the leaves by their paths.
        dtype: the dtype in the file.
    """
    dtype = np.dtype(record.get("as", dtype))
    if _COMPUTED in record:
        operands = tuple(weight_of(operand, given, None) for operand in record[_FROM])
        return ComputedWeight(record[_COMPUTED], operands, dtype)
    if "leaf" in record:
        source = given[record["leaf"]]
    else:
        source = np.array(record["numbers"], record["dtype"]).reshape(record["of"])
    placement = whole(source.shape)
    if "of" in record:
        placement = Placement(tuple(record["shape"]), tuple(record["strides"]), record["first"])
    return KeptWeight(record.get("leaf", ""), source, placement, dtype)


def _numbers(array: _Array) -> list[float]:
    numbers: list[float] = np.asarray(array).astype(np.float64).reshape(-1).tolist()
    return numbers


def cast(array: _Array, dtype: Any, leaf: str) -> _Array:
    """The numbers of a leaf in the dtype of the file. Those beyond a narrower dtype are infinite, as in JAX."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        warn(_BEYOND.format(leaf=leaf, dtype=np.dtype(dtype)))
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def digest(value: Any) -> str:
    """A key that distinguishes arrays: the beginning of the SHA-256 of dtype, shape and content."""
    array = np.asarray(value)
    told = f"{array.dtype}{list(array.shape)}".encode()
    return hashlib.sha256(told + array.tobytes()).hexdigest()[:32]


def is_kept(value: ir.Value | None) -> bool:
    """Whether a value is a weight that is kept, an input of a function for one, or one of them in a stored layout."""
    while value is not None and KEPT not in value.meta and WEIGHT_INPUT not in value.meta:
        node = made_by(value, *STORED_LAYOUTS)
        value = node.inputs[0] if node is not None else None
    return value is not None


def kept_weight(leaf: str, value: Any, dtype: Any) -> ir.Value:
    """The value of a leaf in a graph, in JAX's dtype for it."""
    source = value if is_lazy(value) else np.asarray(value)
    return value_of(KeptWeight(leaf, source, whole(np.shape(value)), np.dtype(dtype)))


def tensor_of(weight: Weight, **more: Any) -> ir.Tensor[Any]:
    """A tensor whose bytes are read when it is written."""
    return ir.Tensor(weight, dtype=onnx_dtype(weight.dtype), shape=ir.Shape(weight.shape), **more)


def value_of(weight: Weight) -> ir.Value:
    """The value of a leaf, or of a view of it, in a graph."""
    value = ir.Value(name=None, const_value=tensor_of(weight))
    stamp(value, weight.dtype, weight.shape)
    value.meta[KEPT] = weight
    if isinstance(weight, KeptWeight):
        value.meta["j2o_name"] = weight.leaf
    return value


def without_values(model: ir.Model) -> list[str]:
    """Names of the weights of a model that have no numbers."""
    weights = {name: getattr(value.const_value, "raw", None) for name, value in model.graph.initializers.items()}
    return [name for name, raw in weights.items() if isinstance(raw, Weight) and not raw.has_values]


def check_values(model: ir.Model, what: str, error: type[J2oError]) -> None:
    """Raise an error, "Cannot save the program" say, if a weight of a model has no numbers."""
    missing = without_values(model)
    if missing:
        raise error(f"{what}: {NO_VALUES.format(count=len(missing), names=missing[0])}")
