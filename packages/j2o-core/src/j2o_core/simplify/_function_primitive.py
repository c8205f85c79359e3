"""The primitive of calls that stay calls: its body waits until it is lowered, as that of a composite."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .._compat import Primitive, as_function, is_key_dtype, wrap_keys


def _run(*operands: Any, body: Any, callee: Any) -> list[Any]:
    """The results of a call, complex numbers and keys encoded if they are so among its operands."""
    del callee
    avals = body.in_avals
    encoded = any(np.shape(x) != aval.shape for x, aval in zip(operands, avals, strict=True))
    given = [_decoded(x, aval) for x, aval in zip(operands, avals, strict=True)]
    results = as_function(body)(*given)
    return [_encoded(x) for x in results] if encoded else results


def _decoded(x: Any, aval: Any) -> Any:
    if np.shape(x) == aval.shape:
        return x
    return wrap_keys(x, aval.dtype) if is_key_dtype(aval.dtype) else (x[..., 0] + 1j * x[..., 1]).astype(aval.dtype)


def _encoded(x: Any) -> Any:
    if is_key_dtype(x.dtype):
        return jax.random.key_data(x)
    return np.stack([np.real(x), np.imag(x)], -1) if x.dtype.kind == "c" else x


# `body` is a closed jaxpr, the same object in equal calls; `callee` its names. Where complex numbers and keys are
# encoded, so are operands and results; the body is as it was.
function_p = Primitive("j2o_function")
function_p.multiple_results = True
function_p.def_impl(_run)
function_p.def_abstract_eval(lambda *_, body, callee: list(body.out_avals))
# As in a composite, the stages do not look into the body.
setattr(function_p, "composite", None)  # noqa: B010 - no field of a Primitive
