"""Counter-based random numbers: the hash functions behind `jax.random`, bit for bit, in uint32 arithmetic.

What `jax.random` makes of them (splitting, folding, distributions) is ordinary JAX code that is lowered as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext, UnsupportedError

from .._plugin import plugin

_REFUSED = (
    "lax.rng_uniform draws its numbers from a state that the device keeps; ONNX cannot repeat it bit for bit.\n"
    "Use jax.random.uniform with a key: jax.random.key(seed, impl='threefry2x32')."
)


@plugin.lowering("threefry2x32")
def _threefry2x32(ctx: LoweringContext, *operands: ir.Value) -> Any:
    return ctx.lower_fun(threefry_2x32, *operands)


@plugin.lowering("threefry4x32")
def _threefry4x32(ctx: LoweringContext, *operands: ir.Value) -> Any:
    return ctx.lower_fun(_threefry_4x32, *operands)


@plugin.lowering("iota_2x32_shape")
def _iota_2x32_shape(ctx: LoweringContext, *, shape: Sequence[Any]) -> Any:
    """Row-major positions as 64-bit numbers in two halves."""
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


def threefry_2x32(key_0: Any, key_1: Any, x_0: Any, x_1: Any) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; 2011)."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    key = (key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA))
    x_0, x_1 = x_0 + key[0], x_1 + key[1]
    for group in range(5):
        for count in rotations[group % 2]:
            x_0 = x_0 + x_1
            x_1 = x_0 ^ _rotated(x_1, count)
        x_0 = x_0 + key[(group + 1) % 3]
        x_1 = x_1 + (key[(group + 2) % 3] + np.uint32(group + 1))
    return x_0, x_1


def _threefry_4x32(*operands: Any) -> tuple[Any, ...]:
    """Threefry-4x32 with 20 rounds, from the same paper."""
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
