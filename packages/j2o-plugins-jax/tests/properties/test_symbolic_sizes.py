"""One exported model at several sizes of its symbolic dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from jax import lax

from j2o_core.testing import Spec, check

from .drawing import examples, one_of

FUNCTIONS = {
    "arithmetic": lambda x: (x * 2 + x.sum(0), x - x.max(1, keepdims=True), abs(x)),
    "reductions": lambda x: (x.sum(0), x.sum(-1), jnp.prod(x, 0), jnp.any(x != 0, 0), jnp.cumsum(x, 0)),
    "running extremes": lambda x: (lax.cummax(x, axis=0), lax.cumprod(x, axis=0, reverse=True)),
    "reshape": lambda x: (x.reshape(-1), x.reshape(-1, 1), x.T, jnp.tile(x, (2, 1))),
    "join": lambda x: (jnp.concatenate([x, x[:, :1] * 2], 1), jnp.stack([x, x], 0), jnp.flip(x, 0)),
    "pad": lambda x: (jnp.pad(x, ((1, 2), (0, 1))), lax.pad(x, jnp.zeros((), x.dtype), [(0, 1, 1), (-1, 0, 0)])),
    "read": lambda x: (x[::-1], x[:, 1], jnp.take(x, jnp.array([0, -1, 5]), axis=0, mode="fill"), x.at[:, 0].get()),
    "write": lambda x: (x.at[:, 1].set(3), x.at[:, 0].add(x[:, 1]), x.at[jnp.array([1, 9])].set(0, mode="drop")),
    "sort": lambda x: (jnp.sort(x, 0), jnp.argsort(x, 0), jnp.sort(x, 1)),
    "product": lambda x: (x @ x.T, x.T @ x, jnp.einsum("ij,ij->i", x, x)),
    "scan": lambda x: lax.scan(lambda c, row: (c + row, c), jnp.zeros(3, x.dtype), x),
    "map": lambda x: (jax.vmap(jnp.sum)(x), jax.vmap(lambda row: lax.cond(row[0] > 0, jnp.negative, jnp.abs, row))(x)),
    "sizes": lambda x: (jnp.arange(x.shape[0]), jnp.full(x.shape, x.shape[0] + 1), jnp.eye(x.shape[0], 3)),
}


@examples
@given(one_of(*FUNCTIONS), one_of(np.float32, np.int32, np.float16, np.int8, np.uint8), one_of(18, 21, 23, 26))
def test_sizes_of_a_model(name, dtype, opset):
    # JAX takes symbolic sizes for positive: 0 is promised to nobody, and works where nothing is computed.
    sizes = (0, 1, 2, 7) if name in ("reshape", "join") else (1, 2, 7)
    check(FUNCTIONS[name], Spec(("N", 3), dtype), opsets=(opset,), sizes=sizes)
