"""Attention from plain products, and what stays decomposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


def heads_first(q, k, v):
    return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -1) @ v


def with_einsum(q, k, v):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)


@pytest.mark.parametrize("batch", [2, "B"])
@pytest.mark.parametrize("attention", [heads_first, with_einsum])
def test_is_one_operator_from_opset_23_on(attention, batch):
    specs = [Spec((batch, 4, 5, 8))] * 3
    check(attention, *specs, contains=["Attention"], absent=["Softmax"], opsets=(21, 23, 26))
    check(attention, *specs, contains=["Softmax"], absent=["Attention"], opsets=(22,))


def test_one_image_without_a_batch():
    check(heads_first, *[Spec((4, 5, 8))] * 3, contains=["Attention"], opsets=(23,))


def test_queries_and_keys_of_different_length():
    check(heads_first, Spec((2, 4, 3, 8)), Spec((2, 4, 7, 8)), Spec((2, 4, 7, 6)), contains=["Attention"], opsets=(23,))


def test_declines_double_precision():
    with jax.enable_x64(True):
        check(heads_first, *[Spec((2, 4, 5, 8), np.float64)] * 3, absent=["Attention"], opsets=(23,))


def test_declines_when_the_weights_are_read_elsewhere():
    def attention(q, k, v):
        weights = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1)
        return weights @ v, weights

    check(attention, *[Spec((2, 4, 5, 8))] * 3, absent=["Attention"], opsets=(23,))


def test_declines_a_batch_that_broadcasts():
    check(heads_first, Spec((2, 4, 5, 8)), Spec((1, 4, 5, 8)), Spec((1, 4, 5, 8)), absent=["Attention"], opsets=(23,))
