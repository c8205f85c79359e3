"""The keys and values that a decoder keeps of earlier tokens."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._config import GptConfig


class Cache(NamedTuple):
    """Keys and values of every block, in arrays that are filled from the left.

    Attributes:
        keys: One `[batch, heads, capacity, head_dim]` a block.
        values: The same.
        length: Scalar int32, how many places are filled.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    length: Any


def empty_cache(config: GptConfig, batch: int, capacity: int) -> Cache:
    """A cache before the first token."""
    shape = (batch, config.heads, capacity, config.head_dim)
    blocks = (jnp.zeros(shape, jnp.float32),) * config.depth
    return Cache(blocks, blocks, jnp.zeros((), jnp.int32))


def cache_specs(config: GptConfig, batch: int | str, capacity: int | str) -> Cache:
    """The spec of a cache; sizes that are names may be any at run time."""
    blocks = ((batch, config.heads, capacity, config.head_dim),) * config.depth
    return Cache(blocks, blocks, jax.ShapeDtypeStruct((), jnp.int32))
