"""Narrow: a float32 jaxpr computes in float16 or bfloat16, but for what would lose too much there.

before: a:f32[2,8] = dot_general x w;  b:f32[2,8] = exp a;  c:f32[2,4] = dot_general b v
after:  a:f16[2,8] = dot_general (f16 x) (f16 w);  b:f32[2,8] = exp (f32 a);  c:f16[2,4] = dot_general (f16 b) (f16 v)

Plugins say of each primitive how it is computed (`Plugin.precision`); of which nobody says anything stays in float32.
What a primitive of the policy "operands" is computed in follows from its operands and its uses: float32 if one operand
is the result of something that stays in float32, or if all its uses are in float32, which costs no more casts then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .. import _compat
from .._compat import Literal, as_closed, literal_value, make_closed, new_var
from ._fold import ConstantTable
from ._function_primitive import function_p
from ._inline import inline_calls
from ._narrowing import Narrowing
from ._nested import Steps, complete

_WIDE = np.dtype(np.float32)

# Larger weights are stored narrow, also where they are only used in float32.
_SMALL = 1 << 14

# How a float32 value of the old jaxpr is known in the new one. `UNFIT` may have finite numbers that are infinite in the
# narrow dtype, as masks of -1e30 have; `TINY` is a constant of numbers next to 0 there; `LONG` is the result of what
# stays in float32; `GIVEN` is an argument; `NARROW` is rounded already; `FREE` is a weight, stored as it is used.
FREE, NARROW, GIVEN, LONG, TINY, UNFIT = range(6)

_UNFIT = "a constant is beyond the range of the narrow dtype"
_CARRIED = "what a loop carries may be a sum over its turns"


def narrow(jaxpr: Any, table: ConstantTable, narrowing: Narrowing) -> Any:
    """The closed jaxpr computed in the narrow dtype where policies allow it; inputs and outputs keep their dtypes.

    Args:
        jaxpr: a closed jaxpr without calls. Its last inputs are the weights that are kept.
        table: names of constants, those of narrow ones are added to it.
        narrowing: dtype and policies; reasons are added to it.
    """
    given = len(jaxpr.jaxpr.invars) - len(table.kept)
    kinds = [GIVEN] * given + [FREE] * len(table.kept)

    def steps() -> Steps:
        body = yield _run(jaxpr, kinds, [True] * len(jaxpr.jaxpr.outvars), table, narrowing)
        return body.close(None, [_WIDE] * len(jaxpr.jaxpr.outvars))

    return complete(steps())


def _is_wide(atom: Any) -> bool:
    return getattr(atom.aval, "dtype", None) == _WIDE


def _size(atom: Any) -> int:
    shape = atom.aval.shape
    return int(np.prod(shape)) if all(isinstance(size, int) for size in shape) else _SMALL + 1


class _Known:
    """A float32 value of the old jaxpr: its atoms in the new one, by dtype."""

    def __init__(self, kind: int, atoms: dict[Any, Any], source: Any = None):
        self.kind = kind
        self.atoms = atoms
        self.source = source  # converted into whatever dtype is asked for

    @property
    def first(self) -> Any:
        """The atom in its own dtype."""
        return next(iter(self.atoms.values()))


def _run(jaxpr: Any, kinds: Sequence[int], ends: Sequence[bool], table: Any, narrowing: Narrowing) -> Steps:
    body = _Body(jaxpr, kinds, ends, table, narrowing)
    for eqn, (policy, why) in zip(jaxpr.jaxpr.eqns, body.policies, strict=True):
        yield from body.equation(eqn, policy, why)
    return body


class _Body:
    """One jaxpr being narrowed.

    Args:
        jaxpr: the closed jaxpr.
        kinds: of its inputs; it counts for those of float32.
        ends: which of its outputs have to be float32.
        table: names of constants.
        narrowing: dtype and policies.
    """

    def __init__(self, jaxpr: Any, kinds: Sequence[int], ends: Sequence[bool], table: Any, narrowing: Narrowing):
        self._jaxpr = jaxpr
        self._table = table
        self._narrowing = narrowing
        self._dtype = narrowing.dtype
        self._near: Any = None  # the equation at which conversions are put
        self._front: list[Any] = []  # conversions of inputs
        self._eqns: list[Any] = []
        self._consts: dict[Any, Any] = {}
        self._arrays = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
        self._env: dict[Any, Any] = {}
        for var, kind in zip(jaxpr.jaxpr.invars, kinds, strict=True):
            if _is_wide(var):
                dtype = {FREE: None, NARROW: self._dtype}.get(kind, _WIDE)
                atoms = {} if dtype is None else {dtype: new_var(_with_dtype(var.aval, dtype))}
                self._env[var] = _Known(kind, atoms)
            else:
                self._env[var] = var
        for var, value in self._arrays.items():
            if _is_wide(var):
                self._env[var] = _Known(self._constant_kind(value), {})
            else:
                self._env[var] = var
                self._consts[var] = value
        self.policies = [self._policy(eqn) for eqn in jaxpr.jaxpr.eqns]
        self._for_wide = self._uses(ends)

    # Inputs.

    @property
    def invars(self) -> list[Any]:
        """The inputs of the old jaxpr."""
        return list(self._jaxpr.jaxpr.invars)

    def is_weight(self, var: Any) -> bool:
        """Whether a variable is a weight, which comes in the dtype that is asked for."""
        known = self._env.get(var)
        return isinstance(known, _Known) and known.kind == FREE and known.source is None

    def asked(self, var: Any) -> Any:
        """The dtype in which a weight is best given."""
        atoms = self._env[var].atoms
        narrow = self._dtype in atoms and (_WIDE not in atoms or _size(var) > _SMALL)
        return self._dtype if narrow or (atoms and _size(var) > _SMALL) else _WIDE

    def _in_vars(self, dtypes: Sequence[Any]) -> list[Any]:
        """The inputs as variables, weights in these dtypes."""
        invars = []
        for var, dtype in zip(self.invars, dtypes, strict=True):
            known = self._env[var]
            if not isinstance(known, _Known):
                invars.append(known)
            elif known.kind == FREE:
                invars.append(known.atoms.setdefault(dtype, new_var(_with_dtype(var.aval, dtype))))
                for other, atom in known.atoms.items():
                    if other != dtype:
                        self._front.append(_conversion(invars[-1], atom, None))
            else:
                invars.append(known.first)
        return invars

    def _stored(self, var: Any) -> Any:
        """The variable of an input of the whole program. A weight is float32, a large one read narrow alone."""
        known = self._env[var]
        if not self.is_weight(var):
            return known.first if isinstance(known, _Known) else known
        atoms, is_small = known.atoms, _size(var) <= _SMALL
        own = atoms[_WIDE] if _WIDE in atoms and is_small else new_var(var.aval)
        if self._dtype in atoms or (atoms and not is_small):
            narrow = atoms.setdefault(self._dtype, new_var(_with_dtype(var.aval, self._dtype)))
            self._front.append(_conversion(own, narrow, None))
            if _WIDE in atoms and not is_small:
                self._front.append(_conversion(narrow, atoms[_WIDE], None))
        return own

    # Results.

    def out_dtypes(self) -> list[Any]:
        """The dtype that each output has by itself."""
        return [self._natural(atom) for atom in self._jaxpr.jaxpr.outvars]

    def _natural(self, atom: Any) -> Any:
        if not _is_wide(atom):
            return getattr(atom.aval, "dtype", None)
        return self._dtype if self._kind(atom) == NARROW else _WIDE

    def close(self, in_dtypes: Sequence[Any] | None, out_dtypes: Sequence[Any]) -> Any:
        """The new closed jaxpr, weights among its inputs in these dtypes; None for that of the whole program."""
        outvars = [
            self.as_(atom, dtype) if _is_wide(atom) else self._read(atom)
            for atom, dtype in zip(self._jaxpr.jaxpr.outvars, out_dtypes, strict=True)
        ]
        invars = self._in_vars(in_dtypes) if in_dtypes is not None else list(map(self._stored, self.invars))
        eqns = [*self._front, *self._eqns]
        return make_closed(list(self._consts), list(self._consts.values()), invars, outvars, eqns)

    # Atoms.

    def _read(self, atom: Any) -> Any:
        return atom if isinstance(atom, Literal) else self._env[atom]

    def _constant_kind(self, value: Any) -> int:
        return {1: UNFIT, -1: TINY, 0: FREE}[self._narrowing.beyond(value)]

    def _kind(self, atom: Any) -> int:
        if isinstance(atom, Literal):
            return self._constant_kind(literal_value(atom))
        return int(self._env[atom].kind)

    def as_(self, atom: Any, dtype: Any) -> Any:
        """A float32 atom of the old jaxpr in a dtype."""
        if isinstance(atom, Literal):
            value = literal_value(atom)
            return atom if dtype == _WIDE else Literal(value.astype(dtype), _with_dtype(atom.aval, dtype))
        known = self._env[atom]
        if dtype not in known.atoms:
            known.atoms[dtype] = self._made(atom, known, dtype)
        return known.atoms[dtype]

    def _made(self, atom: Any, known: _Known, dtype: Any) -> Any:
        if atom in self._arrays:
            return self._constant(atom, known, dtype)
        var = new_var(_with_dtype(atom.aval, dtype))
        if not self.is_weight(atom):  # which dtype of a weight is converted into the other is known at the end
            self._eqns.append(_conversion(known.source or known.first, var, self._near))
        return var

    def _constant(self, atom: Any, known: _Known, dtype: Any) -> Any:
        value = self._arrays[atom]
        if dtype == _WIDE and _size(atom) > _SMALL and known.kind == FREE:
            narrow, var = self.as_(atom, self._dtype), new_var(atom.aval)
            self._front.append(_conversion(narrow, var, None))
            return var
        var = new_var(_with_dtype(atom.aval, dtype))
        if dtype != _WIDE:
            array = self._narrowing.cast(value)
            self._table.set_name(array, self._table.name(value))
            self._table.set_wide(array, value)
            value = array
        self._consts[var] = value
        return var

    # Policies and uses, before anything is written.

    def _policy(self, eqn: Any) -> tuple[str, str]:
        if not any(map(_is_wide, (*eqn.invars, *eqn.outvars))):
            return "same", ""
        name = eqn.primitive.name
        if name == "convert_element_type":
            return "convert", ""
        if name in _BODIES or eqn.primitive is function_p:
            return "body", ""
        policy, why = self._narrowing.policy(eqn)
        operands = [atom for atom in eqn.invars if getattr(atom.aval, "dtype", _WIDE) != _WIDE]
        if any(jax.numpy.issubdtype(atom.aval.dtype, np.inexact) for atom in operands):
            return "float32", "it takes floats of another dtype, too"
        if policy in ("narrow", "operands") and not any(map(_is_wide, eqn.invars)):
            return "float32", "it makes float32 of something else"
        return policy, why

    def _uses(self, ends: Sequence[bool]) -> set[Any]:
        """The variables of float32 all of whose uses are in float32."""
        uses: dict[Any, bool] = {}

        def use(atom: Any, *, wide: bool) -> None:
            if not isinstance(atom, Literal):
                uses[atom] = uses.get(atom, True) and wide

        for atom, end in zip(self._jaxpr.jaxpr.outvars, ends, strict=True):
            use(atom, wide=end)
        for eqn, (policy, _) in zip(reversed(self._jaxpr.jaxpr.eqns), reversed(self.policies), strict=True):
            wide = policy in ("float32", "inside")
            if policy == "convert":
                to = eqn.outvars[0].aval.dtype
                wide = uses.get(eqn.outvars[0], False) if to == _WIDE else to != self._dtype
            elif policy == "operands":
                wide = self._follows_uses(eqn) and all(uses.get(v, False) for v in eqn.outvars if _is_wide(v))
                wide = wide and any(map(_is_wide, eqn.outvars))
            for atom in eqn.invars:
                use(atom, wide=wide)
        return {var for var, wide in uses.items() if wide}

    def _follows_uses(self, eqn: Any) -> bool:
        """Whether no operand is a large weight: it is stored narrow, and what reads a part of it is as well."""
        return not any(
            not isinstance(atom, Literal) and _size(atom) > _SMALL and self.is_weight(atom) for atom in eqn.invars
        )

    # Equations.

    def equation(self, eqn: Any, policy: str, why: str) -> Steps:
        """Append an equation in the dtype that its policy gives it."""
        self._near = eqn
        if policy == "same":
            self._append(eqn, _WIDE)
        elif policy == "convert":
            self._convert(eqn)
        elif policy == "body":
            yield from _BODIES.get(eqn.primitive.name, _Body._function)(self, eqn)
        else:
            yield from self._computed(eqn, policy, why)

    def _computed(self, eqn: Any, policy: str, why: str) -> Steps:
        kinds = [self._kind(atom) for atom in eqn.invars if _is_wide(atom)]
        highest = max(kinds, default=LONG)
        if policy in ("narrow", "operands") and highest >= TINY and self._has_unfit_constant(eqn, policy):
            self._note(eqn, _UNFIT)
        if policy == "operands":
            narrow, kind = self._followed(eqn, kinds, highest)
        elif policy == "narrow" and highest >= TINY:
            narrow, kind = False, LONG
        else:
            narrow, kind = policy == "narrow", LONG
            if not narrow:
                self._note(eqn, why)
        if narrow and hasattr(eqn.primitive, "composite"):
            inlined = inline_calls(eqn.params["body"])
            body = yield _run(
                inlined, [NARROW] * len(eqn.invars), [False] * len(eqn.outvars), self._table, self._narrowing
            )
            dtypes = [self._dtype if _is_wide(var) else var.aval.dtype for var in eqn.outvars]
            eqn = eqn.replace(params={**eqn.params, "body": body.close([None] * len(eqn.invars), dtypes)})
        self._append(eqn, self._dtype if narrow else _WIDE, kind)
        if policy == "inside":
            for var in eqn.outvars:
                if _is_wide(var) and var not in self._for_wide:
                    self.as_(var, self._dtype)
                    self._env[var].kind = NARROW

    def _followed(self, eqn: Any, kinds: list[int], highest: int) -> tuple[bool, int]:
        """Whether an equation is narrow that follows its operands, and the kind of its results if it is not."""
        if highest >= LONG:
            return False, UNFIT if highest == UNFIT else LONG
        if not self._follows_uses(eqn):
            return True, NARROW
        results = [var for var in eqn.outvars if _is_wide(var)]
        if results and self._for_wide.issuperset(results):
            return False, LONG if NARROW in kinds else GIVEN
        return NARROW in kinds, GIVEN

    def _has_unfit_constant(self, eqn: Any, policy: str) -> bool:
        """Whether a constant keeps an equation in float32, not only results of others with such constants."""
        operands = [atom for atom in eqn.invars if _is_wide(atom) and self._kind(atom) >= TINY]
        return policy == "narrow" or any(isinstance(atom, Literal) or atom in self._arrays for atom in operands)

    def _note(self, eqn: Any, why: str) -> None:
        self._narrowing.reasons[eqn.primitive.name, why] += 1

    def _append(self, eqn: Any, dtype: Any, kind: int = LONG) -> None:
        """Append an equation whose float32 is a dtype."""
        invars = [self.as_(atom, dtype) if _is_wide(atom) else self._read(atom) for atom in eqn.invars]
        outvars = self._results(
            eqn, [dtype] * len(eqn.outvars), [NARROW if dtype != _WIDE else kind] * len(eqn.outvars)
        )
        if dtype != _WIDE:
            params = {key: dtype if _is_float32(param) else param for key, param in eqn.params.items()}
            eqn = eqn.replace(params=params)
        if any(map(_is_wide, (*eqn.invars, *eqn.outvars))):
            self._narrowing.equations[dtype.name] += 1
        self._eqns.append(eqn.replace(invars=invars, outvars=outvars))

    def _results(self, eqn: Any, dtypes: Sequence[Any], kinds: Sequence[int]) -> list[Any]:
        outvars = []
        for var, dtype, kind in zip(eqn.outvars, dtypes, kinds, strict=True):
            if _is_wide(var):
                outvars.append(new_var(_with_dtype(var.aval, dtype)))
                self._env[var] = _Known(kind, {dtype: outvars[-1]})
            else:
                outvars.append(new_var(var.aval))
                self._env[var] = outvars[-1]
        return outvars

    def _convert(self, eqn: Any) -> None:
        """A conversion: of float32 it takes whichever there is, to float32 what is exact comes when it is asked for."""
        (atom,), (result,) = eqn.invars, eqn.outvars
        if not _is_wide(atom):
            source = self._read(atom)
            if atom.aval.dtype == self._dtype and not isinstance(source, Literal):
                self._env[result] = _Known(NARROW, {self._dtype: source})
            elif self._narrowing.is_exact(np.dtype(atom.aval.dtype)) and not isinstance(source, Literal):
                self._env[result] = _Known(FREE, {}, source)
            else:
                is_float = jax.numpy.issubdtype(atom.aval.dtype, np.floating)
                self._append(eqn, _WIDE, GIVEN if is_float else LONG)
        elif _is_wide(result):
            self._env[result] = (
                self._read(atom) if not isinstance(atom, Literal) else _Known(self._kind(atom), {_WIDE: atom})
            )
        else:
            to = result.aval.dtype
            source = self.as_(atom, self._dtype if self._kind(atom) == NARROW or to == self._dtype else _WIDE)
            if to == self._dtype:
                self._env[result] = source
            else:
                self._env[result] = new_var(result.aval)
                self._eqns.append(eqn.replace(invars=[source], outvars=[self._env[result]]))

    # Control flow, and functions that stay calls. What a loop carries is float32 at both ends of a turn.

    def _inner_kinds(self, atoms: Sequence[Any]) -> list[int]:
        return [self._kind(atom) if _is_wide(atom) else GIVEN for atom in atoms]

    def _operands(self, atoms: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
        pairs = zip(atoms, dtypes, strict=True)
        return [self.as_(atom, dtype) if _is_wide(atom) else self._read(atom) for atom, dtype in pairs]

    def _emit(self, eqn: Any, operands: list[Any], dtypes: Sequence[Any], params: dict[str, Any]) -> None:
        kinds = [NARROW if dtype == self._dtype else LONG for dtype in dtypes]
        outvars = self._results(eqn, dtypes, kinds)
        self._eqns.append(eqn.replace(invars=operands, outvars=outvars, params={**eqn.params, **params}))

    def _scan(self, eqn: Any) -> Steps:
        closed = as_closed(eqn.params["jaxpr"])
        consts, carried = _compat.scan_counts(eqn.params, len(eqn.invars))
        kinds = self._inner_kinds(eqn.invars)
        kinds[consts : consts + carried] = [LONG] * carried
        ends = [index < carried for index in range(len(eqn.outvars))]
        body = yield _run(closed, kinds, ends, self._table, self._narrowing)
        dtypes = _in_dtypes([body], closed, kinds, self._dtype)
        outs = [
            _WIDE if end and _is_wide(v) else own
            for v, end, own in zip(eqn.outvars, ends, body.out_dtypes(), strict=True)
        ]
        self._note_carry(eqn, eqn.outvars[:carried])
        new = body.close(dtypes, outs)
        self._emit(eqn, self._operands(eqn.invars, dtypes), outs, {"jaxpr": new})

    def _while(self, eqn: Any) -> Steps:
        first, second = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        carry = eqn.invars[first + second :]
        parts: dict[str, Any] = {}
        operands: list[Any] = []
        for name, own in (("cond_jaxpr", eqn.invars[:first]), ("body_jaxpr", eqn.invars[first : first + second])):
            closed = as_closed(eqn.params[name])
            kinds = [*self._inner_kinds(own), *[LONG] * len(carry)]
            body = yield _run(closed, kinds, [True] * len(closed.jaxpr.outvars), self._table, self._narrowing)
            dtypes = _in_dtypes([body], closed, kinds, self._dtype)
            parts[name] = body.close(dtypes, [var.aval.dtype for var in closed.jaxpr.outvars])
            operands += self._operands(own, dtypes[: len(own)])
        self._note_carry(eqn, eqn.outvars)
        operands += self._operands(carry, [_WIDE] * len(carry))
        self._emit(eqn, operands, [_WIDE] * len(eqn.outvars), parts)

    def _cond(self, eqn: Any) -> Steps:
        which, *operands = eqn.invars
        kinds = self._inner_kinds(operands)
        branches = [as_closed(branch) for branch in eqn.params["branches"]]
        bodies = []
        for closed in branches:
            bodies.append((yield _run(closed, kinds, [False] * len(eqn.outvars), self._table, self._narrowing)))
        dtypes = _in_dtypes(bodies, branches[0], kinds, self._dtype)
        natural = zip(*(body.out_dtypes() for body in bodies), strict=True)
        outs = [same[0] if len(set(same)) == 1 else _WIDE for same in natural]
        new = tuple(body.close(dtypes, outs) for body in bodies)
        self._emit(eqn, [self._read(which), *self._operands(operands, dtypes)], outs, {"branches": new})

    def _function(self, eqn: Any) -> Steps:
        """A call that stays one: equal calls on operands of equal kinds are the same function still."""
        closed = eqn.params["body"]
        kinds = [LONG if kind == GIVEN else kind for kind in self._inner_kinds(eqn.invars)]
        known = self._narrowing.functions.get((id(closed), tuple(kinds)))
        if known is None:
            body = yield _run(closed, kinds, [False] * len(eqn.outvars), self._table, self._narrowing)
            dtypes, outs = _in_dtypes([body], closed, kinds, self._dtype), body.out_dtypes()
            known = body.close(dtypes, outs), dtypes, outs, closed
            self._narrowing.functions[id(closed), tuple(kinds)] = known
        new, dtypes, outs, _ = known
        self._emit(eqn, self._operands(eqn.invars, dtypes), outs, {"body": new})

    def _note_carry(self, eqn: Any, results: Sequence[Any]) -> None:
        if any(map(_is_wide, results)):
            self._note(eqn, _CARRIED)


_BODIES: dict[str, Callable[[_Body, Any], Steps]] = {"scan": _Body._scan, "while": _Body._while, "cond": _Body._cond}


def _in_dtypes(bodies: Sequence[_Body], closed: Any, kinds: Sequence[int], narrow: Any) -> list[Any]:
    """The dtypes in which bodies take their inputs."""
    dtypes: list[Any] = []
    for index, (var, kind) in enumerate(zip(closed.jaxpr.invars, kinds, strict=True)):
        if not _is_wide(var):
            dtypes.append(None)
        elif kind == FREE:
            asked = [body.asked(body.invars[index]) for body in bodies]
            dtypes.append(narrow if narrow in asked else _WIDE)
        else:
            dtypes.append(narrow if kind == NARROW else _WIDE)
    return dtypes


def _with_dtype(aval: Any, dtype: Any) -> Any:
    return _compat.ShapedArray(aval.shape, np.dtype(dtype))


def _is_float32(param: Any) -> bool:
    return isinstance(param, (np.dtype, type)) and param in (_WIDE, np.float32)


@functools.cache
def _template() -> Any:
    return jax.make_jaxpr(lambda x: jax.lax.convert_element_type(x, np.float16))(np.float32(0)).jaxpr.eqns[0]


def _conversion(source: Any, result: Any, near: Any) -> Any:
    """The equation that converts an atom into a variable's dtype, in the scopes of another equation."""
    eqn = _template()
    params = {**eqn.params, "new_dtype": result.aval.dtype}
    eqn = eqn.replace(invars=[source], outvars=[result], params=params)
    return eqn if near is None else eqn.replace(source_info=near.source_info)
