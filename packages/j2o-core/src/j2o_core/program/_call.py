"""The arguments of a call, as `jax.jit` would take them: converted without loss, and compared with the specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .. import _compat
from .._errors import SpecError
from ..graph._sizes import broken_constraint, evaluate_dimension, linear_symbol, symbol_sizes
from ..trace._inputs import InputLeaf
from ..trace._settings import NUMBERS
from ..trace._spec_advice import short


def call_arrays(leaves: Sequence[InputLeaf], values: Sequence[Any]) -> list[Any]:
    """The values as arrays of the dtypes and shapes that the program takes.

    A Python number takes the dtype of its input where JAX's promotion gives that; with 64-bit types off, 64-bit arrays
    become 32-bit ones, as everywhere in JAX.

    Raises:
        SpecError: if a value has another dtype or shape, or sizes differ that have one name, or break a constraint.
    """
    arrays = [_of_dtype(leaf, value) for leaf, value in zip(leaves, values, strict=True)]
    for leaf, array in zip(leaves, arrays, strict=True):
        fits = len(leaf.shape) == array.ndim and all(
            _compat.is_symbolic(wanted) or wanted == size for wanted, size in zip(leaf.shape, array.shape, strict=True)
        )
        if not fits:
            raise SpecError(
                f"The argument {leaf.name!r} is {_signature(array)}, the program takes {leaf.signature}. "
                f"{_shape_advice(leaf, array)}"
            )
    _check_sizes(leaves, arrays)
    return arrays


def _of_dtype(leaf: InputLeaf, value: Any) -> Any:
    wanted = leaf.dtype
    if isinstance(value, NUMBERS) and not isinstance(value, np.generic):
        if not _compat.is_extended_dtype(wanted) and jax.numpy.result_type(wanted, value) == wanted:
            try:
                return np.asarray(value, wanted)
            except OverflowError as error:
                limits = np.iinfo(wanted)
                raise SpecError(
                    f"The argument {leaf.name!r} is {value}, the program takes {wanted}: {limits.min} to {limits.max}. "
                    f"Export with a spec of a wider dtype, such as jax.ShapeDtypeStruct((), jnp.int32)."
                ) from error
        key = _compat.is_extended_dtype(wanted)
        advice = f"Give a key: jax.random.key({value!r})." if key else "Export with a spec of its type, or convert it."
        raise SpecError(
            f"The argument {leaf.name!r} is the number {value!r}, the program takes {leaf.signature}. {advice}"
        )
    if isinstance(value, str):
        raise SpecError(
            f"The argument {leaf.name!r} is the text {short(value)}, the program takes {leaf.signature}. "
            f"Turn it into an array first, with the tokenizer of the model, say."
        )
    if isinstance(value, np.ma.MaskedArray):
        raise SpecError(
            f"The argument {leaf.name!r} is a masked array, the program takes {leaf.signature}. Give its hidden "
            f"elements numbers: x.filled(0)."
        )
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
        if value.dtype != wanted and jax.dtypes.canonicalize_dtype(value.dtype) == wanted:
            value = value.astype(wanted)
    keys = any(map(_compat.is_extended_dtype, (value.dtype, wanted)))
    if not keys and value.dtype.kind in "iu" and _holds_integers(wanted, value.dtype):
        return _as_float(leaf, value)
    if value.dtype != wanted:
        advice = "Export with a spec of its dtype, or convert it."
        if _compat.is_extended_dtype(wanted) and value.dtype == np.uint32:
            advice = "Words of a key become one by jax.random.wrap_key_data."
        raise SpecError(
            f"The argument {leaf.name!r} is {_signature(value)}, the program takes {leaf.signature}. {advice}"
        )
    return value


def _holds_integers(wanted: Any, dtype: Any) -> bool:
    """Whether JAX takes an integer of a dtype for a float of another without being asked."""
    floating = jax.numpy.issubdtype(wanted, jax.numpy.floating)
    return bool(floating and jax.numpy.promote_types(wanted, jax.dtypes.canonicalize_dtype(dtype)) == wanted)


def _as_float(leaf: InputLeaf, value: Any) -> Any:
    """Integers as floats of the same numbers."""
    result = value.astype(leaf.dtype)
    if not np.array_equal(np.asarray(result).astype(np.float64), np.asarray(value).astype(np.float64)):
        raise SpecError(
            f"The argument {leaf.name!r} is {_signature(value)} with numbers that {leaf.dtype} does not have, and the "
            f"program takes {leaf.signature}. Round them with .astype({str(leaf.dtype)!r}), or export with an integer "
            f"spec."
        )
    return result


def _shape_advice(leaf: InputLeaf, array: Any) -> str:
    """The difference between the rank or sizes of an input and an argument, and what to do about it."""
    if len(leaf.shape) != array.ndim:
        batch = len(leaf.shape) == array.ndim + 1 and _compat.is_symbolic(leaf.shape[0])
        advice = ", one example is x[None]" if batch else ""
        return f"It has {array.ndim} {'axis' if array.ndim == 1 else 'axes'} instead of {len(leaf.shape)}{advice}."
    axis = next(
        axis
        for axis, (wanted, size) in enumerate(zip(leaf.shape, array.shape, strict=True))
        if not _compat.is_symbolic(wanted) and wanted != size
    )
    return (
        f"Axis {axis} has size {array.shape[axis]} instead of {leaf.shape[axis]}; if it is to vary, export with a name "
        f"in its place."
    )


def _check_sizes(leaves: Sequence[InputLeaf], arrays: Sequence[Any]) -> None:
    """Raise unless every symbolic dimension has one size, and one that its constraints allow."""
    sizes = symbol_sizes((leaf.shape, array.shape) for leaf, array in zip(leaves, arrays, strict=True))
    for leaf, array in zip(leaves, arrays, strict=True):
        for dimension, size in zip(leaf.shape, array.shape, strict=True):
            if not _compat.symbol_names(dimension) <= sizes.keys():
                if linear_symbol(dimension) is not None:  # it would be known if there were a whole number
                    raise SpecError(
                        f"The argument {leaf.name!r} is {_signature(array)}, the program takes {leaf.signature}: "
                        f"{size} is not {dimension} for any size. Pad or cut it to one that is."
                    )
                continue
            expected = evaluate_dimension(dimension, sizes)
            if size != expected:
                known = f"{dimension} is {expected} in the arguments before"
                if str(dimension) not in sizes:
                    known = f"{dimension} is {expected} where {_text(sizes)}"
                raise SpecError(
                    f"The argument {leaf.name!r} is {_signature(array)}, the program takes {leaf.signature}: {known}, "
                    f"and {size} here. Sizes of one name are equal."
                )
            broken = broken_constraint(dimension, sizes)
            if broken is not None:
                raise SpecError(
                    f"The argument {leaf.name!r} is {_signature(array)}, but the program was exported with the "
                    f"constraint {broken!r}, and here {_text(sizes)}. Pad or cut it, or export with another constraint."
                )


def _text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def _signature(array: Any) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"
