"""lax.rng_bit_generator: XLA's counters for Threefry and Philox, bit for bit, in uint32 arithmetic.

A state is a 64-bit key and a 64-bit counter, low word first. The default algorithm is the one of the CPU: Philox.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import is_symbolic_dim
from jax.extend.random import threefry2x32_p

from j2o_core import UnsupportedError

from .._plugin import plugin

_Words = tuple[Any, ...]


@plugin.decomposition(lax.rng_bit_generator_p, ignores=("out_sharding",))
def _rng_bit_generator(
    state: Any, *, shape: tuple[Any, ...], dtype: Any, algorithm: lax.RandomAlgorithm
) -> tuple[Any, Any]:
    state = jnp.asarray(state)
    words = jnp.stack(_halves(state), -1).reshape(4) if state.dtype == np.uint64 else state
    draw = _threefry_bits if algorithm == lax.RandomAlgorithm.RNG_THREE_FRY else _philox_bits
    counter, bits = draw(words, shape, wide=np.dtype(dtype) == np.uint64)
    after = jnp.concatenate([words[:2], jnp.stack(counter)])
    if state.dtype == np.uint64:
        after = _joined(after[0::2], after[1::2])
    return after, bits.astype(dtype)


def _halves(x: Any) -> _Words:
    """Low and high word of 64-bit numbers."""
    return x.astype(np.uint32), (x >> np.uint64(32)).astype(np.uint32)


def _joined(low: Any, high: Any) -> Any:
    return low.astype(np.uint64) | (high.astype(np.uint64) << np.uint64(32))


def _plus(low: Any, high: Any, number: Any) -> _Words:
    """A 64-bit number in two words and a 32-bit number."""
    total = low + number
    return total, high + (total < low).astype(np.uint32)


def _threefry_bits(words: Any, shape: tuple[Any, ...], *, wide: bool) -> tuple[_Words, Any]:
    """One block gives a 64-bit number, or two 32-bit ones that are neighbours along an axis."""
    if any(map(is_symbolic_dim, shape)):
        raise UnsupportedError(
            "lax.rng_bit_generator with Threefry deals bits out by whether sizes are even: a symbolic size has no "
            "ONNX form. Give it sizes that are known, or use jax.random.bits."
        )
    half, axis = (list(shape), 0) if wide else _halved(shape)
    count = math.prod(half)
    counters = _plus(words[2], words[3], lax.iota(np.uint32, count))
    first, second = (x.reshape(half) for x in threefry2x32_p.bind(words[0], words[1], *counters))
    counter = _plus(words[2], words[3], np.uint32(count))
    if wide:
        return counter, _joined(first, second)
    if not shape:
        return counter, first.reshape(())
    both = jnp.stack([first, second], axis + 1)
    both = both.reshape([*half[:axis], 2 * half[axis], *half[axis + 1 :]])
    return counter, lax.slice_in_dim(both, 0, shape[axis], axis=axis)


def _halved(shape: tuple[int, ...]) -> tuple[list[int], int]:
    """The shape with half the size along the first even axis, or else the first of the longest ones."""
    if not shape:
        return [1], 0
    axis = next((axis for axis, size in enumerate(shape) if size % 2 == 0), shape.index(max(shape)))
    return [-(-size // 2) if other == axis else size for other, size in enumerate(shape)], axis


def _philox_bits(words: Any, shape: tuple[Any, ...], *, wide: bool) -> tuple[_Words, Any]:
    """One block gives four words, in the order in which they are used. The key is the high half of the counter too."""
    count = math.prod(shape, start=2 if wide else 1)
    blocks = (count + 3) // 4
    low, high = _plus(words[2], words[3], lax.iota(np.uint32, blocks))
    # A carry out of the lower 64 bits goes on into the upper ones.
    wrapped = (high < words[3]).astype(np.uint32)
    counters = (low, high, *_plus(words[0], words[1], wrapped))
    bits = jnp.stack(_philox_4x32(counters, (words[0], words[1])), -1).reshape((4 * blocks,))
    bits = lax.slice_in_dim(bits, 0, count).reshape((*shape, 2) if wide else shape)
    # XLA adds the number of blocks; as a scalar of the graph, since it may be symbolic.
    counter = _plus(words[2], words[3], jnp.asarray(blocks).astype(np.uint32))
    return counter, _joined(bits[..., 0], bits[..., 1]) if wide else bits


def _philox_4x32(x: _Words, key: _Words) -> _Words:
    """Philox-4x32 with 10 rounds (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; 2011)."""
    for _ in range(10):
        low_0, high_0 = _product(x[0], 0xD2511F53)
        low_1, high_1 = _product(x[2], 0xCD9E8D57)
        x = high_1 ^ x[1] ^ key[0], low_1, high_0 ^ x[3] ^ key[1], low_0
        key = key[0] + np.uint32(0x9E3779B9), key[1] + np.uint32(0xBB67AE85)
    return x


def _product(x: Any, factor: int) -> _Words:
    """Low and high word of the 64-bit product, from products of 16-bit halves."""
    below, above = np.uint32(factor & 0xFFFF), np.uint32(factor >> 16)
    x_below, x_above = x & np.uint32(0xFFFF), x >> np.uint32(16)
    middle = x_above * below + ((x_below * below) >> np.uint32(16))
    other = x_below * above + (middle & np.uint32(0xFFFF))
    return x * np.uint32(factor), x_above * above + (middle >> np.uint32(16)) + (other >> np.uint32(16))
