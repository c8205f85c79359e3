"""Attention and what masks and biases hide: JAX's numbers for queries without keys, and what stands in hidden keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core

LOWEST = np.finfo(np.float32).min
B, T, H, D = 2, 4, 2, 8
OPSETS = (23, 24, 26)
HIDDEN_KEYS = "NaN or infinity in a key that the mask hides reaches queries"
NO_KEY = "a query whose keys all have -inf as mask gives 0 instead of NaN"

attend = jax.nn.dot_product_attention


def by_hand(q, k, v, change):
    scores = change(jnp.einsum("bqhd,bkhd->bhqk", q, k) / D**0.5)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def qkv(dtype=np.float32, length=T, kv_heads=H):
    return [random(B, length, heads, D, seed=i, dtype=dtype) for i, heads in enumerate((H, kv_heads, kv_heads))]


def biases(heads=1, dtype=np.float32):
    """Biases that hide keys, rows and all, by the lowest number, by -inf, by both and by what is only very low."""
    lowest = np.finfo(dtype).min if dtype == np.float32 else dtype(jnp.finfo(dtype).min)

    def filled(fill):
        array = random(B, heads, T, T, seed=5) / 4
        with np.errstate(invalid="ignore"):
            fill(array)
        return array.astype(dtype)

    def left(low):
        return lambda array: array.__setitem__((..., slice(0, 2)), low)

    def rows(low):
        return lambda array: array.__setitem__((0, slice(None), slice(1, 3)), low)

    def mixed(array):
        array[..., 0], array[..., 1:] = lowest, -np.inf

    lows = (lowest, np.float32(-1e30) if dtype != np.float16 else np.float32(-6e4), -np.inf)
    fills = [fill(low) for low in lows for fill in (left, rows)]
    return [filled(lambda array: array.fill(lowest)), *map(filled, fills), filled(mixed)]


def same_as_jax(program, fn, *arrays, rtol=2e-5, atol=2e-6):
    """Compares: what is finite in JAX always, NaN unless the program notes that it differs there."""
    wanted = np.asarray(jax.jit(fn)(*arrays), np.float32)
    got = np.asarray(program(*arrays), np.float32)
    if NO_KEY in program.report():
        wanted, got = (np.where(np.isnan(wanted), 0, array) for array in (wanted, got))
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


def export(fn, arrays, opset, *, fused=True, **options):
    program = j2o_core.to_onnx(fn, list(arrays), opset=opset, **options)
    counts = [node.op_type for node in program.model.graph]
    assert counts.count("Attention") == fused
    return program


CAUSAL = np.tril(np.ones((T, T), bool))
WITH_BIAS = {
    "plain": lambda q, k, v, bias: attend(q, k, v, bias=bias),
    "causal": lambda q, k, v, bias: attend(q, k, v, bias=bias, is_causal=True),
    "constant mask": lambda q, k, v, bias: attend(q, k, v, bias=bias, mask=CAUSAL[None, None]),
    "window": lambda q, k, v, bias: attend(q, k, v, bias=bias, local_window_size=1),
    "by hand": lambda q, k, v, bias: by_hand(q, k, v, lambda s: s + bias),
    "by hand, causal -inf": lambda q, k, v, bias: by_hand(q, k, v, lambda s: jnp.where(CAUSAL, s + bias, -jnp.inf)),
    "by hand, causal lowest": lambda q, k, v, bias: by_hand(q, k, v, lambda s: jnp.where(CAUSAL, s + bias, LOWEST)),
    "two biases": lambda q, k, v, bias: by_hand(q, k, v, lambda s: s + bias + np.where(CAUSAL, 0, LOWEST)),
}


@pytest.mark.parametrize("form", WITH_BIAS)
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("heads", [1, H])
def test_rows_that_a_bias_hides(form, opset, heads):
    fn = WITH_BIAS[form]
    program = export(fn, [*qkv(), biases(heads)[0]], opset)
    for bias in biases(heads):
        same_as_jax(program, fn, *qkv(), bias)
    assert (NO_KEY in program.report()) == (heads > 1)


def pattern(*shape):
    """A mask that hides rows, left keys, right keys, everything."""
    kept = np.ones(shape, bool)
    kept[0, ..., :2] = False
    kept[1, ..., 3:] = False
    return [kept, np.zeros(shape, bool), random(*shape, seed=9) > 0.8]


def padding(kept):
    return (1 - kept.astype(jnp.float32)) * LOWEST


WITH_MASK = {
    "mask": (lambda q, k, v, m: attend(q, k, v, mask=m), (B, 1, T, T)),
    "mask of each head": (lambda q, k, v, m: attend(q, k, v, mask=m), (B, H, T, T)),
    "padding": (lambda q, k, v, m: attend(q, k, v, mask=m), (B, 1, 1, T)),
    "padding and causal": (lambda q, k, v, m: attend(q, k, v, mask=m, is_causal=True), (B, 1, 1, T)),
    "mask and bias": (lambda q, k, v, m: attend(q, k, v, mask=m, bias=padding(m)), (B, 1, T, T)),
    "by hand -inf": (lambda q, k, v, m: by_hand(q, k, v, lambda s: jnp.where(m, s, -jnp.inf)), (B, 1, T, T)),
    "by hand lowest": (lambda q, k, v, m: by_hand(q, k, v, lambda s: jnp.where(m, s, LOWEST)), (B, 1, 1, T)),
    "by hand -1e9": (lambda q, k, v, m: by_hand(q, k, v, lambda s: jnp.where(~m, -1e9, s)), (B, 1, T, T)),
    "by hand -inf, heads": (lambda q, k, v, m: by_hand(q, k, v, lambda s: jnp.where(m, s, -jnp.inf)), (B, H, T, T)),
    "added": (lambda q, k, v, m: by_hand(q, k, v, lambda s: s + padding(m)), (B, 1, 1, T)),
    "added to causal": (
        lambda q, k, v, m: by_hand(q, k, v, lambda s: s + jnp.where(m & CAUSAL, 0.0, LOWEST)),
        (B, 1, 1, T),
    ),
    "added twice": (
        lambda q, k, v, m: by_hand(q, k, v, lambda s: s + padding(m) + np.where(CAUSAL, 0, LOWEST)),
        (B, 1, 1, T),
    ),
    "either": (lambda q, k, v, m: by_hand(q, k, v, lambda s: jnp.where(~m | ~CAUSAL, LOWEST, s)), (B, 1, 1, T)),
}


@pytest.mark.parametrize("form", WITH_MASK)
@pytest.mark.parametrize("opset", OPSETS)
def test_rows_that_a_mask_hides(form, opset):
    fn, shape = WITH_MASK[form]
    program = export(fn, [*qkv(), np.ones(shape, bool)], opset)
    for mask in pattern(*shape):
        same_as_jax(program, fn, *qkv(), mask)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("causal", [False, True])
def test_lengths(opset, causal):
    def fn(q, k, v, lengths):
        return attend(q, k, v, key_value_seq_lengths=lengths, is_causal=causal)

    program = export(fn, [*qkv(), np.array([1, 2], np.int32)], opset)
    for lengths in ([4, 1], [0, 3], [0, 0]):
        same_as_jax(program, fn, *qkv(), np.array(lengths, np.int32))


@pytest.mark.parametrize("form", ["mask", "padding and causal", "mask and bias"])
def test_grouped_heads(form):
    fn, shape = WITH_MASK[form]
    program = export(fn, [*qkv(kv_heads=1), np.ones(shape, bool)], 24)
    for mask in pattern(*shape):
        same_as_jax(program, fn, *qkv(kv_heads=1), mask)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
@pytest.mark.parametrize("form", ["mask", "padding", "by hand lowest", "added"])
def test_half_precision(form, dtype):
    fn, shape = WITH_MASK[form]
    arrays = [jnp.asarray(array, dtype) for array in qkv()]

    def single(q, k, v, m):  # not every JAX can multiply float16 into float32 on the CPU
        return fn(*(x.astype(jnp.float32) for x in (q, k, v)), m)

    program = j2o_core.to_onnx(fn, [*arrays, np.ones(shape, bool)], opset=23)
    for mask in pattern(*shape):
        same_as_jax(program, single, *arrays, mask, rtol=4e-2, atol=4e-2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_a_bias_in_half_precision(dtype):
    def fn(q, k, v, bias):
        return attend(q, k, v, bias=bias)

    program = export(fn, [*qkv(), biases(dtype=dtype)[0]], 23)
    for bias in biases(dtype=dtype):
        same_as_jax(program, fn, *qkv(), bias)


@pytest.mark.parametrize("opset", [23, 26])
def test_under_vmap(opset):
    def fn(q, k, v, bias, mask):
        return attend(q, k, v, bias=bias[None, None], mask=mask[None, None])

    mapped = jax.vmap(fn)
    bias, mask = biases()[0][:, 0], np.ones((B, T, T), bool)
    program = export(mapped, [*qkv(), bias, mask], opset)
    for bias in biases():
        same_as_jax(program, mapped, *qkv(), bias[:, 0], mask)
    for mask in pattern(B, T, T):
        same_as_jax(program, mapped, *qkv(), biases()[4][:, 0], mask)


@pytest.mark.parametrize("opset", [23, 26])
def test_gradient(opset):
    def loss(v, q, k, bias):
        return jnp.sum(jnp.sin(attend(q, k, v, bias=bias, is_causal=True)))

    fn = jax.grad(loss)
    q, k, v = qkv()
    program = j2o_core.to_onnx(fn, [v, q, k, biases()[0]], opset=opset)
    for bias in biases():
        same_as_jax(program, fn, v, q, k, bias)


@pytest.mark.parametrize("low", [-1e9, -1e20, LOWEST])
@pytest.mark.parametrize("opset", [21, 23])
def test_a_bias_lower_than_what_hides(low, opset):
    """A score that is kept may then be lower than one that is hidden."""

    def fn(q, k, v, bias):
        return by_hand(q, k, v, lambda s: jnp.where(CAUSAL, s + bias, low))

    program = j2o_core.to_onnx(fn, [*qkv(), biases()[0]], opset=opset)
    for bias in [*biases(), np.full((B, 1, T, T), -1e10, np.float32)]:
        same_as_jax(program, fn, *qkv(), bias)


@pytest.mark.parametrize("low", [-1e9, LOWEST])
def test_a_bias_behind_a_mask_of_a_query_without_keys(low):
    """-1e9 + 1000 is not -1e9."""

    def fn(q, k, v, mask):
        return by_hand(q, k, v, lambda s: jnp.where(mask, s, low) + np.linspace(0, 1000, T, dtype=np.float32))

    program = j2o_core.to_onnx(fn, [*qkv(), np.ones((B, 1, T, T), bool)], opset=23)
    for mask in pattern(B, 1, T, T):
        same_as_jax(program, fn, *qkv(), mask, rtol=1e-4)


@pytest.mark.parametrize("scale", [-0.3, 0.0, 1e-30, 0.3, 30.0, -0.0])
@pytest.mark.parametrize("opset", [21, 23, 26])
def test_any_scale(scale, opset):
    def fn(q, k, v, mask):
        return attend(q, k, v, scale=scale, mask=mask) + attend(q, k, v, scale=scale, is_causal=True)

    program = j2o_core.to_onnx(fn, [*qkv(), np.ones((B, 1, 1, T), bool)], opset=opset)
    for mask in pattern(B, 1, 1, T):
        same_as_jax(program, fn, *qkv(), mask, rtol=1e-4, atol=1e-5)


# -- NaN and infinity in hidden keys -----------------------------------------------------------------------------------

NONFINITE = [np.nan, np.inf, -np.inf]
KEYS = {
    "padding": lambda q, k, v: attend(q, k, v, mask=np.array([True, True, True, False])[None, None, None]),
    "causal": lambda q, k, v: attend(q, k, v, is_causal=True),
    "lengths": lambda q, k, v: attend(q, k, v, key_value_seq_lengths=jnp.array([3, 3])),
    "by hand": lambda q, k, v: by_hand(q, k, v, lambda s: jnp.where(np.arange(T) < 3, s, -1e9)),
    "by hand, causal": lambda q, k, v: by_hand(q, k, v, lambda s: jnp.where(CAUSAL, s, -jnp.inf)),
}


@pytest.mark.parametrize("form", KEYS)
@pytest.mark.parametrize("opset", [23, 26])
def test_hidden_keys_on_request(form, opset):
    fn = KEYS[form]
    q, k, v = qkv()
    program = export(fn, [q, k, v], opset, fused=False, nonfinite="exact")
    assert "operators that differ from JAX: 0" in program.report()
    for number in NONFINITE:
        k[:, 3] = number
        same_as_jax(program, fn, q, k, v)
    assert HIDDEN_KEYS in export(fn, [q, k, v], opset).report()


@pytest.mark.parametrize("opset", [23, 26])
@pytest.mark.parametrize("length", [256, "T"])
def test_keys_hidden_from_all_queries_by_default(opset, length):
    """One Where on the keys is less than a tenth of attention between so many tokens."""

    def fn(q, k, v, mask):
        return attend(q, k, v, mask=mask[:, None, None])

    program = export(lambda q, k, v, m: fn(q, k, v, m > 0), [*[(B, length, H, D)] * 3, (B, length)], opset)
    assert "operators that differ from JAX: 0" in program.report()
    q, k, v = qkv(length=256)
    mask = np.ones((B, 256), bool)
    mask[:, 200:] = False
    for number in NONFINITE:
        k[:, 200:] = number
        wanted = fn(q, k, v, mask)
        np.testing.assert_allclose(program(q, k, v, mask.astype(np.float32)), wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("length", [256, "T"])
def test_keys_that_one_mask_of_queries_and_keys_hides_from_all_queries(length):
    """Padding and a window in one mask, as libraries combine them: the padding is replaced, the window is noted."""

    def fn(q, k, v, mask):
        return attend(q, k, v, mask=mask)

    specs = [*[(B, length, H, D)] * 3, (B, 1, length, length)]
    program = export(lambda q, k, v, m: fn(q, k, v, m > 0), specs, 23)
    assert HIDDEN_KEYS in program.report()
    q, k, v = qkv(length=256)
    mask = np.tile(np.tril(np.ones((256, 256), bool)), (B, 1, 1, 1))
    mask[..., 200:] = False
    for number in NONFINITE:
        k[:, 200:] = number
        wanted = fn(q, k, v, mask)
        np.testing.assert_allclose(program(q, k, v, mask.astype(np.float32)), wanted, rtol=2e-5, atol=2e-6)


def test_a_mask_of_each_head_beside_padding_is_noted():
    def fn(q, k, v, mask, heads):
        return by_hand(q, k, v, lambda s: jnp.where(heads, jnp.where(mask[:, None, None], s, -1e9), -1e9))

    program = export(fn, [*qkv(length=256), np.ones((B, 256), bool), np.ones((1, H, 1, 256), bool)], 23)
    assert HIDDEN_KEYS in program.report()


def test_hidden_keys_of_projections_stay_where_they_are():
    """Tokens first: the Where is put on what the projection gives."""
    weights = [random(H * D, H * D, seed=i) / 4 for i in range(3)]

    def fn(x, mask):
        q, k, v = ((x @ w).reshape(B, -1, H, D) for w in weights)
        return attend(q, k, v, mask=mask[:, None, None]).reshape(B, -1, H * D)

    program = export(fn, [np.ones((B, 256, H * D), np.float32), np.ones((B, 256), bool)], 23)
    assert not {"Transpose", "Xor", "Not"} & {node.op_type for node in program.model.graph}
    x = random(B, 256, H * D)
    mask = np.arange(256)[None] < np.array([[100], [0]])
    same_as_jax(program, fn, x, mask)


def test_constants_that_leave_each_query_a_key_need_nothing():
    def fn(q, k, v):
        return by_hand(q, k, v, lambda s: jnp.where(CAUSAL, s, -jnp.inf))

    program = export(fn, qkv(), 23)
    assert not {"Where", "IsInf", "Mul", "Max"} & {node.op_type for node in program.model.graph}
    assert len(next(node for node in program.model.graph if node.op_type == "Attention").inputs) == 3
