"""Arguments as arrays that the graph takes, and what the runtime returns as arrays of NumPy."""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from ._errors import ArgumentError, RunnerError
from ._sizes import evaluate, holds, known_sizes, line, names_in
from ._trees import Array

_Array = np.ndarray[Any, Any]

# Element types of ONNX that NumPy does not have: their numbers in onnx.proto.
_NARROW = {"bfloat16": 16, "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20}
# Numbers of Python take any of the kinds behind theirs.
_KINDS = {bool: "biufcV", int: "iufcV", float: "fcV", complex: "c"}


@functools.cache
def dtype_of(name: str) -> np.dtype[Any]:
    """A dtype by its name."""
    try:
        return np.dtype(name)
    except TypeError:
        pass
    if name not in _NARROW:
        raise RunnerError(f"Arrays of {name} cannot be passed to and from ONNX Runtime by this package.")
    try:
        narrow: np.dtype[Any] = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except ImportError as error:
        raise RunnerError(f'NumPy has no {name}. Install it with pip install "j2o-runtime[narrow]".') from error
    return narrow


def arguments(wanted: Sequence[Array], values: Sequence[Any], constraints: Sequence[str]) -> dict[str, _Array]:
    """The values as arrays of the dtypes and shapes that the graph takes, by the names of its inputs.

    Raises:
        ArgumentError: if one has another dtype or shape, or sizes differ that have one name, or break a constraint.
    """
    arrays = [_of_dtype(array, value) for array, value in zip(wanted, values, strict=True)]
    for array, given in zip(wanted, arrays, strict=True):
        fits = len(array.shape) == given.ndim and all(
            isinstance(size, str) or size == number for size, number in zip(array.shape, given.shape, strict=True)
        )
        if not fits:
            raise ArgumentError(f"{_difference(array, given)}.")
    _check_sizes(wanted, arrays, constraints)
    return {array.name: given for array, given in zip(wanted, arrays, strict=True)}


def _of_dtype(array: Array, value: Any) -> _Array:
    wanted = dtype_of(array.dtype)
    if type(value) in _KINDS:
        kind = "c" if array.of.startswith("complex") else "" if array.of else wanted.kind
        if not kind or kind not in _KINDS[type(value)]:
            raise ArgumentError(f"The argument {array.name!r} is the number {value!r}, the program takes {array}.")
        try:
            value = np.asarray(value, "complex128" if kind == "c" else wanted)
        except OverflowError as error:
            raise ArgumentError(f"The argument {array.name!r} is {value}, the program takes {array}.") from error
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError(f"The argument {array.name!r} is a masked array, the program takes {array}. Fill it.")
    plain: _Array = np.asarray(value)
    if plain.dtype.kind == "c" and array.of.startswith("complex"):
        plain = np.stack([plain.real, plain.imag], -1)
    if plain.dtype != wanted and plain.dtype.kind == wanted.kind and (plain.itemsize, wanted.itemsize) == (8, 4):
        plain = _narrowed(array, plain, wanted)
    if plain.dtype != wanted:
        raise ArgumentError(f"{_difference(array, plain)}. Convert it.")
    return plain


def _narrowed(array: Array, value: _Array, wanted: np.dtype[Any]) -> _Array:
    """An array of 64 bits as one of 32, as JAX takes it."""
    if wanted.kind in "iu" and value.size:
        info = np.iinfo(wanted)
        if value.min() < info.min or value.max() > info.max:
            raise ArgumentError(f"The argument {array.name!r} has integers that {wanted} does not hold.")
    return value.astype(wanted)


def _check_sizes(wanted: Sequence[Array], arrays: Sequence[_Array], constraints: Sequence[str]) -> None:
    known = known_sizes((array.shape, given.shape) for array, given in zip(wanted, arrays, strict=True))
    for array, given in zip(wanted, arrays, strict=True):
        for size, number in zip(array.shape, given.shape, strict=True):
            if isinstance(size, int):
                continue
            if not names_in(size) <= known.keys():
                if line(size) is not None:  # it would be known if there were a whole number
                    raise ArgumentError(f"{_difference(array, given)}: {number} is not {size} for any size.")
                continue
            expected = evaluate(size, known)
            if number != expected:
                told = _text(known)
                raise ArgumentError(
                    f"{_difference(array, given)}: {size} is {expected} by the other sizes ({told}), not {number}."
                )
    for constraint in constraints:
        if not holds(constraint, known):
            raise ArgumentError(f"The program was exported with the constraint {constraint}, and here {_text(known)}.")


def _text(known: dict[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in known.items())


def _difference(array: Array, given: _Array) -> str:
    shape = given.shape[:-1] if array.of and given.ndim and given.dtype == dtype_of(array.dtype) else given.shape
    dtype = array.of if len(shape) < given.ndim else given.dtype
    return f"The argument {array.name!r} is {dtype}[{', '.join(map(str, shape))}], the program takes {array}"


def as_input(array: _Array) -> Any:
    """An array as the runtime takes it. It is not copied, so it has to stay as it is until the run ends."""
    array = np.asarray(array, order="C")
    make = onnxruntime.OrtValue
    if array.dtype.name not in _NARROW:
        return make.ortvalue_from_numpy(array)
    carrier = np.uint16 if array.itemsize == 2 else np.uint8
    return make.ortvalue_from_numpy_with_onnx_type(array.view(carrier), _NARROW[array.dtype.name])


def as_result(array: Array, value: Any) -> _Array:
    """A result of the runtime as the function returned it: complex numbers are complex, keys are their words."""
    dtype = dtype_of(array.dtype)
    plain: _Array
    if array.dtype in _NARROW:  # the runtime gives these to NumPy only as raw bytes
        shape = value.shape()
        count = int(np.prod(shape))
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(value.data_ptr()) if count else b""
        plain = np.frombuffer(bytes(raw), dtype).reshape(shape)
    else:
        plain = value.numpy()
    if array.of.startswith("complex"):
        return np.asarray(plain[..., 0] + 1j * plain[..., 1], array.of)
    return plain
