"""`j2o run`: a saved program on arrays from files."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _compat
from .._errors import SaveError, SpecError
from ..program._call import call_arrays
from ..program._program import OnnxProgram
from ..program._session import is_extension
from ..trace._inputs import InputLeaf
from ._files import write_whole
from ._output import show

_FORM = "Expected NAME=FILE.npy, NAME=NUMBER or NAME=[[...]], or a FILE.npz that has inputs by name."
# Up to this many elements an output is shown as it is.
_SHOWN = 8


def run(options: argparse.Namespace) -> None:
    """`j2o run`."""
    program = OnnxProgram.load(options.model)
    leaves = program.traced.inputs.leaves
    arrays = arrays_of(leaves, options.input, "--input")
    session = program.session
    begin = time.perf_counter()
    results = dict(zip(program.output_names, session.run(arrays), strict=True))
    seconds = time.perf_counter() - begin
    if options.output is not None:
        _write(options.output, results)
    if options.json:
        outputs = {name: _as_json(array) for name, array in results.items()}
        print(json.dumps({"outputs": outputs, "seconds": seconds}))
        return
    rows = [
        (name, f"{array.dtype.name}[{', '.join(map(str, array.shape))}] {_text(array)}")
        for name, array in results.items()
    ]
    show([("outputs", rows), ("time", [("one run", f"{seconds * 1e3:.3g} ms")])])


def arrays_of(leaves: Sequence[InputLeaf], texts: Sequence[str], option: str) -> list[Any]:
    """The inputs of a program, in order, from texts such as `x=photo.npy`, `scale=2.0` or `inputs.npz`."""
    given = _given(texts, [leaf.name for leaf in leaves], option)
    missing = [leaf for leaf in leaves if leaf.name not in given]
    if missing:
        lines = "\n".join(f"  {leaf.name}: {leaf.signature}" for leaf in missing)
        raise SpecError(f"{option} is missing for\n{lines}\n{_FORM}")
    return call_arrays(leaves, [_value(leaf, given[leaf.name]) for leaf in leaves])


def _given(texts: Sequence[str], names: Sequence[str], option: str) -> dict[str, Any]:
    """The values of inputs by name, from texts such as `x=photo.npy`, `scale=2.0` or `inputs.npz`."""
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        values = {name: _read(f"{option} {text}", rest)} if equals else _read(f"{option} {text}", text)
        if not isinstance(values, Mapping):
            raise SpecError(f"{option} {text} has no name. {_FORM}")
        for one, value in values.items():
            if isinstance(value, Mapping):
                raise SpecError(f"{option} {text}: {rest} holds several arrays; give it without a name.")
            if one not in names:
                raise SpecError(f"{option} {text}: the program has no input {one!r}. It has {', '.join(names)}.")
            if one in given:
                raise SpecError(f"{option} gives {one!r} twice.")
            given[one] = value
    return given


def _read(given: str, place: str) -> Any:
    if place.endswith((".npy", ".npz")):
        try:
            found = np.load(place, allow_pickle=False)
            return {name: found[name] for name in found.files} if place.endswith(".npz") else found
        except (OSError, ValueError, EOFError) as error:
            raise SpecError(f"{given}: {place} cannot be read: {error}") from error
    try:
        return json.loads(place)
    except ValueError as error:
        raise SpecError(f"{given}: {place!r} is neither a file nor a number. {_FORM}") from error


def _value(leaf: InputLeaf, value: Any) -> Any:
    """A value as `call_arrays` takes it: lists of numbers as arrays, words as keys."""
    if _compat.is_key_dtype(leaf.dtype):
        return _compat.wrap_keys(np.asarray(value, np.uint32), leaf.dtype)
    if isinstance(value, list):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise SpecError(f"--input {leaf.name}: its lists differ in length.") from error
        return array.astype(leaf.dtype) if array.dtype.kind in "if" and leaf.dtype.kind in "fc" else array
    return value


def _write(path: str, results: Mapping[str, Any]) -> None:
    """Write all outputs by name, or one as it is."""
    one = path.endswith(".npy")
    if not path.endswith((".npy", ".npz")) or (one and len(results) > 1):
        raise SaveError(f"Cannot save to {path}: outputs are written as .npz, one alone also as .npy.")
    write_whole(path, lambda file: np.save(file, *results.values()) if one else np.savez(file, **results))


def _as_json(array: Any) -> dict[str, Any]:
    described = {"dtype": array.dtype.name, "shape": list(array.shape)}
    return described | ({"value": _plain(array)} if array.size <= _SHOWN else _statistics(array))


def _plain(array: Any) -> Any:
    return (array.astype(np.float32) if is_extension(array.dtype) else array).tolist()


def _statistics(array: Any) -> dict[str, float]:
    wide = array.astype(np.float64)
    return {name: float(getattr(wide, name)()) for name in ("min", "mean", "max")}


def _text(array: Any) -> str:
    if array.size <= _SHOWN:
        return str(_plain(array))
    return ", ".join(f"{name} {number:.6g}" for name, number in _statistics(array).items())
