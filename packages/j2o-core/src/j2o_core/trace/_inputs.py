"""The arguments of a function: array leaves, and what puts them back into a call."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from .. import _compat
from .._errors import SpecError
from ._names import path_part
from ._settings import NUMBERS

_FIXED = """{where} is {given!r} in this call, and was {known!r} at export: settings of a module are fixed in the graph.
Export with the new value."""
_OTHER_CALL = """The call {problems}.
The program takes {leaves}."""
_MOST_NAMED = 12


@dataclass(frozen=True)
class InputLeaf:
    """One array argument: its name in the graph, its abstract value, and its place: the parameter and the tree path."""

    name: str
    shape: tuple[Any, ...]
    dtype: np.dtype[Any]
    weak_type: bool = False
    path: tuple[str, ...] = ()

    @property
    def struct(self) -> jax.ShapeDtypeStruct:
        """The leaf as JAX wants it for tracing."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype, weak_type=self.weak_type)

    @property
    def signature(self) -> str:
        """Dtype and shape, such as `float32[B, 3]`."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Inputs:
    """All arguments: array leaves in order, and what puts them back into the call.

    Attributes:
        leaves: the arrays.
        treedef: structure of (positional arguments, keywords), settings of modules included.
        static: those settings, by their places among all leaves.
        paths: paths of all leaves in the structure.
        parameters: names of the parameters that were given by position.
        keywords: names of those that were given by name.
        signature: the function's, None if Python does not know it.
    """

    leaves: tuple[InputLeaf, ...]
    treedef: Any
    static: dict[int, Any] = field(repr=False)
    paths: tuple[Any, ...] = field(default=(), repr=False)
    parameters: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    signature: inspect.Signature | None = field(default=None, repr=False)

    def call(self, fn: Callable[..., Any], arrays: Iterable[Any]) -> Any:
        """Call `fn` with arrays in place of the leaves."""
        args, kwargs = self.rebuild(arrays)
        return fn(*args, **kwargs)

    def rebuild(self, arrays: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional arguments and keywords with arrays in place of the leaves."""
        arrays = iter(arrays)
        leaves = [
            self.static[i] if i in self.static else next(arrays) for i in range(len(self.leaves) + len(self.static))
        ]
        args, kwargs = jax.tree.unflatten(self.treedef, leaves)
        return args, kwargs

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """The array leaves of a call `fn(*args, **kwargs)`, in the order of the graph's inputs.

        Raises:
            SpecError: if the arguments have another structure than the specs, or other settings of modules.
        """
        paths, treedef = jax.tree_util.tree_flatten_with_path(self._arranged(tuple(args), dict(kwargs or {})))
        if treedef != self.treedef:
            raise SpecError(self._other_call(paths, treedef))
        for index, known in self.static.items():
            path, given = paths[index]
            if isinstance(known, (*NUMBERS, str)) and (type(given) is not type(known) or given != known):
                where = repr(".".join(self._place(path)))
                raise SpecError(_FIXED.format(where=where, given=given, known=known))
        return [leaf for i, (_, leaf) in enumerate(paths) if i not in self.static]

    def _arranged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, by position and by name as the specs were."""
        if len(args) == len(self.parameters) and kwargs.keys() == set(self.keywords):
            return args, kwargs
        if self.signature is None:
            return args, kwargs
        try:
            given = self.signature.bind(*args, **kwargs).arguments
        except TypeError:
            return args, kwargs
        for name in (*self.parameters, *self.keywords):
            parameter = self.signature.parameters.get(name)
            if name not in given and parameter is not None and parameter.default is not parameter.empty:
                given[name] = parameter.default
        if given.keys() != {*self.parameters, *self.keywords}:
            return args, kwargs
        return tuple(given[name] for name in self.parameters), {name: given[name] for name in self.keywords}

    def _place(self, path: Sequence[Any]) -> tuple[str, ...]:
        """The parameter and the tree path of a leaf of (positional arguments, keywords)."""
        where, root, *rest = map(path_part, path)
        if where == "0":
            place = int(root)
            root = self.parameters[place] if place < len(self.parameters) else f"argument {place}"
        return root, *rest

    def _other_call(self, paths: Sequence[tuple[Any, Any]], treedef: Any) -> str:
        given = [self._place(path) for path, _ in paths]
        taken = [leaf.path for leaf in self.leaves]
        missing = [".".join(place) for place in taken if place not in given]
        unknown = [".".join(place) for place in given if place not in taken]
        problems = [f"lacks {_quoted(missing)}"] if missing else []
        if unknown and len(given) != len(taken) + len(self.static) - len(missing):
            problems.append(f"has {_quoted(unknown)}, which the program does not take")
        leaves = ", ".join(f"{'.'.join(leaf.path)}: {leaf.signature}" for leaf in self.leaves[:_MOST_NAMED])
        more = f" and {len(taken) - _MOST_NAMED} more" if len(taken) > _MOST_NAMED else ""
        other = f"has the structure {treedef}, the program was exported with {self.treedef}"
        return _OTHER_CALL.format(problems=" and ".join(problems) or other, leaves=leaves + more)

    @property
    def positional(self) -> tuple[str, ...]:
        """Names of the parameters that may be given by position, in order."""
        if not self.keywords:
            return self.parameters
        parameters = self.signature.parameters.values() if self.signature is not None else ()
        by_position = (p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        return tuple(itertools.takewhile({*self.parameters, *self.keywords}.__contains__, by_position))

    @property
    def symbols(self) -> list[str]:
        """Names of the symbolic dimensions, in order of appearance."""
        symbolic = {id(size): size for leaf in self.leaves for size in leaf.shape if _compat.is_symbolic(size)}
        return list(dict.fromkeys(name for size in symbolic.values() for name in sorted(_compat.symbol_names(size))))


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more
