"""Programs that differ from attention in one operand, axis, number or dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest

import j2o_plugins_jax
from j2o_core.target import Target
from j2o_core.testing import Spec, check
from j2o_core.testing._legalized import rewrite_model

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
QKV = [Spec((2, 4, 5, 8))] * 3
CAUSAL = np.tri(5, dtype=bool)
ONE_EMPTY_ROW = CAUSAL & (np.arange(5) != 2)[:, None]


def numbers(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def transposed(x):
    return jnp.swapaxes(x, -1, -2)


BIAS, LARGE_BIAS = numbers(5, 5), numbers(2, 4, 5, 5)


def attend(q, k, v, change=lambda scores: scores, weights=lambda weights: weights, axis=-1):
    return weights(jax.nn.softmax(change(q @ transposed(k)), axis)) @ v


def changed(**changes):
    return lambda q, k, v: attend(q, k, v, **changes)


def causal(scores):
    return jnp.where(CAUSAL, scores, -jnp.inf)


def zeros_of_the_transpose(weights):
    return transposed(jnp.where(CAUSAL, transposed(weights), 0))


NO_ATTENTION = {
    "the softmax over queries": changed(axis=-2),
    "scores broadcast by a bias": changed(change=lambda s: s[0, 0] + LARGE_BIAS),
    "scores times infinity": changed(change=lambda s: s * np.float32(np.inf)),
    "scores times a number too large": changed(change=lambda s: s * np.float32(1e30) * np.float32(1e30)),
    "scores times zero": changed(change=lambda s: s * np.float32(0)),
    "scores by infinity": changed(change=lambda s: s / np.float32(np.inf)),
    "a negative number behind a bias": changed(change=lambda s: (s + BIAS) * -0.5),
    "a negative number behind a mask": changed(change=lambda s: causal(s) * -1),
    "a negative number behind a cap": changed(change=lambda s: jnp.tanh(s) * -2),
    "an infinite number behind a cap": changed(change=lambda s: jnp.tanh(s) * np.float32(np.inf)),
    "zeros in the transpose": changed(change=causal, weights=zeros_of_the_transpose),
    "zeros that another mask has": changed(change=causal, weights=lambda w: jnp.where(CAUSAL[::-1], w, 0)),
    "zeros without a mask": changed(weights=lambda w: jnp.where(CAUSAL, w, 0)),
    "zeros where the mask keeps": changed(change=causal, weights=lambda w: jnp.where(~CAUSAL, w, 0)),
}


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_what_only_looks_like_attention(name):
    check(NO_ATTENTION[name], *QKV, absent=["Attention"], opsets=(23,))


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 8), (8,), (5,)],
        [(4, 5, 8), (4, 5, 8), (5,)],
    ],
    ids=["key", "value"],
)
def test_a_vector_is_no_matrix(shapes):
    def fn(q, k, v):
        scores = jnp.tensordot(q, k, (-1, -1)) if len(k.shape) == 1 else q @ transposed(k)
        return jax.nn.softmax(scores, -1) @ v

    check(fn, *map(Spec, shapes), absent=["Attention"], opsets=(23,))


def test_several_batches_of_values_have_the_same_weights():
    for batch in ((), (1,)):
        specs = [Spec((*batch, 5, 8)), Spec((*batch, 5, 8)), Spec((3, 5, 8))]
        check(attend, *specs, absent=["Attention"], opsets=(23,))


GRAPHS = {
    "values of heads with the same weights": (
        "float[2,1,5,8] q, float[2,1,8,5] k, float[2,3,5,8] v",
        "s = MatMul(q, k)",
        "Softmax",
    ),
    "a bias that broadcasts the scores": (
        "float[5,8] q, float[8,5] k, float[5,8] v, float[4,5,5] bias",
        "p = MatMul(q, k) s = Add(p, bias)",
        "Softmax",
    ),
    "a number that broadcasts the queries": (
        "float[1,4,5,8] q, float[2,4,8,5] k, float[2,4,5,8] v",
        "more = Mul(q, halves) s = MatMul(more, k)",
        "Attention",
    ),
    "a number with more axes than the queries": (
        "float[4,5,8] q, float[4,8,5] k, float[4,5,8] v",
        "more = Mul(q, half) s = MatMul(more, k)",
        "Attention",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name):
    inputs, scores, operator = GRAPHS[name]
    text = f"""<ir_version: 10, opset_import: ["" : 23]>
    g ({inputs}) => (y) <float[1,1,1,1] half = {{0.5}}, float[2,1,1,1] halves = {{0.5, 0.5}}>
    {{ {scores} w = Softmax(s) y = MatMul(w, v) }}"""
    before = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    model = ir.from_proto(before)
    rewrite_model(model, Target("onnxruntime", 23), j2o_plugins_jax.plugin)
    assert operator in [node.op_type for node in model.graph]
    feeds = {x.name: numbers(*(int(size) for size in x.shape)) for x in model.graph.inputs}
    sessions = [ort.InferenceSession(proto.SerializeToString()) for proto in (before, ir.to_proto(model))]
    (old,), (new,) = (session.run(None, feeds) for session in sessions)
    assert old.shape == new.shape
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 5, 8), (2, 0, 5, 8), (2, 4, 5, 0)])
def test_nothing(shape):
    check(attend, *[Spec(shape)] * 3, opsets=(21, 23))
    check(attend, Spec((2, 4, 5, 0)), Spec((2, 4, 5, 0)), Spec((2, 4, 5, 3)), opsets=(21, 23))
    check(attend, Spec((2, 4, 5, 3)), Spec((2, 4, 5, 3)), Spec((2, 4, 5, 0)), opsets=(21, 23))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: -(s + BIAS) / -2,
        lambda s: -(-causal(s) + BIAS) * 3,
        lambda s: -2 * jnp.tanh(s) * -1,
    ],
    ids=["bias", "mask", "cap"],
)
def test_two_negative_numbers(change):
    check(changed(change=change), *QKV, contains=["Attention"], opsets=(23,))


@pytest.mark.parametrize("number", [-0.5, 0.0, np.inf])
def test_numbers_on_the_queries_that_are_no_scale_stay_there(number):
    def fn(q, k, v):
        return attend(q * np.float32(number), k, v)

    check(fn, *QKV, contains=["Attention"], opsets=(23,))


def test_scales_of_each_head_in_half_precision_stay():
    """Queries times a scale might overflow, where the scores do not."""
    scale = np.linspace(0.5, 2, 4, dtype=np.float16)[:, None, None]
    specs = [Spec((2, 4, 5, 8), np.float16)] * 3
    check(changed(change=lambda s: s * scale), *specs, absent=["Attention"], opsets=(23,))
    q, k, v = (numbers(2, 4, 5, 8, dtype=np.float16) for _ in range(3))
    large = np.full((4, 1, 1), 6e4, np.float16)
    check(changed(change=lambda s: s * large), q * 30, k * np.float16(1e-5), v, absent=["Attention"], opsets=(23,))


@pytest.mark.parametrize("change", [lambda s, t: s * t, lambda s, t: s / (1 / t)], ids=["times", "divided"])
def test_an_infinite_scale_of_a_head_beside_a_mask_stays(change):
    """A query without any key gives the mean of the values, whatever its scores are."""
    scale = np.array([1, np.inf, 2, 3], np.float32)[:, None, None]

    def fn(q, k, v, kept):
        return attend(q, k, v, lambda s: jnp.where(kept, change(s, scale), -1e9))

    check(fn, *(numbers(2, 4, 5, 8) for _ in range(3)), ONE_EMPTY_ROW, absent=["Attention"], opsets=(23,))


# -- Biases ------------------------------------------------------------------------------------------------------------


def test_a_bias_of_zeros_and_moderate_numbers_is_no_mask():
    bias = np.where(CAUSAL, 0, -3).astype(np.float32)
    program = check(changed(change=lambda s: s + bias), *QKV, contains=["Attention"], opsets=(23,))
    (node,) = program.model.graph
    assert "is_causal" not in node.attributes


def low_rows(low, dtype):
    return np.where(ONE_EMPTY_ROW, 0, low).astype(dtype)


@pytest.mark.parametrize(
    ("low", "dtype", "operator"),
    [
        (-1e4, jnp.float32, "Attention"),
        (-1e4, jnp.bfloat16, "Softmax"),
        (-1e9, jnp.bfloat16, "Attention"),
        (-np.inf, jnp.bfloat16, "Attention"),
        (-8, jnp.bfloat16, "Attention"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_a_bias_that_evens_scores_in_bfloat16(low, dtype, operator, known):
    """The sum of a score and -1e4 is -1e4 in bfloat16: the weights of a query without keys are even."""
    q, k, v = (jnp.asarray(numbers(2, 4, 5, 8), dtype) for _ in range(3))
    bias = jnp.asarray(low_rows(low, dtype))
    if known:
        fn = changed(change=lambda s: s + bias)
        check(fn, q, k, v, contains=[operator], opsets=(23,), rtol=5e-2, atol=5e-2)
    else:
        fn = lambda q, k, v, kept: attend(q, k, v, lambda s: s + jnp.where(kept, 0, low).astype(dtype))  # noqa: E731
        check(fn, q, k, v, ONE_EMPTY_ROW, contains=[operator], opsets=(23,), rtol=5e-2, atol=5e-2)
