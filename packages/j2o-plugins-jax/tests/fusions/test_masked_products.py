"""XLA compiles products with a boolean into choices; with `nonfinite="exact"` the graph chooses where XLA does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import Spec, check

NUMBERS = np.array([-3, 3, -0.0, 0, np.nan, np.inf, -np.inf, -0.25], np.float32)
MASK = np.arange(8) % 3 == 1
STACK = np.stack([NUMBERS, NUMBERS[::-1], -NUMBERS])


def operators(program):
    return [node.op_type for node in program.model.graph]


def compared(fn, *args, specs=None, opset=21):
    """The operators of the exact program, after its results and their signs were compared with those of `jax.jit`."""
    program = j2o_core.to_onnx(fn, list(specs or args), opset=opset, nonfinite="exact")
    got, want = np.asarray(program(*args)), np.asarray(jax.jit(fn)(*args))
    np.testing.assert_array_equal(got, want)
    real = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[real], np.signbit(want)[real])
    return operators(program)


@pytest.mark.parametrize("opset", [18, 26])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mask", [MASK, ~MASK, np.zeros(8, bool), np.ones(8, bool)])
def test_choices_of_every_float(dtype, mask, opset):
    with jax.enable_x64(True), np.errstate(over="ignore"):
        x = NUMBERS.astype(dtype)
        assert "Where" in compared(lambda x, mask: x * mask, x, mask, opset=opset)
        assert "Where" in compared(lambda x, mask: mask.astype(x.dtype) * x, x, mask, opset=opset)


MASKED = {
    "a comparison": lambda x: x * (x > 0),
    "a negation": lambda x: x * ~(x > 0),
    "of a number": lambda x: -2.0 * (x > 0),
    "of a constant": lambda x: NUMBERS * (x > 0),
    "of NaN": lambda x: jnp.float32(np.nan) * (x > 0),
    "times one": lambda x: x * ((x > 0) * 1.0),
    "scaled after": lambda x: x * (x > 0) * 2.0,
    "a row of axes of size 1": lambda x: x[None] * (x > 0)[None],
    "a column of axes of size 1": lambda x: x[:, None] * (x > 0)[:, None],
    "mapped": jax.vmap(lambda x: x * (x > 0)),
    "scanned": lambda x: lax.scan(lambda c, t: (c, t * (t > 0)), 0.0, x)[1],
    "summed": lambda x: jnp.sum(x * (jnp.abs(x) < 9)),
    "one_hot": lambda x: x * jax.nn.one_hot(x[3].astype(np.int32), 8),
    "einsum": lambda x: jnp.einsum("i,i->i", x, (x > 0).astype(x.dtype)),
}


@pytest.mark.parametrize("name", MASKED)
def test_choices_by_form(name):
    fn = MASKED[name]
    program = j2o_core.to_onnx(fn, [NUMBERS], nonfinite="exact")
    found = {node.op_type for graph in [program.model.graph, *program.model.graph.subgraphs()] for node in graph}
    assert "Where" in found
    compared(fn, NUMBERS)


PRODUCTS = {
    "a row": (lambda x: x * (x[0] > 0), STACK),
    "a column": (lambda x: x * (x[:, :1] > 0), STACK),
    "a scalar": (lambda x: x * (x[0] > 0), NUMBERS),
    "broadcast first": (lambda x: x * jnp.broadcast_to(x[0] > 0, x.shape).astype(x.dtype), STACK),
    "by way of an integer": (lambda x: x * (x > 0).astype(np.int32), NUMBERS),
    "by way of half precision": (lambda x: x * (x > 0).astype(np.float16).astype(np.float32), NUMBERS),
    "scaled": (lambda x: x * ((x > 0) * 2.0), NUMBERS),
    "one minus": (lambda x: x * (1 - (x > 0)), NUMBERS),
    "squared": (lambda x: x * jnp.square((x > 0).astype(x.dtype)), NUMBERS),
    "reshaped": (lambda x: x.reshape(2, 4) * (x > 0).astype(x.dtype).reshape(4, 2).T, NUMBERS),
    "a constant": (lambda x: x * MASK, NUMBERS),
    "a quotient": (lambda x: (x > 0) / x, NUMBERS),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_near_misses_stay_products(name):
    fn, x = PRODUCTS[name]
    assert "Where" not in compared(fn, x)


@pytest.mark.parametrize("size", [0, 1, 8])
def test_symbolic_sizes(size):
    assert "Where" in compared(lambda x: x * (x > 0), NUMBERS[:size], specs=[("B",)])


@pytest.mark.parametrize("dtype", [np.int32, jnp.bfloat16])
def test_other_types_stay_products(dtype):
    fn = lambda x, m: x * m  # noqa: E731
    program = check(fn, Spec((8,), dtype), Spec((8,), bool), absent=["Where"], nonfinite="exact")
    assert "operators that differ from JAX: 0" in program.report()


def test_by_default_a_product_and_a_note():
    program = check(lambda x, m: x * m, Spec((8,)), Spec((8,), bool), contains=["Mul"], absent=["Where"])
    assert "Mul: NaN and infinities give NaN where a boolean factor is false, in JAX 0" in program.report()
    bounded = check(lambda i, m: jnp.float32(3) * m + i * m, Spec((8,), np.int16), Spec((8,), bool))
    assert "operators that differ from JAX: 0" in bounded.report()
