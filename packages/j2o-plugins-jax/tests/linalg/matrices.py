"""Random matrices for the tests of linear algebra."""

import jax.numpy as jnp
import numpy as np

TYPES = [np.float32, np.complex64]


def matrix(dtype, *shape):
    """Normal numbers, in both parts where the type has two."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def positive(dtype, *shape):
    """A positive definite matrix, or a batch of them."""
    a = matrix(dtype, *shape)
    return a @ np.swapaxes(a.conj(), -1, -2) + np.eye(shape[-1], dtype=dtype)


def adjoint(x):
    """The conjugate transpose of the last two axes."""
    return jnp.conj(jnp.swapaxes(x, -1, -2))
