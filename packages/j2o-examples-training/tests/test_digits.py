import numpy as np
import pytest

from j2o_examples_training import CLASSES, SIZE, batches, digits


def test_the_same_seed_gives_the_same_digits():
    first, again, other = digits(50, 3), digits(50, 3), digits(50, 4)
    assert first.images.shape == (50, 1, SIZE, SIZE)
    assert (first.images.dtype, first.labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_all_digits_occur_and_look_different():
    data = digits(2000, 0, noise=0)
    assert set(data.labels) == set(range(CLASSES))
    # Paper is 0 and ink is 1; an eight has the most ink and a one the least.
    assert data.images.min() >= 0
    assert 0.7 < data.images.max() <= 1
    ink = [float(data.images[data.labels == digit].mean()) for digit in range(CLASSES)]
    assert np.argmax(ink) == 8
    assert np.argmin(ink) == 1
    # Nothing is cut off: the frame is paper.
    frame = np.ones((SIZE, SIZE), bool)
    frame[1:-1, 1:-1] = False
    assert data.images[:, 0, frame].mean() < 0.05


def test_noise_is_of_the_size_asked_for():
    plain, noisy = digits(500, 0, noise=0), digits(500, 0, noise=0.5)
    assert np.std(noisy.images - plain.images) == pytest.approx(0.5, rel=0.02)


def test_every_image_is_seen_once_before_one_is_seen_again():
    data = digits(20, 0)
    seen = list(batches(data, 8, 4, seed=1))
    assert [len(batch.labels) for batch in seen] == [8, 8, 8, 8]
    first = np.concatenate([seen[0].images, seen[1].images])
    assert len(np.unique(first.reshape(16, -1), axis=0)) == 16
    for batch in seen:
        for image, label in zip(batch.images, batch.labels, strict=True):
            (place,) = np.flatnonzero((data.images == image).all(axis=(1, 2, 3)))
            assert data.labels[place] == label
    again = list(batches(data, 8, 4, seed=1))
    np.testing.assert_array_equal(again[3].images, seen[3].images)
