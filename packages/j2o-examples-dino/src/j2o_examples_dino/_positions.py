"""Learned positions of the patches of one image size, resampled for others."""

import jax
import jax.numpy as jnp
from jax import Array

from ._config import DinoV2Config


def positions(weight: Array, config: DinoV2Config, grid: tuple[int, int]) -> Array:
    """The positions for a grid of patches.

    Where rows and columns are those that the positions were learned for, they are returned as they are, as in Meta's
    code and in Equimo's. Sizes may be symbolic; the graph then resamples for whatever size it meets.

    Args:
        weight: `[prefix_positions + side * side, dim]` learned positions, first those of the prefix.
        config: Which size they were learned for, and how to resample.
        grid: Rows and columns of patches.

    Returns:
        `[prefix_positions + rows * columns, dim]`.
    """
    rows, columns = grid
    if rows == columns == config.side:
        return weight
    prefix, learned = weight[: config.prefix_positions], weight[config.prefix_positions :]
    learned = learned.reshape(config.side, config.side, -1)
    resampled = (_as_jax if config.resize_mode == "jax" else _as_torch)(learned, config, grid)
    return jnp.concatenate([prefix, resampled.reshape(rows * columns, weight.shape[1])])


def _as_jax(learned: Array, config: DinoV2Config, grid: tuple[int, int]) -> Array:
    shape = (*grid, learned.shape[2])
    resized: Array = jax.image.resize(learned, shape, "bicubic", antialias=config.resize_antialias)
    return resized


def _as_torch(learned: Array, config: DinoV2Config, grid: tuple[int, int]) -> Array:
    """As `torch.nn.functional.interpolate(scale_factor=...)`, whose scale need not be the ratio of sizes."""
    side = config.side
    rows, columns = (jnp.asarray(size) for size in grid)
    # At the learned size nothing is resampled. Only the graph knows a symbolic size: there, a scale of 1 does the same.
    offset = jnp.where((rows == side) & (columns == side), 0.0, config.resize_offset)
    scales = [(size + offset) / side for size in (rows, columns)]
    if config.resize_antialias:
        resized: Array = jax.image.scale_and_translate(
            learned,
            (*grid, learned.shape[2]),
            spatial_dims=(0, 1),
            scale=jnp.stack(scales).astype(jnp.float32),
            translation=jnp.zeros(2),
            method="cubic",
            antialias=True,
        )
        return resized
    over_rows, over_columns = (
        _taps_with_repeated_edges(size, side, scale) for size, scale in zip(grid, scales, strict=True)
    )
    return jnp.einsum("rs,ct,std->rcd", over_rows, over_columns, learned, precision="highest")


def _taps_with_repeated_edges(size: int, side: int, scale: Array) -> Array:
    """A matrix `[size, side]` that resamples one axis: PyTorch's bicubic, whose coefficient is -0.75."""
    centre = (jnp.arange(size, dtype=jnp.float32) + 0.5) / scale - 0.5
    places = jnp.floor(centre)[:, None] + jnp.arange(-1, 3)
    x = jnp.abs(centre[:, None] - places)
    near = (1.25 * x - 2.25) * x**2 + 1
    far = ((-0.75 * x + 3.75) * x - 6) * x + 3
    taps = jnp.where(x < 1, near, jnp.where(x < 2, far, 0))
    at = jnp.clip(places, 0, side - 1)[:, :, None] == jnp.arange(side)
    return jnp.sum(jnp.where(at, taps[:, :, None], 0), axis=1)
