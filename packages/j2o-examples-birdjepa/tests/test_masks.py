import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, make_block_mask
from j2o_examples_birdjepa._masks import visible_patches


@pytest.mark.parametrize(
    ("n_h", "n_w", "block", "ratio", "masked"),
    [(32, 8, 2, 0.75, 192), (5, 7, 2, 0.75, 26), (3, 3, 5, 0.5, 4), (4, 4, 2, 0.0, 0), (4, 4, 3, 1.0, 16)],
)
def test_each_mask_covers_as_many_patches(n_h, n_w, block, ratio, masked):
    mask = make_block_mask(6, n_h, n_w, block, ratio, key=jax.random.key(1))
    assert mask.shape == (6, n_h * n_w)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask.sum(axis=1), masked)
    assert visible_patches(mask, ratio).shape == (6, n_h * n_w - masked)


def test_blocks_are_whole():
    mask = make_block_mask(8, 8, 8, 4, 0.5, key=jax.random.key(2)).reshape(8, 2, 4, 2, 4)
    whole = mask.all(axis=(2, 4))
    np.testing.assert_array_equal(whole.sum(axis=(1, 2)), 2)  # 32 of 64 patches are two blocks of 16, nothing else
    np.testing.assert_array_equal(mask.any(axis=(2, 4)), whole)


def test_keys_are_reproducible_and_samples_differ():
    first = make_block_mask(4, 8, 8, 2, 0.75, key=jax.random.key(3))
    again = jax.jit(lambda key: make_block_mask(4, 8, 8, 2, 0.75, key=key))(jax.random.key(3))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.asarray(first), axis=0)) == 4
    assert not np.array_equal(first, make_block_mask(4, 8, 8, 2, 0.75, key=jax.random.key(4)))


def test_every_patch_is_masked_as_often():
    mask = make_block_mask(4000, 4, 6, 2, 0.5, key=jax.random.key(5))
    np.testing.assert_allclose(mask.mean(axis=0), 0.5, atol=0.04)


def test_visible_patches_ascend():
    mask = jnp.asarray([[True, False, True, False, False, True, True, True]])
    np.testing.assert_array_equal(visible_patches(mask, 5 / 8), [[1, 3, 4]])


def test_impossible_masks_are_errors():
    with pytest.raises(ConfigError, match=r"ratio must lie in \[0, 1\], but it is 1.5"):
        make_block_mask(1, 4, 4, 2, 1.5, key=jax.random.key(0))
    with pytest.raises(ConfigError, match="block size must be at least 1, but it is 0"):
        make_block_mask(1, 4, 4, 0, 0.5, key=jax.random.key(0))
