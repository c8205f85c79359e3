"""Trees of arrays in a file: the arguments and results of a function, as docs/file-format.md describes them.

This file lies in j2o-core and in j2o-runtime, and a test holds the two equal. j2o-runtime has no JAX, and j2o-core asks
for no ONNX Runtime, so that neither package can require the other.
"""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The entry in the metadata of a model, and the version of what it says.
SIGNATURE, VERSION = "j2o.signature", 1

_BROKEN = f"The entry {SIGNATURE} of its metadata cannot be read"


class TreeError(ValueError):
    """A call has another structure than the program, or a file describes none."""


@dataclass(frozen=True)
class Array:
    """One input or output of the graph.

    Attributes:
        name: its name in the graph.
        dtype: its dtype in the graph, by NumPy's name.
        shape: its sizes in the graph; text for symbolic ones.
        of: what JAX makes of it, if that is no plain array: `complex64` of a last axis of two floats, `key<...>` of one
            of words.
        weak: whether its dtype gives way to others, as that of Python's numbers does.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    of: str = ""
    weak: bool = False

    def __str__(self) -> str:
        """Dtype and shape, such as `float32[B, 3]`."""
        shape = self.shape[:-1] if self.of else self.shape
        return f"{self.of or self.dtype}[{', '.join(map(str, shape))}]"

    def described(self) -> dict[str, Any]:
        """The array in a tree of a file."""
        described = {"array": self.name, "dtype": self.dtype, "shape": self.shape, "of": self.of, "weak": self.weak}
        return {name: value for name, value in described.items() if value or name == "shape"}


class Record:
    """A node of a class that the reader of a file does not know: its children by their names, as attributes."""

    def __init__(self, name: str, fields: Mapping[str, Any]):
        vars(self).update({**fields, _NAME: name})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays, and may be changed

    def __repr__(self) -> str:
        return f"{name_of_node(self)}({', '.join(f'{name}={value!r}' for name, value in fields_of(self).items())})"


def fields_of(record: Record) -> dict[str, Any]:
    """The children of a record by their names."""
    return {name: value for name, value in vars(record).items() if name != _NAME}


def name_of_node(record: Record) -> str:
    """The name of the class that a record stands for."""
    return str(vars(record)[_NAME])


_NAME = " class"  # no attribute has this name


def _reduced(self: Any) -> Any:
    return _rebuilt, (type(self).__name__, self._fields, tuple(self))


@functools.lru_cache(256)
def _named_tuple(name: str, fields: tuple[str, ...]) -> Any:
    """The class of a named tuple whose own class the reader does not know; its values can be pickled."""
    base = collections.namedtuple(name, fields)  # type: ignore[misc]  # a file says it
    return type(name, (base,), {"__slots__": (), "__reduce__": _reduced})


def _rebuilt(name: str, fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _named_tuple(name, fields)(*values)


@dataclass(frozen=True)
class Signature:
    """The arguments and results of a program.

    Attributes:
        function: name of the function.
        arguments: trees of the arguments by their names, in the order of the graph's inputs.
        positional: names of those that may be given by position, in order.
        results: tree of the result.
        state: names of inputs by those of the outputs that are their next values.
        constraints: what is known of symbolic sizes, such as `T >= 4`.
    """

    function: str
    arguments: dict[str, Any]
    positional: tuple[str, ...]
    results: Any
    state: dict[str, str]
    constraints: tuple[str, ...] = ()

    def text(self) -> str:
        """The entry of a file."""
        entry = {
            "version": VERSION,
            "function": self.function,
            "arguments": list(self.arguments.items()),
            "positional": self.positional,
            "results": self.results,
            "state": list(self.state.items()),
            "constraints": self.constraints,
        }
        return json.dumps(entry, default=Array.described, separators=(",", ":"))

    @property
    def inputs(self) -> list[Array]:
        """The arrays of the arguments, in the order of the graph's inputs."""
        return [array for tree in self.arguments.values() for array in arrays(tree)]

    @property
    def outputs(self) -> list[Array]:
        """The arrays of the result, in the order of the graph's outputs."""
        return list(arrays(self.results))

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The values of a call, in the order of the graph's inputs.

        Raises:
            TreeError: if an argument is missing, too many, or of another structure.
        """
        given = self._by_name(args, kwargs)
        return [value for name, tree in self.arguments.items() for value in _matched(tree, given[name], name)]

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        takes = f"{self.function} takes {', '.join(self.arguments) or 'no arguments'}"
        if len(args) > len(self.positional):
            count = len(self.positional)
            raise TreeError(f"{len(args)} arguments are given by position; {takes}, {count} of them by position.")
        given = dict(zip(self.positional, args, strict=False))
        for name, value in kwargs.items():
            if name in given or name not in self.arguments:
                problem = "is given twice" if name in given else "is unknown"
                raise TreeError(f"The argument {name!r} {problem}; {takes}.")
            given[name] = value
        missing = [repr(name) for name in self.arguments if name not in given]
        if missing:
            raise TreeError(f"The argument {missing[0]} is missing; {takes}.")
        return given


def read(text: str | None) -> Signature:
    """The signature in a file's metadata.

    Raises:
        TreeError: if there is none, or none that this version reads.
    """
    if text is None:
        raise TreeError(f"There is no entry {SIGNATURE} in its metadata: j2o did not write it, or an older j2o did.")
    try:
        entry = json.loads(text, object_hook=_read_array)
        if entry["version"] != VERSION:
            raise TreeError(
                f"{_BROKEN}: it is of version {entry['version']}, this reads {VERSION}. Install a newer j2o."
            )
        arguments, state = dict(entry["arguments"]), dict(entry["state"])
        positional, constraints = tuple(map(str, entry["positional"])), tuple(map(str, entry["constraints"]))
        signature = Signature(str(entry["function"]), arguments, positional, entry["results"], state, constraints)
        names = [array.name for array in (*signature.inputs, *signature.outputs)]
        if len({*names}) < len(names) or not {*state, *state.values()} <= {*names} or not {*positional} <= {*arguments}:
            raise ValueError("a name is there twice, or is none of an array")
        return signature
    except TreeError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise TreeError(f"{_BROKEN}: {type(error).__name__}: {error}") from error


def _read_array(entry: dict[str, Any]) -> Any:
    if "array" not in entry:
        return entry
    shape = tuple(size if isinstance(size, int) else str(size) for size in entry["shape"])
    return Array(entry["array"], entry["dtype"], shape, entry.get("of", ""), bool(entry.get("weak")))


def children(tree: Any) -> tuple[str, list[tuple[Any, Any]]]:
    """The kind of a node and its children with their names, or their places."""
    kind = next((kind for kind in ("list", "tuple", "dict", "namedtuple", "node", "fixed") if kind in tree), None)
    if kind is None:
        raise ValueError(f"{tree!r} is no node")
    if kind == "fixed":
        return kind, []
    if kind in ("list", "tuple"):
        return kind, list(enumerate(tree[kind]))
    return kind, [(name, child) for name, child in tree["dict" if kind == "dict" else "fields"]]


def arrays(tree: Any) -> Iterator[Array]:
    """The arrays of a tree in order."""
    if isinstance(tree, Array):
        yield tree
    elif tree is not None:
        for _, child in children(tree)[1]:
            yield from arrays(child)


def build(tree: Any, value: Callable[[Array], Any]) -> Any:
    """A tree with a value in place of each array."""
    if tree is None or isinstance(tree, Array):
        return None if tree is None else value(tree)
    kind, found = children(tree)
    built = [(name, build(child, value)) for name, child in found]
    if kind == "fixed":
        return tree["fixed"]
    if kind == "dict":
        names = [name for name, _ in built]
        # JAX takes a dictionary by its sorted keys, an ordered one as it is.
        return dict(built) if names == sorted(names, key=str) else collections.OrderedDict(built)
    if kind == "node":
        return Record(tree["node"], dict(built))
    values = [child for _, child in built]
    if kind == "namedtuple":
        return _named_tuple(tree["namedtuple"], tuple(name for name, _ in built))(*values)
    return values if kind == "list" else tuple(values)


def _matched(tree: Any, value: Any, place: str) -> Iterator[Any]:
    """The values at the places of a tree's arrays.

    A node may be given as any sequence, mapping or object that has its children: a list where the function takes a
    tuple is no error.
    """
    if isinstance(tree, Array):
        if value is None or isinstance(value, (dict, list, tuple, str)):
            raise TreeError(f"The argument {place!r} is {_shown(value)}, the program takes {tree}.")
        yield value
        return
    if tree is None:
        if value is not None:
            raise TreeError(f"The argument {place!r} is {_shown(value)}, the program takes None.")
        return
    kind, found = children(tree)
    if kind == "fixed":
        if tree["fixed"] is not None and value is not tree["fixed"] and value != tree["fixed"]:
            known = tree["fixed"]
            raise TreeError(
                f"The argument {place!r} is {_shown(value)}, and was {known!r} at export: settings of a module are "
                f"fixed in the graph. Export with the new value."
            )
        return
    if kind in ("list", "tuple"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) != len(found):
            given = f"{len(value)} values" if isinstance(value, (list, tuple)) else _shown(value)
            raise TreeError(f"The argument {place!r} is {given}, the program takes a {kind} of {len(found)}.")
    elif kind == "dict" and (not isinstance(value, Mapping) or len(value) != len(found)):
        given = f"a mapping with {_names(value)}" if isinstance(value, Mapping) else _shown(value)
        raise TreeError(f"The argument {place!r} is {given}, the program takes one with {_names(dict(found))}.")
    for name, child in found:
        inside = _child(value, name)
        if inside is not _MISSING:
            yield from _matched(child, inside, f"{place}.{name}")
        elif kind != "node" or any(arrays(child)):
            raise TreeError(f"The argument {place!r} has no {name!r}: the program takes {_names(dict(found))} there.")


_MISSING = object()


def _child(value: Any, name: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, _MISSING)
    return value[name] if isinstance(name, int) else getattr(value, str(name), _MISSING)


def _shown(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, (int, float, str)) else f"of type {type(value).__name__}"


def _names(value: Mapping[Any, Any]) -> str:
    shown = [repr(name) for name in value]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "no entries"
