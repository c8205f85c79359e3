"""Near misses: programs that differ from a given one in one edge, made by the dozen.

A rewrite that matches too much takes one of them for its pattern. So each operand of each equation is rounded to a
narrower type, negated, shifted, scaled, reversed and transposed, one at a time; operands change places, reductions
go along other axes, and what lies between gets a second reader.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from j2o_core.simplify import inline_calls

_NARROW = {"float64": np.float32, "float32": np.float16, "int32": np.int8}
_SYMMETRIC = ("add", "mul", "max", "min", "and", "or", "xor", "eq", "ne")


def near_misses(fn, *args):
    """`{what is changed: function of the same arguments}`, the function itself first."""
    jaxpr = inline_calls(jax.make_jaxpr(fn)(*args))
    changed = {"nothing": functools.partial(_run, jaxpr, {}, None)}
    constants = set(jaxpr.jaxpr.constvars)
    for index, eqn in enumerate(jaxpr.jaxpr.eqns):
        name = f"{index} {eqn.primitive.name}"
        known = [isinstance(atom, Literal) or atom in constants for atom in eqn.invars]
        if all(known):
            constants.update(eqn.outvars)
        for place, atom in enumerate(eqn.invars):
            for what, change in _changes(atom.aval, known[place]).items():
                changes = {(index, place): change}
                changed[f"{name}: operand {place} {what}"] = functools.partial(_run, jaxpr, changes, None)
        changed[f"{name}: read twice"] = functools.partial(_run, jaxpr, {}, index)
        for what, other in _equations(eqn):
            eqns = [*jaxpr.jaxpr.eqns[:index], other, *jaxpr.jaxpr.eqns[index + 1 :]]
            changed[f"{name}: {what}"] = functools.partial(_run, jaxpr, {}, None, eqns=eqns)
    return {what: one for what, one in changed.items() if _is_a_program(one, args)}


def _changes(aval, is_constant):
    """The replacements of one operand."""
    dtype, shape = np.dtype(aval.dtype), aval.shape
    if dtype.kind == "b":
        found = {"inverted": jnp.logical_not}
    elif dtype.kind == "f":
        found = {
            "negated": lambda x: -x,
            "shifted": lambda x: x + np.asarray(1.5, dtype),
            "shifted far": lambda x: x - np.asarray(300, dtype),
            "scaled": lambda x: x * np.asarray(3, dtype),
        }
        if is_constant:
            found |= {"scaled a little": lambda x: x * np.asarray(1.003, dtype)}
            found |= {f"made {number}": lambda x, n=number: jnp.full_like(x, n) for number in (0, np.inf, np.nan)}
    else:
        found = {"negated": lambda x: -x, "shifted": lambda x: x + np.asarray(1, dtype)}
    if dtype.name in _NARROW:
        found["rounded"] = lambda x: x.astype(_NARROW[dtype.name]).astype(dtype)
    for axis, size in enumerate(shape):
        if size > 1:
            found[f"reversed along {axis}"] = lambda x, axis=axis: lax.rev(x, (axis,))
    for one, other in itertools.combinations(range(len(shape)), 2):
        if shape[one] == shape[other] > 1:
            found[f"with axes {one} and {other} swapped"] = lambda x, pair=(one, other): jnp.swapaxes(x, *pair)
    return found


def _equations(eqn):
    """Other equations with the same operands."""
    first, last = eqn.invars[0], eqn.invars[-1]
    if len(eqn.invars) > 1 and eqn.primitive.name not in _SYMMETRIC and eqn.invars[-2].aval == last.aval:
        yield "operands swapped", eqn.replace(invars=[*eqn.invars[:-2], last, eqn.invars[-2]])
    axes = eqn.params.get("axes")
    if isinstance(axes, tuple):
        for others in itertools.combinations(range(len(first.aval.shape)), len(axes)):
            if others != axes:
                yield f"along {others}", eqn.replace(params={**eqn.params, "axes": others})


def _run(jaxpr, changes, read_twice, *args, eqns=None):
    values = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    values |= zip(jaxpr.jaxpr.invars, args, strict=True)

    def read(atom):
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else values[atom]

    also = []
    for index, eqn in enumerate(eqns or jaxpr.jaxpr.eqns):
        operands = [read(atom) for atom in eqn.invars]
        for place, operand in enumerate(operands):
            if (index, place) in changes:
                operands[place] = changes[index, place](jnp.asarray(operand))
        results = eqn.primitive.bind(*operands, **eqn.params)
        results = results if eqn.primitive.multiple_results else [results]
        values |= zip(eqn.outvars, results, strict=True)
        also += results if index == read_twice else []
    return [*map(read, jaxpr.jaxpr.outvars), *also]


def _is_a_program(fn, args):
    try:
        jax.eval_shape(fn, *args)
    except (TypeError, ValueError):  # shapes that do not fit each other any more
        return False
    return True
