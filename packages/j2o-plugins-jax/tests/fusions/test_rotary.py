"""Rotary embedding of halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

LENGTH, SIZE = 5, 8
ANGLES = np.outer(np.arange(LENGTH), 10.0 ** -np.arange(SIZE // 2)).astype(np.float32)


def rotate(x, angles=ANGLES, *, sign=-1.0):
    cos, sin = (np.concatenate([table, table], -1) for table in (np.cos(angles), np.sin(angles)))
    first, second = jnp.split(x, 2, -1)
    turned = jnp.concatenate([-second if sign < 0 else second, first], -1)
    return x * cos + turned * sin


@pytest.mark.parametrize("batch", [1, 3, "B"])
def test_is_one_operator_from_opset_23_on(batch):
    check(rotate, Spec((batch, 2, LENGTH, SIZE)), contains=["RotaryEmbedding"], absent=["Mul", "Neg"], opsets=(23, 26))


def test_below_opset_23_the_sign_is_in_the_table():
    check(rotate, Spec(("B", 2, LENGTH, SIZE)), contains=["Split"], absent=["Neg", "RotaryEmbedding"], opsets=(18, 21))


def test_positions_and_tables_are_shared():
    program = check(lambda q, k: (rotate(q), rotate(k)), *[Spec(("B", 2, LENGTH, SIZE))] * 2, opsets=(23,))
    assert sum(node.op_type == "Expand" for node in program.model.graph) == 1
    shapes = [value.shape for value in program.model.graph.initializers.values()]
    assert sum(list(shape) == [LENGTH, SIZE // 2] for shape in shapes if shape is not None) == 2


@pytest.mark.parametrize("shape", [(2, LENGTH, SIZE), (1, 2, LENGTH, SIZE)])
def test_one_image_and_a_batch_of_one(shape):
    check(rotate, Spec(shape), contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,))


@pytest.mark.parametrize("batch", [(), (3,), ("B",)])
def test_heads_behind_the_tokens(batch):
    def turn(x):
        cos, sin = (np.concatenate([table, table], -1)[:, None] for table in (np.cos(ANGLES), np.sin(ANGLES)))
        first, second = jnp.split(x, 2, -1)
        return x * cos + jnp.concatenate([-second, first], -1) * sin

    check(turn, Spec((*batch, LENGTH, 2, SIZE)), contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,))


def test_other_ranks_are_left_decomposed():
    check(rotate, Spec((LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))
    check(rotate, Spec((2, 1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


def test_a_table_for_each_head_is_left_decomposed():
    angles = np.stack([ANGLES, ANGLES / 2])
    check(lambda x: rotate(x, angles), Spec((1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


def test_tables_whose_halves_differ_are_left_decomposed():
    table = np.linspace(0, 1, LENGTH * SIZE, dtype=np.float32).reshape(LENGTH, SIZE)

    def turn(x):
        first, second = jnp.split(x, 2, -1)
        return x * table + jnp.concatenate([-second, first], -1) * table

    check(turn, Spec((1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(21, 23))


def test_a_swap_without_sign_is_no_rotation():
    check(lambda x: rotate(x, sign=1.0), Spec((1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


@pytest.mark.parametrize("batch", [3, "B"])
def test_inside_a_loop(batch):
    def repeated(x):
        return jax.lax.fori_loop(0, x.shape[2] * 4, lambda i, y: rotate(y), x)

    check(repeated, Spec((batch, 2, LENGTH, SIZE)), opsets=(21, 23))
