"""Attention from plain products, and what stays decomposed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check, expect_graph


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


def test_a_mask_of_heads_that_hides_none_is_nothing():
    def fn(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("...qhd,...khd->...hqk", q, k), -1)
        weights = jnp.einsum("...hqk,h->...hqk", weights, jnp.ones((3, 4), jnp.int32)[0])  # as Flax's BERT does
        return jnp.einsum("...hqk,...khd->...qhd", weights, v)

    check(fn, *[Spec((2, 5, 4, 8))] * 3, contains=["Attention"], absent=["Mul"], opsets=(23,))


def test_a_batch_that_shares_its_keys_is_more_queries():
    specs = [Spec((2, 4, 5, 8)), Spec((1, 4, 5, 8)), Spec((1, 4, 5, 8))]
    check(heads_first, *specs, contains=["Attention"], opsets=(23,))


# -- Operands that some batches share ----------------------------------------------------------------------------------


def one_head(q, k, v):
    return jax.nn.softmax(q @ k.T * 0.5, -1) @ v


def some_heads(q, k, v):
    logits = jnp.einsum("thd,Thd->htT", q * 0.5, k)
    return jnp.einsum("htT,Thd->thd", jax.nn.softmax(logits, -1), v)


def some_causal_heads(q, k, v):
    logits = jnp.einsum("thd,Thd->htT", q, k) * 0.5
    kept = jnp.arange(q.shape[0])[:, None] >= jnp.arange(k.shape[0])
    return jnp.einsum("htT,Thd->thd", jax.nn.softmax(jnp.where(kept, logits, -1e9), -1), v)


SINGLE = {"one head": (one_head, (5, 4)), "heads": (some_heads, (5, 2, 4)), "causal": (some_causal_heads, (5, 2, 4))}
SHARED = [(None, 0, 0), (0, None, 0), (0, 0, None), (0, None, None), (None, 0, None)]


@pytest.mark.parametrize("in_axes", SHARED)
@pytest.mark.parametrize("single", SINGLE)
@pytest.mark.parametrize("batch", [3, "B"])
def test_under_vmap_of_some_operands(single, in_axes, batch):
    fn, shape = SINGLE[single]
    specs = [Spec(shape if axis is None else (batch, *shape)) for axis in in_axes]
    check(jax.vmap(fn, in_axes), *specs, contains=["Attention"], absent=["Softmax", "MatMul"], opsets=(23,))


@pytest.mark.parametrize("inner", SHARED)
@pytest.mark.parametrize("outer", [(0, None, 0), (None, 0, 0), (0, 0, None)])
def test_under_two_vmaps_of_some_operands(inner, outer):
    specs = [
        Spec((*([] if one is None else [2]), *([] if two is None else [3]), 5, 2, 4))
        for one, two in zip(outer, inner, strict=True)
    ]
    fn = jax.vmap(jax.vmap(some_heads, inner), outer)
    check(fn, *specs, contains=["Attention"], absent=["Softmax"], opsets=(23,))


@pytest.mark.parametrize("in_axes", [(None, 0, 0), (0, None, 0), (0, 0, None)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 1, 1), (1, 2, 4), (5, 1, 4)])
def test_under_vmap_of_some_operands_with_axes_of_size_one(in_axes, sizes):
    specs = [Spec(sizes if axis is None else (3, *sizes)) for axis in in_axes]
    check(jax.vmap(some_heads, in_axes), *specs, opsets=(23,))


@pytest.mark.parametrize("operand", [0, 1, 2])
def test_not_a_number_in_an_operand_that_batches_share(operand):
    values = [np.linspace(-1, 2, 40 * 3 ** (place != operand), dtype=np.float32) for place in range(3)]
    values = [value.reshape(-1, 5, 2, 4) for value in values]
    for number in (np.nan, np.inf):
        values[operand][0, 1, 1, 2] = number
        in_axes = tuple(None if place == operand else 0 for place in range(3))
        args = [value[0] if place == operand else value for place, value in enumerate(values)]
        check(jax.vmap(some_heads, in_axes), *args, contains=["Attention"], opsets=(23,))


def test_a_mask_of_each_batch_on_keys_that_all_share():
    def fn(q, k, v, kept):
        logits = jnp.einsum("thd,Thd->htT", q, k) * 0.5
        return jnp.einsum("htT,Thd->thd", jax.nn.softmax(jnp.where(kept, logits, -1e9), -1), v)

    kept = np.stack([np.tri(5, dtype=bool), np.eye(5, dtype=bool), np.tri(5, k=2, dtype=bool)])
    specs = [Spec((3, 5, 2, 4)), Spec((5, 2, 4)), Spec((3, 5, 2, 4))]
    check(jax.vmap(fn, (0, None, 0, 0)), *specs, kept, contains=["Attention"], absent=["Softmax"], opsets=(23,))
    check(lambda *qkv: jax.vmap(fn, (0, None, 0, 0))(*qkv, kept), *specs, contains=["Attention"], opsets=(23,))


def test_one_head_of_keys_for_all_with_symbolic_batch_and_length():
    def fn(q, k, v):
        logits = jnp.einsum("bihd,bjd->bhij", q, k) * 0.5
        return jnp.einsum("bhij,bjd->bihd", jax.nn.softmax(logits, -1), v)

    specs = [Spec(("B", "T", 2, 4)), Spec(("B", "T", 4)), Spec(("B", "T", 4))]
    check(fn, *specs, contains=["Attention"], absent=["Softmax"], opsets=(23,))


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4)])
def test_declines_values_of_several_batches_for_the_same_weights(shape):
    check(heads_first, Spec(shape), Spec(shape), Spec((3, 5, 4)), absent=["Attention"], opsets=(23,))


# -- Axes in any order -------------------------------------------------------------------------------------------------


def einsum(scores, values, axis=-1, *, scale=0.35):
    """Attention as two einsums; `axis` is that of the keys in the scores."""

    def fn(q, k, v):
        logits = jnp.einsum(scores, q, k) * scale
        return jnp.einsum(values, jax.nn.softmax(logits, axis), v)

    return fn


LAYOUTS = {
    "tokens first": (einsum("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd"), (2, 5, 4, 8)),
    "heads behind the keys": (einsum("bqhd,bkhd->bqkh", "bqkh,bkhd->bqhd", 2), (2, 5, 4, 8)),
    "heads last": (einsum("bqdh,bkdh->bhqk", "bhqk,bkdh->bqdh"), (2, 5, 8, 4)),
    "keys before queries": (einsum("bqhd,bkhd->bhkq", "bhkq,bkhd->bqhd", -2), (2, 5, 4, 8)),
    "tokens last": (einsum("bhdq,bhdk->bhqk", "bhqk,bhdk->bhdq"), (2, 4, 8, 5)),
    "no batch": (einsum("qhd,khd->hqk", "hqk,khd->qhd"), (5, 4, 8)),
    "one head": (einsum("qd,kd->qk", "qk,kd->qd"), (5, 8)),
    "one head, batch": (einsum("bqd,bkd->bqk", "bqk,bkd->bqd"), (2, 5, 8)),
    "two batches": (einsum("abqhd,abkhd->abhqk", "abhqk,abkhd->abqhd"), (2, 3, 5, 4, 8)),
    "odd sizes": (einsum("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd"), (3, 7, 3, 13)),
    "one query and key each": (einsum("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd"), (3, 2, 1, 1)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_axes_in_any_order(name):
    fn, shape = LAYOUTS[name]
    check(fn, *[Spec(shape)] * 3, contains=["Attention"], absent=["Softmax"], opsets=(23, 26))


def test_a_single_key_or_none():
    fn, _ = LAYOUTS["tokens first"]
    check(fn, Spec((2, 5, 4, 8)), Spec((2, 1, 4, 8)), Spec((2, 1, 4, 8)), absent=["Attention"], opsets=(21, 23))
    check(fn, Spec((2, 0, 4, 8)), Spec((2, 3, 4, 8)), Spec((2, 3, 4, 8)), opsets=(21, 23))
    check(fn, Spec((2, 1, 4, 8)), Spec((2, 3, 4, 8)), Spec((2, 3, 4, 8)), contains=["Attention"], opsets=(23,))


def test_symbolic_batch_and_length():
    fn, _ = LAYOUTS["tokens first"]
    program = check(fn, *[Spec(("B", "T", 4, 8))] * 3, contains=["Attention"], absent=["Shape"], opsets=(23,))
    expect_graph(
        program,
        """
            k:f32[B,T,4,8] -> Reshape([0,0,32])[B,T,32] -> %1
            v:f32[B,T,4,8] -> Reshape([0,0,32])[B,T,32] -> %2
            q:f32[B,T,4,8] -> Reshape([0,0,32])[B,T,32] -> Attention(%1, %2) -> Reshape([0,0,4,8])[B,T,4,8] -> output
            """,
    )


def test_between_projections_nothing_is_moved():
    weights = [np.random.default_rng(seed).standard_normal((32, 32)).astype(np.float32) for seed in range(4)]

    def fn(x):
        q, k, v = ((x @ w).reshape(*x.shape[:2], 4, 8) for w in weights[:3])
        return LAYOUTS["tokens first"][0](q, k, v).reshape(x.shape) @ weights[3]

    expect_graph(
        check(fn, Spec(("B", "T", 32)), opsets=(23,)),
        """
        x:f32[B,T,32] -> MatMul(1) -> %1
        x -> MatMul(2) -> %2
        x -> MatMul(0) -> Attention(%1, %2) -> MatMul(3) -> output
        """,
    )


# -- Numbers and forms of the softmax ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn",
    [
        lambda q, k, v: jax.nn.softmax((q / 3) @ jnp.swapaxes(k, -1, -2), -1) @ v,
        lambda q, k, v: jax.nn.softmax(q @ jnp.swapaxes(k * 0.3, -1, -2), -1) @ v,
        lambda q, k, v: jax.nn.softmax(-(q @ jnp.swapaxes(k, -1, -2)) / 2 * -0.5, -1) @ v,
        lambda q, k, v: jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) + 7, -1) @ v,
    ],
    ids=["queries", "keys", "signs", "added"],
)
def test_numbers_become_the_scale(fn):
    program = check(fn, *[Spec((2, 4, 5, 8))] * 3, contains=["Attention"], opsets=(23,))
    assert len(program.model.graph) == 1


def test_a_negative_scale_is_declined():
    fn = einsum("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", scale=-0.3)
    check(fn, *[Spec((2, 5, 4, 8))] * 3, absent=["Attention"], opsets=(23,))


def weights_by_logsumexp(s):
    return jnp.exp(s - jax.nn.logsumexp(s, -1, keepdims=True))


def weights_by_hand(s):
    e = jnp.exp(s - jax.lax.stop_gradient(s.max(-1, keepdims=True)))
    return e / e.sum(-1)[..., None]


@pytest.mark.parametrize("low", [-1e10, -np.inf])
def test_a_maximum_taken_off_before_the_softmax(low):
    """As in x-transformers."""

    def fn(q, k, v, kept):
        s = jnp.where(kept, q @ jnp.swapaxes(k, -1, -2) * 0.5, low)
        return jax.nn.softmax(s - jax.lax.stop_gradient(s.max(-1, keepdims=True)), -1) @ v

    specs, absent = [Spec(("B", 2, 5, 4))] * 3, ["Softmax", "Sub"]
    causal = functools.partial(fn, kept=np.tri(5, dtype=bool))
    program = check(causal, *specs, contains=["Attention"], absent=[*absent, "Where"], opsets=(23,))
    assert [node.attributes["is_causal"].value for node in program.model.graph if node.op_type == "Attention"] == [1]
    for kept in (np.tri(5, dtype=bool), np.tri(5, k=-1, dtype=bool)):  # and with a query that has no key
        check(fn, *specs, kept, contains=["Attention"], absent=absent, opsets=(23,))


@pytest.mark.parametrize("weights", [weights_by_logsumexp, weights_by_hand])
def test_softmax_written_by_hand(weights):
    def fn(q, k, v):
        return weights(q @ jnp.swapaxes(k, -1, -2) * 0.3) @ v

    check(fn, *[Spec((2, 4, 5, 8))] * 3, contains=["Attention"], absent=["Exp"], opsets=(23,))


def test_divided_behind_the_values():
    def fn(q, k, v):
        s = q @ jnp.swapaxes(k, -1, -2) * 0.3
        e = jnp.exp(s - s.max(-1, keepdims=True))
        return (e @ v) / e.sum(-1, keepdims=True)

    check(fn, *[Spec((2, 4, 5, 8))] * 3, contains=["Attention"], opsets=(23,))


# -- Heads that share keys ---------------------------------------------------------------------------------------------

SHARED = [Spec(("B", 5, 4, 8)), Spec(("B", 5, 2, 8)), Spec(("B", 5, 2, 8))]


def repeated(q, k, v):
    k, v = jnp.repeat(k, 2, 2), jnp.repeat(v, 2, 2)
    return LAYOUTS["tokens first"][0](q, k, v)


def broadcast(q, k, v):
    k, v = (jnp.broadcast_to(x[:, :, :, None], (*x.shape[:3], 2, 8)).reshape(*x.shape[:2], 4, 8) for x in (k, v))
    return LAYOUTS["tokens first"][0](q, k, v)


def grouped(q, k, v):
    q = q.reshape(*q.shape[:2], 2, 2, 8)
    w = jax.nn.softmax(jnp.einsum("bqkgd,bskd->bkgqs", q, k) * 0.35)
    return jnp.einsum("bkgqs,bskd->bqkgd", w, v).reshape(*q.shape[:2], 4, 8)


def grouped_and_causal(q, k, v):
    q = q.reshape(*q.shape[:2], 2, 2, 8)
    s = jnp.where(np.tril(np.ones((5, 5), bool)), jnp.einsum("bqkgd,bskd->bkgqs", q, k) * 0.35, -jnp.inf)
    return jnp.einsum("bkgqs,bskd->bqkgd", jax.nn.softmax(s), v).reshape(*q.shape[:2], 4, 8)


@pytest.mark.parametrize("fn", [repeated, broadcast, grouped, grouped_and_causal])
def test_groups_of_heads_share_keys(fn):
    program = check(fn, *SHARED, contains=["Attention"], absent=["Expand", "Where"], opsets=(23,))
    (node,) = (node for node in program.model.graph if node.op_type == "Attention")
    assert (node.attributes["q_num_heads"].value, node.attributes["kv_num_heads"].value) == (4, 2)


def test_tiled_heads_are_no_groups():
    def fn(q, k, v):
        return LAYOUTS["tokens first"][0](q, jnp.tile(k, (1, 1, 2, 1)), jnp.tile(v, (1, 1, 2, 1)))

    check(fn, *SHARED, contains=["Attention"], opsets=(23,))


def test_one_head_of_keys_for_all():
    def fn(q, k, v):
        w = jax.nn.softmax(jnp.einsum("bhqd,bkd->bhqk", q, k) * 0.35)
        return jnp.einsum("bhqk,bkd->bhqd", w, v)

    check(fn, Spec((2, 4, 5, 8)), *[Spec((2, 5, 8))] * 2, contains=["Attention"], opsets=(23,))


# -- JAX's own function where it was kept in a closure -----------------------------------------------------------------

KEPT = {
    "plain": jax.vmap(jax.nn.dot_product_attention),
    "causal": jax.vmap(functools.partial(jax.nn.dot_product_attention, is_causal=True)),
    "mask": jax.vmap(lambda q, k, v: jax.nn.dot_product_attention(q, k, v, mask=np.tri(5, dtype=bool)[None])),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_function_made_before_the_export(name):
    kept = KEPT[name]
    for heads in (4, 2):
        check(
            lambda q, k, v: kept(q, k, v),
            SHARED[0],
            *[Spec(("B", 5, heads, 8))] * 2,
            contains=["Attention"],
            opsets=(23,),
        )


HALVES = [Spec((2, 4, 5, 8), np.float16)] * 3
HEAD_SCALES = np.linspace(-0.5, 2, 4, dtype=np.float32)[:, None, None]


def wide_softmax(q, k, v, change=lambda scores: scores):
    """Half precision with the softmax in single, as most models in half precision have it."""
    scores = change((q @ jnp.swapaxes(k, -1, -2) * np.float16(0.35)).astype(np.float32))
    return jax.nn.softmax(scores, -1).astype(q.dtype) @ v


@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min])
def test_softmax_of_half_precision_in_single(low):
    program = check(wide_softmax, *HALVES, contains=["Attention"], absent=["Cast", "MatMul"], opsets=(21, 23, 26))
    (node,) = program.model.graph
    assert node.attributes["softmax_precision"].value == 1

    def causal(q, k, v):
        return wide_softmax(q, k, v, lambda s: jnp.where(np.tri(5, dtype=bool), s, low))

    check(causal, *HALVES, contains=["Attention"], absent=["Cast", "MatMul"], opsets=(23,))


def test_softmax_over_more_keys_than_half_precision_counts():
    specs = [Spec((1, 2, 3, 8), np.float16), *[Spec((1, 2, 6000, 8), np.float16)] * 2]
    check(wide_softmax, *specs, contains=["Attention"], opsets=(23,))


def test_products_of_half_precision_that_are_not_rounded_are_an_operator_of_float32():
    def fn(q, k, v):
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=np.float32)
        return jax.nn.softmax(scores, -1).astype(q.dtype) @ v

    program = check(fn, *HALVES, contains=["Attention"], absent=["Softmax"], opsets=(23,))
    (node,) = (node for node in program.model.graph if node.op_type == "Attention")
    assert {value.dtype.numpy() for value in node.inputs if value is not None} == {np.dtype(np.float32)}


def test_declines_a_bias_or_a_cap_in_single_on_half_precision():
    bias = np.linspace(-1, 1, 25, dtype=np.float32).reshape(5, 5)
    for change in (lambda s: s + bias, jnp.tanh):
        check(lambda q, k, v, c=change: wide_softmax(q, k, v, c), *HALVES, absent=["Attention"], opsets=(23,))


SCALES = {
    "of each head": lambda s, t: s * HEAD_SCALES,
    "of each head, divided": lambda s, t: s / HEAD_SCALES,
    "of each query": lambda s, t: np.linspace(0.1, 2, 5, dtype=np.float32)[:, None] * s,
    "computed": lambda s, t: s * t,
    "computed for each image and head": lambda s, t: s / (2 + jnp.sin(t + jnp.arange(8.0)).reshape(2, 4, 1, 1)),
    "and a mask": lambda s, t: jnp.where(np.tri(5, dtype=bool), s * t * HEAD_SCALES, -jnp.inf),
}


@pytest.mark.parametrize("name", SCALES)
def test_other_scales_are_multiplied_on_the_queries(name):
    def fn(q, k, v, t):
        return jax.nn.softmax(SCALES[name](q @ jnp.swapaxes(k, -1, -2), t), -1) @ v

    specs = [*[Spec((2, 4, 5, 8))] * 3, Spec(())]
    check(fn, *specs, contains=["Attention"], absent=["Softmax"], opsets=(21, 23))


def test_a_scale_of_each_head_with_symbolic_sizes():
    def fn(q, k, v):
        return jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * HEAD_SCALES, -1) @ jnp.swapaxes(v, 1, 2)

    check(fn, *[Spec(("B", "T", 4, 8))] * 3, contains=["Attention"], absent=["Softmax"], opsets=(23,))


@pytest.mark.parametrize("t", [np.nan, np.inf, 0.0])
def test_a_scale_that_is_not_finite(t):
    def fn(q, k, v, t):
        return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) * t, -1) @ v

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 4, 5, 8)).astype(np.float32) for _ in range(3)]
    check(fn, *arrays, np.float32(t), contains=["Attention"], opsets=(23,))


def test_declines_a_scale_of_each_key_and_one_behind_a_bias():
    keys = np.linspace(0.1, 2, 5, dtype=np.float32)
    for change in (lambda s: s * keys, lambda s: (s + keys) * HEAD_SCALES, lambda s: jnp.tanh(s) * HEAD_SCALES):

        def fn(q, k, v, change=change):
            return jax.nn.softmax(change(q @ jnp.swapaxes(k, -1, -2)), -1) @ v

        check(fn, *[Spec((2, 4, 5, 8))] * 3, absent=["Attention"], opsets=(23,))


SOME_KEYS = np.tri(5, dtype=bool)[:, ::-1] | np.eye(5, dtype=bool)


def where(kept):
    return lambda q, k, v: jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / 2, -1, where=kept) @ v


@pytest.mark.parametrize("kept", [np.tri(5, dtype=bool), SOME_KEYS, np.stack([SOME_KEYS, np.ones((5, 5), bool)] * 2)])
def test_a_softmax_over_some_keys(kept):
    specs = [Spec(("B", 4, 5, 8))] * 3
    check(where(kept), *specs, contains=["Attention"], absent=["Softmax", "Where"], opsets=(21, 23))


def test_a_softmax_over_no_keys_gives_zeros():
    kept = np.tri(5, k=-1, dtype=bool)
    specs = [Spec((2, 4, 5, 8))] * 3
    program = check(where(kept), *specs, contains=["Softmax"], absent=["Attention"], opsets=(21, 23))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 4, 5, 8)).astype(np.float32) for _ in range(3)]
    np.testing.assert_array_equal(program(*arrays)[:, :, 0], 0)
    given = lambda q, k, v, kept: where(kept)(q, k, v)  # noqa: E731
    check(given, *arrays, kept, contains=["Softmax"], absent=["Attention", "Exp"], opsets=(21, 23))


def test_zeros_in_other_weights_stay():
    def fn(q, k, v):
        scores = jnp.where(np.tri(5, dtype=bool), q @ jnp.swapaxes(k, -1, -2), -jnp.inf)
        return jnp.where(SOME_KEYS, jax.nn.softmax(scores, -1), 0) @ v

    check(fn, *[Spec((2, 4, 5, 8))] * 3, absent=["Attention"], opsets=(21, 23))


@pytest.mark.parametrize("narrow", ["bool", "bfloat16", "float16", "float8_e4m3fn"])
def test_declines_weights_that_are_rounded(narrow):
    def fn(q, k, v):
        weights = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1)
        return weights.astype(narrow).astype(weights.dtype) @ v

    check(fn, *[Spec((2, 4, 5, 8))] * 3, absent=["Attention"], opsets=(23,))


def test_declines_scores_that_are_rounded_before_they_are_widened():
    def fn(q, k, v):
        scores = (q @ jnp.swapaxes(k, -1, -2)).astype(jnp.bfloat16).astype(np.float32)
        return jax.nn.softmax(scores, -1).astype(q.dtype) @ v

    check(fn, *HALVES, absent=["Attention"], opsets=(23,))


def test_declines_a_product_of_weights_in_less_than_the_scores():
    def fn(q, k, v):
        weights = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2), -1).astype(jnp.bfloat16)
        return jnp.matmul(weights, v.astype(jnp.bfloat16), preferred_element_type=np.float32)

    check(fn, *[Spec((2, 4, 5, 8))] * 3, absent=["Attention"], opsets=(23,))


def test_declines_a_scale_in_single_of_each_head_on_half_precision():
    t = np.array([0.5, 2, 1, 3], np.float32).reshape(4, 1, 1)
    check(lambda q, k, v: wide_softmax(q, k, v, lambda s: s * t), *HALVES, absent=["Attention"], opsets=(23,))


def test_declines_a_large_scale_of_half_precision_that_queries_might_not_hold():
    q, k, v = (np.random.default_rng(i).standard_normal((2, 4, 5, 8)).astype(np.float16) for i in range(3))

    def fn(q, k, v):
        return wide_softmax(q, k, v, lambda scores: scores * np.float32(1e6))

    check(fn, q * np.float16(1000), k * np.float16(1e-3), v, absent=["Attention"], opsets=(23,))
