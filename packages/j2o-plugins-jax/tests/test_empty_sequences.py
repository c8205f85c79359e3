"""Axes of size 0 at run time: `constraints=["N >= 0"]` says that they occur."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import RunError, to_onnx
from j2o_core.testing import Spec, check

FUNCTIONS = {
    "scan": lambda x: lax.scan(lambda c, a: (c + a, c * a), jnp.ones(4), x),
    "scan in reverse": lambda x: lax.scan(lambda c, a: (c + a, c * a), jnp.ones(4), x, reverse=True),
    "scan of two": lambda x: lax.scan(lambda c, a: (c + a[0].sum(), c), 0.0, (x, x > 0)),
    "gradient of scan": jax.grad(lambda x: lax.scan(lambda c, a: (jnp.sin(c + a), c), jnp.ones(4), x)[0].sum()),
    "map": lambda x: lax.map(jnp.sort, x),
    "cummax": lambda x: lax.cummax(x, 0),
    "cummin in reverse": lambda x: lax.cummin(x, 0, reverse=True),
    "cumprod": lambda x: jnp.cumprod(x, 0),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 0),
    "cumsum": lambda x: jnp.cumsum(x, 0),
    "fold": lambda x: lax.reduce(x, jnp.float32(0), lambda a, b: a + b + a * b, (0,)),
    "sort": lambda x: jnp.sort(x, 0),
    "roll": lambda x: jnp.roll(x, 1, 0),
    "matrix product": lambda x: x @ x.T,
    "segment sum": lambda x: jax.ops.segment_sum(x, jnp.zeros(x.shape[0], int), 3),
    "all and any": lambda x: ((x > 0).all(0), (x > 0).any(0)),
    "attention": lambda x: jax.nn.dot_product_attention(*[x[None, :, None]] * 3),
    "transform": lambda x: jnp.abs(jnp.fft.fft(x, axis=0)),
    "scatter": lambda x: (x.at[jnp.array([0, -1])].set(1.0), x.at[jnp.array([0, -1, 0])].add(2.0)),
    "softmax of each": lambda x: jax.nn.softmax(x),
}


@pytest.mark.parametrize("fn", FUNCTIONS.values(), ids=FUNCTIONS)
def test_any_number_of_elements(fn):
    check(fn, Spec(("N", 4)), constraints=["N >= 0"], opsets=(21,), sizes=(0, 1, 3))


# Kernels of ONNX Runtime that fail on nothing.
_CONVOLUTION = {"window_strides": (2,), "padding": "SAME", "dimension_numbers": ("NHC", "HIO", "NHC")}
KERNELS = {
    "convolution": lambda x: lax.conv_general_dilated(x[None], jnp.ones((3, 4, 2)), **_CONVOLUTION),
    "convolution with padding": lambda x: (
        lax.conv_general_dilated(x[None], jnp.ones((2, 4, 2)), **{**_CONVOLUTION, "padding": [(2, 2)]}) + 1
    ),
    "gradient of convolution": jax.grad(
        lambda x: (lax.conv_general_dilated(x.T[None], jnp.ones((2, 4, 3)), (1,), "SAME") ** 2).sum()
    ),
    "maxima": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (2, 1), [(1, 1), (0, 0)]),
    "sums": lambda x: lax.reduce_window(x, 0.0, lax.add, (3, 1), (1, 1), "SAME"),
    "attention": FUNCTIONS["attention"],
    "queries and no keys": lambda x: jax.nn.dot_product_attention(jnp.ones((1, 3, 1, 4)), *[x[None, :, None]] * 2),
    "causal": lambda x: jax.nn.dot_product_attention(*[x[None, :, None]] * 3, is_causal=True),
    "by hand": lambda x: jax.nn.softmax(jnp.ones((3, 4)) @ x.T) @ x,
}


def test_updates_in_half_precision():
    add = lambda x: x.at[jnp.array([0, -1, 0])].add(jnp.float16(2))  # noqa: E731
    check(add, Spec(("N", 4), jnp.float16), constraints=["N >= 0"], opsets=(18, 23), sizes=(0, 1, 3))


@pytest.mark.parametrize("nonfinite", [None, "exact"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
@pytest.mark.parametrize("fn", KERNELS.values(), ids=KERNELS)
def test_kernels_that_fail_on_nothing(fn, dtype, nonfinite):
    options = {"constraints": ["N >= 0"], "opsets": (18, 23), "sizes": (0, 1, 3), "nonfinite": nonfinite}
    check(lambda x: fn(x.astype(jnp.float32)).astype(dtype), Spec(("N", 4), dtype), **options)


_SHORT = ("int4", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2")
_LONG = ("int8", "int16", "uint16", "uint32", "int64", "uint64", "bfloat16")


@pytest.mark.parametrize("dtype", [*_SHORT, *_LONG])
def test_reductions_of_nothing_give_their_own_identity_element(dtype):
    # int16 is computed in int32, whose lowest number is another one.
    def reductions(x):
        return [reduce(x, (0,)) for reduce in (lax.reduce_max, lax.reduce_min, lax.reduce_sum)]

    with jax.enable_x64(dtype in ("int64", "uint64")):
        spec, opsets = Spec(("N", 4), dtype), (23,) if dtype in _SHORT else (18, 23)
        check(reductions, spec, constraints=["N >= 0"], opsets=opsets, sizes=(0, 1, 3))
        check(lambda x: reductions(x[1:])[:2], spec, opsets=opsets[:1], sizes=(1, 2))


@pytest.mark.parametrize("dtype", ["float32", "uint32", "float16"])
def test_products_with_nothing_to_sum(dtype):
    specs = [Spec((3, "N"), dtype), Spec(("N", 2), dtype)]
    check(jnp.matmul, *specs, constraints=["N >= 0"], opsets=(18, 23), sizes=(0, 1, 3))
    check(lambda x, y: x[:, 1:] @ y[1:], *specs, opsets=(21,), sizes=(1, 2, 5))
    check(jnp.dot, Spec(("N",), dtype), Spec(("N",), dtype), constraints=["N >= 0"], opsets=(21,), sizes=(0, 2))


LOWEST = np.int32(np.iinfo(np.int32).min)


def test_limits_of_the_largest_of_nothing_stay():
    """The largest of no bytes is the least number of its type, no byte."""

    def fn(x):
        largest = lax.reduce(x.astype(jnp.int32), LOWEST, lax.max, (0,))
        return largest < 0, jnp.maximum(largest, -5)

    check(fn, Spec(("N", 3), jnp.uint8), constraints=["N >= 0"], opsets=(21,), sizes=(0, 1, 3))
    check(lambda x: fn(x[1:]), Spec(("N", 3), jnp.uint8), opsets=(21,), sizes=(1, 3))


def test_the_operator_stays_where_there_is_something():
    options = {"opset": 23, "constraints": ["N >= 0"]}
    program = to_onnx(lambda x: FUNCTIONS["attention"](jnp.concatenate([x, x])), [("N", 4)], **options)
    assert "If" in [node.op_type for node in program.model.graph]
    program = to_onnx(lambda x: FUNCTIONS["attention"](jnp.pad(x, ((0, 1), (0, 0)))), [("N", 4)], **options)
    assert "If" not in [node.op_type for node in program.model.graph]


def test_empty_batches():
    for fn in (FUNCTIONS["scan"], FUNCTIONS["cummax"], FUNCTIONS["softmax of each"]):
        check(jax.vmap(fn), Spec(("B", "N", 4)), constraints=["B >= 0", "N >= 0"], opsets=(21,), sizes=(0, 2, 3))


def test_nothing_is_added_where_sizes_are_not_0():
    for constraints, count in (([], 0), (["N >= 1"], 0), (["N >= 0"], 1)):
        program = to_onnx(FUNCTIONS["scan"], [("N", 4)], constraints=constraints)
        assert [node.op_type for node in program.model.graph].count("If") == count
    program = to_onnx(lambda x: FUNCTIONS["scan"](jnp.concatenate([x, x[:1]])), [("N", 4)], constraints=["N >= 0"])
    assert "If" not in [node.op_type for node in program.model.graph]


REST = {
    "all but the first": lambda x: lax.scan(lambda c, a: (c + a, c * a), x[0], x[1:]),
    "all but the last in reverse": lambda x: lax.scan(lambda c, a: (c + a, c * a), x[-1], x[:-1], reverse=True),
    "half": lambda x: lax.map(jnp.sort, x[: x.shape[0] // 2]),
    "differences": lambda x: lax.cummax(jnp.diff(x, axis=0), 0),
    "logsumexp": lambda x: jax.nn.logsumexp(x[1:], 0),
    "any and all": lambda x: ((x[1:] > 0).any(0), (x[1:] > 0).all(0)),
}


@pytest.mark.parametrize("fn", REST.values(), ids=REST)
def test_what_is_left_of_one_element(fn):
    check(fn, Spec(("N", 4)), opsets=(18, 22), sizes=(1, 2, 5))
    program = to_onnx(fn, [("N", 4)], constraints=["N >= 2"])
    assert "If" not in [node.op_type for node in program.model.graph]


def test_a_kernel_that_takes_no_empty_arrays_is_named():
    program = to_onnx(FUNCTIONS["scan"], [("N", 4)])
    message = r"failed in Scan of .*test_empty_sequences\.py:\d+(.|\n)*argument x has no elements.*constraints="
    with pytest.raises(RunError, match=message):
        program(np.zeros((0, 4), np.float32))


def test_an_index_into_nothing_is_named_where_the_size_may_be_zero():
    program = to_onnx(lambda x: x[-1:], [("N", 4)], constraints=["N >= 0"])
    assert program(np.ones((3, 4), np.float32)).shape == (1, 4)
    with pytest.raises(RunError, match="With that, too, an index into an axis without elements fails"):
        program(np.zeros((0, 4), np.float32))
