"""Means over windows are one operator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check


def mean(x, size=2, count=4, padding="VALID"):
    window = (1, 1, *[size] * (x.ndim - 2))
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, window, padding) / count


SPELLINGS = {
    "divided": mean,
    "times": lambda x: mean(x, count=1) * 0.25,
    "in two steps": lambda x: mean(x, count=2) * 0.5,
    "padded": lambda x: mean(x, padding=((0, 0), (0, 0), (1, 0), (0, 1))),
    "thirds": lambda x: mean(x, size=3, count=1) * (1 / 9),
    "jit": jax.jit(mean),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_is_one_operator(spelling, dtype):
    program = check(SPELLINGS[spelling], Spec(("B", 3, 8, 7), dtype))
    assert [node.op_type for node in program.model.graph] == ["AveragePool"]


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (eqx.nn.AvgPool1d(2, 2), (3, 8)),
        (eqx.nn.AvgPool2d(3, 2, padding=1), (3, 8, 7)),
        (eqx.nn.AvgPool2d(2, 2), (3, "2*H", 6)),
        (eqx.nn.AvgPool3d(2, 1), (3, 4, 5, 3)),
    ],
)
def test_layers_under_vmap(pool, shape):
    program = check(jax.vmap(pool), Spec(("B", *shape)))
    assert [node.op_type for node in program.model.graph] == ["AveragePool"]


def test_nan_and_infinity():
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 8)).astype(np.float32)
    x[0, 0, 1, 1], x[0, 1, 5, 5], x[0, 1, 0, 0], x[0, 0, 6, 6:] = np.nan, np.inf, -np.inf, (np.inf, -np.inf)
    check(mean, x, contains=["AveragePool"], absent=["Div", "Mul"])


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: (mean(x) ** 2).sum()), Spec((2, 3, 4, 4)), contains=["AveragePool"])


def test_sums_and_other_divisors_stay():
    check(lambda x: mean(x, count=1), Spec((2, 3, 8, 8)), contains=["AveragePool", "Mul"])
    check(lambda x: mean(x, count=5), Spec((2, 3, 8, 8)), contains=["AveragePool", "Div"])
    check(lambda x: mean(x, count=1) * 0.2501, Spec((2, 3, 8, 8)), contains=["AveragePool", "Mul"])


def test_declines_counts_of_what_is_inside():
    def inside(x):
        return mean(x, 3, 1, "SAME") / mean(jnp.ones_like(x), 3, 1, "SAME")

    check(inside, Spec((2, 3, 8, 8)), contains=["Div"])


def test_declines_a_divisor_that_makes_the_result_larger():
    check(lambda x: mean(x, count=jnp.full((2, 1, 1, 1, 1), 4.0)), Spec((1, 3, 4, 4)), contains=["Div"])
