"""`derive`: JVP, transpose and batching of a primitive, from a JAX function that computes the same."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from j2o_core import PluginError

from ._tangents import whole_jvp, with_operands

_OTHER_RESULTS = """The reference of {name} gives {got}, the primitive {wanted}, for operands {operands}.
Both have to give the same shapes and dtypes."""
_OTHER_FORM = """The reference of {name} returns a {got}, and the primitive has {has}. Expected {expected}."""
_NO_PRIMITIVE = """derive({given!r}, ...) is given no primitive. Expected derive(primitive, reference): a
jax.extend.core.Primitive, and a function of JAX code that computes the same."""
_NOT_BATCHED = """{name} gives {got} for operands with an axis of size {size} in front, {wanted} was expected.
derive(..., batching="bind") is for primitives that treat all leading axes alike: use batching="body"."""


@dataclasses.dataclass(frozen=True)
class Derivation:
    """The rules that `derive` gave a primitive.

    Attributes:
        primitive: the primitive.
        reference: JAX code that computes the same.
        batching: `"bind"` or `"body"`.
        differentiable: whether it has a gradient.
        rules: which of `"jvp"`, `"transpose"` and `"batching"` were derived; it had the others.
    """

    primitive: Primitive
    reference: Callable[..., Any]
    batching: str
    differentiable: bool
    rules: frozenset[str]

    def bind(self, *operands: Any, **params: Any) -> list[Any]:
        """The results of the primitive."""
        return self._listed(self.primitive.bind(*operands, **params))

    def compute(self, *operands: Any, **params: Any) -> list[Any]:
        """The results of the reference.

        Raises:
            PluginError: if their shapes or dtypes are not the primitive's.
        """
        wanted = jax.eval_shape(functools.partial(self.bind, **params), *operands)
        returned = self.reference(*operands, **params)
        if isinstance(returned, (list, tuple)) != self.primitive.multiple_results:
            raise PluginError(_OTHER_FORM.format(name=self.primitive.name, got=type(returned).__name__, **self._form()))
        got = self._listed(returned)
        if _shown(got) != _shown(wanted):
            raise PluginError(
                _OTHER_RESULTS.format(
                    name=self.primitive.name, got=_shown(got), wanted=_shown(wanted), operands=_shown(operands)
                )
            )
        return got

    def _form(self) -> dict[str, str]:
        if self.primitive.multiple_results:
            return {"has": "multiple results", "expected": "a list or tuple of arrays"}
        return {"has": "one result", "expected": "an array"}

    def _listed(self, results: Any) -> list[Any]:
        return list(results) if self.primitive.multiple_results else [results]


DERIVATIONS: dict[Primitive, Derivation] = {}


def derive(
    primitive: Primitive, reference: Callable[..., Any], *, batching: str = "body", differentiable: bool = True
) -> None:
    """Give a primitive the rules that it lacks: JVP, transpose and batching.

    The primal of a JVP is the primitive, bound again, so that it still becomes its ONNX operator; the tangent is that
    of the reference. Rules that the primitive has stay as they are.

    Args:
        primitive: a JAX primitive, with its abstract evaluation.
        reference: `reference(*operands, **params)`, JAX code that computes the same in the same shapes and dtypes. It
            gets the parameters of the equation as keywords and returns one array, or a sequence of them if the
            primitive has multiple results.
        batching: `"body"` maps the reference under `vmap`. `"bind"` binds the primitive again, all operands with one
            more axis in front; for primitives that treat leading axes alike, elementwise ones for example. Parameters
            are not changed, so axes in them count from the end.
        differentiable: `False` for functions that have no gradient by nature, such as samplers. The gradient is then
            zero where the reference's is zero by construction, and refused elsewhere.

    Raises:
        PluginError: if the primitive is none, or `batching` is neither. While transforming: if the reference's shapes
            or dtypes are not the primitive's, or if `"bind"` does not put the new axis in front of the results.
        UnsupportedError: while differentiating what has no gradient.
    """
    if not isinstance(primitive, Primitive) or not callable(reference):
        raise PluginError(_NO_PRIMITIVE.format(given=primitive))
    if batching not in ("bind", "body"):
        raise PluginError(f"derive({primitive.name}) got batching={batching!r}. Expected 'bind' or 'body'.")
    before = DERIVATIONS.pop(primitive, None)
    rules = frozenset(
        name for name, missing in _missing(primitive).items() if missing or (before and name in before.rules)
    )
    derivation = Derivation(primitive, reference, batching, differentiable, rules)
    for name, (table, rule) in _RULES.items():
        if name in rules:
            table[primitive] = functools.partial(rule, derivation)
    DERIVATIONS[primitive] = derivation


def _missing(primitive: Primitive) -> dict[str, bool]:
    return {
        "jvp": primitive not in ad.primitive_jvps,
        "transpose": primitive not in ad.primitive_transposes,
        "batching": primitive not in batching.fancy_primitive_batchers,  # where the other tables write, too
    }


def _jvp(d: Derivation, primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> tuple[Any, Any]:
    outputs, changes = whole_jvp(
        d.primitive.name,
        functools.partial(d.bind, **params),
        functools.partial(d.compute, **params),
        primals,
        tangents,
        differentiable=d.differentiable,
    )
    return (outputs, changes) if d.primitive.multiple_results else (outputs[0], changes[0])


def _transpose(d: Derivation, cotangents: Any, *operands: Any, **params: Any) -> list[Any]:
    """The cotangents of the operands in which the primitive is used as a linear function, None for the others."""
    linear = [i for i, operand in enumerate(operands) if ad.is_undefined_primal(operand)]

    def along(*moved: Any) -> list[Any]:
        return d.compute(*with_operands(operands, linear, moved), **params)

    avals = [jax.ShapeDtypeStruct(operands[i].aval.shape, operands[i].aval.dtype) for i in linear]
    given = [ad.instantiate_zeros(cotangent) for cotangent in d._listed(cotangents)]
    found = jax.linear_transpose(along, *avals)(given)
    return with_operands([None] * len(operands), linear, found)


def _batch(d: Derivation, operands: Sequence[Any], axes: Sequence[Any], **params: Any) -> tuple[Any, Any]:
    if d.batching == "body":
        outputs = jax.vmap(functools.partial(d.compute, **params), in_axes=tuple(axes))(*operands)
    else:
        outputs = _bound_again(d, operands, axes, params)
    fronts = [0] * len(outputs)
    return (outputs, fronts) if d.primitive.multiple_results else (outputs[0], 0)


def _bound_again(d: Derivation, operands: Sequence[Any], axes: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    bind = functools.partial(d.bind, **params)
    aligned = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    one = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in aligned]
    wanted = [jax.ShapeDtypeStruct((size, *result.shape), result.dtype) for result in jax.eval_shape(bind, *one)]
    outputs = bind(*aligned)
    if _shown(outputs) != _shown(wanted):
        raise PluginError(
            _NOT_BATCHED.format(name=d.primitive.name, got=_shown(outputs), wanted=_shown(wanted), size=size)
        )
    return outputs


def _shown(arrays: Sequence[Any]) -> str:
    """Dtypes and shapes, as JAX writes them."""
    return ", ".join(f"{x.dtype}[{','.join(map(str, x.shape))}]" for x in arrays) or "nothing"


_RULES: dict[str, tuple[Any, Callable[..., Any]]] = {
    "jvp": (ad.primitive_jvps, _jvp),
    "transpose": (ad.primitive_transposes, _transpose),
    "batching": (batching.primitive_batchers, _batch),
}
