"""Attention on the axes that projections give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check, expect_graph

HEADS, SIZE = 2, 8
DIM = HEADS * SIZE
WEIGHTS = [np.random.default_rng(seed).standard_normal((DIM, DIM)).astype(np.float32) for seed in range(4)]
ANGLES = np.outer(np.arange(5), 10.0 ** -np.arange(SIZE // 2)).astype(np.float32)


def rotate(x):
    cos, sin = (np.concatenate([table, table], -1) for table in (np.cos(ANGLES), np.sin(ANGLES)))
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def self_attention(x, turn=lambda x: x):
    """[batch, tokens, dim], heads first inside."""
    q, k, v = (jnp.swapaxes((x @ w).reshape(*x.shape[:2], HEADS, SIZE), 1, 2) for w in WEIGHTS[:3])
    q, k = turn(q), turn(k)
    mixed = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / SIZE**0.5, -1) @ v
    return jnp.swapaxes(mixed, 1, 2).reshape(x.shape) @ WEIGHTS[3]


@pytest.mark.parametrize("batch", [1, 3, "B"])
def test_heads_stay_together_with_rotary_embedding(batch):
    program = check(
        lambda x: self_attention(x, rotate),
        Spec((batch, 5, DIM)),
        contains=["Attention", "RotaryEmbedding"],
        absent=["Transpose"],
        opsets=(21, 23, 26),
    )
    nodes = [node for node in program.model.graph if node.op_type == "RotaryEmbedding"]
    assert [node.attributes["num_heads"].value for node in nodes] == [HEADS, HEADS]


def test_below_opset_23_heads_are_axes():
    program = check(self_attention, Spec(("B", 5, DIM)), contains=["Softmax", "Transpose"], opsets=(22,))
    expect_graph(program, "1 Div, 6 MatMul, 4 Reshape, 1 Softmax, 4 Transpose", detail="operators")


def test_one_image():
    program = check(lambda x: self_attention(x[None], rotate)[0], Spec((5, DIM)), absent=["Transpose"], opsets=(23,))
    expect_graph(program, "1 Attention, 4 MatMul, 2 Reshape, 2 RotaryEmbedding", detail="operators")


def test_operands_that_are_heads_first_stay():
    def fn(q, k, v):
        mixed = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1) @ v
        return jnp.swapaxes(mixed, 1, 2)

    program = check(fn, *[Spec((2, 4, 5, 8))] * 3, opsets=(23,))
    assert [node.op_type for node in program.model.graph] == ["Attention", "Transpose"]


def test_heads_read_elsewhere_stay():
    def fn(x):
        q, k, v = (jnp.swapaxes((x @ w).reshape(*x.shape[:2], HEADS, SIZE), 1, 2) for w in WEIGHTS[:3])
        mixed = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / SIZE**0.5, -1) @ v
        return jnp.swapaxes(mixed, 1, 2).reshape(x.shape), k

    check(fn, Spec((2, 5, DIM)), contains=["Attention", "Transpose"], opsets=(23,))


def by_heads(x):
    q, k, v = (jnp.swapaxes((x @ w).reshape(*x.shape[:2], HEADS, SIZE), 1, 2) for w in WEIGHTS[:3])
    return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / SIZE**0.5, -1) @ v


@pytest.mark.parametrize("perm", [(2, 0, 1, 3), (0, 1, 3, 2), (0, 2, 3, 1)])
def test_results_in_another_order(perm):
    check(lambda x: by_heads(x).transpose(perm), Spec((2, 5, DIM)), contains=["Attention"], opsets=(23,))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_result_that_is_read_elsewhere_is_computed_once(dtype):
    def fn(x):
        mixed = by_heads(x.astype(np.float32)).astype(dtype)
        return jnp.swapaxes(mixed, 1, 2).reshape(x.shape), mixed

    program = check(fn, Spec((2, 5, DIM)), opsets=(23,))
    assert [node.op_type for node in program.model.graph].count("Attention") == 1


def test_a_symbolic_number_of_heads():
    def fn(q, k, v):
        q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
        return jnp.swapaxes(jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1) @ v, 1, 2)

    check(fn, *[Spec((2, 5, "H", SIZE))] * 3, contains=["Attention"], opsets=(23,))


@pytest.mark.parametrize("shape", [(5, 1), (1, HEADS, 5, 1), (1, 1, 5, SIZE)])
def test_keys_that_are_chosen_among(shape):
    def fn(x, kept):
        q, k, v = (jnp.swapaxes((x @ w).reshape(*x.shape[:2], HEADS, SIZE), 1, 2) for w in WEIGHTS[:3])
        mixed = jax.nn.softmax(q @ jnp.swapaxes(jnp.where(kept, k, 0), -1, -2) / SIZE**0.5, -1) @ v
        return jnp.swapaxes(mixed, 1, 2).reshape(x.shape)

    check(fn, Spec((2, 5, DIM)), Spec(shape, np.bool_), contains=["Attention"], opsets=(23,))


def test_a_mask_and_another_size_of_the_values():
    kept = np.tri(5, dtype=bool)[:, ::-1]

    def fn(x):
        weights = *WEIGHTS[:2], WEIGHTS[2][:, :6]
        q, k, v = (jnp.swapaxes((x @ w).reshape(*x.shape[:2], HEADS, -1), 1, 2) for w in weights)
        mixed = jax.nn.softmax(jnp.where(kept, q @ jnp.swapaxes(k, -1, -2), -jnp.inf), -1) @ v
        return jnp.swapaxes(mixed, 1, 2).reshape(*x.shape[:2], -1)

    check(fn, Spec(("B", 5, DIM)), contains=["Attention"], absent=["Transpose"], opsets=(23,))
