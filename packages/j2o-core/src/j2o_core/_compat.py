"""Differences between JAX releases, and names that are private to JAX. No other file imports `jax._src`."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import api_util as _api_util
from jax._src import config as _jax_config
from jax._src import core as _core
from jax._src import debugging as _debugging
from jax._src import source_info_util as _source_info
from jax._src.export import shape_poly as _shape_poly
from jax._src.interpreters import mlir as _mlir
from jax._src.lax import special as _special
from jax._src.random import prng as _prng
from jax._src.random import random_gamma_p as _random_gamma_p
from jax.extend import core as jex

# Part of the key of JAX's tracing caches: entries made under one value are never hit under another.
# Made once, at import, since JAX does not allow a context to be made while other threads use JAX.
export_context = jax.make_user_context(None)


class ContextOfExport:
    """The context of this thread's traces. To leave it twice, or without having entered it whole, does no harm."""

    def __init__(self) -> None:
        self._context: Any = None

    def enter(self, value: Any) -> None:
        """Set the value that is part of the key of JAX's tracing caches."""
        self._context = export_context(value)
        self._context.__enter__()

    def leave(self) -> None:
        """Set what was there before."""
        if self._context is None:
            return
        try:
            self._context.__exit__(None, None, None)
        except AttributeError:  # interrupted before it knew that: nothing was there
            export_context._obj.set_local(_jax_config.config_ext.unset)


Tracer = jax.core.Tracer
Literal = jex.Literal
Var = jex.Var
JaxprEqn = jex.JaxprEqn
Primitive = jex.Primitive
ShapedArray = jax.core.ShapedArray
DropVar = _core.DropVar
SymbolicDim = _shape_poly._DimExpr
JAXPRS = (jex.ClosedJaxpr, jex.Jaxpr)
# The module and the name of the function that gives the text for where a function is defined.
SOURCE_TEXT = (_api_util, "fun_sourceinfo") if hasattr(_api_util, "fun_sourceinfo") else None


def is_jaxpr(value: object) -> bool:
    """Whether a parameter of an equation is a jaxpr that stands by itself (since JAX 0.11 all are of one class).

    In a closure that a library converted there may be one whose constants come later, or belong to an outer trace.
    """
    if not isinstance(value, JAXPRS):
        return False
    if isinstance(value, jex.ClosedJaxpr):
        return not any(isinstance(const, Tracer) for const in value.consts)
    return not value.constvars


def high_level_code(primitive: Primitive) -> Callable[..., Any] | None:
    """The JAX code of a high-level primitive (since 0.12: `jnp.nonzero`); None for all others."""
    return primitive.to_lojax if primitive.name == "call_hi_primitive" else None


def printed_name(eqn: Any) -> str:
    """The name that JAX prints for an equation: that of its class if the primitive is a high-level one."""
    high_level = eqn.params.get("_prim") if eqn.primitive.name.startswith("call_hi_primitive") else None
    return eqn.primitive.name if high_level is None else type(high_level).__name__


def compiled_code(primitive: Primitive) -> Callable[..., Any] | None:
    """The JAX code that `jax.jit` compiles a primitive by; None if no rule for XLA is a `mlir.lower_fun` of such code.

    It takes the operands and the parameters of an equation. The CPU's rule comes first, then the one for all platforms,
    which computes the same where the former calls a library.
    """
    for table in (_mlir._platform_specific_lowerings["cpu"], _mlir._lowerings):
        entry = table.get(primitive)
        rule: Any = getattr(entry, "rule", entry)
        code = getattr(rule, "__code__", None)
        if code is not None and code is _LOWER_FUN:
            cells = dict(zip(code.co_freevars, (cell.cell_contents for cell in rule.__closure__), strict=True))
            found: Callable[..., Any] = cells["fun"]
            return found
    return None


_LOWER_FUN = _mlir.lower_fun(lambda: None).__code__


def has_lasting_effect(eqn: Any) -> bool:
    """Whether an equation does more than compute its results and print: writes to a reference, calls back in order."""
    printing = (_debugging.DebugEffect, _debugging.OrderedDebugEffect)
    return any(not isinstance(effect, printing) for effect in eqn.effects)


def as_closed(jaxpr: Any) -> Any:
    """A jaxpr with its constants: what is closed stays, an open one gets none."""
    if isinstance(jaxpr, jex.ClosedJaxpr):
        return jaxpr
    return jex.ClosedJaxpr(jaxpr, [])


def as_function(closed: Any) -> Any:
    """A closed jaxpr as a function of arrays, which returns a list."""
    return jex.jaxpr_as_fun(closed)


def without_dot_algorithms(value: Any) -> Any:
    """A jaxpr whose products ask for no algorithm, nested ones included; the same object if none does."""
    if isinstance(value, jax.lax.DotAlgorithmPreset | jax.lax.DotAlgorithm):
        return None
    if isinstance(value, tuple | list):
        items = [without_dot_algorithms(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else type(value)(items)
    if isinstance(value, jex.ClosedJaxpr) and value.jaxpr is not value:  # before JAX 0.12 they were two classes
        inner = without_dot_algorithms(value.jaxpr)
        return value if inner is value.jaxpr else value.replace(jaxpr=inner)
    if not isinstance(value, jex.Jaxpr):
        return value
    eqns = []
    for eqn in value.eqns:
        params = {name: without_dot_algorithms(param) for name, param in eqn.params.items()}
        same = all(params[name] is param for name, param in eqn.params.items())
        eqns.append(eqn if same else eqn.replace(params=params))
    return value if all(new is old for new, old in zip(eqns, value.eqns, strict=True)) else value.replace(eqns=eqns)


def make_closed(
    constvars: Sequence[Any], consts: Sequence[Any], invars: Sequence[Any], outvars: Sequence[Any], eqns: Sequence[Any]
) -> Any:
    """A closed jaxpr from its parts."""
    effects = _core.no_effects
    for eqn in eqns:
        effects = effects | {effect for effect in eqn.effects if not hasattr(effect, "input_index")}
    debug_info = _core.DebugInfo("j2o", "j2o", None, None)
    open_jaxpr = jex.Jaxpr(list(constvars), list(invars), list(outvars), list(eqns), effects, debug_info)
    return jex.ClosedJaxpr(open_jaxpr, list(consts))


def with_constants(closed: Any, values: Sequence[Any]) -> Any:
    """A closed jaxpr whose last inputs are constants with these values."""
    jaxpr, count = closed.jaxpr, len(closed.jaxpr.invars) - len(values)
    constvars, consts = [*jaxpr.constvars, *jaxpr.invars[count:]], [*closed.consts, *values]
    return make_closed(constvars, consts, jaxpr.invars[:count], jaxpr.outvars, jaxpr.eqns) if values else closed


def evaluate(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of one equation, run as JAX runs it outside `jit`."""
    with eqn.ctx.manager:
        results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return list(results) if eqn.primitive.multiple_results else [results]


def new_var(aval: Any) -> Any:
    """A fresh variable."""
    return _core.Var(aval)


def scan_counts(params: dict[str, Any], inputs: int) -> tuple[int, int]:
    """(num_consts, num_carry) of a scan equation; JAX 0.11 replaced them by trees of operands."""
    del inputs
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def has_user_frame(eqn: Any) -> bool:
    """Whether an equation knows a line of code outside JAX."""
    return next(_source_info.user_frames(eqn.source_info.traceback), None) is not None


def user_frames(eqn: Any) -> Iterator[tuple[str, int, str]]:
    """(file, line, function) of the frames that made an equation, innermost first, without JAX's own."""
    traceback = eqn.source_info.traceback
    for frame in _source_info.user_frames(traceback):
        yield frame.file_name, frame.start_line, frame.function_name


def scopes(eqn: Any) -> list[str]:
    """Names of the `jax.named_scope`s that an equation is in, the outermost first, within its own jaxpr."""
    return [scope.name for scope in eqn.source_info.name_stack.stack if isinstance(scope, _source_info.Scope)]


def called_from(eqn: Any, caller: Any) -> Any:
    """An equation of the body of another one, in that one's scopes; what JAX itself made gets its line, too."""
    here, there = eqn.source_info, caller.source_info
    stack = there.name_stack + here.name_stack
    return eqn.replace(source_info=(here if has_user_frame(eqn) else there).replace(name_stack=stack))


def is_symbolic(dimension: object) -> bool:
    """Whether a dimension is an expression over symbolic dimensions."""
    return isinstance(dimension, SymbolicDim)


def symbol_names(dimension: Any) -> frozenset[str]:
    """Names of the symbols in a dimension."""
    return frozenset(dimension._get_vars()) if is_symbolic(dimension) else frozenset()


def dim_terms(dimension: Any) -> list[tuple[int, list[tuple[Any, int]]]]:
    """A symbolic dimension as a sum of products: [(coefficient, [(factor, exponent)])].

    A factor is a symbol's name or a tuple (operation, operands) with operation one of
    "floordiv", "mod", "max", "min".
    """
    terms = []
    for term, coefficient in dimension._sorted_terms:
        factors = []
        for factor, exponent in term._factors:
            factors.append((factor.var if factor.var is not None else (factor.operation, factor.operands), exponent))
        terms.append((int(coefficient), factors))
    return terms


def dim_constraints(dimension: Any) -> list[tuple[Any, bool, str]]:
    """The constraints of a dimension's scope: expression, whether it is 0 or else >= 0, the user's text."""
    return [
        (constraint.diff, constraint.cmp == _shape_poly.Comparator.EQ, constraint.debug_str)
        for constraint in dimension.scope._explicit_constraints
    ]


def constraint_texts(dimension: Any) -> list[str]:
    """The constraints of a dimension's scope, as they were given."""
    return [constraint.debug_str for constraint in dimension.scope._explicit_constraints]


def is_array(value: object) -> bool:
    """Whether a value is an array, traced or not."""
    return isinstance(value, (jax.Array, np.ndarray, Tracer))


def origin(closed: Any) -> str:
    """Where the function of a jaxpr is defined, as `file:line`; nothing if JAX does not know."""
    return str(closed.jaxpr.debug_info.func_src_info or "").partition(" at ")[2]


def operand_names(closed: Any) -> list[str]:
    """Names of the inputs of a jaxpr, as `x` or `params['w']`; nothing if JAX does not know them."""
    names = list(closed.jaxpr.debug_info.arg_names or ())
    return names if len(names) == len(closed.jaxpr.invars) and all(names) else []


def is_array_like(value: object) -> bool:
    """Whether `jax.jit` returns a value as an array: arrays, numbers, and sizes that are symbolic."""
    return bool(_core.valid_jaxtype(value))


def with_weak_type(array: Any) -> Any:
    """The same array of a dtype that gives way to others, as Python's numbers have it."""
    return jax.lax.convert_element_type_p.bind(array, new_dtype=array.dtype, weak_type=True, sharding=None)


def literal_value(literal: Any) -> np.ndarray[Any, Any]:
    """The value of a literal with the dtype of its aval."""
    return np.asarray(literal.val, dtype=literal.aval.dtype)


@functools.lru_cache(maxsize=256)
def is_key_dtype(dtype: Any) -> bool:
    """Whether a dtype is that of typed PRNG keys."""
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


@functools.lru_cache(maxsize=256)
def is_extended_dtype(dtype: Any) -> bool:
    """Whether a dtype is one of JAX's own, which NumPy does not know (typed keys)."""
    return bool(jnp.issubdtype(dtype, jax.dtypes.extended))


def key_generator(dtype: Any) -> Any:
    """The functions of a key type: `name`, `seed`, `split`, `random_bits`, `fold_in` on plain uint32 arrays."""
    return dtype._impl


def key_shape(dtype: Any) -> tuple[int, ...]:
    """The shape of the words of one key."""
    return tuple(dtype._impl.key_shape)


def wrap_keys(words: Any, dtype: Any) -> Any:
    """Words as typed keys."""
    return _prng.random_wrap(words, impl=dtype._impl)


def random_gamma(keys: Any, shape_parameter: Any, params: dict[str, Any]) -> Any:
    """The values of the primitive `random_gamma`."""
    return _random_gamma_p.impl(keys, shape_parameter, log_space=params["log_space"], use_vmap=True)


def special_function(name: str) -> Callable[..., Any]:
    """JAX's own definition of a special function by simpler ones: what its rule for XLA lowers.

    Args:
        name: "igamma", "igammac", "igamma_grad_a" or "regularized_incomplete_beta".
    """
    function: Callable[..., Any] = _special._up_and_broadcast(getattr(_special, f"{name}_impl"))
    return function
