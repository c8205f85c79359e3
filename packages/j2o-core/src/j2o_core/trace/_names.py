"""Names of inputs, outputs and weights: a path of a tree as text, each name once."""

from collections.abc import Iterable, Sequence
from typing import Any

from jax.tree_util import GetAttrKey, SequenceKey

from .._errors import SpecError


def path_part(key: Any) -> str:
    """One step of a pytree path as text without brackets."""
    if type(key) is SequenceKey:
        return str(key.idx)
    if type(key) is GetAttrKey:
        return _as_text(key.name)
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return _as_text(str(getattr(key, attribute)))
    return _as_text(str(key))


def _as_text(name: str) -> str:
    """A name as a model can hold it: in UTF-8, without null characters."""
    return name if name.isidentifier() and name.isascii() else _escaped(name)


def _escaped(name: str) -> str:
    return name.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def check_names(what: str, names: Sequence[str], arrays: Sequence[str]) -> None:
    """Raise a SpecError unless `names` are different non-empty strings, one for each of these arrays."""
    count = len(arrays)
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        example = names if isinstance(names, str) and names else arrays[0]
        wanted = f'one name, such as ["{example}"]' if count == 1 else f"a list of {count} names"
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
