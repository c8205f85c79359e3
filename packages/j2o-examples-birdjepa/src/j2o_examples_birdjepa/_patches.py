"""Spectrograms as rows of patches, and back."""

import jax.numpy as jnp
from jax import Array

from ._config import require


def patch_grid(n_h: int, n_w: int) -> Array:
    """Row and column of each patch of a whole spectrogram, row-major: `[n_h * n_w, 2]` int32."""
    rows, columns = jnp.meshgrid(jnp.arange(n_h), jnp.arange(n_w), indexing="ij")
    return jnp.stack([rows, columns], axis=-1).reshape(n_h * n_w, 2).astype(jnp.int32)


def patchify(spectrogram: Array, patch_h: int, patch_w: int) -> tuple[Array, Array]:
    """Cut spectrograms into patches that do not overlap.

    Args:
        spectrogram: `[batch, H, W]`.
        patch_h: Height of a patch; it divides H.
        patch_w: Width of a patch; it divides W.

    Returns:
        The patches `[batch, n, patch_h * patch_w]`, row-major outside and inside, and their rows and columns
        `[batch, n, 2]` int32.

    Raises:
        ConfigError: If patches would be left over.
    """
    batch, height, width = spectrogram.shape
    require(
        height % patch_h == 0 and width % patch_w == 0,
        f"patchify: a spectrogram of {height} x {width} does not divide into patches of {patch_h} x {patch_w}.",
    )
    n_h, n_w = height // patch_h, width // patch_w
    patches = spectrogram.reshape(batch, n_h, patch_h, n_w, patch_w).transpose(0, 1, 3, 2, 4)
    grid = jnp.broadcast_to(patch_grid(n_h, n_w), (batch, n_h * n_w, 2))
    return patches.reshape(batch, n_h * n_w, patch_h * patch_w), grid


def unpatchify(patches: Array, grid: Array | None, *, patch: tuple[int, int], n_patches: tuple[int, int]) -> Array:
    """Lay patches out as spectrograms.

    Args:
        patches: `[batch, n, patch_h * patch_w]`.
        grid: `[batch, n, 2]` rows and columns of the patches, or None if all patches are there, row-major. Places
            that no patch has stay zero.
        patch: Height and width of a patch.
        n_patches: Patches along the height and along the width of the result.

    Returns:
        `[batch, n_patches[0] * patch[0], n_patches[1] * patch[1]]`.

    Raises:
        ConfigError: If the shapes do not fit.
    """
    batch, n, size = patches.shape
    (patch_h, patch_w), (n_h, n_w) = patch, n_patches
    require(size == patch_h * patch_w, f"unpatchify: patches of {size} numbers are not {patch_h} x {patch_w}.")
    tiles = patches.reshape(batch, n, patch_h, patch_w)
    if grid is None:
        require(n == n_h * n_w, f"unpatchify: {n} patches without a grid do not fill {n_h} x {n_w} places.")
        tiles = tiles.reshape(batch, n_h, n_w, patch_h, patch_w)
    else:
        require(grid.shape == (batch, n, 2), f"unpatchify: the grid of {n} patches has the shape {grid.shape}.")
        blank = jnp.zeros((batch, n_h, n_w, patch_h, patch_w), patches.dtype)
        tiles = blank.at[jnp.arange(batch)[:, None], grid[..., 0], grid[..., 1]].set(tiles)
    return tiles.transpose(0, 1, 3, 2, 4).reshape(batch, n_h * patch_h, n_w * patch_w)
