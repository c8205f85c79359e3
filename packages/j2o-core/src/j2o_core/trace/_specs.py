"""Input specs: what the user gives for the arguments, as abstract values with names."""

import ast
import contextlib
import inspect
import itertools
import operator
import re
import tokenize
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax import export
from jax.tree_util import DictKey, GetAttrKey, SequenceKey

from .. import _compat
from .._errors import SpecError
from ._settings import NUMBERS, is_below, settings_below
from ._spec_advice import short, spec_advice

_WRONG_LEAF = """{where} is {given}, which is not a spec.
Expected an array, a jax.ShapeDtypeStruct, a shape tuple such as ("B", 3, 224, 224) (float32), or a pytree of these.
{advice}"""
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
        names: dict[str, None] = {}
        for leaf in self.leaves:
            for dimension in leaf.shape:
                names.update(dict.fromkeys(sorted(_compat.symbol_names(dimension))))
        return list(names)


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more


def parse_inputs(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    input_names: Sequence[str] | None = None,
    constraints: Sequence[str] = (),
) -> Inputs:
    """Read the specs of all arguments.

    Args:
        fn: the function, for the names of its parameters.
        inputs: one spec per argument, in order; or a mapping from parameter name to spec.
        input_names: names for the array leaves, in order.
        constraints: what is known of symbolic dimensions, such as `"T >= 4"`.

    Raises:
        SpecError: if a spec, a name or a constraint cannot be read.
    """
    positional, keywords = _arguments(inputs)
    parameters = _parameter_names(fn, len(positional))
    with _finite("inputs"):
        own = _own_constraints(inputs)
    reader = _SpecReader([*_given(constraints), *own])
    leaves: list[InputLeaf] = []
    static: dict[int, Any] = {}
    places: list[Any] = []
    call: tuple[list[Any], dict[str, Any]] = ([], {})
    # JAX has the leaves of a dictionary in the order of its keys.
    for root, argument in (*zip(parameters, positional, strict=True), *sorted(keywords.items())):
        with _finite(f"The spec of {root!r}"):
            paths, treedef = _flatten(argument)
        modules = settings_below(argument)
        by_position = len(call[0]) < len(positional)
        before = (SequenceKey(0), SequenceKey(len(call[0]))) if by_position else (SequenceKey(1), DictKey(root))
        for path, value in paths:
            places.append((*before, *path))
            place = (root, *map(path_part, path))
            name = ".".join(place)
            leaf = reader.read(name, value)
            inside = any(isinstance(key, GetAttrKey) for key in path)
            if leaf is None and inside and isinstance(value, NUMBERS) and not is_below(path, modules):
                leaf = reader.read(name, jax.numpy.asarray(value))
            if leaf is not None:
                leaves.append(replace(leaf, path=place))
            elif inside:
                static[len(leaves) + len(static)] = value  # a setting of a module, such as an activation or a flag
            else:
                advice = spec_advice(root, argument, path, value)
                raise SpecError(_WRONG_LEAF.format(where=f"The spec of {name!r}", given=short(value), advice=advice))
        # Specs may be tuples, which are pytrees themselves: the call's structure has one leaf in place of each.
        one_each = jax.tree.unflatten(treedef, [_OneLeaf()] * len(paths))
        if by_position:
            call[0].append(one_each)
        else:
            call[1][root] = one_each
    treedef = jax.tree.structure((tuple(call[0]), call[1]))
    leaves = _rename(leaves, input_names)
    parsed = Inputs(tuple(leaves), treedef, static, tuple(places), tuple(parameters), tuple(keywords), _signature(fn))
    _check_known(_given(constraints), parsed.symbols)
    return parsed


@contextlib.contextmanager
def _finite(what: str) -> Iterator[None]:
    """Raise a SpecError for trees without end, where JAX's own code gives up with one of these errors."""
    try:
        yield
    except (RecursionError, SystemError) as error:
        raise SpecError(f"{what} has lists or dictionaries inside each other without end. Expected a tree.") from error


def _flatten(argument: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """The specs in an argument with their paths, and its structure.

    `()` is the shape of a scalar, but among arrays, in what is an example of the argument, it is an empty tuple.
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(argument, is_leaf=_is_spec)
    values = [value for _, value in paths]
    if any(map(_is_array_like, values)) and not any(_is_shape(value) and len(value) for value in values):
        return jax.tree_util.tree_flatten_with_path(argument, is_leaf=_is_array_like)
    return paths, treedef


class _OneLeaf:
    pass


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Sequence):
        raise SpecError(
            f"inputs is {short(inputs)}. Expected a sequence with one spec per argument, such as "
            f'[("B", 3, 224, 224)], or a mapping from parameter names to specs.'
        )
    if isinstance(inputs, tuple) and inputs and _is_shape(inputs):
        raise SpecError(
            f"inputs is the shape {inputs!r} itself. Expected a sequence with one spec per argument: [{inputs!r}]."
        )
    return tuple(inputs), {}


def _is_dimension(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, np.integer, str)) or export.is_symbolic_dim(value)


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and not hasattr(value, "_fields") and all(map(_is_dimension, value))


def _is_array_like(value: object) -> bool:
    """Whether a value is one array, and no tree of arrays that has a shape and a dtype as well."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and jax.tree_util.all_leaves((value,))


def _is_spec(value: object) -> bool:
    return _is_shape(value) or _is_array_like(value)


def _parameter_names(fn: Callable[..., Any], count: int) -> list[str]:
    signature = _signature(fn)
    names: list[str] = []
    for parameter in signature.parameters.values() if signature is not None else ():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
    if len(names) > count:
        names = names[:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    call = getattr(type(fn), "__call__", None)  # noqa: B004 - the function itself is wanted
    if isinstance(call, types.FunctionType) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__"):
        fn = types.MethodType(call, fn)  # `inspect` compares an object with others, which looks at all of its weights
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


def path_part(key: Any) -> str:
    """One step of a pytree path as text without brackets."""
    if type(key) is SequenceKey:
        return str(key.idx)
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return _as_text(str(getattr(key, attribute)))
    return _as_text(str(key))


def _as_text(name: str) -> str:
    """A name as a model can hold it: in UTF-8, without null characters."""
    return name if name.isidentifier() and name.isascii() else _escaped(name)


def _escaped(name: str) -> str:
    return name.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _rename(leaves: list[InputLeaf], names: Sequence[str] | None) -> list[InputLeaf]:
    if names is None:
        names = unique_names([leaf.name for leaf in leaves])
    else:
        check_names("input_names", names, [leaf.name for leaf in leaves])
    return [replace(leaf, name=name) for leaf, name in zip(leaves, names, strict=True)]


def check_names(what: str, names: Sequence[str], arrays: Sequence[str]) -> None:
    """Raise a SpecError unless `names` are different non-empty strings, one for each of these arrays."""
    count = len(arrays)
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        wanted = f'one name, such as ["{names or arrays[0]}"]' if count == 1 else f"a list of {count} names"
        raise SpecError(f"{what} is {names!r}. Expected {wanted}: no empty text, and no text in place of the list.")
    if any(name != _as_text(name) for name in names):
        raise SpecError(f"{what} is {names!r}. Expected names in Unicode without null characters.")
    if len(names) != count:
        raise SpecError(
            f"{what} has {len(names)} name{'' if len(names) == 1 else 's'}, {list(names)!r}. "
            f"Expected {count}: for {', '.join(arrays)}."
        )
    if len(set(names)) != count:
        raise SpecError(f"{what} {list(names)!r} has a name twice. Names of a graph differ: give each its own.")


def unique_names(names: Iterable[str]) -> list[str]:
    """The same names, the repeated ones with a number behind."""
    names = list(names)
    taken = set(names)
    seen: set[str] = set()
    result = []
    for name in names:
        number = 0
        unique = name
        while unique in seen or (number and unique in taken):
            number += 1
            unique = f"{name}_{number}"
        seen.add(unique)
        result.append(unique)
    return result


def _given(constraints: Sequence[str]) -> Sequence[str]:
    if not isinstance(constraints, Sequence):
        raise SpecError(f"constraints is {constraints!r}. Expected a sequence of texts, such as ['T >= 4'].")
    return (constraints,) if isinstance(constraints, str) else constraints


def _is_constraint(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    sides = re.split(">=|<=|==", text)
    return len(sides) == 2 and all(side.strip() for side in sides)


def _check_known(constraints: Sequence[str], symbols: Sequence[str]) -> None:
    """Raise a SpecError if a constraint is on a name that no size has, or excludes another."""
    limits: dict[tuple[str, str], tuple[int, str]] = {}
    for constraint in constraints:
        simple = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\d+)\s*", constraint)
        if simple is None:
            continue
        name, sign, number = simple[1], simple[2], int(simple[3])
        other = limits.get((name, "<=" if sign == ">=" else ">="))
        if other is not None and (number > other[0] if sign == ">=" else number < other[0]):
            raise SpecError(f"The constraints {other[1]!r} and {constraint!r} leave no size for {name}. Correct one.")
        limits[name, sign] = number, constraint
    for constraint in constraints:
        if "==" in constraint:  # JAX has put one of the two in the place of the other
            continue
        for name in re.findall(r"[A-Za-z_]\w*(?!\w|\s*\()", constraint):
            if name not in symbols:
                known = f"Those are {', '.join(symbols)}" if symbols else "There are none"
                raise SpecError(
                    f"The constraint {constraint!r} is on {name}, which is no size of the inputs. {known}: write the "
                    f"name as it is in the specs, or leave the constraint out."
                )


def _own_constraints(inputs: Any) -> list[str]:
    """The constraints of sizes that the user made in a scope of `jax.export` of their own."""
    found: dict[str, None] = {}
    for leaf in jax.tree.leaves(inputs):
        shape = getattr(leaf, "shape", None)
        for dimension in (*shape, leaf) if isinstance(shape, tuple) else (leaf,):
            if export.is_symbolic_dim(dimension):
                found.update(dict.fromkeys(_compat.constraint_texts(dimension)))
    return list(found)


_LARGEST = (1 << 63) - 1  # sizes are int64 in ONNX
_KINDS = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128), "bfloat": (16,)}
_DTYPE_NAMES = frozenset(f"{kind}{bits}" for kind, sizes in _KINDS.items() for bits in sizes)


class _SpecReader:
    """Reads specs that share one scope of symbolic dimensions."""

    def __init__(self, constraints: Sequence[str]):
        self._symbols: dict[str, Any] = {}
        try:
            self._scope = export.SymbolicScope(tuple(constraints))
        except (ValueError, RecursionError, tokenize.TokenError) as error:
            one = next((text for text in constraints if not _is_constraint(text)), None)
            said = str(error).partition("\n")[0] if one is None else "it is no comparison"
            raise SpecError(
                f"The constraint {one if one is not None else list(constraints)!r} cannot be read: {said}. "
                f'Expected ">=", "<=" or "==" between sizes, such as "T >= 4" (for "T > 3") or "M == 2*N".'
            ) from error

    def read(self, name: str, value: Any) -> InputLeaf | None:
        if _is_shape(value):
            return InputLeaf(name, self._shape(name, value), np.dtype(np.float32))
        if isinstance(value, jax.Array) or not _is_array_like(value):
            return self._concrete(name, value)
        dtype = value.dtype
        if not _compat.is_extended_dtype(dtype):
            dtype = np.dtype(dtype)
            _check_dtype(name, dtype)
        return InputLeaf(name, self._shape(name, tuple(value.shape)), dtype, bool(getattr(value, "weak_type", False)))

    def _concrete(self, name: str, value: Any) -> InputLeaf | None:
        if not isinstance(value, jax.Array):
            return None
        return InputLeaf(name, value.shape, value.dtype, bool(getattr(value, "weak_type", False)))

    def _shape(self, name: str, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        if shape and isinstance(shape[-1], str) and shape[-1] in _DTYPE_NAMES:
            sizes = ", ".join(map(repr, shape[:-1])) + ("," if len(shape) == 2 else "")
            raise SpecError(
                f"The spec of {name!r} is {shape!r}: {shape[-1]!r} is a dtype, not a size. "
                f"Write jax.ShapeDtypeStruct(({sizes}), jnp.{shape[-1]})."
            )
        return tuple(self._dimension(name, shape, dimension) for dimension in shape)

    def _dimension(self, name: str, shape: tuple[Any, ...], dimension: Any) -> Any:
        if isinstance(dimension, str):
            text = dimension.strip()
            try:
                parsed = self._expression(ast.parse(text, mode="eval").body)
            except (RecursionError, MemoryError) as error:
                raise SpecError(
                    f"A dimension of input {name!r} has {len(text)} characters, too many to be read: "
                    f"{text[:60]}... Give it a name of its own, such as 'N'."
                ) from error
            except SyntaxError as error:
                raise SpecError(
                    f"Dimension {dimension!r} of input {name!r} {shape!r} cannot be read: {error.msg}. {_EXPRESSION}"
                ) from error
            except (ValueError, TypeError) as error:
                raise SpecError(
                    f"Dimension {dimension!r} of input {name!r} {shape!r} cannot be read: {error}. {_EXPRESSION}"
                ) from error
            if not export.is_symbolic_dim(parsed) and parsed < 0:
                raise SpecError(f"Dimension {dimension!r} of input {name!r} {shape!r} is negative.")
            return parsed
        if export.is_symbolic_dim(dimension):
            # A user's own symbols live in a scope of their own; here all share one.
            return self._symbolic(str(dimension))
        if not isinstance(dimension, (int, np.integer)) or not 0 <= dimension <= _LARGEST:
            raise SpecError(
                f"Dimension {dimension!r} of input {name!r} {shape!r} is not a size. "
                f'Expected an integer >= 0 that 64 bits hold, or a symbolic dimension such as "B" or "2*T".'
            )
        return int(dimension)

    def _expression(self, node: ast.expr) -> Any:
        """The size of an expression in Python's syntax; names are symbols."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return self._symbolic(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._expression(node.left), self._expression(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            left, right = map(self._expression, node.args)
            return self._symbolic(f"{node.func.id}({left}, {right})")
        raise ValueError(f"{ast.unparse(node)!r} is not an expression of sizes")

    def _symbolic(self, text: str) -> Any:
        if text not in self._symbols:
            (self._symbols[text],) = export.symbolic_shape(text, scope=self._scope)
        return self._symbols[text]


_FUNCTIONS = ("max", "min", "floordiv", "mod")
_EXPRESSION = f'Expected integers, names such as B, + - * // %, and {", ".join(_FUNCTIONS)} of two: "2*T", "B//2".'
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "OSUMm":
        raise SpecError(
            f"Input {name!r} has dtype {dtype}, which JAX does not have. Expected numbers or truth values. Text is "
            f"turned into them before, by a tokenizer, say."
        )
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise SpecError(
            f"Input {name!r} has dtype {dtype}, but JAX's 64-bit types are off, so JAX would make it "
            f"{jax.dtypes.canonicalize_dtype(dtype)}.\nGive the 32-bit dtype, or switch on 64-bit types with "
            f'jax.config.update("jax_enable_x64", True) before exporting (--x64 at the command line).'
        )
