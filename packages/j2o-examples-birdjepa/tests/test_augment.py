import numpy as np
import pytest
import scipy.ndimage

from j2o_examples_birdjepa import AUGMENTATIONS, augment

X = np.random.default_rng(0).standard_normal((40, 24)).astype(np.float32)


def apply(name, seed=1, **fields):
    return AUGMENTATIONS[name](**fields)(X, np.random.default_rng(seed))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_is_reproducible_and_keeps_the_shape(name):
    before = X.copy()
    results = [apply(name, seed) for seed in range(8)]
    assert all(result.shape == X.shape for result in results)
    for seed in (0, 3):
        np.testing.assert_array_equal(results[seed], apply(name, seed))
    assert any(not np.array_equal(result, X) for result in results)
    np.testing.assert_array_equal(X, before)


def test_nothing_is_drawn_from_the_global_generator():
    np.random.seed(0)
    state = np.random.get_state()[1].tobytes()
    for name in AUGMENTATIONS:
        apply(name)
    assert np.random.get_state()[1].tobytes() == state


def test_flip_mirrors_mel():
    np.testing.assert_array_equal(apply("horizontal_flip", p=1.0), X[:, ::-1])
    np.testing.assert_array_equal(apply("horizontal_flip", p=0.0), X)


def test_roll_turns_time_and_loses_nothing():
    turned = apply("roll", seed=2)
    frames = int(np.random.default_rng(2).integers(0, 40))
    assert frames
    np.testing.assert_array_equal(turned, np.concatenate([X[-frames:], X[:-frames]]))


def test_masks_bear_swapped_names():
    time = apply("freq_mask", longest=10, n=1, seed=3) == 0
    rows = time.all(axis=1)
    np.testing.assert_array_equal(time, np.broadcast_to(rows[:, None], time.shape))
    assert 1 <= rows.sum() <= 10
    mel = apply("time_mask", longest=20, n=1, seed=3) == 0
    columns = mel.all(axis=0)
    np.testing.assert_array_equal(mel, np.broadcast_to(columns, mel.shape))
    assert 1 <= columns.sum() <= 20


def test_masks_wider_than_the_axis():
    assert AUGMENTATIONS["time_mask"](longest=100, n=3)(X, np.random.default_rng(5)).shape == X.shape


def test_crop_moves_and_fills_with_zeros():
    rng = np.random.default_rng(7)
    top, left = np.random.default_rng(7).integers(0, 9, 2)
    moved = AUGMENTATIONS["random_crop"](pad=4)(X, rng)
    np.testing.assert_array_equal(moved, np.pad(X, 4)[top : top + 40, left : left + 24])


def test_resized_crop_of_everything_is_the_identity():
    same = AUGMENTATIONS["random_resized_crop"](scale=(1.0, 1.0), ratio=(24 / 40, 24 / 40))
    np.testing.assert_allclose(same(X, np.random.default_rng(0)), X, atol=1e-6)


def test_jitter():
    rng = np.random.default_rng(2)
    brightness, contrast = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)
    bright = X * (1 + brightness)
    np.testing.assert_allclose(
        apply("color_jitter", 2), (bright - bright.mean()) * (1 + contrast) + bright.mean(), rtol=1e-5
    )


def test_blur_and_solarize():
    sigma = np.random.default_rng(2).uniform(0.1, 2.0)
    np.testing.assert_allclose(apply("gaussian_blur", 2), scipy.ndimage.gaussian_filter(X, sigma), rtol=1e-5)
    np.testing.assert_array_equal(apply("solarize", p=1.0), np.where(X > 0.5, 1 - X, X))


def test_the_order_counts():
    first, second = AUGMENTATIONS["gaussian_noise"](0.1), AUGMENTATIONS["time_mask"](20, 2)
    one, other = (augment(X, order, np.random.default_rng(1)) for order in ([first, second], [second, first]))
    assert one.dtype == np.float32
    assert (one == 0).any()
    assert not (other == 0).any()
