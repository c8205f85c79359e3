"""The message where JAX cannot trace a function: the user's line, what JAX says, and what to do."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import _compat
from ._source import describe
from ._specs import InputLeaf

_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
_JAX_FOLDER = os.path.dirname(jax.__file__) + os.sep
_MOST_LINES = 8

_ADVICE = {
    "TracerBoolConversionError": "Python's `if` and `while` need a value: use jnp.where, jax.lax.cond or while_loop.",
    "TracerArrayConversionError": "NumPy needs values: use jax.numpy there.",
    "TracerIntegerConversionError": "Python needs a number there: use a constant, or jax.numpy functions.",
    "ConcretizationTypeError": "Python needs a number there: keep it an array, or give a size that is known.",
}
_OF_JAX_PAGES = ("See https://docs.jax.dev", "Please see https://docs.jax.dev", "for more details")
_AS_CONSTRAINT = {">": (">=", 1), ">=": (">=", 0), "<": ("<=", -1), "<=": ("<=", 0), "==": ("==", 0)}


def explain(fn: Callable[..., Any], leaves: Sequence[InputLeaf], error: Exception) -> str:
    """The message for an error that tracing a function on these inputs raised."""
    shapes = ", ".join(f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]" for leaf in leaves)
    said = _said(leaves, error)
    lines = [f"JAX cannot trace {describe(fn)} with inputs ({shapes}).", f"{type(error).__name__}: {said}"]
    if (place := _users_line(error)) is not None:
        lines.append(f"  at {place}")
    symbols = frozenset().union(*(_compat.symbol_names(size) for leaf in leaves for size in leaf.shape))
    if (advice := _advice(type(error).__name__, said, symbols)) is not None:
        lines.append(advice)
    return "\n".join(lines)


def _said(leaves: Sequence[InputLeaf], error: Exception) -> str:
    """The error's own text, with inputs by their names, and without j2o's function around the user's."""
    text = re.sub(r"The error occurred while tracing the function flat at \S+ for jit\.\s*", "", str(error).strip())
    text = re.sub(
        r"(argument )?arrays\[(\d+)\]",
        lambda found: f"{found[1] or ''}{leaves[int(found[2])].name!r}" if int(found[2]) < len(leaves) else found[0],
        text,
    )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(_OF_JAX_PAGES)]
    if type(error).__name__ == "InconclusiveDimensionOperation":
        lines = [line for line in lines if not line.startswith(("This error arises", "are non-constant", "a boolean"))]
    return "\n".join(lines[:_MOST_LINES])


def _users_line(error: BaseException) -> str | None:
    """The innermost line outside JAX and j2o on the way to an error, with its text."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OWN_FOLDER, _JAX_FOLDER, "<frozen"))
    ]
    users = [frame for frame in frames if f"{os.sep}site-packages{os.sep}" not in frame.filename] or frames
    if not users:
        return None
    frame = users[-1]
    text = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{frame.filename}:{frame.lineno} in {frame.name}" + (f": {text}" if text else "")


def _advice(kind: str, said: str, symbols: frozenset[str]) -> str | None:
    if kind in _ADVICE:
        return _ADVICE[kind]
    if not symbols:
        return None
    compared = re.search(r"comparison '(.+?)' (>=|<=|>|<|==) '(.+?)' is inconclusive", said)
    if compared is not None:
        left, sign, right = compared.groups()
        sign, more = _AS_CONSTRAINT[sign]
        limit = str(int(right) + more) if right.lstrip("-").isdecimal() else f"{right} + {more}" if more else right
        return f'If that holds for all sizes, say so: constraints=["{left} {sign} {limit}"]. Else give a fixed size.'
    clipped = re.search(r"\b(min|max)\((\d+), (\w+)\)|\b(min|max)\((\w+), (\d+)\)", said)
    if clipped is not None:
        which, number, name = (
            (clipped[1], clipped[2], clipped[3]) if clipped[1] else (clipped[4], clipped[6], clipped[5])
        )
        if name in symbols:
            sign = "<=" if which == "min" else ">="
            return f'{name} may be beyond {number}. Say that it is not: constraints=["{name} {sign} {number}"].'
    rest = re.search(r"mod\((\w+), -? ?(\d+)\)", said)
    if rest is not None and rest[1] in symbols:
        return f'{rest[1]} has to be a multiple of {rest[2]}: give the size as "{rest[2]}*{rest[1]}" in the spec.'
    named = [name for name in sorted(symbols) if re.search(rf"\b{re.escape(name)}\b", said)]
    if len(named) > 1:
        return f"Sizes that are equal take one name: {', '.join(named)} are different sizes here."
    return None
