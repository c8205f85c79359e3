"""`jax.nn.dot_product_attention` as one Attention-23."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin
from .fusions.attention._masks import HIDDEN_KEYS

attention = plugin.composite("jax.nn.dot_product_attention")


@plugin.lowering(attention, opset=23)
def _attention(
    ctx: LoweringContext,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    bias: ir.Value | None = None,
    mask: ir.Value | None = None,
    *,
    scale: Any = None,
    is_causal: bool = False,
    query_seq_lengths: ir.Value | None = None,
    key_value_seq_lengths: ir.Value | None = None,
    local_window_size: Any = None,
    implementation: Any = None,
    return_residual: bool = False,
) -> Any:
    """Query [batch, length, heads, size], key and value [batch, length, kv heads, size].

    Half precision is computed in float32, as its logits are in JAX: those of float16 would be infinite above 65504. The
    body is lowered instead, and recognised by the fusion where the operator gives the same, for biases, masks, sequence
    lengths and windows, for scales that the kernel refuses, for float64, which it lacks, and under `vmap` unless that
    maps calls without a batch axis. What `vmap` maps for some operands only is broadcast for all.
    """
    del implementation
    special = (query_seq_lengths, key_value_seq_lengths, local_window_size)
    if any(value is not None for value in special) or return_residual or isinstance(scale, ir.Value):
        return NotImplemented
    if ctx.exact_nonfinite or (scale is not None and not 0 < np.float32(scale) < np.inf):
        return NotImplemented
    shape = ctx.avals_in[0].shape
    operands = [query, key, value]
    batched = set(ctx.batched[:3])
    dtype = ctx.dtype(query)
    if dtype not in (np.float32, np.float16, jnp.bfloat16):
        return NotImplemented
    if len(batched) > 1:
        return _written_out(ctx, query, key, value, bias, mask, scale=scale, is_causal=is_causal)
    if len(shape) > 4:
        return NotImplemented
    if bias is not None or mask is not None or (ctx.batch_ndim and len(shape) != 4):
        return NotImplemented
    if len(shape) == 3:
        operands = [ctx.op.Unsqueeze(x, ctx.const([0], np.int64)) for x in operands]
    heads_first = [ctx.cast(ctx.op.Transpose(x, perm=(0, 2, 1, 3)), np.float32) for x in operands]
    result = ctx.op.Attention(*heads_first, is_causal=int(is_causal), scale=None if scale is None else float(scale))
    if is_causal:
        ctx.only_finite(result, HIDDEN_KEYS)
    result = ctx.op.Transpose(ctx.cast(result, dtype), perm=(0, 2, 1, 3))
    return ctx.op.Squeeze(result, ctx.const([0], np.int64)) if len(shape) == 3 else result


def _written_out(ctx: LoweringContext, *operands: ir.Value | None, is_causal: bool, **options: Any) -> Any:
    """The body with the axes of `vmap` in queries, keys and values alike: the operator's batch does not broadcast."""
    given = [operand for operand in operands if operand is not None]
    sizes = next(ctx.avals_in[i].shape for i in range(3) if ctx.batched[i])[: ctx.batch_ndim]
    fixed = all(isinstance(size, int) for size in ctx.avals_in[0].shape)
    if fixed and ctx.batched[:3] in ((True, False, False), (False, False, True)):
        return NotImplemented  # the batch is more queries for the same keys, or more numbers in each value

    def attend(*arrays: Any) -> Any:
        rest = iter(arrays)
        filled: list[Any] = [next(rest) if operand is not None else None for operand in operands]
        return jax.nn.dot_product_attention(*filled, is_causal=is_causal, **options)

    for _ in sizes:
        attend = jax.vmap(attend, (0, 0, 0, *(0 if batched else None for batched in ctx.batched[3 : len(given)])))

    def everywhere(*arrays: Any) -> Any:
        flags = (*ctx.batched[:3], *[True] * (len(arrays) - 3))
        pairs = zip(arrays, flags, strict=True)
        return attend(*(x if batched else jnp.broadcast_to(x, (*sizes, *x.shape)) for x, batched in pairs))

    return ctx.lower_fun(everywhere, *given)
