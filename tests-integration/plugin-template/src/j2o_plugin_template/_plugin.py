"""The plugin: what the library's operations are in ONNX."""

from typing import Any

import jax
import jax.numpy as jnp
import onnx_ir as ir

from j2o_core import LoweringContext, Plugin

from ._operations import signed_sqrt_p

plugin = Plugin("template", libraries=("j2o_plugin_template",))


# A primitive: one rule. Operands come first, the equation's parameters as keywords; types and shapes are j2o's work.
@plugin.lowering(signed_sqrt_p)
def _signed_sqrt(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.Mul(ctx.op.Sign(x), ctx.op.Sqrt(ctx.op.Abs(x)))


# The same primitive of complex numbers, which ONNX has no type for: JAX code on their real and imaginary parts.
@plugin.encoded(signed_sqrt_p, "complex")
def _signed_sqrt_of_pairs(_: Any, z: jax.Array) -> jax.Array:
    size = jnp.hypot(z[..., :1], z[..., 1:])
    return jnp.where(size == 0, 0, z / jnp.sqrt(size))


# A function that ONNX knows as one operator: kept whole while tracing, also under jit, vmap and grad.
pixel_shuffle = plugin.composite("j2o_plugin_template._operations.pixel_shuffle")


@plugin.lowering(pixel_shuffle)
def _pixel_shuffle(ctx: LoweringContext, x: ir.Value, block: int) -> Any:
    """DepthToSpace-13, mode CRD: channels outermost."""
    if ctx.batch_ndim:  # more axes than the operator takes, from vmap: lower the body instead
        return NotImplemented
    return ctx.op.DepthToSpace(x, blocksize=block, mode="CRD")
