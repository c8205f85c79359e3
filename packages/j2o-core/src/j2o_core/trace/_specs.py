"""Input specs: what the user gives for the arguments, as abstract values with names."""

import contextlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.tree_util import DictKey, GetAttrKey, SequenceKey

from .._errors import SpecError
from ._constraints import as_texts, check_constraints, own_constraints
from ._inputs import InputLeaf, Inputs
from ._names import check_names, path_part, unique_names
from ._settings import NUMBERS, is_below, settings_below
from ._spec_advice import short, spec_advice
from ._spec_reader import SpecReader, is_array_like, is_shape

_WRONG_LEAF = """{where} is {given}, which is not a spec.
Expected an array, a jax.ShapeDtypeStruct, a shape tuple such as ("B", 3, 224, 224) (float32), or a pytree of these.
{advice}"""


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
        own = own_constraints(inputs)
    reader = SpecReader([*as_texts(constraints), *own])
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
    check_constraints(as_texts(constraints), parsed.symbols)
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
    if any(map(is_array_like, values)) and not any(is_shape(value) and len(value) for value in values):
        return jax.tree_util.tree_flatten_with_path(argument, is_leaf=is_array_like)
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
    if isinstance(inputs, tuple) and inputs and is_shape(inputs):
        raise SpecError(
            f"inputs is the shape {inputs!r} itself. Expected a sequence with one spec per argument: [{inputs!r}]."
        )
    return tuple(inputs), {}


def _is_spec(value: object) -> bool:
    return is_shape(value) or is_array_like(value)


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


def _rename(leaves: list[InputLeaf], names: Sequence[str] | None) -> list[InputLeaf]:
    if names is None:
        names = unique_names([leaf.name for leaf in leaves])
    else:
        check_names("input_names", names, [leaf.name for leaf in leaves])
    return [replace(leaf, name=name) for leaf, name in zip(leaves, names, strict=True)]
