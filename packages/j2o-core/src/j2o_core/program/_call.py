"""The arguments of a call, as `jax.jit` would take them: converted without loss, and compared with the specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .. import _compat
from .._errors import SpecError
from ..graph._sizes import broken_constraint, evaluate_dimension, linear_symbol, symbol_sizes
from ..trace._settings import NUMBERS
from ..trace._specs import InputLeaf


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
            raise SpecError(f"The argument {leaf.name!r} is {_signature(array)}, the program takes {signature(leaf)}.")
    _check_sizes(leaves, arrays)
    return arrays


def _of_dtype(leaf: InputLeaf, value: Any) -> Any:
    wanted = leaf.dtype
    if isinstance(value, NUMBERS) and not isinstance(value, np.generic):
        if not _compat.is_extended_dtype(wanted) and jax.numpy.result_type(wanted, value) == wanted:
            try:
                return np.asarray(value, wanted)
            except OverflowError as error:
                raise SpecError(f"The argument {leaf.name!r} is {value}, the program takes {wanted}.") from error
        raise SpecError(
            f"The argument {leaf.name!r} is the number {value!r}, the program takes {signature(leaf)}. "
            f"Export with a spec of its type, or convert it."
        )
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
        if value.dtype != wanted and jax.dtypes.canonicalize_dtype(value.dtype) == wanted:
            value = value.astype(wanted)
    if value.dtype != wanted:
        raise SpecError(
            f"The argument {leaf.name!r} is {_signature(value)}, the program takes {signature(leaf)}. "
            f"Export with a spec of its dtype, or convert it."
        )
    return value


def _check_sizes(leaves: Sequence[InputLeaf], arrays: Sequence[Any]) -> None:
    """Raise unless every symbolic dimension has one size, and one that its constraints allow."""
    sizes = symbol_sizes((leaf.shape, array.shape) for leaf, array in zip(leaves, arrays, strict=True))
    for leaf, array in zip(leaves, arrays, strict=True):
        for dimension, size in zip(leaf.shape, array.shape, strict=True):
            if not _compat.symbol_names(dimension) <= sizes.keys():
                if linear_symbol(dimension) is not None:  # it would be known if there were a whole number
                    raise SpecError(
                        f"The argument {leaf.name!r} is {_signature(array)}, the program takes {signature(leaf)}: "
                        f"{size} is not {dimension} for any size."
                    )
                continue
            expected = evaluate_dimension(dimension, sizes)
            if size != expected:
                raise SpecError(
                    f"The argument {leaf.name!r} is {_signature(array)}, the program takes {signature(leaf)}: "
                    f"{dimension} is {expected} by the other sizes ({_text(sizes)}), not {size}."
                )
            broken = broken_constraint(dimension, sizes)
            if broken is not None:
                raise SpecError(
                    f"The argument {leaf.name!r} is {_signature(array)}, but the program was exported with the "
                    f"constraint {broken}, and here {_text(sizes)}."
                )


def _text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def signature(leaf: InputLeaf) -> str:
    """Dtype and shape of an input, such as `float32[B, 3]`."""
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def _signature(array: Any) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"
