"""Weights that are kept: leaves of the model that no stage looks into, and how an initializer lies in its leaf."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from .._errors import J2oError
from ..trace._lazy import has_values, is_lazy
from ._placement import Placement, whole
from ._values import onnx_dtype, stamp

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

NO_VALUES = """{count} of its weights have no values, {names} for one: the model was exported from shapes alone.
Give them: program.with_weights(tree), or a flat dictionary of arrays by the names of the weights."""

_BEYOND = (
    """{leaf} has numbers beyond the range of {dtype}: they are infinite in the file. bfloat16 has that of float32."""
)

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class KeptWeight:
    """A leaf of a model, or a view of it, as the file has it. Its numbers are read when somebody asks for the array.

    Attributes:
        leaf: path of the leaf.
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

    def stored(self) -> _Array:
        """The view in the dtype that the leaf has."""
        if not self.has_values:
            raise J2oError(NO_VALUES.format(count="Some", names=self.leaf))
        return self.placement.of(np.asarray(self.source))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array:
        del copy
        return cast(self.stored(), dtype or self.dtype, self.leaf)

    def record(self) -> str:
        """How the elements lie in the leaf, as JSON; of the whole leaf just its path."""
        record: dict[str, Any] = {"leaf": self.leaf}
        shape = tuple(self.source.shape)
        if self.placement != whole(shape):
            record |= {"of": list(shape), "first": self.placement.first, "shape": list(self.shape)}
            record["strides"] = list(self.placement.strides)
        if self.dtype != self.source.dtype:
            record["dtype"] = str(np.dtype(self.source.dtype))
        return json.dumps(record)


def cast(array: _Array, dtype: Any, leaf: str) -> _Array:
    """The numbers of a leaf in the dtype of the file. Those beyond a narrower dtype are infinite, as in JAX."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        warnings.warn(_BEYOND.format(leaf=leaf, dtype=np.dtype(dtype)), UserWarning, stacklevel=2)
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
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in STORED_LAYOUTS else None
    return value is not None


def kept_weight(leaf: str, value: Any, dtype: Any) -> ir.Value:
    """The value of a leaf in a graph, in JAX's dtype for it."""
    source = value if is_lazy(value) else np.asarray(value)
    return value_of(KeptWeight(leaf, source, whole(np.shape(value)), np.dtype(dtype)))


def tensor_of(weight: KeptWeight, **more: Any) -> ir.Tensor[Any]:
    """A tensor whose bytes are read when it is written."""
    return ir.Tensor(weight, dtype=onnx_dtype(weight.dtype), shape=ir.Shape(weight.shape), **more)


def value_of(weight: KeptWeight) -> ir.Value:
    """The value of a leaf, or of a view of it, in a graph."""
    value = ir.Value(name=None, const_value=tensor_of(weight))
    stamp(value, weight.dtype, weight.shape)
    value.meta[KEPT] = weight
    value.meta["j2o_name"] = weight.leaf
    return value


def without_values(model: ir.Model) -> list[str]:
    """Names of the weights of a model that have no numbers."""
    weights = {name: getattr(value.const_value, "raw", None) for name, value in model.graph.initializers.items()}
    return [name for name, raw in weights.items() if isinstance(raw, KeptWeight) and not raw.has_values]


def check_values(model: ir.Model, what: str, error: type[J2oError]) -> None:
    """Raise an error, "Cannot save the program" say, if a weight of a model has no numbers."""
    missing = without_values(model)
    if missing:
        raise error(f"{what}: {NO_VALUES.format(count=len(missing), names=missing[0])}")
