"""Advice where something that is no spec stands among the specs: how it is written that was probably meant."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ._settings import NUMBERS

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def short(value: Any) -> str:
    """A value on part of a line: an array by its dtype and shape."""
    if isinstance(value, (jax.Array, np.ndarray)):
        return f"an array {value.dtype}[{', '.join(map(str, value.shape))}]"
    return " ".join(_SHORT.repr(value).split())


def spec_advice(name: str, argument: Any, path: Sequence[Any], value: Any) -> str:
    """The advice for a leaf that is no spec.

    Args:
        name: the parameter.
        argument: all that was given for it.
        path: the path to the leaf.
        value: the leaf.
    """
    parent = _below(argument, path[:-1]) if path else None
    if isinstance(parent, list) and all(map(_is_size, parent)):
        return f"A shape is a tuple: {tuple(parent)!r}."
    if isinstance(parent, tuple) and len(parent) == 2 and isinstance(parent[0], (tuple, list)) and _dtype(parent[1]):
        return f"A shape with its dtype is {_struct(parent[0], parent[1])}."
    if isinstance(parent, tuple) and all(map(_is_size, parent[:-1])) and _dtype(parent[-1]):
        return f"A shape with its dtype is {_struct(parent[:-1], parent[-1])}."
    if isinstance(parent, tuple) and all(_is_size(one) or one is None or isinstance(one, float) for one in parent):
        wrong = next(one for one in parent if not _is_size(one))
        return f'{wrong!r} is no size in {parent!r}. A size is an integer >= 0, or a name if it varies: "B".'
    if path:
        return _FIXED
    if _dtype(value) is not None and not isinstance(value, (str, *NUMBERS)):
        return f"A dtype needs a shape: {_struct(('B', 3), value)}."
    if isinstance(value, str) and "," in value:
        sizes = [size.strip() for size in value.split(",")]
        shape = tuple(int(size) if size.isdecimal() else size for size in sizes)
        return f"A shape is a tuple: {shape!r}."
    if isinstance(value, bool | str):
        return f"A setting is fixed in the graph and has no spec: export functools.partial(fn, {name}={value!r})."
    if isinstance(value, NUMBERS):
        dtype = "int32" if isinstance(value, int) else "float32" if isinstance(value, float) else "complex64"
        return (
            f"A number that the program takes is an input: jax.ShapeDtypeStruct((), jnp.{dtype}).\n"
            f"One that is fixed in the graph has no spec: export functools.partial(fn, {name}={value!r})."
        )
    return _FIXED


_FIXED = "A Python value that is not an input belongs into the function: functools.partial(fn, ...) or a lambda."


def _below(tree: Any, path: Sequence[Any]) -> Any:
    for key in path:
        if hasattr(key, "name"):
            tree = getattr(tree, key.name)
        elif hasattr(key, "idx") or hasattr(key, "key"):
            place = key.idx if hasattr(key, "idx") else key.key
            try:
                tree = tree[place]
            except (TypeError, LookupError):
                return None
    return tree


def _is_size(value: Any) -> bool:
    named = isinstance(value, str) and _dtype(value) is None
    return named or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))


def _dtype(value: Any) -> np.dtype[Any] | None:
    """The dtype that a value names, None if it names none."""
    if not isinstance(value, (str, type, np.dtype)) and not hasattr(value, "dtype"):
        return None
    if isinstance(value, str) and not value[-1:].isdigit():  # "f" and "B" are sizes more often than dtypes
        return None
    try:
        known: np.dtype[Any] = jax.numpy.dtype(value)
    except TypeError:
        return None
    return known


def _struct(shape: Sequence[Any], dtype: Any) -> str:
    known = _dtype(dtype)
    assert known is not None
    name = known.name if known.name != "bool" else "bool_"
    return f"jax.ShapeDtypeStruct({tuple(shape)!r}, jnp.{name})"
