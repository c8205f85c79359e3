"""Masks and biases of attention: what each becomes, and JAX's numbers also for queries that see no key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core.testing import Spec, check

QKV = [Spec((2, 4, 5, 8))] * 3
LOWEST = float(np.finfo(np.float32).min)
CAUSAL = np.tril(np.ones((5, 5), bool))
ONE_EMPTY_ROW = CAUSAL & (np.arange(5) != 2)[:, None]


def attend(q, k, v, change=lambda scores: scores):
    scores = change(q @ jnp.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5)
    return jax.nn.softmax(scores, -1) @ v


def masked(kept, low=LOWEST):
    return lambda q, k, v: attend(q, k, v, lambda scores: jnp.where(kept, scores, low))


def attention(program):
    (node,) = (node for node in program.model.graph if node.op_type == "Attention")
    return node


def is_causal(program):
    node = attention(program)
    return "is_causal" in node.attributes and len(node.inputs) == 3


def same_as_jax(fn, *arrays, opset=23):
    """The program, after comparing with JAX on these arrays, NaN included."""
    program = j2o_core.to_onnx(fn, arrays, opset=opset)
    expected = np.asarray(jax.jit(fn)(*arrays))
    np.testing.assert_allclose(program(*arrays), expected, rtol=2e-5, atol=2e-6)
    return program


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def qkv(dtype=np.float32):
    return [random(2, 4, 5, 8, seed=seed, dtype=dtype) for seed in range(3)]


@pytest.mark.parametrize("low", [-np.inf, LOWEST, -1e30, -1e9])
def test_a_causal_constant_is_an_attribute(low):
    assert is_causal(check(masked(CAUSAL, low), *QKV, contains=["Attention"], absent=["Where"], opsets=(23, 26)))


@pytest.mark.parametrize(
    "compare",
    [
        lambda i, j: i >= j,
        lambda i, j: j <= i,
        lambda i, j: i + 1 > j,
        lambda i, j: ~(j > i),
        lambda i, j: jnp.tril(jnp.ones((i.shape[0], j.shape[1]), bool)),
        lambda i, j: (jnp.ones((4, i.shape[0], j.shape[1]), bool) & (i >= j))[None],
        lambda i, j: jnp.where(i >= j, True, False)[None, None],
    ],
)
def test_comparing_indices_of_symbolic_length_is_causal(compare):
    def fn(q, k, v):
        index = jnp.arange(q.shape[-2])
        return masked(compare(index[:, None], index[None]))(q, k, v)

    program = check(fn, *[Spec(("B", 4, "T", 8))] * 3, contains=["Attention"], opsets=(23,))
    assert is_causal(program)
    assert len(program.model.graph) == 1


@pytest.mark.parametrize(
    "compare",
    [
        lambda i, j: i > j,
        lambda i, j: i <= j,
        lambda i, j: i >= j + 1,
        lambda i, j: abs(i - j) < 3,
        lambda i, j: jnp.where(i >= j, True, i + j > 4),
        lambda i, j: (i >= j).reshape(1, -1).reshape(j.shape[1], -1).T,
        lambda i, j: i >= i + 0 * j,
    ],
    ids=["without itself", "from behind", "shifted", "window", "or another", "turned", "of one index"],
)
def test_other_comparisons_are_no_causal_mask(compare):
    def fn(q, k, v):
        index = jnp.arange(q.shape[-2])
        return masked(compare(index[:, None], index[None]))(q, k, v)

    program = check(fn, *[Spec(("B", 4, "T", 8))] * 3, contains=["Attention"], opsets=(23,))
    assert not is_causal(program)


def test_a_triangle_in_other_rows_is_no_causal_mask():
    def fn(q, k, v):
        half = q.shape[-2] // 2
        kept = jnp.arange(half)[:, None] >= jnp.arange(4 * half)[None]
        return masked(kept.reshape(2 * half, 2 * half))(q, k, v)

    program = check(fn, *[Spec((1, 2, "2*T", 8))] * 3, contains=["Attention"], opsets=(23,), sizes=(3,))
    assert not is_causal(program)


@pytest.mark.parametrize(
    ("dtype", "compare"),
    [
        (np.int8, lambda i, j: i >= j),
        (np.uint8, lambda i, j: i >= j),
        (np.uint32, lambda i, j: j - 1 < i),
        (np.float32, lambda i, j: i >= j + 0.5),
    ],
    ids=["int8", "uint8", "below zero", "fraction"],
)
def test_indices_that_wrap_around_are_no_causal_mask(dtype, compare):
    def fn(q, k, v):
        index = jnp.arange(q.shape[-2], dtype=dtype)
        return masked(compare(index[:, None], index[None]))(q, k, v)

    program = check(fn, *[Spec((1, 2, "T", 8))] * 3, contains=["Attention"], opsets=(23,), sizes=(3, 300))
    assert not is_causal(program)


def test_causal_as_a_sum_of_zeros_and_very_low_numbers():
    bias = np.where(CAUSAL, 0, -1e9).astype(np.float32)
    assert is_causal(check(lambda q, k, v: attend(q, k, v, lambda s: s + bias), *QKV, opsets=(23,)))


def test_a_mask_that_is_all_true_is_dropped():
    program = check(masked(np.ones((5, 5), bool)), *QKV, opsets=(23,))
    assert len(attention(program).inputs) == 3
    program = check(lambda q, k, v: attend(q, k, v, lambda s: s + np.zeros((5, 5), np.float32)), *QKV, opsets=(23,))
    assert len(attention(program).inputs) == 3


def test_a_constant_that_leaves_each_query_a_key_is_boolean():
    kept = np.eye(5, dtype=bool)[:, ::-1]
    program = check(masked(kept), *QKV, absent=["Where"], opsets=(23,))
    assert attention(program).inputs[3].dtype.name == "BOOL"


@pytest.mark.parametrize("low", [-np.inf, LOWEST, -1e9])
@pytest.mark.parametrize("opset", [21, 23])
def test_a_query_without_keys_as_a_constant(low, opset):
    same_as_jax(masked(ONE_EMPTY_ROW, low), *qkv(), opset=opset)


@pytest.mark.parametrize("low", [-np.inf, LOWEST, -1e9])
@pytest.mark.parametrize("turned", [False, True])
def test_a_query_without_keys_in_a_mask_that_is_computed(low, turned):
    def fn(q, k, v, kept):
        if turned:
            return attend(q, k, v, lambda s: jnp.where(~kept, low, s))
        return attend(q, k, v, lambda s: jnp.where(kept, s, low))

    program = same_as_jax(fn, *qkv(), ONE_EMPTY_ROW)
    assert attention(program).inputs[3].dtype.name == "FLOAT"


def test_padding_of_the_keys():
    def fn(q, k, v, lengths):
        kept = jnp.arange(5)[None] < lengths[:, None]
        return attend(q, k, v, lambda s: jnp.where(kept[:, None, None], s, LOWEST))

    program = same_as_jax(fn, *qkv(), np.array([3, 0], np.int32))
    assert attention(program).inputs[3].shape == [2, 1, 5, 5]


def test_padding_and_causal_together():
    def fn(q, k, v, kept):
        return attend(q, k, v, lambda s: jnp.where(kept[:, None, None] & CAUSAL, s, LOWEST))

    kept = np.array([[True, True, False, True, True], [False, False, True, True, True]])
    assert attention(same_as_jax(fn, *qkv(), kept)).inputs[3].dtype.name == "FLOAT"


def bias_input(q, k, v, bias):
    return attend(q, k, v, lambda s: s + bias)


@pytest.mark.parametrize("low", [-np.inf, LOWEST, -1e9])
def test_a_bias_that_is_an_input_may_mask(low):
    bias = np.where(ONE_EMPTY_ROW, random(5, 5), np.float32(low))
    attention(same_as_jax(bias_input, *qkv(), bias))
    mixed = np.where(CAUSAL, np.float32(low), np.float32(-np.inf))
    attention(same_as_jax(bias_input, *qkv(), mixed))


def test_a_bias_that_cannot_be_low_stays_as_it_is():
    def fn(q, k, v, kept, table, places):
        bias = (1 - kept[:, None, None].astype(jnp.float32)) * -1e9 + jnp.tanh(table)[places]
        return attend(q, k, v, lambda s: s + bias)

    places = np.arange(25, dtype=np.int32).reshape(5, 5) % 7
    arrays = (*qkv(), np.array([[True] * 5, [True] * 3 + [False] * 2]), random(7), places)
    program = same_as_jax(fn, *arrays)
    assert not {node.op_type for node in program.model.graph} & {"IsInf", "Max"}
    attention(program)


def test_a_bias_for_each_head_and_a_mask():
    bias = random(4, 5, 5)
    program = check(lambda q, k, v: attend(q, k, v, lambda s: jnp.where(CAUSAL, s + bias, LOWEST)), *QKV, opsets=(23,))
    assert "is_causal" in attention(program).attributes
    assert list(attention(program).inputs[3].shape) == [1, 4, 5, 5]
    same_as_jax(lambda q, k, v: attend(q, k, v, lambda s: jnp.where(ONE_EMPTY_ROW, s + bias, LOWEST)), *qkv())
    kept = np.eye(5, dtype=bool)
    check(lambda q, k, v: attend(q, k, v, lambda s: jnp.where(kept, s, -1e9) + bias), *QKV, opsets=(23,))


def test_masks_in_several_layers_are_prepared_once():
    def fn(q, k, v, kept):
        for _ in range(3):
            q = attend(q, k, v, lambda s: jnp.where(kept[:, None, None], s, LOWEST))
        return q

    program = same_as_jax(fn, *qkv(), np.ones((2, 5), bool))
    counts = [node.op_type for node in program.model.graph]
    assert (counts.count("Attention"), counts.count("Where"), counts.count("Expand")) == (3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda s, b: jnp.where(CAUSAL, s, -1e9) + b,
        lambda s, b: jnp.where(b > 0, jnp.where(CAUSAL, s, -1e9), LOWEST),
        lambda s, b: jnp.where(b > 0, s, -100.0),
        lambda s, b: jnp.where(b > 0, s + b, -1e9),
        lambda s, b: jnp.where(b > 0, s, b),
        lambda s, b: s * b,
    ],
    ids=["bias behind", "two masks", "low but not very", "any bias and a mask", "no number", "weights"],
)
def test_declines_what_the_operator_cannot_say(change):
    def fn(q, k, v, bias):
        return attend(q, k, v, lambda s: change(s, bias))

    check(fn, *QKV, Spec((5, 5)), absent=["Attention"], opsets=(23,))


def test_half_precision_takes_masks_that_leave_each_query_a_key():
    specs = [Spec((2, 4, 5, 8), np.float16)] * 3
    lowest = np.float16(np.finfo(np.float16).min)
    check(masked(CAUSAL, lowest), *specs, contains=["Attention"], opsets=(23,))
    check(masked(ONE_EMPTY_ROW, lowest), *specs, absent=["Attention"], opsets=(23,))

    def fn(q, k, v, kept):
        return masked(kept, lowest)(q, k, v)

    check(fn, *specs, Spec((5, 5), np.bool_), absent=["Attention"], opsets=(23,))
    arrays = [array * np.float16(8) for array in qkv(np.float16)]
    program = j2o_core.to_onnx(fn, [*arrays, ONE_EMPTY_ROW], opset=23)
    expected = np.asarray(fn(*map(jnp.asarray, arrays), ONE_EMPTY_ROW))
    np.testing.assert_allclose(program(*arrays, ONE_EMPTY_ROW), expected, rtol=5e-2, atol=5e-2)


def test_a_cap_on_the_scores():
    def fn(q, k, v):
        return attend(q, k, v, lambda s: jnp.where(CAUSAL, 3.0 * jnp.tanh(s * 5 / 3.0), LOWEST))

    program = check(fn, *QKV, contains=["Attention"], absent=["Tanh"], opsets=(23, 26))
    assert attention(program).attributes["softcap"].value == 3
    for other in (lambda s: -2 * jnp.tanh(s), lambda s: 3 * jnp.tanh(s + 1), lambda s: jnp.tanh(s - 1)):
        check(lambda q, k, v, c=other: attend(q, k, v, c), *QKV, absent=["Attention"], opsets=(23,))


@pytest.mark.parametrize("number", [3.0, -300.0, 3e6, 1e30])
def test_a_number_on_all_scores(number):
    def fn(q, k, v):
        return attend(q, k, v, lambda s: s + np.float32(number))

    program = check(fn, *QKV, contains=["Attention"], absent=["Add"], opsets=(23, 26))
    assert len(attention(program).inputs) == (3 if abs(number) < 1e3 else 4)
