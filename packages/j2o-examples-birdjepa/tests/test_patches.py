import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, patch_grid, patchify, unpatchify


def test_patches_are_row_major():
    spectrogram = jnp.arange(4 * 6.0).reshape(1, 4, 6)
    patches, grid = patchify(spectrogram, 2, 3)
    np.testing.assert_array_equal(patches[0, 1], [3, 4, 5, 9, 10, 11])
    np.testing.assert_array_equal(patches[0, 2], [12, 13, 14, 18, 19, 20])
    np.testing.assert_array_equal(grid[0], [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert grid.dtype == jnp.int32


@pytest.mark.parametrize("with_grid", [True, False])
def test_back_and_forth(with_grid):
    spectrogram = np.random.default_rng(0).standard_normal((3, 8, 12)).astype(np.float32)
    patches, grid = patchify(jnp.asarray(spectrogram), 2, 4)
    back = unpatchify(patches, grid if with_grid else None, patch=(2, 4), n_patches=(4, 3))
    np.testing.assert_array_equal(back, spectrogram)


def test_some_patches_of_each_sample():
    patches = jnp.ones((2, 1, 4))
    grid = jnp.asarray([[[0, 1]], [[1, 0]]])
    spectrograms = unpatchify(patches, grid, patch=(2, 2), n_patches=(2, 2))
    assert spectrograms[0, :2, 2:].min() == 1
    assert spectrograms[1, 2:, :2].min() == 1
    assert spectrograms.sum() == 8


def test_grid_of_other_sizes():
    assert patch_grid(5, 7).shape == (35, 2)
    np.testing.assert_array_equal(patch_grid(5, 7)[8], [1, 1])


def test_misfits_are_errors():
    with pytest.raises(ConfigError, match="5 x 6 does not divide into patches of 2 x 3"):
        patchify(jnp.zeros((1, 5, 6)), 2, 3)
    with pytest.raises(ConfigError, match="3 patches without a grid do not fill 2 x 2"):
        unpatchify(jnp.zeros((1, 3, 4)), None, patch=(2, 2), n_patches=(2, 2))
    with pytest.raises(ConfigError, match="patches of 4 numbers are not 2 x 3"):
        unpatchify(jnp.zeros((1, 4, 4)), None, patch=(2, 3), n_patches=(2, 2))
    with pytest.raises(ConfigError, match="the grid of 3 patches has the shape"):
        unpatchify(jnp.zeros((1, 3, 4)), jnp.zeros((1, 2, 2), int), patch=(2, 2), n_patches=(2, 2))
