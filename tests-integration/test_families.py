"""Each family of operations where sizes or types are unusual: any length, nothing at all, scalars, a few bits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import Spec, check

KERNEL = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3, 3)), jnp.float32)


def definite(x: jax.Array) -> jax.Array:
    return x @ x.T + jnp.eye(x.shape[0])


# -- Any length ------------------------------------------------------------------------------------------------------


SYMBOLIC: dict[str, Callable[[jax.Array], object]] = {
    "elementwise": lambda x: (jnp.where(x > 0, jnp.exp(x), x**3), jnp.sign(x), jnp.round(x, 1), x % 2),
    "special": lambda x: (jsp.special.gammaln(x), jsp.special.erfinv(x / 9), jsp.special.i0e(x)),
    "incomplete": lambda x: (jsp.special.gammainc(1 + x**2, jnp.abs(x)), jsp.special.betainc(0.5, 1 + x**2, 0.3)),
    "bits": lambda x: lax.population_count(x.astype(jnp.int32)) ^ (x.astype(jnp.int32) >> 1),
    "bitcast": lambda x: lax.bitcast_convert_type(x, jnp.int32),
    "reductions": lambda x: (x.max(0), x.argmin(0), jnp.any(x > 0, 0), jnp.median(x, 0), jnp.var(x, 0)),
    "cumulative": lambda x: (jnp.cumsum(x, 0), lax.cumlogsumexp(x, axis=0, reverse=True), lax.cummin(x, axis=0)),
    "comparison of sizes": lambda x: x * (x.shape[0] >= 1) + (x.shape[0] * 2 > x.shape[0]),
    "arange": lambda x: x + jnp.arange(x.shape[0])[:, None] / x.shape[0],
    "reshape": lambda x: (x.reshape(-1), x.reshape(3, -1), x.reshape(-1, 3, 1).transpose(1, 0, 2)),
    "reverse": lambda x: (x[::-1], jnp.flip(x), jnp.roll(x, 2, 0)),
    "reflect": lambda x: jnp.pad(jnp.concatenate([x, x]), ((1, 1), (0, 0)), "reflect"),
    "edge": lambda x: (jnp.pad(x, ((2, 1), (0, 0)), "edge"), jnp.pad(x, ((0, 0), (1, 1)), "symmetric")),
    "interior": lambda x: lax.pad(x, jnp.float32(0), [(0, 0, 2), (-1, 1, 0)]),
    "gather": lambda x: (x[jnp.array([0, -1])], jnp.take_along_axis(x, jnp.argsort(x, 0), 0)),
    "scatter": lambda x: (x.at[-1].set(9), x.at[jnp.array([0, 50]), 1].add(1, mode="drop"), x.at[0].mul(2)),
    "slices": lambda x: (x[-1:], lax.dynamic_slice_in_dim(x, 5, 1), lax.dynamic_update_slice(x, x[:1] * 0, (99, 0))),
    "sort": lambda x: (jnp.sort(x, 0), lax.sort((x, -x), dimension=0, num_keys=2), lax.top_k(x.T, 1)),
    "interpolation": lambda x: jnp.interp(x[:, 0], jnp.arange(3.0), jnp.array([1.0, -1.0, 4.0])),
    "histogram": lambda x: jnp.histogram(x, 4, (-2.0, 2.0))[0],
    "one_hot": lambda x: jax.nn.one_hot(jnp.argmax(x, 1), 3),
    "segments": lambda x: jax.ops.segment_sum(x, jnp.zeros(x.shape[0], jnp.int32), 2),
    "products": lambda x: (x @ x.T, jnp.einsum("ij,ik->jk", x, x), jnp.tensordot(x, x, 2), jnp.outer(x[:, 0], x[0])),
    "convolution": lambda x: lax.conv_general_dilated(x.T[None], KERNEL, (1,), [(2, 2)]),
    "strided convolution": lambda x: lax.conv_general_dilated(x.T[None], KERNEL, (2,), [(2, 2)], rhs_dilation=(2,)),
    "transposed convolution": lambda x: lax.conv_transpose(
        x.T[None], KERNEL, (2,), "SAME", None, ("NCH", "OIH", "NCH")
    ),
    "windows": lambda x: (
        lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "SAME"),
        lax.reduce_window(x, 0.0, lax.add, (3, 1), (2, 1), [(1, 1), (0, 0)]),
    ),
    "gradient of windows": jax.grad(
        lambda x: jnp.sum(lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "SAME") ** 2)
    ),
    "scan": lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), jnp.zeros(3), x, reverse=True),
    "map": lambda x: lax.map(lambda v: jnp.sin(v) * v.sum(), x),
    "while": lambda x: lax.while_loop(lambda s: s.max() < 9, lambda s: s * 2 + 1, jnp.abs(x)),
    "fori over a size": lambda x: lax.fori_loop(0, x.shape[0], lambda i, s: s + x[i] * i, jnp.zeros(3)),
    "cond": lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
    "switch": lambda x: lax.switch(x.shape[0] % 3 + jnp.int32(0), [jnp.sin, jnp.cos, jnp.tanh], x),
    "softmax": lambda x: (jax.nn.softmax(x, 0), jax.nn.logsumexp(x, 0), jax.nn.log_softmax(x)),
    "norm": lambda x: (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5),
    "attention": lambda x: jax.nn.dot_product_attention(*[x[None, :, None, :]] * 3, is_causal=True),
    "resize": lambda x: (
        jax.image.resize(x, (x.shape[0], 7), "cubic"),
        jax.image.resize(x[..., None], (x.shape[0], 2, 2), "linear", antialias=False),
    ),
    "resize to a multiple": lambda x: jax.image.resize(x, (2 * x.shape[0], 3), "nearest"),
    "spectra of rows": lambda x: (jnp.abs(jnp.fft.fft(x)), jnp.fft.irfft(jnp.fft.rfft(x), 3)),
    "complex": lambda x: (jnp.angle(x + 1j * x[:, :1]), jnp.abs(jnp.exp(1j * x)), (x * 1j) @ x.T),
    "mapped matrices": jax.vmap(lambda v: jnp.linalg.solve(definite(jnp.outer(v, v)), v)),
    "mapped factors": jax.vmap(lambda v: (jnp.linalg.cholesky(definite(v[:, None])), jnp.linalg.det(v[:, None] * v))),
    "mapped eigenvalues": jax.vmap(lambda v: jnp.linalg.eigvalsh(jnp.outer(v, v) + jnp.diag(jnp.arange(3.0)))),
    "mapped singular values": jax.vmap(lambda v: jnp.linalg.svd(jnp.diag(v) + 1, compute_uv=False)),
    "norms of rows": lambda x: (jnp.linalg.norm(x, axis=1), jnp.linalg.norm(x)),
    "random": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "choices": lambda x: (
        jax.random.randint(jax.random.key(1), x.shape, 0, 9),
        jax.random.categorical(jax.random.key(2), x),
    ),
    "gradient": jax.grad(lambda x: jnp.sum(jnp.tanh(x @ x.T))),
    "jvp": lambda x: jax.jvp(lambda y: jnp.cumsum(jnp.sort(y, 0), 0), (x,), (x * 2,)),
    "hessian of rows": jax.vmap(jax.hessian(lambda v: jnp.sum(jnp.sin(v) * v[0]))),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_any_length(name: str) -> None:
    check(SYMBOLIC[name], ("N", 3), sizes=(1, 2, 7), opsets=(21,))


# -- Nothing at all --------------------------------------------------------------------------------------------------


EMPTY: dict[str, Callable[[jax.Array], object]] = {
    "elementwise": lambda x: (jnp.exp(x), x**3, jnp.where(x > 0, x, 1), x // 2, lax.nextafter(x, x)),
    "special": lambda x: (jsp.special.digamma(x), jsp.special.erfinv(x), jsp.special.gammainc(x, x)),
    "bits": lambda x: lax.clz(lax.bitcast_convert_type(x, jnp.int32)),
    "conversions": lambda x: (
        x.astype(jnp.int8),
        x.astype(jnp.bfloat16),
        x.astype(bool),
        lax.reduce_precision(x, 5, 2),
    ),
    "sums": lambda x: (x.sum(0), x.sum(), x.prod(1), jnp.any(x > 0, 0), jnp.cumsum(x, 0), jnp.cumprod(x, 1)),
    "joining": lambda x: (jnp.concatenate([x, x], 1), jnp.stack([x, x]), jnp.tile(x, (2, 1)), x.reshape(-1)),
    "moving": lambda x: (x[::-1], x.T, jnp.roll(x, 1, 0), jnp.pad(x, 1), x[:, :0], jnp.broadcast_to(x, (2, *x.shape))),
    "gather": lambda x: x[jnp.zeros((0,), jnp.int32)],
    "scatter": lambda x: (x.at[jnp.array([0, 5])].add(1, mode="drop"), x.at[jnp.zeros((0,), jnp.int32)].set(2)),
    "sort": lambda x: (jnp.sort(x, 0), jnp.argsort(x, 1), lax.sort((x, x), num_keys=2), lax.top_k(x, 0)),
    "products": lambda x: (x @ x.T, x.T @ x, jnp.einsum("ij,kj->ik", x, x), jnp.vdot(x, x)),
    "convolution": lambda x: lax.conv_general_dilated(
        x.reshape(x.shape[0], 1, x.shape[1]), KERNEL[:, :1], (1,), "SAME"
    ),
    "windows": lambda x: (
        lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "SAME"),
        lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "SAME"),
    ),
    "scan": lambda x: lax.scan(lambda c, v: (c + v.sum(), v * c), jnp.float32(1), x),
    "map": lambda x: lax.map(jnp.sin, x),
    "while": lambda x: lax.while_loop(lambda s: s.sum() < 0, lambda s: s + 1, x),
    "cond": lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
    "softmax": lambda x: jax.nn.gelu(x) + jax.nn.relu(x),
    "random": lambda x: (jax.random.normal(jax.random.key(0), x.shape), jax.random.bits(jax.random.key(1), (0,))),
    "complex": lambda x: (jnp.abs(x + 1j), jnp.real(jnp.exp(x * 1j)), jnp.conj(x + 2j)),
    "gradient": jax.grad(lambda x: jnp.sum(jnp.sin(x) @ x.T)),
    "map over rows": jax.vmap(lambda v: jnp.sin(v) * 2),
}


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", EMPTY)
def test_nothing_at_all(name: str, shape: tuple[int, int]) -> None:
    check(EMPTY[name], shape, opsets=(18, 26))


EMPTY_MATRICES: dict[str, Callable[[jax.Array], object]] = {
    "cholesky": jnp.linalg.cholesky,
    "qr": jnp.linalg.qr,
    "lu": lambda x: lax.linalg.lu(x),
    "solve": lambda x: jnp.linalg.solve(x, x),
    "triangular": lambda x: lax.linalg.triangular_solve(x, x, left_side=True),
    "eigh": jnp.linalg.eigh,
    "svd": lambda x: jnp.linalg.svd(x),
    "det": lambda x: (jnp.linalg.det(x), jnp.linalg.slogdet(x)),
    "inv": jnp.linalg.inv,
}


@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)], ids=str)
@pytest.mark.parametrize("name", EMPTY_MATRICES)
def test_matrices_of_nothing(name: str, shape: tuple[int, ...]) -> None:
    check(EMPTY_MATRICES[name], shape, opsets=(21,))


# -- Scalars ---------------------------------------------------------------------------------------------------------


SCALAR: dict[str, Callable[[jax.Array], object]] = {
    "elementwise": lambda x: (
        jnp.exp(x),
        x**3,
        jnp.where(x > 0, x, 1),
        x // 2,
        jnp.clip(x, -1, 1),
        lax.nextafter(x, x + 1),
    ),
    "special": lambda x: (jsp.special.digamma(x), jsp.special.erfinv(x / 9), jsp.special.gammainc(2.0, jnp.abs(x))),
    "bits": lambda x: lax.clz(lax.bitcast_convert_type(x, jnp.int32)),
    "conversions": lambda x: (
        x.astype(jnp.int8),
        x.astype(jnp.bfloat16),
        x.astype(bool),
        lax.reduce_precision(x, 5, 2),
    ),
    "reductions": lambda x: (x.sum(), x.max(), jnp.all(x > 0), x.mean(), x.std()),
    "moving": lambda x: (x.reshape(1, 1), jnp.broadcast_to(x, (2, 3)), x[None], jnp.stack([x, x]), x.T, x.ravel()),
    "gather": lambda x: (jnp.arange(4.0)[x.astype(int)], jnp.full(3, x)[0], jnp.zeros(3).at[1].set(x)),
    "slices": lambda x: lax.dynamic_slice(jnp.arange(5.0) * x, (x.astype(int),), (2,)),
    "sort": lambda x: (jnp.sort(x[None]), lax.top_k(x[None], 1)),
    "products": lambda x: (
        jnp.dot(x, 2.0),
        jnp.multiply.outer(x, jnp.ones(2)),
        jnp.vdot(x, x),
        jnp.einsum(",->", x, x),
    ),
    "windows": lambda x: lax.reduce_window(x, 0.0, lax.add, (), (), ()),
    "scan": lambda x: lax.scan(lambda c, _: (c * 0.5, c), x, None, 3),
    "while": lambda x: lax.while_loop(lambda s: s < 9, lambda s: s * 2 + 1, jnp.abs(x)),
    "fori": lambda x: lax.fori_loop(0, 3, lambda i, s: s * i + 1, x),
    "cond": lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x),
    "switch": lambda x: lax.switch(x.astype(int), [jnp.sin, jnp.cos, jnp.tanh], x),
    "complex": lambda x: (jnp.abs(x + 1j), jnp.exp(1j * x), jnp.angle(x - 2j)),
    "random": lambda x: x + jax.random.normal(jax.random.key(0)),
    "linear algebra": lambda x: (jnp.linalg.det(x[None, None]), jnp.linalg.cholesky(jnp.exp(x)[None, None])),
    "gradient": jax.value_and_grad(lambda x: jnp.sin(x) * x),
    "hessian": jax.hessian(lambda x: jnp.sin(x) * x),
    "numbers alone": lambda x: (3, True, 2.5),
}


@pytest.mark.parametrize("name", SCALAR)
def test_scalars(name: str) -> None:
    check(SCALAR[name], (), opsets=(18, 26))


# -- A few bits ------------------------------------------------------------------------------------------------------


FLOAT8 = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz)
FEW_BITS = {  # with the first opset that has the type
    ml_dtypes.int4: 21,
    ml_dtypes.uint4: 21,
    ml_dtypes.int2: 25,
    ml_dtypes.uint2: 25,
}
ON_ANY: dict[str, Callable[[jax.Array], object]] = {
    "pass": lambda x: (x, x.reshape(3, 2), x.T),
    "widen": lambda x: (x.astype(jnp.float32), x.astype(jnp.int32), x.astype(jnp.bfloat16)),
    "compute wider": lambda x: (x.astype(jnp.float32) * 2 + 1).sum(),
    "narrow": lambda x: (x.astype(jnp.float32) / 2).astype(x.dtype),
    "join": lambda x: (jnp.stack([x, x]), jnp.tile(x, (1, 2))),
    "move": lambda x: (x[::-1], x[:, 1:], jnp.roll(x, 1, 1), jnp.broadcast_to(x, (2, 2, 3))),
    "choose": lambda x: (jnp.where(x.astype(jnp.float32) > 0, x, x[::-1]), lax.select(x == x, x, x)),
    "compare": lambda x: (x == x[::-1], x < x[::-1], x >= x[0]),
    "read": lambda x: (x[1], jnp.take(x, jnp.array([0, 1, 0]), 1), lax.dynamic_slice(x, (1, 1), (1, 2))),
    "write": lambda x: (x.at[0].set(x[1]), lax.dynamic_update_slice(x, x[:1], (1, 0))),
    "loop": lambda x: lax.scan(lambda c, v: (c, v), x[0], x),
}
ON_INTEGERS: dict[str, Callable[[jax.Array], object]] = {
    "wrap": lambda x: (x + x, x * x, x - x[::-1] - x),
    "bits": lambda x: (x & x[::-1], x | x[::-1], x ^ x[::-1], ~x),
    "extremes": lambda x: (jnp.maximum(x, x[::-1]), x.max(), x.min(0)),
    "sum": lambda x: (x.sum(dtype=jnp.int32), x.astype(jnp.int8) @ x.T.astype(jnp.int8)),
    "count": lambda x: (
        lax.population_count(x),
        lax.clz(x),
        *([lax.mulhi(x, x[::-1])] if hasattr(lax, "mulhi") else []),
    ),
    "shift": lambda x: [
        shift(x, y)
        for shift in (lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic)
        for y in (x, x[::-1])
    ],
    "divide": lambda x: (lax.div(x, x[::-1]), lax.rem(x, x[::-1]), lax.div(x, x * 0), lax.rem(x, x * 0)),
    "windows": lambda x: lax.reduce_window(
        x, np.array(ml_dtypes.iinfo(x.dtype).min, x.dtype), lax.max, (1, 2), (1, 1), "SAME"
    ),
}
ON_FLOAT8: dict[str, Callable[[jax.Array], object]] = {
    "arithmetic": lambda x: (x + x, x * x, -x, jnp.abs(x)),
    "extremes": lambda x: (jnp.maximum(x, x[::-1]), x.max(), x.min(0)),
    "product": lambda x: jnp.matmul(x, x.T, preferred_element_type=jnp.float32),
    "sort": lambda x: jnp.sort(x, 1),
    "windows": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 1), "SAME"),
    "drop": lambda x: (x.at[jnp.array([0, 5])].min(x[:1], mode="drop"), x.at[jnp.array([0, 5])].max(-x, mode="drop")),
}


@pytest.mark.parametrize("name", [*ON_ANY, *ON_FLOAT8])
@pytest.mark.parametrize("dtype", FLOAT8, ids=lambda dtype: dtype.__name__)
def test_floats_of_eight_bits(name: str, dtype: type) -> None:
    check({**ON_ANY, **ON_FLOAT8}[name], Spec((2, 3), dtype), opsets=(21,))


@pytest.mark.parametrize("name", [*ON_ANY, *ON_INTEGERS])
@pytest.mark.parametrize("dtype", FEW_BITS, ids=lambda dtype: dtype.__name__)
def test_integers_of_a_few_bits(name: str, dtype: type) -> None:
    check({**ON_ANY, **ON_INTEGERS}[name], Spec((2, 3), dtype), opsets=(max(FEW_BITS[dtype], 21),))


@pytest.mark.parametrize("dtype", FLOAT8, ids=lambda dtype: dtype.__name__)
def test_what_is_too_large_for_eight_bits_does_not_become_the_largest_number(dtype: type) -> None:
    x = np.array([1, -1, 0, np.nan, np.inf, ml_dtypes.finfo(dtype).max, ml_dtypes.finfo(dtype).min], np.float32)
    check(
        lambda x: (lax.expm1(x), lax.erf_inv(x), lax.lgamma(x), lax.cbrt(x), x @ jnp.abs(x), lax.is_finite(x)),
        x.astype(dtype),
        opsets=(21,),
    )


@pytest.mark.parametrize("dtype", [*FEW_BITS, *FLOAT8], ids=lambda dtype: dtype.__name__)
def test_arrays_of_a_few_bits_one_after_the_other(dtype: type) -> None:
    """Compared with NumPy: XLA ends the process on two arrays of two bits."""
    x = np.arange(-3, 3).astype(np.int8).astype(dtype).reshape(2, 3)
    program = j2o_core.to_onnx(lambda x: jnp.concatenate([x, x[:1]]), [x], opset=25)
    result = program(x)
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result, np.concatenate([x, x[:1]]))
