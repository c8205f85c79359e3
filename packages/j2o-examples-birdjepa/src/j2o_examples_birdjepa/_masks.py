"""Random masks of patches for masked autoencoding."""

import jax
import jax.numpy as jnp
from jax import Array

from ._config import require


def n_masked(n_patches: int, ratio: float) -> int:
    """How many of the patches a mask covers."""
    return int(n_patches * ratio)


def make_block_mask(batch: int, n_h: int, n_w: int, block_size: int, ratio: float, *, key: Array) -> Array:
    """Draw masks of square blocks, each mask with the same number of patches.

    As many blocks are drawn as surely fit under the ratio; single patches make up the rest. Blocks at the lower and
    right edge may be cut, so that more single patches follow.

    Args:
        batch: Number of masks; each is drawn from a key of its own.
        n_h: Patches along time.
        n_w: Patches along mel frequency.
        block_size: Side of a block in patches.
        ratio: Share of patches that are masked, rounded down to whole patches.
        key: PRNG key; equal keys give equal masks.

    Returns:
        `[batch, n_h * n_w]` booleans, row-major; true where a patch is masked.

    Raises:
        ConfigError: If the ratio does not lie in [0, 1] or the block has no size.
    """
    require(0 <= ratio <= 1, f"make_block_mask: the ratio must lie in [0, 1], but it is {ratio}.")
    require(block_size >= 1, f"make_block_mask: the block size must be at least 1, but it is {block_size}.")
    blocks_h, blocks_w = -(-n_h // block_size), -(-n_w // block_size)
    target = n_masked(n_h * n_w, ratio)
    n_blocks = min(target // block_size**2, blocks_h * blocks_w)

    def draw(sample_key: Array) -> Array:
        block_key, patch_key = jax.random.split(sample_key)
        by_block = _ranks(jax.random.uniform(block_key, (blocks_h * blocks_w,))) < n_blocks
        whole = by_block.reshape(blocks_h, blocks_w)
        whole = jnp.repeat(jnp.repeat(whole, block_size, axis=0), block_size, axis=1)[:n_h, :n_w].reshape(-1)
        # Patches of blocks come first, the others in random order: the first `target` are masked.
        return _ranks(jnp.where(whole, -1.0, jax.random.uniform(patch_key, (n_h * n_w,)))) < target

    return jax.vmap(draw)(jax.random.split(key, batch))


def visible_patches(mask: Array, ratio: float) -> Array:
    """Indices of the patches that a mask leaves visible, ascending: `[batch, n]` booleans to `[batch, n - masked]`."""
    n = mask.shape[-1]
    return jnp.argsort(mask, axis=-1, stable=True)[..., : n - n_masked(n, ratio)]


def _ranks(scores: Array) -> Array:
    """The place of each score in ascending order."""
    return jnp.argsort(jnp.argsort(scores, stable=True), stable=True)
