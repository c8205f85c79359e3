"""Rotary position embedding by the row and column of a patch."""

import jax.numpy as jnp
from jax import Array


def rope_tables(grid: Array, head_dim: int, base: float, *, before: int = 0, after: int = 0) -> tuple[Array, Array]:
    """Cosines and sines for patches, and for the tokens around them that have no place.

    Angles are whole patch indices times `base ** (-2 j / (head_dim / 2))`: unlike those of DINOv3 they are neither
    normalised by the size of the grid nor multiplied by 2 pi, so that they do not depend on the batch.

    Args:
        grid: `[tokens, 2]` row and column of each patch.
        head_dim: Channels of an attention head, a multiple of 4.
        base: Base of the frequencies.
        before: Number of tokens before the patches; they are not rotated.
        after: Number of tokens after the patches; they are not rotated.

    Returns:
        Cosines and sines, `[before + tokens + after, head_dim]` float32 each.
    """
    quarter = head_dim // 4
    frequencies = base ** (-jnp.arange(quarter, dtype=jnp.float32) / quarter)
    angles = grid.astype(jnp.float32)[:, :, None] * frequencies
    angles = angles.reshape(grid.shape[0], 2 * quarter)
    angles = jnp.concatenate([angles, angles], axis=-1)
    angles = jnp.pad(angles, ((before, after), (0, 0)))
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate each pair of channels (i, i + head_dim / 2) by its token's angle.

    Args:
        x: `[tokens, heads, head_dim]` queries or keys.
        cos: `[tokens, head_dim]` float32 cosines.
        sin: `[tokens, head_dim]` float32 sines.

    Returns:
        `[tokens, heads, head_dim]` in the dtype of `x`; the arithmetic is done at least in float32.
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, cos.dtype))
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x * cos[:, None, :] + turned * sin[:, None, :]).astype(dtype)
