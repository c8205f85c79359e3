"""Primitives whose result NumPy gives to the last bit of JAX's, without a program to compile for each shape.

Elements that only move, comparisons, integers, and the operations that IEEE 754 rounds exactly. What NumPy and XLA may
differ in, such as an index out of bounds, the sign of a zero or a division by zero, is left to JAX.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

_Array = np.ndarray[Any, Any]
_Rule = Callable[..., Any]


def numpy_values(eqn: Any, operands: Sequence[Any]) -> list[_Array] | None:
    """The values of an equation's results, or None where JAX has to compute them."""
    rule = _RULES.get(eqn.primitive.name)
    if rule is None:
        return None
    with np.errstate(all="ignore"):
        results = rule(eqn, *map(np.asarray, operands))
    if results is None:
        return None
    results = results if eqn.primitive.multiple_results else [results]
    return [np.asarray(result, var.aval.dtype) for var, result in zip(eqn.outvars, results, strict=True)]


def _is_float(x: _Array) -> bool:
    return bool(x.dtype.kind == "f" or x.dtype.name == "bfloat16")


def _has_subnormal(*arrays: _Array) -> bool:
    """Whether there are numbers that XLA takes for zero."""
    return any(bool(((x != 0) & (np.abs(x) < _smallest(x.dtype))).any()) for x in arrays if _is_float(x))


def _may_be_flushed(result: _Array) -> bool:
    """Whether XLA makes zero of some of these numbers, or of what was rounded to them."""
    return _is_float(result) and bool(((result != 0) & (np.abs(result) <= _smallest(result.dtype))).any())


@functools.cache
def _smallest(dtype: Any) -> Any:
    return jnp.finfo(dtype).smallest_normal


def _computed(operation: _Rule, kinds: str = "iuf") -> _Rule:
    """The rule of an arithmetic operation of dtypes of these kinds."""

    def rule(eqn: Any, *operands: _Array) -> Any:
        # JAX knows how narrow floats round: XLA's products of E8M0 are NaN where NumPy's are tiny.
        if any(x.dtype.kind not in kinds or x.dtype == np.float16 for x in operands) or _has_subnormal(*operands):
            return None
        result = operation(*operands)
        return None if result is None or _may_be_flushed(result) else result

    return rule


def _compared(operation: _Rule) -> _Rule:
    def rule(eqn: Any, x: _Array, y: _Array) -> Any:
        return operation(x, y) if (x.dtype.kind in "biu" or _is_float(x)) and not _has_subnormal(x, y) else None

    return rule


def _extremum(operation: _Rule) -> _Rule:
    def rule(eqn: Any, x: _Array, y: _Array) -> Any:
        if x.dtype.kind not in "iuf" or _has_subnormal(x, y):
            return None
        # Of 0 and -0, NumPy takes either.
        zeros = (x == 0) & (y == 0) & (np.signbit(x) != np.signbit(y)) if x.dtype.kind == "f" else np.False_
        return None if zeros.any() else operation(x, y)

    return rule


def _reduced(operation: np.ufunc, kinds: str) -> _Rule:
    def rule(eqn: Any, x: _Array) -> Any:
        axes = eqn.params["axes"]
        if x.dtype.kind not in kinds or _has_subnormal(x) or any(x.shape[axis] == 0 for axis in axes):
            return None
        if x.dtype.kind == "f" and ((x == 0) & np.signbit(x)).any():
            return None
        return operation.reduce(x, axis=tuple(axes), dtype=x.dtype)

    return rule


def _moved(operation: _Rule) -> _Rule:
    return lambda eqn, *operands: operation(eqn.params, *operands)


def _broadcast_in_dim(params: Any, x: _Array, *_: Any) -> _Array:
    placed = [1] * len(params["shape"])
    for axis, dimension in enumerate(params["broadcast_dimensions"]):
        placed[int(dimension)] = x.shape[axis]
    return np.broadcast_to(x.reshape(placed), params["shape"])


def _iota(params: Any, *_: Any) -> _Array:
    shape, dimension = params["shape"], params["dimension"]
    line = np.arange(shape[dimension]).astype(params["dtype"])
    return np.broadcast_to(line.reshape([-1 if axis == dimension else 1 for axis in range(len(shape))]), shape)


def _iota_2x32_shape(params: Any) -> list[_Array]:
    counts = np.arange(np.prod(params["shape"], dtype=np.int64), dtype=np.uint64).reshape(params["shape"])
    return [counts >> np.uint64(32), counts & np.uint64(2**32 - 1)]


def _slice(params: Any, x: _Array) -> _Array:
    strides = params["strides"] or itertools.repeat(None)
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _dynamic_slice(params: Any, x: _Array, *starts: _Array) -> _Array:
    sizes = params["slice_sizes"]
    begins = [min(max(int(start), 0), all_ - size) for start, all_, size in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple(slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))]


def _pad(params: Any, x: _Array, value: _Array) -> _Array:
    config = params["padding_config"]
    spread = [size + max(size - 1, 0) * inner for size, (_, _, inner) in zip(x.shape, config, strict=True)]
    padded = np.full([size + max(a, 0) + max(b, 0) for size, (a, b, _) in zip(spread, config, strict=True)], value)
    inside = [slice(max(a, 0), max(a, 0) + n, i + 1) for n, (a, _, i) in zip(spread, config, strict=True)]
    padded[tuple(inside)] = x
    return padded[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b, _) in zip(padded.shape, config, strict=True))]


def _select_n(eqn: Any, which: _Array, *cases: _Array) -> Any:
    if which.dtype != bool:
        return None
    return np.where(which, cases[-1], cases[0])


def _gather(eqn: Any, x: _Array, indices: _Array) -> _Array | None:
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape = eqn.outvars[0].aval.shape
    batch = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(x.ndim) if axis not in gone]

    def along(axis: int, size: int) -> _Array:
        return np.arange(size).reshape([-1 if other == axis else 1 for other in range(len(shape))])

    places: list[Any] = [np.int64(0)] * x.ndim
    for axis, placed in zip(kept, numbers.offset_dims, strict=True):
        places[axis] = along(placed, sizes[axis])
    for axis, position in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        places[axis] = along(batch[position], x.shape[axis])
    for position, axis in enumerate(numbers.start_index_map):
        starts = np.expand_dims(indices[..., position].astype(np.int64), numbers.offset_dims)
        if ((starts < 0) | (starts > x.shape[axis] - sizes[axis])).any():
            return None
        places[axis] = places[axis] + starts
    return np.broadcast_to(x[tuple(places)], shape)


def _convert(eqn: Any, x: _Array) -> _Array | None:
    new = np.dtype(eqn.params["new_dtype"])
    if x.dtype == new:
        return x
    if x.dtype.kind in "biu" and new.kind in "biuf":
        return x.astype(new)
    if not _is_float(x) or _has_subnormal(x):
        return None
    if new.kind in "iu":
        limit = float(np.iinfo(new).max)
        exact = bool((np.isfinite(x) & (np.abs(x) < limit) & ((x >= 0) | (new.kind == "i"))).all())
    else:
        # XLA of some releases rounds float64 to float16 twice.
        exact = new.kind in "fb" and x.dtype.kind == "f" and not (x.dtype == np.float64 and new == np.float16)
    result = x.astype(new) if exact else None
    # A number beyond a narrower type is infinite, as in JAX.
    return None if result is None or _may_be_flushed(result) else result


def _integer_pow(eqn: Any, x: _Array) -> Any:
    """Powers above 0 by squares, as JAX multiplies them."""
    left = eqn.params["y"]
    if left < 1:
        return None
    result = None
    while left:
        if left % 2:
            result = x if result is None else result * x
        left, x = left // 2, x * x if left > 1 else x
    return result


def _rem(x: _Array, y: _Array) -> Any:
    return np.fmod(x, y) if x.dtype.kind != "f" and not (y == 0).any() else None


def _div(x: _Array, y: _Array) -> Any:
    if x.dtype.kind == "f":
        return x / y
    return None if ((y == 0) | (y == -1)).any() else (x - np.fmod(x, y)) // y  # towards zero


_RULES: dict[str, _Rule] = {
    # Layout and movement of elements.
    "broadcast_in_dim": _moved(_broadcast_in_dim),
    "reshape": lambda eqn, x, *_: None if eqn.params.get("dimensions") else x.reshape(eqn.outvars[0].aval.shape),
    "copy": lambda eqn, x: x,
    "squeeze": lambda eqn, x: x.reshape(eqn.outvars[0].aval.shape),
    "transpose": _moved(lambda params, x: x.transpose(params["permutation"])),
    "rev": _moved(lambda params, x: np.flip(x, params["dimensions"])),
    "iota": _moved(_iota),
    "iota_2x32_shape": _moved(_iota_2x32_shape),
    "slice": _moved(_slice),
    "dynamic_slice": _moved(_dynamic_slice),
    "split": _moved(lambda params, x: np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"])),
    "unstack": _moved(lambda params, x: list(np.moveaxis(x, params["axis"], 0))),
    "concatenate": _moved(lambda params, *operands: np.concatenate(operands, params["dimension"])),
    "stack": _moved(lambda params, *operands: np.stack(operands, params["axis"])),
    "tile": _moved(lambda params, x: np.tile(x, params["reps"])),
    "pad": _moved(_pad),
    "select_n": _select_n,
    "gather": _gather,
    "convert_element_type": _convert,
    # Arithmetic.
    "add": _computed(np.add),
    "add_any": _computed(np.add),
    "sub": _computed(np.subtract),
    "mul": _computed(np.multiply),
    "div": _computed(_div),
    "rem": _computed(_rem),
    "square": _computed(np.square),
    "integer_pow": lambda eqn, x: _computed(functools.partial(_integer_pow, eqn))(eqn, x),
    "sqrt": _computed(np.sqrt),
    "floor": _computed(np.floor),
    "ceil": _computed(np.ceil),
    "neg": _computed(np.negative),
    "abs": _computed(np.abs, "if"),
    "sign": _computed(np.sign, "i"),
    "max": _extremum(np.maximum),
    "min": _extremum(np.minimum),
    # Truth.
    "and": _computed(np.bitwise_and, "biu"),
    "or": _computed(np.bitwise_or, "biu"),
    "xor": _computed(np.bitwise_xor, "biu"),
    "not": _computed(np.invert, "biu"),
    "is_finite": lambda eqn, x: np.isfinite(x) if _is_float(x) else None,
    **{name: _compared(getattr(operator, name)) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    # Reductions that have one result in every order.
    "reduce_and": _reduced(np.bitwise_and, "biu"),
    "reduce_or": _reduced(np.bitwise_or, "biu"),
    "reduce_max": _reduced(np.maximum, "iuf"),
    "reduce_min": _reduced(np.minimum, "iuf"),
    "reduce_sum": _reduced(np.add, "iu"),
    "reduce_prod": _reduced(np.multiply, "iu"),
}
