"""GELU in both forms, whatever the spelling."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx
from j2o_core.testing import Spec, check


def erf_form(x):
    return 0.5 * x * (1 + jax.lax.erf(x / math.sqrt(2)))


def erfc_form(x):
    return x * jax.lax.erfc(-x * math.sqrt(0.5)) / 2


def tanh_form(x):
    return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def factored_form(x):
    """As in BLOOM."""
    return x * 0.5 * (1.0 + jnp.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


def factored_power(x):
    return 0.5 * x * (1 + jnp.tanh(x * math.sqrt(2 / math.pi) * (0.044715 * x**2 + 1)))


def inner(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


OTHER_FORMS = {
    "a sum, tanh": lambda x: 0.5 * x + 0.5 * x * jnp.tanh(inner(x)),
    "a sum, the curve first": lambda x: x * jnp.tanh(inner(x)) / 2 + x / 2,
    "a sum, erf": lambda x: 0.5 * x + x * 0.5 * jax.lax.erf(x / math.sqrt(2)),
    "half of a sum": lambda x: 0.5 * (x + x * jax.lax.erf(x * math.sqrt(0.5))),
    "a sum less the mirrored curve": lambda x: 0.5 * x + -0.5 * x * jax.lax.erf(-x / math.sqrt(2)),
    "half of a sum less the mirrored curve": lambda x: 0.5 * (x - x * jax.lax.erf(-x * math.sqrt(0.5))),
    "less the mirrored curve": lambda x: 0.5 * x * (1 - jax.lax.erf(-x / math.sqrt(2))),
    "less the mirrored tanh": lambda x: 0.5 * x * (1 - jnp.tanh(-inner(x))),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_other_spellings_are_one_operator(form, dtype):
    fn = OTHER_FORMS[form]
    check(fn, Spec(("B", 5), dtype), contains=["Gelu"], absent=["Erf", "Tanh", "Mul", "Add"], opsets=(20, 26))
    x = np.array([np.nan, np.inf, -20, -3, 0, 1, 100], dtype)
    check(fn, x, contains=["Gelu"], opsets=(20, 23))
    check(fn, x, opsets=(19,))


@pytest.mark.parametrize(
    "other",
    [
        lambda x: 0.5 * x * (1 - jax.lax.erf(x / math.sqrt(2))),
        lambda x: 0.5 * x * (1 + jax.lax.erf(-x / math.sqrt(2))),
        lambda x: 0.5 * x * (jax.lax.erf(-x / math.sqrt(2)) - 1),
        lambda x: 0.5 * x * (1 - jnp.tanh(inner(x))),
        lambda x: 0.5 * x - 0.5 * x * jnp.tanh(inner(x)),
        lambda x: 0.5 * x * jnp.tanh(inner(x)) - 0.5 * x,
        lambda x: 0.5 * x + 0.4 * x * jnp.tanh(inner(x)),
        lambda x: 0.4 * x + 0.5 * x * jnp.tanh(inner(x)),
        lambda x: x + x * jnp.tanh(inner(x)),
        lambda x: 0.5 * x + 0.5 * x[::-1] * jnp.tanh(inner(x)),
        lambda x: 0.5 * x[::-1] + 0.5 * x * jnp.tanh(inner(x)),
        lambda x: 0.5 * x + 0.5 * x * jnp.tanh(inner(x[::-1])),
        lambda x: 0.5 * x + 0.5 * jnp.tanh(inner(x)),
        lambda x: 0.5 * x + 0.5 * x * x * jnp.tanh(inner(x)),
        lambda x: 0.5 * (x + 0.5 * x * jnp.tanh(inner(x))),
        lambda x: 0.5 * x[:1] + 0.5 * x[:1] * jnp.tanh(inner(x)),
        lambda x: 0.5 * (x - x * jax.lax.erf(x * math.sqrt(0.5))),
    ],
)
def test_declines_sums_of_something_else(other):
    check(other, Spec((4, 5)), absent=["Gelu"], opsets=(18, 23))


@pytest.mark.parametrize(
    "gelu",
    [
        *(jax.nn.gelu, lambda x: jax.nn.gelu(x, approximate=False), erf_form, erfc_form, tanh_form),
        *(factored_form, factored_power),
    ],
    ids=["jax tanh", "jax exact", "erf", "erfc", "tanh", "factored", "factored power"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_is_one_operator(gelu, dtype):
    check(gelu, Spec(("B", 5), dtype), contains=["Gelu"], absent=["Erf", "Tanh", "Mul"], opsets=(20, 26))


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        for target in ("onnxruntime", None):
            for approximate in (True, False):
                gelu = partial(jax.nn.gelu, approximate=approximate)
                program = to_onnx(gelu, [jax.ShapeDtypeStruct((4,), np.float64)], target=target)
                assert "Gelu" not in [node.op_type for node in program.model.graph]


def test_below_opset_20_the_form_that_the_runtime_fuses():
    program = check(lambda x: jax.nn.gelu(x, approximate=False), Spec((4, 5)), opsets=(19,))
    assert [node.op_type for node in program.model.graph] == ["Div", "Erf", "Add", "Mul", "Mul"]


@pytest.mark.parametrize(
    "other",
    [
        lambda x: 0.6 * x * (1 + jax.lax.erf(x / math.sqrt(2))),
        lambda x: 0.5 * x * (1 + jax.lax.erf(x / 2)),
        lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.7075)),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.9 * (x + 0.044715 * x**3))),
        lambda x: 0.5 * x * (1 + jax.lax.erf(x[::-1] / math.sqrt(2))),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.79788456 * x * (1 + 0.044715 * x**3))),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.79788456 * x * (2 + 0.044715 * x**2))),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.79788456 * x * x * (1 + 0.044715 * x**2))),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.79788456 * (1 + 0.044715 * x**3))),
        lambda x: 0.5 * x * (1 + jnp.tanh(0.79788456 * x * (1 + 0.044715 * x * x[::-1]))),
    ],
    ids=[
        *("factor", "scale", "nearly the scale", "tanh scale", "another value"),
        *("factored cube", "factored two", "factored square", "one and a cube", "factored with another value"),
    ],
)
def test_declines_other_functions(other):
    # 1 + tanh cancels far below zero, in JAX's graph and in ours: 5 units have been seen.
    check(other, Spec((4, 5)), absent=["Gelu"], ulps=16)
