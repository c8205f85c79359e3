"""Transforms written with products, against NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Literal

from j2o_core import to_onnx
from j2o_core.testing import Spec, check
from j2o_plugins_jax.complex import _fourier

# Short lengths in one step, products in two, odd ones and long ones among them, a long prime and twice one.
LENGTHS = [1, 2, 60, 97, 96, 99, 150, 400, 1024, 600, 2500, 521, 1042]


def equation(kind, x, n):
    (eqn,) = jax.make_jaxpr(lambda x: lax.fft_p.bind(x, fft_type=kind, fft_lengths=(n,)))(x).jaxpr.eqns
    return eqn


def pairs(z):
    return np.stack([z.real, z.imag], -1)


def numbers(n):
    rng = np.random.default_rng(n)
    return rng.standard_normal((2, n)) + 1j * rng.standard_normal((2, n))


@pytest.mark.parametrize("n", LENGTHS)
def test_transforms_are_numpys(n):
    with jax.enable_x64(True):
        z = numbers(n)
        half = z[:, : n // 2 + 1]
        for kind, x, want in (
            ("FFT", z, pairs(np.fft.fft(z))),
            ("IFFT", z, pairs(np.fft.ifft(z))),
            ("RFFT", z.real, pairs(np.fft.rfft(z.real))),
            ("RFFT", z.real[:, None][:, [0, 0, 0]], pairs(np.fft.rfft(z.real[:, None][:, [0, 0, 0]]))),
            ("IRFFT", half, np.fft.irfft(half, n)),
        ):
            operand = jnp.asarray(pairs(x) if np.iscomplexobj(x) else x)
            got = _fourier.fft(equation(lax.FftType[kind], x, n), operand)
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("kind", ["FFT", "IFFT"])
@pytest.mark.parametrize("shape", [(128, 120), (2, 128, 3), (2, 99, 10), (100, 8, 2), (6, 128, 2)])
def test_axes_in_front_of_others_are_numpys(shape, kind):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        z = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        for x in (z, z.real):
            (eqn,) = jax.make_jaxpr(lambda x: lax.fft_p.bind(x, fft_type=lax.FftType[kind], fft_lengths=shape[-2:]))(
                x.astype(complex)
            ).jaxpr.eqns
            got = _fourier.fft(eqn, jnp.asarray(pairs(x) if np.iscomplexobj(x) else x))
            want = pairs((np.fft.fft2 if kind == "FFT" else np.fft.ifft2)(x))
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("n", [96, 400, 1024])
def test_tables_of_two_steps_are_small(n):
    jaxpr = jax.make_jaxpr(lambda x: _fourier.fft(equation(lax.FftType.FFT, x + 0j, n), x))(jnp.ones((2, n)))
    literals = [atom.val for eqn in jaxpr.jaxpr.eqns for atom in eqn.invars if isinstance(atom, Literal)]
    assert sum(np.asarray(const).nbytes for const in (*jaxpr.consts, *literals)) <= 1 << 20


@pytest.mark.parametrize("n", [521, 1042, 2003])
def test_a_long_prime_length_stores_no_dense_table(n):
    z = numbers(n).astype(np.complex64)
    eqn = equation(lax.FftType.FFT, z, n)
    jaxpr = jax.make_jaxpr(lambda x: _fourier.fft(eqn, x))(jnp.asarray(pairs(z)))
    literals = [atom.val for eqn in jaxpr.jaxpr.eqns for atom in eqn.invars if isinstance(atom, Literal)]
    size = sum(np.asarray(const).nbytes for const in (*jaxpr.consts, *literals))
    assert 8 * n < size < 1 << 20


@pytest.mark.parametrize("transform", [jnp.fft.fft, jnp.fft.ifft, jnp.fft.fft2])
def test_no_elements_along_an_axis(transform):
    check(lambda x: jnp.abs(transform(x + 1j)), Spec(("T", 0)), opsets=(18, 21))


@pytest.mark.parametrize("length", [2, 4, 16, 64])
def test_half_turns_are_exact(length):
    """The sine of pi in float64, times 1e300, is no small number."""
    x = np.zeros(length)
    x[length // 2] = 1e300
    with jax.enable_x64(True):
        result = to_onnx(jnp.fft.fft, [x])(x)
    np.testing.assert_array_equal(result, np.resize([[1e300, 0], [-1e300, 0]], (length, 2)))
