"""Comparisons, total order, choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

ALL = (*DTYPES.all, *DTYPES.wide)


@pytest.mark.parametrize("dtype", ALL)
def test_comparisons(x64, extremes, dtype):
    x = extremes(dtype)
    y = np.where(np.arange(x.size) % 3 == 0, x, np.roll(x, 1))
    functions = (lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge)
    check(lambda x, y: [f(x, y) for f in functions], x, y, opsets=(21,))


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
@pytest.mark.parametrize("opset", [21, 26])
def test_total_order(x64, dtype, opset):
    values = [0.0, -0.0, 1, -1, 1e-3, np.inf, -np.inf, np.nan]
    if opset == 26:  # the sign of NaN is only seen by BitCast
        values.append(-np.nan)
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.array(values, dtype)] * 2))
    primitives = (lax.eq_to_p, lax.lt_to_p, lax.le_to_p)
    check(lambda x, y: [p.bind(x, y) for p in primitives], x, y, opsets=(opset,))


def test_total_order_of_integers():
    check(lambda x, y: [p.bind(x, y) for p in (lax.eq_to_p, lax.lt_to_p)], *[Spec((9,), np.int8)] * 2, opsets=(21,))


@pytest.mark.parametrize("dtype", ALL)
def test_select_by_a_predicate(x64, extremes, dtype):
    x = extremes(dtype)
    predicate = np.arange(x.size) % 2 == 0
    check(lambda p, x, y: lax.select_n(p, x, y), predicate, x, x[::-1].copy(), opsets=(21,), atol=0)


def test_select_by_a_scalar():
    check(lambda p, x, y: lax.select_n(p, x, y), Spec((), np.bool_), Spec(("B", 3)), Spec(("B", 3)), contains=["Where"])


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint16])
def test_select_by_an_index_out_of_range(dtype):
    which = np.array([-5, -1, 0, 1, 2, 3, 9], np.int32)
    cases = [np.full(7, value, dtype) for value in (10, 20, 30)]
    check(lambda i, *cases: lax.select_n(i, *cases), which, *cases, opsets=(18, 26))


def test_select_from_one_case():
    check(lambda i, x: lax.select_n(i, x) + 1, Spec((3,), np.int32), Spec((3,)), absent=["Where"])


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(lambda x, y: (x < y, jnp.where(x == y, x, y)), *[Spec(shape)] * 2, opsets=(21,))


HALF = {
    "beside itself on another way": lambda x: x == jnp.broadcast_to(x, (2, *x.shape))[:, :2],
    "largest": lambda x: x == jnp.max(x, axis=1, keepdims=True),
    "sorted": lambda x: jnp.sort(x, axis=1)[:, :1] >= x,
    "NaN": lambda x: jnp.isnan(jnp.broadcast_to(x[0, 0], (3,))),
    "infinity": lambda x: (jnp.isinf(x * x), x * x < np.float16(np.inf)),
    "top_k": lambda x: x < lax.top_k(x, 3)[0][:, -1:],
    "derivative": lambda x: jax.grad(lambda x: jnp.max(x, axis=1).astype(np.float32).sum())(x) != 0,
}


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("opset", [18, 21, 26])
def test_half_precision_is_rounded_before_it_is_compared(name, opset):
    """ONNX Runtime computes it in float32, and rounds what is sliced, say, on the way: nothing would equal itself."""
    x = np.random.default_rng(0).standard_normal((2, 9)).astype(np.float16)
    x[1, 3] = 260
    check(lambda x: HALF[name](x * np.float16(1.3)), x, opsets=(opset,))


def test_half_precision_that_is_not_computed_is_compared_as_it_is():
    program = check(lambda x: x < x.T, Spec((3, 3), np.float16), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Transpose", "Less"]
