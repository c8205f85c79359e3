"""The library's operations, as any JAX library has them: nothing here knows of ONNX."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def pixel_shuffle(x: jax.Array, block: int) -> jax.Array:
    """Move channels into space: [batch, channels * block**2, height, width] to [batch, channels, height * block, ...].

    An ordinary function. It would export without a plugin, as a reshape, a transpose and a reshape.
    """
    batch, channels, height, width = x.shape
    channels //= block * block
    split = x.reshape(batch, channels, block, block, height, width)
    return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, channels, height * block, width * block)


signed_sqrt_p = Primitive("signed_sqrt")


def signed_sqrt(x: jax.Array) -> jax.Array:
    """The square root of the magnitude with the sign of `x`, elementwise.

    A primitive of the library's own, computed by NumPy. Without a plugin j2o cannot know what it means and refuses it
    by name.
    """
    return signed_sqrt_p.bind(x)


def _on_arrays(x: jax.Array) -> jax.Array:
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))


def _by_numpy(x: jax.Array) -> jax.Array:
    array = np.asarray(x)
    return jnp.asarray(np.sign(array) * np.sqrt(np.abs(array)))


def _jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    root = signed_sqrt(x)
    return root, tangent / (2 * jnp.abs(root))


signed_sqrt_p.def_impl(_by_numpy)
signed_sqrt_p.def_abstract_eval(lambda x: x.update(weak_type=False))
mlir.register_lowering(signed_sqrt_p, mlir.lower_fun(_on_arrays, multiple_results=False))
ad.primitive_jvps[signed_sqrt_p] = _jvp
batching.defvectorized(signed_sqrt_p)
