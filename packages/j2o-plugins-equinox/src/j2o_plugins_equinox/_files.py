"""Files of `eqx.tree_serialise_leaves` as the leaves of a model, without reading them: each array lies in the file."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import jax
import numpy as np
from numpy.lib import format as npy

from j2o_core import SpecError

_ARRAYS = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)
_NUMBERS = (bool, int, float, complex, np.generic)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_leaves(path: str | os.PathLike[str], like: Any) -> Any:
    """The model in a file that `eqx.tree_serialise_leaves` wrote, as `eqx.tree_deserialise_leaves` gives it.

    Its arrays are memory maps: a model of any size takes no memory before it is used, and `to_onnx` reads its numbers
    while the program is saved.

    Args:
        path: the file.
        like: a model of the same structure, such as `eqx.filter_eval_shape(Model, key)`, which takes no memory either.

    Raises:
        SpecError: if the file cannot be read, or holds other arrays than the model.
    """
    path = os.fspath(path)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    try:
        with open(path, "rb") as file:
            read = [_leaf(file, path, jax.tree_util.keystr(place), leaf) for place, leaf in leaves]
            if file.read(1):
                raise SpecError(f"{path} holds more than the model: it is one of another structure, or damaged.")
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
    return jax.tree.unflatten(structure, read)


def _leaf(file: BinaryIO, path: str, name: str, like: Any) -> Any:
    if not isinstance(like, (*_ARRAYS, *_NUMBERS)):
        return like
    array = _array(file, path, name, like)
    if not isinstance(like, _ARRAYS):
        return type(like)(array.item())
    if array.shape != like.shape or array.dtype != like.dtype:
        raise SpecError(
            f"{path} has {array.dtype}{list(array.shape)} where the model has {name}: {like.dtype}{list(like.shape)}. "
            f"Expected a file of a model of the same structure."
        )
    return array


def _array(file: BinaryIO, path: str, name: str, like: Any) -> np.ndarray[Any, Any]:
    """The array at the file's position, which moves behind it."""
    try:
        version = npy.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError("it is no array of numbers")
    except (ValueError, KeyError, EOFError) as error:
        raise SpecError(
            f"{path} has no array for {name}: {error}. It is not of this model, not written by "
            f"eqx.tree_serialise_leaves, or damaged."
        ) from error
    begin, size = file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if begin + size > os.path.getsize(path):
        raise SpecError(f"{path} ends within the array of {name}. Copy the file anew, or save the model again.")
    file.seek(begin + size)
    order: Any = "F" if fortran else "C"
    array: np.ndarray[Any, Any] = (
        np.memmap(path, dtype, "r", begin, shape, order) if size and shape else _in_memory(path, dtype, begin, shape)
    )
    wanted = getattr(like, "dtype", array.dtype)
    # NumPy's format does not know narrow floats: they are bytes there.
    return array.view(wanted) if dtype.kind == "V" and dtype.itemsize == np.dtype(wanted).itemsize else array


def _in_memory(path: str, dtype: Any, begin: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.fromfile(path, dtype, int(np.prod(shape, dtype=np.int64)), offset=begin).reshape(shape)
