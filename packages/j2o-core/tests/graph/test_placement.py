"""Views of arrays that need no array: the same elements as NumPy's, and views exactly where NumPy has them."""

import math
import random

import numpy as np
import pytest

from j2o_core.graph._placement import whole


def sizes(rng, count):
    """A shape with that many elements, with some axes of size 1."""
    found = []
    while count > 1:
        size = rng.choice([size for size in range(2, count + 1) if count % size == 0])
        found.append(size)
        count //= size
    rng.shuffle(found)
    for _ in range(rng.randrange(3)):
        found.insert(rng.randrange(len(found) + 1), 1)
    return tuple(found)


def reshaped(array, shape):
    view = array.reshape(shape)
    return view if np.shares_memory(view, array) else None


@pytest.mark.parametrize("seed", range(3))
def test_views_of_views_are_those_of_numpy(seed):
    rng, copies = random.Random(seed), 0
    for _ in range(1000):
        shape = sizes(rng, rng.choice([1, 2, 12, 24, 60]))
        array = np.arange(math.prod(shape)).reshape(shape)
        view, placement = array, whole(shape)
        for _ in range(rng.randrange(5)):
            kind = rng.choice(["transpose", "slice", "reshape"])
            if kind == "transpose":
                perm = rng.sample(range(view.ndim), view.ndim)
                view, placement = view.transpose(perm), placement.transposed(perm)
            elif kind == "slice" and view.ndim:
                axis, start, stop, step = (
                    rng.randrange(view.ndim),
                    rng.randint(-3, 2),
                    rng.randint(1, 9),
                    rng.choice([1, 2]),
                )
                part = view[(slice(None),) * axis + (slice(start, stop, step),)]
                if part.size:
                    view, placement = part, placement.sliced(axis, start, stop, step)
            else:
                new = sizes(rng, view.size)
                expected, found = reshaped(view, new), placement.reshaped(new)
                assert (expected is None) == (found is None), (placement, new)
                copies += expected is None
                if expected is not None:
                    view, placement = expected, found
        np.testing.assert_array_equal(placement.of(array), view)
    assert copies > 5


def test_an_empty_slice_stays_a_slice():
    placement = whole((3, 4)).sliced(0, 2, 1, 1)
    assert placement.shape == (0, 4)
    assert placement.of(np.zeros((3, 4))).shape == (0, 4)
    assert placement.reshaped((4, 0)) is None
