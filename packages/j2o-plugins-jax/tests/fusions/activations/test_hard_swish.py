"""HardSigmoid and HardSwish, whatever the spelling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -1, 3, -3, 2.9999998, -2.9999998, 7, 1e38, -1e38], np.float32)


def relu6(x):
    return jnp.minimum(jnp.maximum(x, 0), 6)


SIGMOIDS = {
    "jax": jax.nn.hard_sigmoid,
    "divided": lambda x: relu6(3 + x) / 6,
    "times": lambda x: relu6(x + 3) * (1 / 6),
    "times first": lambda x: (1 / 6) * relu6(x - -3),
    "line": lambda x: jnp.clip(x / 6 + 0.5, 0, 1),
    "another line": lambda x: jnp.clip(0.2 * x + 0.5, 0, 1),
    "downwards": lambda x: jnp.clip(0.25 + x * -3, 0, 1),
    "another bound": lambda x: jnp.clip(2 * x - 1, 0, 5) / 5,
    "divided inside": lambda x: jnp.maximum(0, jnp.minimum(1, (x + 3) / 6)),
    "no sum": lambda x: relu6(x) / 6,
    "jit": jax.jit(jax.nn.hard_sigmoid),
    "vmap": jax.vmap(jax.nn.hard_sigmoid),
}
SWISHES = {
    "hard_swish": jax.nn.hard_swish,
    "hard_silu": jax.nn.hard_silu,
    "gate times x": lambda x: jax.nn.hard_sigmoid(x) * x,
    "divided last": lambda x: x * relu6(x + 3) / 6,
    "times last": lambda x: (1 / 6) * (relu6(x + 3) * x),
    "line": lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1),
    "divided inside": lambda x: x * jnp.clip((x + 3) / 6, 0, 1),
    "jit": jax.jit(jax.nn.hard_swish),
    "vmap": jax.vmap(jax.nn.hard_swish),
}


@pytest.mark.parametrize("spelling", SIGMOIDS)
def test_hard_sigmoid_is_one_operator(spelling):
    program = check(SIGMOIDS[spelling], SPECIAL)
    assert [node.op_type for node in program.model.graph] == ["HardSigmoid"]
    check(SIGMOIDS[spelling], Spec(("B", 50)), opsets=(21,), seed=1)


@pytest.mark.parametrize("spelling", SWISHES)
def test_hard_swish_is_one_operator(spelling):
    # x * 6 is infinite for 1e38 where it is divided last: the operator gives the number.
    program = check(SWISHES[spelling], SPECIAL[:-2])
    assert [node.op_type for node in program.model.graph] == ["HardSwish"]
    check(SWISHES[spelling], Spec(("B", 50)), opsets=(21,), seed=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_element_types_and_symbolic_sizes(dtype):
    check(jax.nn.hard_sigmoid, Spec(("B", "T"), dtype), contains=["HardSigmoid"], absent=["Clip", "Div"])
    check(jax.nn.hard_swish, Spec(("B", "T"), dtype), contains=["HardSwish"], absent=["Clip", "Div"])
    check(jax.nn.hard_swish, Spec((0, 3), dtype), opsets=(21,))
    check(lambda x: relu6(x + 3) * (1 / 6), Spec((5,), dtype), contains=["HardSigmoid"], opsets=(21,))


def test_bfloat16():
    check(jax.nn.hard_sigmoid, Spec((50,), DTYPES.floats[2]), opsets=(21,))
    check(jax.nn.hard_swish, Spec((50,), DTYPES.floats[2]), opsets=(21,))


def test_of_a_value_that_is_a_product_itself():
    check(lambda x, y: jax.nn.hard_swish(x * y), Spec((3, 4)), Spec((4,)), contains=["HardSwish"], absent=["Clip"])
    check(lambda x: jax.nn.hard_swish(2 * x), Spec((3, 4)), contains=["HardSwish"], absent=["Clip"])


def test_behind_a_convolution_with_a_bias():
    """The bias and 3 are one constant of the convolution."""
    kernel, bias = np.ones((4, 3, 1, 1), np.float32), np.arange(4, dtype=np.float32)[:, None, None] - 3

    def gate(x):
        return jax.nn.hard_sigmoid(jax.lax.conv(x, kernel, (1, 1), "SAME") + bias)

    program = check(gate, Spec((2, 3, 5, 5)))
    assert [node.op_type for node in program.model.graph] == ["Conv", "HardSigmoid"]
    check(lambda x: relu6(x + jnp.arange(4.0)) / 6, Spec((3, 4)), contains=["HardSigmoid"], absent=["Clip", "Div"])


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: jax.nn.hard_sigmoid(x).sum()), Spec(("B", 3)), contains=["HardSigmoid"])
    check(jax.value_and_grad(lambda x: jax.nn.hard_swish(x).sum()), Spec(("B", 3)), contains=["HardSwish"])


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        check(jax.nn.hard_sigmoid, SPECIAL.astype(np.float64), contains=["Clip"], absent=["HardSigmoid"])
        check(jax.nn.hard_swish, Spec(("B", 4), np.float64), contains=["Clip"], absent=["HardSwish", "HardSigmoid"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: jnp.clip(x + 3, 0, 6) / 5,
        lambda x: jnp.clip(x + 3, 1, 6) / 6,
        lambda x: jnp.clip(x * 2, 0, 1),
        lambda x: jnp.clip(x + 3, 0, 6) * 0.1666,
        lambda x: 6 / jnp.clip(x + 3, 1e-3, 6),
        lambda x: jnp.clip(x + jnp.inf, 0, 1),
        lambda x: jnp.clip((x + 3) / jnp.arange(1, 5.0), 0, 1),
        lambda x: jnp.clip(x, 0, 6) / 5,
    ],
    ids=["bound", "lower bound", "no sum", "nearly", "inverse", "infinite", "divisors", "bound without sum"],
)
def test_declines_other_functions(other):
    check(other, Spec((3, 4)), contains=["Clip"], absent=["HardSigmoid", "HardSwish"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x[::-1] * jax.nn.hard_sigmoid(x),
        lambda x: x * jnp.clip(0.2 * x + 0.5, 0, 1),
        lambda x: x * jnp.clip(x / 6 + 0.25, 0, 1),
        lambda x: x * (2 * jax.nn.hard_sigmoid(x)),
        lambda x: jnp.ones((2, 3, 4)) * x * jax.nn.hard_sigmoid(x),
    ],
    ids=["another value", "slope", "shift", "factor", "larger"],
)
def test_declines_products_that_are_no_hard_swish(other):
    check(other, Spec((3, 4)), contains=["HardSigmoid"], absent=["HardSwish"])


@pytest.mark.parametrize(
    ("ramp", "start", "width", "atol"),
    [
        (lambda x: jnp.clip(x - 1e6, 0, 6) / 6, 1e6, 6, 1e-7),
        (lambda x: jnp.clip(x - 1e5, 0, 1000) / 1000, 1e5, 1000, 1e-7),
        (lambda x: jnp.clip(x - 1000, 0, 10) * 0.1, 1e3, 10, 1e-7),
        # XLA multiplies by 1 / 1000, which is one unit in the last place of 1000 away from the quotient.
        (lambda x: jnp.clip(x / 1000 - 1000, 0, 1), 1e6, 1000, 1e-4),
    ],
)
def test_declines_lines_that_start_far_from_zero(ramp, start, width, atol):
    x = np.linspace(start - width / 2, start + width * 1.5, 200).astype(np.float32)
    check(ramp, x, absent=["HardSigmoid"], opsets=(21,), atol=atol)
