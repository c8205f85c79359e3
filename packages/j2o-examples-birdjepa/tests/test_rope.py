import jax.numpy as jnp
import numpy as np

from j2o_examples_birdjepa._rope import rope_tables, rotate


def test_golden_sines():
    _, sin = rope_tables(jnp.asarray([[1, 2]]), 16, 100.0)
    golden = [0.84147, 0.31098, 0.09983, 0.03162, 0.9093, 0.59113, 0.19867, 0.0632]
    np.testing.assert_allclose(sin[0], golden * 2, atol=1e-5)


def test_tokens_around_the_patches_are_not_rotated():
    cos, sin = rope_tables(jnp.asarray([[1, 2], [3, 4]]), 8, 100.0, before=2, after=3)
    assert cos.shape == sin.shape == (7, 8)
    outside = np.array([0, 1, 4, 5, 6])
    np.testing.assert_array_equal(cos[outside], 1)
    np.testing.assert_array_equal(sin[outside], 0)


def test_products_depend_on_distances_alone():
    q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 16)).astype(np.float32)

    def product(place_q, place_k):
        rotated = [rotate(x, *rope_tables(jnp.asarray([p]), 16, 100.0)) for x, p in ((q, place_q), (k, place_k))]
        return float(jnp.vdot(*rotated))

    np.testing.assert_allclose(product([3, 5], [1, 4]), product([12, 2], [10, 1]), rtol=1e-4)
    assert abs(product([3, 5], [1, 4]) - product([3, 5], [1, 2])) > 1e-3


def test_angles_do_not_depend_on_the_batch():
    """Coordinates that a batch normalises would give a patch other angles in other company."""
    alone = rope_tables(jnp.asarray([[1, 2]]), 16, 100.0)
    among = rope_tables(jnp.asarray([[1, 2], [31, 7]]), 16, 100.0)
    np.testing.assert_array_equal(alone[1][0], among[1][0])
