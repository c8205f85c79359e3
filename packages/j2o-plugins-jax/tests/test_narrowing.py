"""Programs exported with `dtype="float16"` and `"bfloat16"`: within a bound of epsilon, with casts where needed."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from j2o_core import to_onnx

from .properties.drawing import examples

NARROW = ["float16", "bfloat16"]
SIZE = 32
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, SIZE)).astype(np.float32)
# Orthogonal: a product with it makes no error larger.
Q = np.linalg.qr(RNG.standard_normal((SIZE, SIZE)))[0].astype(np.float32)
LAYERS = np.stack([Q, Q.T, Q])
CAUSAL = np.tril(np.ones((6, 6), bool))


def heads(x):
    return (x @ Q).reshape(1, -1, 4, SIZE // 4)


def norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)


def attention(scores, x):
    return jax.nn.softmax(scores, -1) @ x


def rotated(x):
    angles = (jnp.arange(6) * 1000.0)[:, None] / 10000 ** (jnp.arange(SIZE // 2) / 16)
    a, b = jnp.split(x @ Q, 2, -1)
    return jnp.concatenate([a * jnp.cos(angles) - b * jnp.sin(angles), a * jnp.sin(angles) + b * jnp.cos(angles)], -1)


# Each of these leaves the range or the precision of a narrow dtype somewhere, if it is computed in it.
DELICATE = {
    "softmax of large logits": lambda x: jax.nn.softmax(1e4 * (x @ Q)),
    "norm of large values": lambda x: norm(x @ (1000 * Q)) @ Q,
    "norm of an argument beyond float16": lambda x: norm(x * 1e5) @ Q,
    "variance": lambda x: (x @ (1000 * Q)).var(-1),
    "root mean square": lambda x: (y := x @ (1000 * Q)) * lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + 1e-12),
    "norm of a vector": lambda x: jnp.linalg.norm(x @ (1000 * Q), axis=-1),
    "product with itself": lambda x: jnp.einsum("bi,bi->b", y := x @ (1000 * Q), y),
    "product of the highest precision": lambda x: jnp.matmul(x - 1e5, Q, precision="highest") + 1e5 * Q.sum(0),
    "logsumexp": lambda x: jax.nn.logsumexp(100 * (x @ Q), -1),
    "cross entropy": lambda x: -jnp.take_along_axis(jax.nn.log_softmax(50 * (x @ Q)), jnp.arange(6)[:, None], -1),
    "sum over many": lambda x: jnp.broadcast_to((x @ Q)[:, None], (6, 3000, SIZE)).sum(1),
    "cumulative sum": lambda x: jnp.cumsum(jnp.tile(jnp.abs(x @ Q), (1, 100)), 1),
    "masked by the lowest float32": lambda x: attention(jnp.where(CAUSAL, (x @ Q) @ x.T, jnp.finfo(x.dtype).min), x),
    "a row of the lowest float32": lambda x: attention(
        jnp.where(np.eye(6, k=1) > 0, (x @ Q) @ x.T, jnp.finfo(x.dtype).min), x
    ),
    "masked by a sum": lambda x: attention((x @ Q) @ x.T + (1.0 - CAUSAL) * -1e9, x),
    "attention": lambda x: jax.nn.dot_product_attention(heads(x), heads(x), heads(x), is_causal=True),
    "attention with a bias": lambda x: jax.nn.dot_product_attention(
        heads(x), heads(x), heads(x), bias=jnp.where(CAUSAL, 0, jnp.finfo(jnp.float32).min)[None, None]
    ),
    "rotary embedding": lambda x: rotated(x) @ Q,
    "counted positions": lambda x: (jnp.arange(6.0)[:, None] * 5000 + 1 - 5000 * jnp.arange(6.0)[:, None]) * (x @ Q),
    "softplus": lambda x: jax.nn.softplus(20 * (x @ Q)) @ Q,
    "gelu": lambda x: jax.nn.gelu(10 * (x @ Q)) @ Q,
    "small divisor": lambda x: (y := x @ Q) / (jnp.abs(y).sum(-1, keepdims=True) * 1e-6 + 1e-12),
    "average pool": lambda x: lax.reduce_window(x @ Q, 0.0, lax.add, (1, 16), (1, 16), "VALID"),
    "scan over layers": lambda x: lax.scan(lambda c, w: (c + jnp.tanh(c @ w), c @ w), x, LAYERS),
    "recurrence": lambda x: lax.scan(lambda h, t: (jnp.tanh(h @ Q + t), h), jnp.zeros(SIZE), x),
    "solve": lambda x: jnp.linalg.solve(Q + 4 * jnp.eye(SIZE), x.T).T @ Q,
    "random numbers": lambda x: x @ Q + jax.random.normal(jax.random.key(0), x.shape),
    "update": lambda x: (x @ Q).at[jnp.array([0, 1])].set(1.5).at[:, 3].add(2.0),
    "sorted": lambda x: (jnp.sort(x @ Q), lax.top_k(x @ Q, 3)[0]),
    "convolution": lambda x: lax.conv_general_dilated(x[None, None], Q[None, None, :3, :3], (1, 1), "SAME"),
    "gradient": lambda x: jax.grad(lambda x: jnp.mean(jnp.tanh(x @ Q) ** 2))(x),
}


@pytest.mark.parametrize("name", DELICATE)
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float16", {}),
        ("bfloat16", {}),
        ("float16", {"weights": "keep", "opset": 18}),
        ("float16", {"opset": 23, "unroll": False}),
    ],
    ids=str,
)
def test_delicate_parts(dtype, options, name):
    fn = DELICATE[name]
    program = to_onnx(fn, [X.shape], dtype=dtype, **options)
    program.check()
    bound = 16 * float(jnp.finfo(dtype).eps)
    for got, want in zip(jax.tree.leaves(program(X)), jax.tree.leaves(jax.jit(fn)(X)), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=bound * np.abs(want).max())


# Steps that make no distance longer, on values up to 1 or as large as the argument: errors add up, and no more.
STEPS = [
    lambda x: x @ Q,
    lambda x: (x + jnp.tanh(x @ Q)) / 2,
    lambda x: x - x.mean(-1, keepdims=True),
    lambda x: x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1),
    lambda x: jax.nn.softmax(x, -1),
    lambda x: jnp.exp(-jnp.abs(x)),
    lambda x: jnp.sin(x),
    lambda x: jnp.log1p(jnp.abs(x)),
    lambda x: jnp.where(x > 0, x, 0.1 * x),
    lambda x: x[:, ::-1].reshape(2, 3, SIZE).transpose(1, 0, 2).reshape(6, SIZE),
    lambda x: jnp.concatenate([x[:, SIZE // 2 :], jnp.sort(x[:, : SIZE // 2])], -1),
    lambda x: lax.fori_loop(0, 2, lambda i, c: (c + jnp.cos(c @ Q)) / 2, x),
    lambda x: lax.cond(x[0, 0] > 1e9, lambda x: x, lambda x: x @ Q.T, x),
]


@examples
@given(st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=6), st.sampled_from(NARROW), st.integers(0, 2**31))
def test_random_programs_are_within_a_bound_of_epsilon(steps, dtype, seed):
    x = np.random.default_rng(seed).standard_normal((6, SIZE)).astype(np.float32)

    def fn(x):
        for step in steps:
            x = STEPS[step](x)
        return x

    longest, value = np.linalg.norm(x), x
    for step in steps:
        value = STEPS[step](value)
        longest = max(longest, float(jnp.linalg.norm(value)))
    got = to_onnx(fn, [x.shape], dtype=dtype)(x)
    # A step rounds its operands, weights and result, some twice: five roundings of half an epsilon each.
    assert np.linalg.norm(got - fn(x)) <= 2.5 * len(steps) * float(jnp.finfo(dtype).eps) * longest


def test_a_transformer_block_has_casts_around_its_norm_only():
    weights = [RNG.standard_normal(shape).astype(np.float32) / 8 for shape in ((64, 256), (256, 64))]
    scale = np.linspace(0.5, 1.5, 64, dtype=np.float32)

    def block(x):
        x = x @ (weights[0] @ weights[1])
        for _ in range(3):
            x = x + jax.nn.gelu((norm(x) * scale) @ weights[0], approximate=False) @ weights[1]
        return x

    program = to_onnx(block, [("B", 64)], dtype="float16", opset=23)
    counts = Counter(node.op_type for node in program.model.graph)
    assert (counts["LayerNormalization"], counts["Gelu"]) == (3, 3)
    assert counts["Cast"] <= 2 * 3 + 2
    large = [value.const_value for value in program.model.graph.initializers.values() if value.const_value.size > 256]
    assert {tensor.dtype.numpy() for tensor in large} == {np.dtype(np.float16)}
    program.verify()


def test_calls_that_stay_functions_are_narrow_and_still_one_function():
    @jax.jit
    def layer(x, w):
        return x + jnp.tanh(x @ w) @ w

    def fn(x):
        x = x @ Q
        for w in LAYERS:
            x = layer(x, w)
        return x

    program = to_onnx(fn, [("B", SIZE)], dtype="float16", functions=[layer])
    (function,) = program.model.functions.values()
    assert [value.dtype.numpy() for value in function.inputs] == [np.float16, np.float16]
    program.check()
    program.verify()


def test_a_weight_that_is_also_used_transposed_is_stored_once():
    table = jnp.asarray(RNG.standard_normal((1100, 16)), jnp.float32)

    def fn(ids):
        return (table[ids] * 2) @ table.T, table[ids] @ table[8:24, ::-1], table[ids] @ table.reshape(16, 1100)

    ids = np.array([[1, 10, 0]], np.int32)
    tied = to_onnx(lambda ids: fn(ids)[0], [ids], dtype="float16")
    values = tied.model.graph.initializers.values()
    assert [value.name for value in values if value.const_value.size == table.size] == ["table"]
    program = to_onnx(fn, [ids], dtype="float16")
    for got, want in zip(program(ids), fn(ids), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-2 * np.abs(want).max())


def test_bytes_of_an_image_are_numbers_of_both_dtypes():
    image = np.arange(256, dtype=np.uint8).reshape(8, 32)
    for dtype in NARROW:
        program = to_onnx(lambda i: i.astype(jnp.float32) * 1.0 @ np.eye(32, dtype=np.float32), [image], dtype=dtype)
        np.testing.assert_array_equal(program(image), image.astype(np.float32))


def test_everything_that_stays_is_in_the_report():
    report = to_onnx(lambda x: jax.nn.softmax(x @ Q), [X.shape], dtype="bfloat16").report()
    assert "1 exp: it leaves the range of a narrow dtype" in report
    assert "1 reduce_sum: a sum over many elements" in report
