"""Every fusion over the element types: which are made, and how far the result is from JAX and from the true numbers."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.program._report import operator_counts
from j2o_core.testing import Spec, check

HALF, BRAIN = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
HALVES = [HALF, BRAIN]
OPSETS = (18, 21, 23, 26)

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.uniform(0.5, 1.5, 8), RNG.standard_normal(8)
CHANNELS = WEIGHT[:4, None, None], BIAS[:4, None, None]
POSITION_BIAS = RNG.standard_normal((5, 5))
ANGLES = np.outer(np.arange(5), 0.5 ** np.arange(4))
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
CAUSAL = np.tri(5, dtype=bool)


def like(array, x):
    return jnp.asarray(array, x.dtype)


def single(x):
    """As careful programs compute: half precision in float32."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def mean(x, axis=-1):
    return jnp.mean(x, axis, keepdims=True)


def layer_norm(x):
    d = x - mean(x)
    return d * lax.rsqrt(mean(d * d) + 1e-5) * like(WEIGHT, x) + like(BIAS, x)


def layer_norm_by_variance(x):
    return (x - mean(x)) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5) * like(WEIGHT, x) + like(BIAS, x)


def layer_norm_in_single(x):
    d = single(x) - mean(single(x))
    return (d * lax.rsqrt(mean(d * d) + 1e-5)).astype(x.dtype) * like(WEIGHT, x) + like(BIAS, x)


def layer_norm_all_in_single(x):
    f = single(x)
    variance = jnp.maximum(0.0, mean(f * f) - jnp.square(mean(f)))
    return ((f - mean(f)) * (lax.rsqrt(variance + 1e-6) * like(WEIGHT, f)) + like(BIAS, f)).astype(x.dtype)


def rms_norm(x):
    return x * lax.rsqrt(mean(x * x) + 1e-6) * like(WEIGHT, x)


def rms_norm_in_single(x):
    f = single(x)
    return (f * lax.rsqrt(mean(f * f) + 1e-6)).astype(x.dtype) * like(WEIGHT, x)


def rms_norm_all_in_single(x):
    f = single(x)
    return (f * lax.rsqrt(mean(f * f) + 1e-6) * like(WEIGHT, f)).astype(x.dtype)


def group_norm(x):
    groups = x.reshape(2, 2, -1)
    d = groups - mean(groups)
    return (d * lax.rsqrt(mean(d * d) + 1e-5)).reshape(x.shape)


def instance_norm(x):
    d = x - mean(x, (2, 3))
    return d * lax.rsqrt(mean(d * d, (2, 3)) + 1e-5) * like(CHANNELS[0], x) + like(CHANNELS[1], x)


def scores(q, k, number=0.35):
    return q @ jnp.swapaxes(k, -1, -2) * like(number, q)


def wide_scores(q, k):
    kind = np.promote_types(np.float32, np.float64 if q.dtype == np.float64 else np.float32)
    return jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=kind) * like(0.35, jnp.zeros((), kind))


def attend(s, v):
    return jax.nn.softmax(s, -1).astype(v.dtype) @ v


def low(x):
    return jnp.asarray(jnp.finfo(x.dtype).min, x.dtype)


def turned(x):
    first, second = jnp.split(x, 2, -1)
    cos, sin = (like(np.concatenate([table, table], -1), x) for table in (COS, SIN))
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def turned_interleaved(x):
    a, b, cos, sin = x[..., ::2], x[..., 1::2], like(COS, x), like(SIN, x)
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)


def softmax_by_hand(x):
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu_by_hand(x):
    cubic = x + like(0.044715, x) * x * x * x
    return 0.5 * x * (1 + jnp.tanh(like(np.sqrt(2 / np.pi), x) * cubic))


ROWS, VECTOR, IMAGES = ((3, 8),), ((50,),), ((2, 4, 3, 3),)
QKV, TOKENS = ((2, 4, 5, 8),) * 3, ((2, 4, 5, 8),)
MASK = np.zeros((5, 5), bool)

# name: (function, shapes, operator, its first opset, dtypes for which it is not made and why)
SQUARES = {"float16": "squares overflow", "float64": "the epsilon is float32"}
KERNEL = {"float64": "ONNX Runtime computes it in float32, or has no kernel"}
EVENS = {"float16": "a row without a key", **KERNEL}
FUSIONS = {
    "layer norm": (layer_norm, ROWS, "LayerNormalization", 18, SQUARES),
    "layer norm, variance": (layer_norm_by_variance, ROWS, "LayerNormalization", 18, SQUARES),
    "layer norm in single": (layer_norm_in_single, ROWS, "LayerNormalization", 18, {"float64": ""}),
    "layer norm all in single": (layer_norm_all_in_single, ROWS, "LayerNormalization", 18, {"float64": ""}),
    "rms norm": (rms_norm, ROWS, "RMSNormalization", 23, SQUARES),
    "rms norm in single": (rms_norm_in_single, ROWS, "RMSNormalization", 23, {"float64": ""}),
    "rms norm all in single": (rms_norm_all_in_single, ROWS, "RMSNormalization", 23, {"float64": ""}),
    "group norm": (group_norm, IMAGES, "InstanceNormalization", 18, SQUARES),
    "instance norm": (instance_norm, IMAGES, "InstanceNormalization", 18, SQUARES),
    "attention": (lambda q, k, v: attend(scores(q, k), v), QKV, "Attention", 23, KERNEL),
    "attention, softmax in single": (lambda q, k, v: attend(single(scores(q, k)), v), QKV, "Attention", 23, KERNEL),
    "attention, scores in single": (lambda q, k, v: attend(wide_scores(q, k), v), QKV, "Attention", 23, KERNEL),
    "attention, large scale": (
        lambda q, k, v: attend(scores(q, k, 2.0), v),
        QKV,
        "Attention",
        23,
        {"float16": "scaled queries and keys may be infinite", **KERNEL},
    ),
    "attention, causal": (
        lambda q, k, v: attend(jnp.where(CAUSAL, scores(q, k), low(q)), v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, causal, infinite": (
        lambda q, k, v: attend(jnp.where(CAUSAL, scores(q, k), -jnp.inf), v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, causal in single": (
        lambda q, k, v: attend(jnp.where(CAUSAL, wide_scores(q, k), -1e9), v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, mask": (
        lambda q, k, v, m: attend(jnp.where(m, scores(q, k), low(q)), v),
        (*QKV, MASK),
        "Attention",
        23,
        EVENS,
    ),
    "attention, mask in single": (
        lambda q, k, v, m: attend(jnp.where(m, wide_scores(q, k), -1e9), v),
        (*QKV, MASK),
        "Attention",
        23,
        KERNEL,
    ),
    "attention, bias": (
        lambda q, k, v: attend(scores(q, k) + like(POSITION_BIAS, q), v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, bias in single": (
        lambda q, k, v: attend(wide_scores(q, k) + np.float32(POSITION_BIAS), v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, cap": (
        lambda q, k, v: attend(jnp.tanh(scores(q, k) / 5) * 5, v),
        QKV,
        "Attention",
        23,
        KERNEL,
    ),
    "attention, groups": (
        lambda q, k, v: attend(wide_scores(q, jnp.repeat(k, 2, 1)), jnp.repeat(v, 2, 1)),
        ((2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)),
        "Attention",
        23,
        KERNEL,
    ),
    "jax.nn attention": (jax.nn.dot_product_attention, ((2, 5, 4, 8),) * 3, "Attention", 23, KERNEL),
    "jax.nn attention, mask": (
        lambda q, k, v, m: jax.nn.dot_product_attention(q, k, v, mask=m[None, None]),
        (*((2, 5, 4, 8),) * 3, MASK),
        "Attention",
        23,
        KERNEL,
    ),
    "rotary embedding": (turned, TOKENS, "RotaryEmbedding", 23, KERNEL),
    "rotary embedding in single": (
        lambda x: turned(single(x)).astype(x.dtype),
        TOKENS,
        "RotaryEmbedding",
        23,
        KERNEL,
    ),
    "rotary embedding, interleaved": (turned_interleaved, TOKENS, "RotaryEmbedding", 23, KERNEL),
    "softmax": (jax.nn.softmax, ROWS, "Softmax", 18, {}),
    "softmax by hand": (softmax_by_hand, ROWS, "Softmax", 18, {}),
    "softmax, first axis": (lambda x: jax.nn.softmax(x, 0), ROWS, "Softmax", 18, {}),
    "softmax of some": (
        lambda x, m: jax.nn.softmax(x, -1, where=m),
        ((5, 5), MASK),
        "Softmax",
        18,
        {},
    ),
    "log softmax": (jax.nn.log_softmax, ROWS, "LogSoftmax", 18, {}),
    "weights by logsumexp": (
        lambda x, v: jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True)) @ v,
        ((3, 8), (8, 4)),
        "Softmax",
        18,
        {},
    ),
    "gelu": (jax.nn.gelu, VECTOR, "Gelu", 20, KERNEL),
    "gelu, exact": (lambda x: jax.nn.gelu(x, approximate=False), VECTOR, "Gelu", 20, KERNEL),
    "gelu by hand": (gelu_by_hand, VECTOR, "Gelu", 20, KERNEL),
    "silu": (jax.nn.silu, VECTOR, "Sigmoid", 18, {"float64": "Sigmoid of float64 is written out"}),
    "hard sigmoid": (jax.nn.hard_sigmoid, VECTOR, "HardSigmoid", 18, KERNEL),
    "hard swish": (jax.nn.hard_swish, VECTOR, "HardSwish", 18, KERNEL),
    "relu": (jax.nn.relu, VECTOR, "Relu", 18, {}),
    "relu6": (jax.nn.relu6, VECTOR, "Clip", 18, {}),
    "selected bound": (lambda x: jnp.where(x < 1, like(1, x), x), VECTOR, "Max", 18, {}),
    "mean": (mean, ROWS, "ReduceMean", 18, {}),
}
# One operator in float32, with a Cast for each operand and one for the result.
NOT_ONE_REGION = {
    "silu": "x is an operand of two operators",
    "weights by logsumexp": "the weights are rounded before the product",
    "softmax of some": "the zeros are placed in bfloat16",
}


def example(shapes, dtype, seed=1):
    rng = np.random.default_rng(seed)
    numbers = [shape if isinstance(shape, np.ndarray) else (2 * rng.standard_normal(shape)) for shape in shapes]
    return [rng.random(x.shape) < 0.7 if x.dtype == bool else x.astype(dtype) for x in numbers]


def in_jax(fn, arrays, dtype=None):
    arrays = [x if dtype is None or x.dtype == bool else x.astype(dtype) for x in arrays]
    return np.asarray(jax.jit(fn)(*arrays)).astype(np.float64)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", FUSIONS)
def test_operator_and_result(name, dtype):
    fn, shapes, op_type, first, declined = FUSIONS[name]
    arrays = example(shapes, dtype)
    with jax.enable_x64(True):
        truth = in_jax(fn, arrays, np.float64)
    try:
        wanted = in_jax(fn, arrays)
    except ValueError:  # not every JAX has products of float16 in float32 on the CPU
        wanted = truth.astype(dtype).astype(np.float64)
    unit = float(ml_dtypes.finfo(dtype).eps) * np.abs(truth).max()
    for opset in OPSETS:
        program = to_onnx(fn, arrays, opset=opset)
        program.check()
        counts = operator_counts(program.model)
        assert bool(counts[op_type]) == (opset >= first and dtype.name not in declined), (opset, dict(counts))
        result = program(*arrays).astype(np.float64)
        # Two results that are each rounded a few times, next to the largest number; one operator rounds once.
        assert np.abs(result - wanted).max() <= 3 * unit, opset
        assert not counts[op_type] or np.abs(result - truth).max() <= unit, opset


@pytest.mark.parametrize("name", [name for name in FUSIONS if name not in NOT_ONE_REGION])
def test_bfloat16_is_one_region_between_casts(name):
    fn, shapes, *_ = FUSIONS[name]
    plain, brain = (
        operator_counts(to_onnx(fn, example(shapes, dtype), opset=23).model) for dtype in (np.float32, BRAIN)
    )
    casts = brain.pop("Cast")
    assert dict(brain) == {op: count for op, count in plain.items() if op != "Cast"}
    assert casts == 1 + sum(not isinstance(shape, np.ndarray) for shape in shapes)


@pytest.mark.parametrize("name", FUSIONS)
def test_double_precision(name, x64):
    fn, shapes, op_type, _, declined = FUSIONS[name]
    arrays = example(shapes, np.float64)
    made = "float64" not in declined
    check(
        fn,
        *arrays,
        opsets=(21, 23),
        contains=[op_type] if made else [],
        absent=[] if made else [op_type],
        # JAX's own attention takes its softmax in float32.
        **({"rtol": 1e-6, "atol": 1e-6} if "jax.nn" in name else {}),
    )


# -- Attention: where half precision differs ---------------------------------------------------------------------------


def rows_without_keys():
    kept = np.tri(5, dtype=bool)
    kept[2] = False
    return kept


@pytest.mark.parametrize("low", [-np.inf, float(ml_dtypes.finfo(BRAIN).min), -1e9, -1e4])
@pytest.mark.parametrize("given", [False, True], ids=["constant", "given"])
@pytest.mark.parametrize("way", ["where", "where in single", "added", "added in single"])
def test_queries_without_keys(way, given, low):
    """Whatever the operator is made of, such a query gives JAX's number: the mean of all values, or NaN."""
    kept = rows_without_keys()

    def fn(q, k, v, m=kept):
        s = wide_scores(q, k) if "single" in way else scores(q, k)
        number = jnp.asarray(low, s.dtype)
        return attend(jnp.where(m, s, number) if "where" in way else s + jnp.where(m, 0, number), v)

    arrays = example(QKV, BRAIN)
    operands = [*arrays, kept] if given else arrays
    wanted = in_jax(fn, operands)
    result = to_onnx(fn, operands, opset=23)(*operands).astype(np.float64)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=3 * 2**-7 * np.nanmax(np.abs(wanted)))


def test_a_low_bias_that_leaves_each_query_a_key_is_one_operator():
    bias = np.where(CAUSAL, 0, -1e4)
    specs = [Spec(shape, BRAIN) for shape in QKV]
    check(lambda q, k, v: attend(scores(q, k) + like(bias, q), v), *specs, contains=["Attention"], opsets=(23,))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("place", ["q", "k", "v"])
def test_numbers_that_are_not_finite(place, dtype):
    arrays = example(QKV, dtype)
    target = arrays["qkv".index(place)]
    target[0, 0, 1, 0], target[0, 1, 1, 0], target[1, 0, 2, 3] = np.nan, np.inf, -np.inf
    for fn in (lambda q, k, v: attend(wide_scores(q, k), v), lambda q, k, v: attend(single(scores(q, k)), v)):
        check(fn, *arrays, contains=["Attention"], opsets=(23,))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_logits_beyond_float16(dtype):
    """JAX's own function has them in float32, and so has its operator."""
    q, k, v = (x.swapaxes(1, 2) for x in example(QKV, dtype))
    q, k = (x * dtype.type(200) for x in (q, k))
    program = to_onnx(jax.nn.dot_product_attention, [q, k, v], opset=23)
    assert operator_counts(program.model)["Attention"] == 1
    wanted = in_jax(jax.nn.dot_product_attention, [q, k, v], np.float32)
    assert np.abs(np.einsum("bqhd,bkhd->bhqk", *np.float64([q, k]))).max() > 2 * 65504
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(program(q, k, v).astype(np.float64), wanted, rtol=0, atol=0.05)


ROUNDED_ELSEWHERE = {
    "weights in float8": lambda q, k, v: attend(scores(q, k), v.astype("float8_e4m3fn")).astype(v.dtype),
    "weights, product in single": lambda q, k, v: jnp.matmul(
        jax.nn.softmax(wide_scores(q, k), -1).astype(v.dtype), v, preferred_element_type=np.float32
    ),
    "scores, all in single": lambda q, k, v: jax.nn.softmax(single(scores(q, k)), -1) @ single(v),
    "scores in float16": lambda q, k, v: attend(single(wide_scores(q, k).astype(np.float16)), v),
}


@pytest.mark.parametrize("name", ROUNDED_ELSEWHERE)
def test_declines_results_that_are_finer_than_what_they_are_made_of(name):
    # A difference of one unit in rounding shows in a finer result.
    specs = [Spec(shape, BRAIN) for shape in QKV]
    check(ROUNDED_ELSEWHERE[name], *specs, absent=["Attention"], opsets=(23,), rtol=2**-4, atol=2**-4)


def test_between_projections_nothing_is_moved():
    weights = [np.random.default_rng(seed).standard_normal((32, 32)) / 6 for seed in range(4)]

    def block(x):
        q, k, v = ((x @ like(w, x)).reshape(*x.shape[:2], 4, 8) for w in weights[:3])
        tables = [like(np.concatenate([table, table], -1)[:, None], x) for table in (COS, SIN)]

        def embedded(x):
            first, second = jnp.split(x, 2, -1)
            return x * tables[0] + jnp.concatenate([-second, first], -1) * tables[1]

        result = jax.nn.dot_product_attention(embedded(q), embedded(k), v, is_causal=True)
        return result.reshape(x.shape) @ like(weights[3], x)

    program = check(block, Spec(("B", 5, 32), BRAIN), contains=["Attention", "RotaryEmbedding"], opsets=(23,))
    assert "Transpose" not in operator_counts(program.model)


# -- What squares in float16 give --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [layer_norm, rms_norm], ids=["layer norm", "rms norm"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_large_numbers_are_normalised_as_in_jax(fn, dtype):
    """Squares overflow in float16, where JAX gives zeros then; those of bfloat16 do not."""
    check(fn, np.array([[600, -600, 0, 0, 1, 2, 3, 4]], dtype), opsets=(21, 23))


def test_a_weight_behind_a_cast_that_another_reads_stays_there():
    def fn(x):
        d = single(x) - mean(single(x))
        y = (d * lax.rsqrt(mean(d * d) + 1e-5)).astype(x.dtype)
        return y * like(WEIGHT, x), y

    check(fn, Spec((3, 8), BRAIN), contains=["LayerNormalization", "Mul"], opsets=(18, 23))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("name", ["relu", "relu6", "selected bound"])
def test_exact_operators_of_float8(name, dtype):
    fn, _, op_type, _, _ = FUSIONS[name]
    check(fn, np.arange(-8, 9).astype(dtype), contains=[op_type], opsets=(21, 23))


# Not softmax: XLA's of float8_e4m3fn, which has no infinity, gives NaN at other places from call to call.
@pytest.mark.parametrize(("fn", "op_type"), [(jax.nn.gelu, "Gelu"), (lambda x: x.mean(1), "ReduceMean")])
def test_declines_sums_and_powers_in_float8(fn, op_type):
    """They overflow where the operator does not: JAX's mean of eight times 100 is NaN."""
    x = np.arange(-8, 8).reshape(2, 8).astype("float8_e4m3fn")
    check(fn, x, absent=[op_type], opsets=(23,))
    check(fn, np.full((2, 8), 100).astype(x.dtype), absent=[op_type], opsets=(23,))


def test_a_mean_of_single_elements_is_each_element():
    """Casts that come to lie beside each other are gone: the runtime would round one side of the difference only."""
    x = np.linspace(-2, 2, 10).astype(np.float16).reshape(5, 2, 1)
    check(lambda x: jax.nn.standardize(jnp.tanh(x), 2), x, absent=["Cast"])
