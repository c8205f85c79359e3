"""Make values real that ONNX has no type for: typed keys and complex numbers become arrays with a trailing axis.

A key is its words, a complex number its real and imaginary part. What only moves elements about is the same operation
with the trailing axis carried along; the rest has rules of plugins, in JAX code on the arrays that encode the values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _compat
from .._compat import Literal, literal_value, make_closed, new_var
from .._errors import J2oError, UnsupportedError
from ..trace._source import user_line
from ._fold import ConstantTable
from ._function_primitive import function_p
from ._inline import inline_calls
from ._nested import Steps, all_jaxprs, complete, map_nested
from ._plugin_code import ENCODED_RULE, check_results, failed

# The trailing axis may simply be there: parameters name axes from the front and no sizes.
_CARRIED = frozenset(
    {"neg", "concatenate", "rev", "squeeze", "copy", "stack", "unstack", "split", "reduce_sum", "cumsum"}
)
# Elements are moved, not looked at: the operation for each position of the trailing axis.
_MAPPED = frozenset(
    {
        *("slice", "dynamic_slice", "dynamic_update_slice", "gather", "pad", "tile", "expand_dims"),
        *("scatter", "scatter-add", "scatter-sub", "scatter_add", "scatter_sub"),
        *("select_and_scatter_add", "reduce_window_sum"),
    }
)
_CONTROL_FLOW = frozenset({"cond", "while", "scan"})

_NO_RULES = """\
Operations on complex numbers or typed keys that have no lowering:
{lines}
Compute with real and imaginary parts, or with jax.random.key_data. For a primitive of your own a plugin has
@plugin.encoded(primitive, "complex" or "key"), see docs/write-a-plugin.md."""


Rules = Mapping[str, Mapping[str, Callable[..., Any]]]


def make_real(jaxpr: Any, table: ConstantTable, rules: Rules) -> Any:
    """The closed jaxpr without typed keys and complex numbers; the same jaxpr if it has none.

    Args:
        jaxpr: a closed jaxpr.
        table: names of constants.
        rules: rules on encoded values, by kind and name (`Plugin.encoded`).

    Raises:
        UnsupportedError: naming every operation on such values that cannot be expressed.
    """
    if not _has_encoded(jaxpr):
        return jaxpr
    missing: dict[str, list[Any]] = {}
    result = complete(_real_jaxpr(jaxpr, table, rules, missing))
    if missing:
        lines = [
            f"  {name:24} {f'{len(eqns)} equation' + 's' * (len(eqns) > 1):13} {user_line(eqns[0])}"
            for name, eqns in missing.items()
        ]
        raise UnsupportedError(_NO_RULES.format(lines="\n".join(lines)))
    return result


def is_encoded(aval: Any) -> bool:
    """Whether a value is encoded: a complex number or a typed key."""
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and _is_encoded_dtype(dtype)


@functools.lru_cache(maxsize=256)
def _is_encoded_dtype(dtype: Any) -> bool:
    return _compat.is_key_dtype(dtype) or bool(jnp.issubdtype(dtype, np.complexfloating))


def encoded_aval(aval: Any) -> Any:
    """The abstract value of the array that encodes a value."""
    if not is_encoded(aval):
        return aval
    if _compat.is_key_dtype(aval.dtype):
        return _compat.ShapedArray((*aval.shape, *_compat.key_shape(aval.dtype)), np.dtype(np.uint32))
    return _compat.ShapedArray((*aval.shape, 2), np.finfo(aval.dtype).dtype)


def encoded_array(value: Any) -> Any:
    """The array that encodes a constant."""
    if isinstance(value, jax.Array) and _compat.is_key_dtype(value.dtype):
        return np.asarray(jax.random.key_data(value))
    plain = np.asarray(value)
    return np.stack([plain.real, plain.imag], -1) if plain.dtype.kind == "c" else value


def _has_encoded(jaxpr: Any) -> bool:
    return any(is_encoded(atom.aval) for body in all_jaxprs(jaxpr) for atoms in _atoms(body.jaxpr) for atom in atoms)


def _atoms(jaxpr: Any) -> Iterator[Sequence[Any]]:
    yield jaxpr.constvars
    for place in (jaxpr, *jaxpr.eqns):
        yield place.invars
        yield place.outvars


def _real_jaxpr(jaxpr: Any, table: ConstantTable, rules: Rules, missing: dict[str, list[Any]]) -> Steps:
    writer = _Writer(table, rules, missing)
    invars = [new_var(encoded_aval(var.aval)) for var in jaxpr.jaxpr.invars]
    outs = yield writer.run(jaxpr, invars, None)
    return make_closed(list(writer.consts), list(writer.consts.values()), invars, outs, writer.eqns)


class _Writer:
    """Writes a jaxpr anew, with encoded complex numbers and keys."""

    def __init__(self, table: ConstantTable, rules: Rules, missing: dict[str, list[Any]]):
        self.eqns: list[Any] = []
        self.consts: dict[Any, Any] = {}
        self._table = table
        self._rules = rules
        self._missing = missing
        self._by_identity: dict[int, tuple[Any, Any]] = {}
        self._makers: dict[Any, Any] = {}  # equations that stack or split, by their result
        self._real: dict[Any, Any] = {}  # real numbers that were made complex, by the complex ones

    def constant(self, value: Any) -> Any:
        """One variable per constant array."""
        known = self._by_identity.get(id(value))
        if known is not None:
            return known[0]
        array = encoded_array(value)
        self._table.set_name(array, self._table.name(value))
        var = new_var(_compat.ShapedArray(np.shape(array), array.dtype))
        self.consts[var] = array
        self._by_identity[id(value)] = (var, value)  # the value too: an id is only good as long as what it names
        return var

    def run(self, jaxpr: Any, operands: Sequence[Any], caller: Any) -> Steps:
        """Append the equations of a jaxpr on these operands; `caller` is the equation that they compute."""
        env: dict[Any, Any] = dict(zip(jaxpr.jaxpr.invars, operands, strict=True))
        for var, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
            env[var] = self.constant(value)

        def read(atom: Any) -> Any:
            if isinstance(atom, Literal):
                return self.constant(literal_value(atom)) if is_encoded(atom.aval) else atom
            return env[atom]

        for eqn in jaxpr.jaxpr.eqns:
            if caller is not None:
                eqn = eqn.replace(source_info=caller.source_info)
            results = yield self.equation(eqn, [read(atom) for atom in eqn.invars])
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def equation(self, eqn: Any, operands: list[Any]) -> Steps:
        """Append the equations that compute one equation on encoded values."""
        affected = any(is_encoded(atom.aval) for atom in (*eqn.invars, *eqn.outvars))
        name = eqn.primitive.name
        if eqn.primitive is function_p:  # its body follows when it is lowered
            return (yield self._same(eqn, operands))
        if hasattr(eqn.primitive, "composite"):
            steps = self.run(inline_calls(eqn.params["body"]), operands, eqn) if affected else self._same(eqn, operands)
            return (yield steps)
        if name in _CONTROL_FLOW or not affected:
            part = self._part(eqn, operands)
            return (yield self._same(eqn, operands)) if part is None else [part]
        rule = _rule(eqn, self._rules)
        if rule is None:
            self._missing.setdefault(name, []).append(eqn)
            return [new_var(encoded_aval(var.aval)) for var in eqn.outvars]
        if name == "fft":  # which takes half the work for them
            operands = [self._real.get(atom, atom) for atom in operands]
        structs = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in operands]
        try:
            traced = inline_calls(jax.make_jaxpr(rule.code)(*structs))
        except J2oError:
            raise
        except Exception as error:
            raise failed(ENCODED_RULE, rule.of_plugin, eqn, error) from error
        wanted = [encoded_aval(var.aval) for var in eqn.outvars]
        check_results(ENCODED_RULE, rule.of_plugin, eqn, traced.out_avals, wanted)
        results = yield self.run(traced, operands, eqn)
        if name == "convert_element_type" and is_encoded(eqn.outvars[0].aval) and not is_encoded(eqn.invars[0].aval):
            self._real[results[0]] = operands[0]
        return results

    def _same(self, eqn: Any, operands: list[Any]) -> Steps:
        outvars = [new_var(encoded_aval(var.aval)) for var in eqn.outvars]
        params = yield from map_nested(eqn, self._nested)
        self.eqns.append(eqn.replace(invars=operands, outvars=outvars, params=params))
        if eqn.primitive.name in ("stack", "slice"):
            self._makers[outvars[0]] = self.eqns[-1]
        return outvars

    def _part(self, eqn: Any, operands: list[Any]) -> Any:
        """The part that `squeeze(slice(stack(parts)))` takes out: rules split arrays that others have just stacked."""
        name, params = eqn.primitive.name, eqn.params
        last = len(eqn.outvars[0].aval.shape) if eqn.outvars else 0
        if name != "squeeze" or tuple(params["dimensions"]) != (last,):
            return None
        sliced = self._made("slice", operands[0])
        joined = self._made("stack", sliced.invars[0]) if sliced is not None else None
        if sliced is None or joined is None or joined.params["axis"] != last:
            return None
        if str(sliced.outvars[0].aval.shape[:-1]) != str(joined.outvars[0].aval.shape[:-1]):  # a part of it only
            return None
        return joined.invars[sliced.params["start_indices"][-1]]

    def _made(self, name: str, atom: Any) -> Any | None:
        """The equation of that name that a value comes from, if it does."""
        eqn = None if isinstance(atom, Literal) else self._makers.get(atom)
        return eqn if eqn is not None and eqn.primitive.name == name else None

    def _nested(self, closed: Any) -> Steps:
        return (yield _real_jaxpr(closed, self._table, self._rules, self._missing)) if _has_encoded(closed) else closed


class _Rule(NamedTuple):
    """JAX code on encoded values, and the function of a plugin that it calls."""

    code: Callable[..., Any]
    of_plugin: Callable[..., Any] | None = None


def _rule(eqn: Any, kinds: Rules) -> _Rule | None:
    name, params = eqn.primitive.name, eqn.params
    atoms = (*eqn.invars, *eqn.outvars)
    rules = kinds["key" if any(_compat.is_key_dtype(atom.aval.dtype) for atom in atoms) else "complex"]
    if name in rules:
        return _Rule(lambda *arrays: rules[name](eqn, *arrays), rules[name])
    if name in _SHAPED:
        return _Rule(lambda *arrays: _SHAPED[name](eqn, *arrays))
    if name in _CARRIED:
        return _Rule(lambda *arrays: eqn.primitive.bind(*arrays, **params))
    if name in _MAPPED:
        axes = tuple(-1 if is_encoded(atom.aval) else None for atom in eqn.invars)
        return _Rule(jax.vmap(lambda *arrays: eqn.primitive.bind(*arrays, **params), axes, -1))
    return None


def _reshape(eqn: Any, x: Any, *_: Any) -> Any:
    order = eqn.params["dimensions"]  # in which the elements are read
    x = x if order is None else jax.lax.transpose(x, (*order, x.ndim - 1))
    return jax.lax.reshape(x, (*eqn.outvars[0].aval.shape, x.shape[-1]))


def _broadcast_in_dim(eqn: Any, x: Any, *_: Any) -> Any:
    shape = eqn.outvars[0].aval.shape
    return jax.lax.broadcast_in_dim(x, (*shape, x.shape[-1]), (*eqn.params["broadcast_dimensions"], len(shape)))


def _select_n(eqn: Any, which: Any, *cases: Any) -> Any:
    if which.ndim:
        which = jax.lax.broadcast_in_dim(which, cases[0].shape, range(which.ndim))
    return jax.lax.select_n(which, *cases)


_SHAPED: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast_in_dim,
    "transpose": lambda eqn, x: jax.lax.transpose(x, (*eqn.params["permutation"], x.ndim - 1)),
    "select_n": _select_n,
    # A scalar among the operands is as good as an array.
    "add": lambda eqn, x, y: x + y,
    "add_any": lambda eqn, x, y: x + y,
    "sub": lambda eqn, x, y: x - y,
}
