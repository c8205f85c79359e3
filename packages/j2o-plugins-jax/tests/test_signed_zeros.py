"""Zeros keep their sign, which `check` does not look at: -0 equals 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.scipy import special

import j2o_core

X = [-0.0, 0.0, -1e-5, 1e-5, -0.3, 0.7, np.nan]
MASK, OTHER_MASK = np.arange(7) % 4 > 0, np.arange(7) != 2
FUNCTIONS = {
    "expm1": jnp.expm1,
    "cbrt": jnp.cbrt,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "sinh": jnp.sinh,
    "arctan": jnp.arctan,
    "arcsin": jnp.arcsin,
    "arcsinh": jnp.arcsinh,
    "arctanh": jnp.arctanh,
    "log1p": jnp.log1p,
    "erf": special.erf,
    "erfinv": special.erfinv,
    "sqrt": lambda x: jnp.sqrt(x * 0),
    "floor": lambda x: jnp.floor(x * 0),
    "ceil": jnp.ceil,
    "trunc": jnp.trunc,
    "modf": jnp.modf,
    "round": jnp.round,
    "round away from zero": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "remainder": lambda x: lax.rem(x, x * 0 + 3),
    "power": lambda x: lax.integer_pow(x, 3),
    "atan2": lambda x: jnp.arctan2(x, jnp.ones_like(x)),
    "atan2 of negative": lambda x: jnp.arctan2(x, -jnp.ones_like(x)),
    "copysign": lambda x: (jnp.copysign(x, -x), jnp.copysign(jnp.zeros_like(x), x)),
    "reduce_precision": lambda x: lax.reduce_precision(x, 5, 7),
    "nan_to_num": jnp.nan_to_num,
    "bits": lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, f"int{x.dtype.itemsize * 8}"), x.dtype),
    "chosen": lambda x: jnp.where(x == 0, x, 1),
    "chosen unless below": lambda x: jnp.where(x < 0, 0, x),
    "chosen unless at most": lambda x: jnp.where(x <= 0, 0, x),
    "chosen unless above": lambda x: jnp.where(x > 0, 0, x),
    "chosen unless at least": lambda x: jnp.where(x >= 0, 0, x),
    "chosen for an odd function": lambda x: special.erf(jnp.where(x > -0.5, x, 1)),
    "chosen by not": lambda x: jnp.where(~(x == 0), 1, x),
    "not chosen": lambda x: jnp.where(x != 0, 1, x),
    "chosen by a constant": lambda x: jnp.where(np.arange(7) < 3, x, 2),
    "chosen out of a row": lambda x: jnp.where(x[:, None] == 0, x, jnp.full(7, 3.0, x.dtype)),
    "a number for all that two masks hide": lambda x: jnp.where(MASK, jnp.where(OTHER_MASK, x, -0.0), -0.0),
    "negated": lambda x: jnp.where(x > 0, x, -x),
    "not negated": lambda x: jnp.where(x > 0, -x, x),
    "reversed": lambda x: x[::-1],
    "the largest": lambda x: jnp.max(jnp.stack([x, x - 1]), 0),
    "the smallest": lambda x: jnp.min(jnp.stack([x, x + 1]), 0),
    "the only one": lambda x: jnp.min(x[:, None], 1),
    "converted": lambda x: x.astype(jnp.float32).astype(jnp.float16),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_zeros_keep_their_sign(name, dtype):
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(np.array(X, dtype))
        program = j2o_core.to_onnx(FUNCTIONS[name], [x])
        for got, want in zip(jax.tree.leaves(program(x)), jax.tree.leaves(FUNCTIONS[name](x)), strict=True):
            zero = np.asarray(want) == 0
            np.testing.assert_array_equal(np.asarray(got) == 0, zero)
            np.testing.assert_array_equal(np.signbit(got)[zero], np.signbit(want)[zero])
