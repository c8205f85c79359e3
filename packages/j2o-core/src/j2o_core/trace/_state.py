"""State: arguments that the function returns anew, so that a caller can feed results back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import export

from .._errors import SpecError
from ._inputs import InputLeaf

PREFIX = "next."

_NO_RESULT = """The argument {name!r} is state, but {where} does not hold its {count} arrays.
Missing are {missing}; too many are {extra}.
Return its new value with the same structure, first and in the order of state, or by its own name in a dictionary;
or say where it is, by an index or a key of what the function returns: state={{{name!r}: PLACE}},
or at the command line --state {name}=PLACE."""
_SETTING = """
{names}: a Python number in an Equinox module is a setting, no array. Return jax.numpy.asarray(...) of it."""


@dataclass(frozen=True)
class OutputLeaf:
    """One result: its place in what the function returns, as text, and its abstract value."""

    path: tuple[str, ...]
    aval: Any


def pair_state(
    state: Sequence[str] | Mapping[str, int | str],
    inputs: Sequence[InputLeaf],
    outputs: Sequence[OutputLeaf],
    settings: Sequence[tuple[str, ...]] = (),
) -> dict[int, int]:
    """Which result is the next value of which input.

    Args:
        state: names of arguments whose new values are returned, or a mapping from them to the index or key in the
            function's result. Without a mapping, an argument's new value is the result of its name, else that at its
            place in `state`, else the whole result: whichever holds the same arrays.
        inputs: the array inputs.
        outputs: the array outputs.
        settings: places of the result that hold Python numbers of modules, which are no outputs.

    Returns:
        Indices of inputs, by those of outputs.

    Raises:
        SpecError: if an argument is unknown, its new value is not returned, or could not be taken the next time.
    """
    if (
        not isinstance(state, (Sequence, Mapping))
        or isinstance(state, str)
        or not all(isinstance(name, str) for name in state)
        or len(set(state)) != len(state)
    ):
        raise SpecError(
            f"state is {state!r}. Expected different names of arguments, such as ['model', 'opt_state'], or a mapping "
            f"from them to places in the result."
        )
    known = list(dict.fromkeys(leaf.path[0] for leaf in inputs))
    pairs: dict[int, int] = {}
    for index, name in enumerate(state):
        if name not in known:
            raise SpecError(
                f"state has {name!r}, which is no argument with arrays. Expected some of {', '.join(known)}."
            )
        places = [(str(state[name]),)] if isinstance(state, Mapping) else [(name,), (str(index),), ()]
        for output, input_ in _pair(name, places, inputs, outputs, settings):
            if output in pairs:
                raise SpecError(f"state gives the result {'.'.join(outputs[output].path)!r} to two arguments.")
            _check_fits(inputs[input_], outputs[output])
            pairs[output] = input_
    return pairs


def states_of(classes: tuple[type, ...], arguments: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The arguments of classes that are state, and the structure of each, taken before a call: it may use them up."""
    return [(name, _kind(value)) for name, value in arguments if isinstance(value, classes)]


def state_by_class(classes: tuple[type, ...], states: Sequence[tuple[str, Any]], result: Any) -> dict[str, int | str]:
    """Arguments that are state, and the places of their next values in a result, as `pair_state` takes them.

    Several are paired in order. An argument whose structure no result has is an input like any other.
    """
    if not states:
        return {}
    places: list[tuple[Any, Any]] = []
    if isinstance(result, Mapping):
        places = list(result.items())
    elif isinstance(result, (tuple, list)):
        places = list(enumerate(result))
    free = [(place, _kind(value)) for place, value in places if isinstance(value, classes)]
    pairs: dict[str, int | str] = {}
    for name, kind in states:
        alike = [entry for entry in free if entry[1] == kind]
        if alike:
            pairs[name] = alike[0][0]
            free.remove(alike[0])
    return pairs


def _kind(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves]


def _pair(
    name: str,
    places: Sequence[tuple[str, ...]],
    inputs: Sequence[InputLeaf],
    outputs: Sequence[OutputLeaf],
    settings: Sequence[tuple[str, ...]],
) -> Iterator[tuple[int, int]]:
    wanted = {leaf.path[1:]: i for i, leaf in enumerate(inputs) if leaf.path[0] == name}
    held = {place: _below(place, outputs) for place in places}
    for found in held.values():
        if found.keys() == wanted.keys():
            return ((found[path], wanted[path]) for path in wanted)
    # The place that holds most of it is the one that was meant; else one that holds anything, before the whole result.
    place, found = max(
        held.items(), key=lambda item: (len(item[1].keys() & wanted.keys()), bool(item[0]) and bool(item[1]))
    )
    missing = wanted.keys() - found.keys()
    numbers = missing & {path[len(place) :] for path in settings if path[: len(place)] == place}
    raise SpecError(
        _NO_RESULT.format(
            name=name,
            where=f"result {'.'.join(place)!r}" if place else "the result",
            count=len(wanted),
            missing=_some(missing),
            extra=_some(found.keys() - wanted.keys()),
        )
        + (_SETTING.format(names=_some(numbers)) if numbers else "")
    )


def _below(place: tuple[str, ...], outputs: Sequence[OutputLeaf]) -> dict[tuple[str, ...], int]:
    depth = len(place)
    return {leaf.path[depth:]: i for i, leaf in enumerate(outputs) if leaf.path[:depth] == place}


def _some(paths: set[tuple[str, ...]]) -> str:
    shown = [repr(".".join(path)) if path else "the value itself" for path in sorted(paths)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "") or "none"


def _check_fits(before: InputLeaf, after: OutputLeaf) -> None:
    """A result must be of the dtype and of a shape that its input takes; symbolic sizes may change."""
    shape = after.aval.shape
    fits = len(shape) == len(before.shape) and all(
        export.is_symbolic_dim(size) or size == new for size, new in zip(before.shape, shape, strict=True)
    )
    if not fits or after.aval.dtype != before.dtype:
        raise SpecError(
            f"The state {before.name!r} goes in as {_text(before.dtype, before.shape)} and comes out as "
            f"{_text(after.aval.dtype, shape)} ({_place(after.path)}): the next call could not take it.\n"
            f"Return its next value in the dtype and shape that it has, or say where that is: "
            f"state={{{before.path[0]!r}: PLACE}}, an index or key of what the function returns."
        )


def _place(path: tuple[str, ...]) -> str:
    return f"result {'.'.join(path)!r}" if path else "the function's result"


def _text(dtype: np.dtype[Any], shape: Sequence[Any]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"
