"""Counter-based random numbers: the hash functions behind `jax.random`, bit for bit, in uint32 arithmetic.

What `jax.random` makes of them (splitting, folding, distributions) is ordinary JAX code that is lowered as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext, UnsupportedError
from j2o_core.simplify import FOLD_LIMIT_BYTES

from .._plugin import plugin

_REFUSED = (
    "lax.rng_uniform draws its numbers from a state that the device keeps; ONNX cannot repeat it bit for bit.\n"
    "Use jax.random.uniform with a key: jax.random.key(seed, impl='threefry2x32')."
)


@plugin.lowering("threefry4x32")
def _threefry4x32(ctx: LoweringContext, *operands: ir.Value) -> Any:
    return ctx.lower_fun(_threefry_4x32, *operands)


@plugin.lowering("iota_2x32_shape")
def _iota_2x32_shape(ctx: LoweringContext, *, shape: Sequence[Any]) -> Any:
    """Row-major positions as 64-bit numbers in two halves."""
    if not any(map(is_symbolic_dim, shape)) and math.prod(shape) * 8 <= FOLD_LIMIT_BYTES:
        known = np.arange(math.prod(shape), dtype=np.uint32).reshape(shape)
        return ctx.const(np.zeros_like(known)), ctx.const(known)
    total: Any = ctx.const(1, np.int64)
    for size in shape:
        total = ctx.op.Mul(total, ctx.dim(size))
    low = ctx.op.Range(ctx.const(0, np.int64), total, ctx.const(1, np.int64))
    positions = ctx.reshape(low, shape)
    high = ctx.op.Div(positions, ctx.const(1 << 32, np.int64))
    return ctx.cast(high, np.uint32), ctx.cast(positions, np.uint32)


@plugin.lowering("rng_uniform", ignores=("shape",))
def _rng_uniform(ctx: LoweringContext, *_operands: ir.Value) -> Any:
    del ctx
    raise UnsupportedError(_REFUSED)


def _rotated(x: Any, count: int) -> Any:
    return lax.shift_left(x, np.uint32(count)) | lax.shift_right_logical(x, np.uint32(32 - count))


def _threefry_4x32(*operands: Any) -> tuple[Any, ...]:
    """Threefry-4x32 with 20 rounds, from the paper of Threefry-2x32."""
    rotations = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
    key = [*operands[:4], operands[0] ^ operands[1] ^ operands[2] ^ operands[3] ^ np.uint32(0x1BD11BDA)]
    x = [word + key[index] for index, word in enumerate(jnp.broadcast_arrays(*operands[4:]))]
    for turn in range(20):
        first, second = rotations[turn % 8]
        # The odd words change places from one round to the next.
        one, three = (1, 3) if turn % 2 == 0 else (3, 1)
        x[0] = x[0] + x[one]
        x[one] = x[0] ^ _rotated(x[one], first)
        x[2] = x[2] + x[three]
        x[three] = x[2] ^ _rotated(x[three], second)
        if turn % 4 == 3:
            group = turn // 4 + 1
            x = [word + key[(group + index) % 5] for index, word in enumerate(x)]
            x[3] = x[3] + np.uint32(group)
    return tuple(x)
