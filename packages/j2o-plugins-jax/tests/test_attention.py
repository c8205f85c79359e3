"""`jax.nn.dot_product_attention`: the composite at opset 23 and later, its body below."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import dot_product_attention

import j2o_core
from j2o_core.testing import Spec, check

QKV = [Spec(("B", 5, 4, 8))] * 3


def masked_rows():
    """A mask that leaves one query nothing to look at: JAX gives the mean of all values."""
    mask = np.tril(np.ones((5, 5), bool))
    mask[2] = False
    return mask[None, None]


CALLS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "mask": {"mask": masked_rows()},
    "mask and causal": {"mask": masked_rows(), "is_causal": True},
    "bias": {"bias": np.linspace(-1, 1, 4 * 25, dtype=np.float32).reshape(1, 4, 5, 5)},
    "bias and mask": {"mask": masked_rows(), "bias": np.linspace(-1, 1, 25, dtype=np.float32).reshape(1, 1, 5, 5)},
    "padding mask": {"mask": np.array([True, True, False, True, False])[None, None, None]},
}


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_one_attention(name):
    check(
        lambda q, k, v: jax.nn.dot_product_attention(q, k, v, **CALLS[name]),
        *QKV,
        contains=["Attention"],
        absent=["Softmax"],
        opsets=(21, 23, 26),
    )


@pytest.mark.parametrize("causal", [False, True])
def test_rows_that_are_masked_whole_give_the_mean_in_half_precision(causal):
    """The operator is of float32: float16 has no number for "nowhere" that leaves such a row its mean."""
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 4, 8)).astype(np.float16)

    def attend(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, mask=masked_rows(), is_causal=causal)

    wanted = attend(*x.astype(np.float32))  # not every JAX can run it in float16 on the CPU
    for opset in (21, 23, 26):
        program = j2o_core.to_onnx(attend, list(jnp.asarray(x)), opset=opset)
        assert ("Attention" in [node.op_type for node in program.model.graph]) == (opset >= 23)
        result = program(*x)
        np.testing.assert_allclose(result, wanted, atol=3e-3)
        np.testing.assert_allclose(result[:, 2], x[2].astype(np.float32).mean(1), atol=3e-3)


def test_grouped_heads():
    specs = [Spec(("B", 5, 8, 8)), Spec(("B", 5, 2, 8)), Spec(("B", 5, 2, 8))]
    check(jax.nn.dot_product_attention, *specs, contains=["Attention"], opsets=(21, 23))


def test_without_batch_and_under_vmap():
    specs = [Spec((5, 4, 8))] * 3
    check(jax.nn.dot_product_attention, *specs, contains=["Attention"], opsets=(23,))
    check(jax.vmap(lambda *qkv: jax.nn.dot_product_attention(*qkv)), *QKV, contains=["Attention"], opsets=(23,))


AXES = [(None, 0, 0), (0, None, None), (0, None, 0), (0, 0, None), (None, None, 0), (1, None, 2)]
SOME = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale and bias": {"scale": 0.3, "bias": np.linspace(-1, 1, 25, dtype=np.float32).reshape(1, 1, 5, 5)},
    "mask": {"mask": masked_rows()},
}


@pytest.mark.parametrize("in_axes", AXES)
@pytest.mark.parametrize("options", SOME)
@pytest.mark.parametrize("size", [3, "N"])
def test_under_vmap_of_some_operands(in_axes, options, size):
    """Queries for each, say, of the same keys: one operator, in the gradient's value too."""

    def attend(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, **SOME[options])

    shapes = [[2, 5, 4, 8] for _ in range(3)]
    for shape, axis in zip(shapes, in_axes, strict=True):
        if axis is not None:
            shape.insert(axis, size)
    specs = [Spec(tuple(shape)) for shape in shapes]
    check(jax.vmap(attend, in_axes), *specs, contains=["Attention"], absent=["Softmax"], opsets=(21, 23), sizes=(1, 3))


@pytest.mark.parametrize("outer", [(None, 0, None), (0, None, None), (0, 0, None)])
def test_under_nested_vmap_of_some_operands(outer):
    inner = jax.vmap(lambda *qkv: jax.nn.dot_product_attention(*qkv, is_causal=True), (0, None, 0))
    shapes = [(3, 5, 4, 8), (5, 4, 8), (3, 5, 4, 8)]
    specs = [Spec(shape if axis is None else (2, *shape)) for shape, axis in zip(shapes, outer, strict=True)]
    check(jax.vmap(inner, outer), *specs, contains=["Attention"], absent=["Softmax"], opsets=(21, 23))


def test_vmap_of_a_gradient_of_a_vmap_of_some_operands():
    def loss(q, k, v):
        attend = jax.vmap(lambda q: jax.nn.dot_product_attention(q, k, v, is_causal=True))
        return jnp.sum(jnp.sin(attend(q)))

    mapped = jax.vmap(jax.value_and_grad(loss, (0, 1, 2)), (0, None, 0))
    specs = [Spec((2, 3, 5, 2, 4)), Spec((5, 2, 4)), Spec((2, 5, 2, 4))]
    check(mapped, *specs, contains=["Attention"], opsets=(21, 23))


@pytest.mark.parametrize(
    "options",
    [{"key_value_seq_lengths": np.array([3, 5], np.int32)}, {"local_window_size": 2}],
    ids=["lengths", "window"],
)
def test_what_the_operator_cannot_say_is_decomposed(options):
    specs = [Spec((2, 5, 4, 8))] * 3
    check(lambda q, k, v: jax.nn.dot_product_attention(q, k, v, **options), *specs, opsets=(18, 23))


def test_the_name_under_which_it_is_called_does_not_matter():
    def call(q, k, v):
        return dot_product_attention(q, k, v, is_causal=True)

    original = dot_product_attention
    check(call, *QKV, contains=["Attention"], opsets=(23,))
    check(dot_product_attention, *QKV, contains=["Attention"], opsets=(23,))
    assert jax.nn.dot_product_attention is original
    assert dot_product_attention is original


def test_gradient():
    def loss(q, k, v):
        return jnp.sum(jax.nn.dot_product_attention(q, k, v, is_causal=True) ** 2)

    check(jax.grad(loss, (0, 1, 2)), *[Spec((2, 5, 4, 8))] * 3, opsets=(21, 23))
