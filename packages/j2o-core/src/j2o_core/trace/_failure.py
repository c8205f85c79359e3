"""The error where JAX cannot trace a function: the user's line, what JAX says, and what to do."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import _compat
from .._errors import J2oError, SpecError, TraceError
from ._inputs import InputLeaf, Inputs
from ._source import describe

_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
_JAX_FOLDER = os.path.dirname(jax.__file__) + os.sep
_MOST_LINES = 8
_NONE = jax.tree.structure(None)

_ONE_BY_ONE = (
    "Python cannot count up to a symbolic size: use jnp.arange, jax.vmap, jax.lax.scan or fori_loop, or a fixed size."
)

# Pieces of an error's class and text, the first that is in it: what to do.
_ADVICE = {
    "argument must be known statically": "It is a setting, no array: functools.partial(fn, axis=0), say, and no spec.",
    "size argument of": "The number of results depends on values: give the most that there may be, size=N.",
    "TracerBoolConversionError": "Python's `if` and `while` need a value: use jnp.where, jax.lax.cond or while_loop.",
    "TracerArrayConversionError": "NumPy needs values: use jax.numpy there.",
    "TracerIntegerConversionError": "Python needs a number there: use a constant, or jax.numpy functions.",
    "ConcretizationTypeError": "Python needs a number there: keep it an array, or give a size that is known.",
    "NonConcreteBooleanIndexError": (
        "The number of results depends on values: use jnp.where(mask, x, 0), or jnp.nonzero(mask, size=N)."
    ),
    "'_DimExpr' object cannot be": _ONE_BY_ONE,
    "has no attribute 'process_primitive'": _ONE_BY_ONE,
    "key_data": "The spec of a random key is a key itself: jax.random.key(0).",
    "from a different trace level": (
        "The module changes itself when it is called, as in training: for inference call model.eval() before. For "
        "training take its state as an argument and return it."
    ),
    "requires a key when running": "Export the model as it is used: eqx.nn.inference_mode(model).",
}
_SAME = "jax.eval_shape raises the same for these inputs: it is the function, or the specs, that have to change."
_NUMBERS = (64, 8)  # sizes to try in place of a symbol
_FIX = "Give a number in the spec, and export once for each that you need."
_NOT_BOUND = """{fn} takes ({takes}), inputs has {given}.
{error}
Give one spec for each argument, in order or as a mapping from their names (--input at the command line)."""
_OF_JAX_PAGES = ("See https://docs.jax.dev", "Please see https://docs.jax.dev", "for more details")
_AS_CONSTRAINT = {">": (">=", 1), ">=": (">=", 0), "<": ("<=", -1), "<=": ("<=", 0), "==": ("==", 0)}
# Words of JAX where two sizes should be one.
_UNEQUAL = re.compile(r"incompatible|same shape|same size|must be equal|differ|match|broadcast", re.IGNORECASE)


def failure(fn: Callable[..., Any], inputs: Inputs, error: Exception) -> J2oError:
    """The error to raise where tracing a function on these inputs raised this one."""
    if isinstance(error, TypeError) and (problem := _not_bound(fn, inputs, error)) is not None:
        return SpecError(problem)
    leaves = inputs.leaves
    shapes = ", ".join(leaf.signature for leaf in leaves)
    said = _said(leaves, error)
    lines = [f"JAX cannot trace {describe(fn)} with inputs ({shapes}).", f"{type(error).__name__}: {said}"]
    if (place := raised_at(error)) is not None:
        lines.append(f"  at {place}")
    symbols = frozenset().union(*(_compat.symbol_names(size) for leaf in leaves for size in leaf.shape))
    advice = [*_about(fn, inputs), *_advice(f"{type(error).__name__}: {said}", symbols)]
    if not advice and _fails(fn, inputs, [leaf.struct for leaf in leaves]) is type(error):
        advice = [_SAME]
        if (fixed := _sizes_to_fix(fn, inputs)) is not None:
            advice.append(fixed)
    return TraceError("\n".join([*lines, *advice]))


def _not_bound(fn: Callable[..., Any], inputs: Inputs, error: Exception) -> str | None:
    """The complaint that there are more or fewer specs than arguments, None if there are not."""
    if isinstance(fn, type) or inputs.signature is None:
        return None
    try:
        inputs.signature.bind(*inputs.parameters, **dict.fromkeys(inputs.keywords))
    except TypeError:
        takes = ", ".join(map(str, inputs.signature.parameters.values()))
        count = len(inputs.parameters) + len(inputs.keywords)
        given = f"{count} spec{'' if count == 1 else 's'}"
        names = f" with the names {', '.join(inputs.keywords)}" if inputs.keywords else ""
        return _NOT_BOUND.format(fn=describe(fn), takes=takes, given=given + names, error=error)
    return None


def _about(fn: Callable[..., Any], inputs: Inputs) -> list[str]:
    """The remarkable about the function and its specs."""
    remarks = []
    if isinstance(fn, type):
        remarks.append(f"{fn.__name__} is a class: export an instance of it.")
    positional, named = inputs.treedef.children()
    for name, tree in zip(
        (*inputs.parameters, *sorted(inputs.keywords)), positional.children() + named.children(), strict=True
    ):
        if tree == _NONE:
            remarks.append(f'{name} is None here: an array of it has a spec, such as ("B", 3), or () for a scalar.')
    return remarks


def _fails(fn: Callable[..., Any], inputs: Inputs, structs: Sequence[jax.ShapeDtypeStruct]) -> type[Exception] | None:
    """The class of the error that JAX alone raises with these arguments, None if it raises none."""
    try:
        jax.eval_shape(lambda *arrays: inputs.call(fn, arrays), *structs)
    except Exception as error:  # noqa: BLE001 - the function's own
        return type(error)
    return None


def _sizes_to_fix(fn: Callable[..., Any], inputs: Inputs) -> str | None:
    """The advice to fix one size, or else all, if JAX can trace the function then."""
    names = tuple(inputs.symbols)
    for fixed in dict.fromkeys([*((name,) for name in names), names]):
        for number in _NUMBERS if names else ():
            if _fails(fn, inputs, _structs(inputs, fixed, number)) is None:
                return f"JAX can trace it with a fixed size for {' and '.join(fixed)}, {number} for example. {_FIX}"
    return None


def _structs(inputs: Inputs, fixed: Sequence[str], number: int) -> list[jax.ShapeDtypeStruct]:
    """The leaves with a number in place of some symbols, and without constraints on these."""
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, fixed))})\b")
    symbolic = next(size for leaf in inputs.leaves for size in leaf.shape if _compat.is_symbolic(size))
    constraints = [text for text in _compat.constraint_texts(symbolic) if not pattern.search(text)]
    scope = jax.export.SymbolicScope(constraints)
    shapes = [pattern.sub(str(number), ", ".join(map(str, leaf.shape))) for leaf in inputs.leaves]
    return [
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), leaf.dtype, weak_type=leaf.weak_type)
        for leaf, shape in zip(inputs.leaves, shapes, strict=True)
    ]


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


def raised_at(error: BaseException) -> str | None:
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


def _advice(said: str, symbols: frozenset[str]) -> list[str]:
    known = next((advice for piece, advice in _ADVICE.items() if piece in said), None)
    found = known or (_about_sizes(said, symbols) if symbols else None)
    return [found] if found is not None else []


def _about_sizes(said: str, symbols: frozenset[str]) -> str | None:
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
    rest = re.search(r"mod\((.+?), -? ?(\d+)\)", said)
    size = re.fullmatch(r"(?:\w+\*)*(\w+)(?: ([+-]) (\d+))?", rest[1]) if rest is not None else None
    if rest is not None and size is not None and size[1] in symbols:
        name, sign, number = size.groups()
        multiple = f"{rest[2]}*{name}" + (f" {'-' if sign == '+' else '+'} {number}" if sign else "")
        return f'{rest[1]} has to be a multiple of {rest[2]}: give {name} as "{multiple}" in the spec.'
    named = [name for name in sorted(symbols) if re.search(rf"\b{re.escape(name)}\b", said)]
    if len(named) > 1 and _UNEQUAL.search(said):
        return f"Sizes that are equal take one name: {', '.join(named)} are different sizes here."
    if named and "contracting dimensions" in said:
        return f"If the function is one for a single example, {named[0]} is its batch: export jax.vmap(fn)."
    return None
